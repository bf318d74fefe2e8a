"""The 3D view shows labels as surfaces, and slices are again what they were."""

from __future__ import annotations

import numpy as np
from napari.layers import Labels

from napari_synthseg.volume import Volume
from napari_synthseg.widgets.layers.geometry import volume_to_layer
from napari_synthseg.widgets.layers.labels_layer import is_visible, labels_array, labels_kwargs, set_visible
from napari_synthseg.widgets.view import view
from tests.widgets.builders import AFFINES, scan_layer

SIZE = 24
CORTEX, FLUID = 3, 24


def shell() -> np.ndarray:
    """A ball of cortex in a ball of fluid."""
    index = np.indices((SIZE,) * 3) - (SIZE - 1) / 2
    distance = np.sqrt((index**2).sum(axis=0))
    return np.where(distance < 7, CORTEX, np.where(distance < 10, FLUID, 0)).astype(np.uint16)


def add_head(viewer) -> Labels:
    """A grey scan, and labels on it as our readers make them."""
    array, kwargs = volume_to_layer(Volume(np.full((SIZE,) * 3, 200, np.uint8), AFFINES["RAS"]))
    viewer.add_image(array, name="scan", contrast_limits=(0, 255), **kwargs)
    return viewer.add_labels(labels_array(shell()), name="labels", **{**kwargs, **labels_kwargs([CORTEX, FLUID])})


def test_3d_hides_the_scan_and_the_fluid_and_slices_have_them_again(viewer):
    labels = add_head(viewer)
    opacity = labels.opacity
    view.set_view(viewer, view.THREE_D)
    assert not viewer.layers["scan"].visible
    assert labels.opacity == 1.0 and is_visible(labels, CORTEX) and not is_visible(labels, FLUID)
    view.set_view(viewer, view.THREE_D, view.RADIOLOGICAL)  # and what was changed is known still
    view.set_view(viewer, view.CORONAL)
    assert viewer.layers["scan"].visible
    assert labels.opacity == opacity and is_visible(labels, FLUID)


def test_what_the_user_hid_stays_hidden_and_what_he_changes_in_3d_stays(viewer):
    labels = add_head(viewer)
    hidden = viewer.add_layer(scan_layer(name="hidden"))
    viewer.layers.move(2, 0)
    hidden.visible = False
    set_visible(labels, [FLUID], False)
    view.set_view(viewer, view.THREE_D)
    viewer.layers["scan"].visible = True
    labels.opacity = 0.3
    view.set_view(viewer, view.THREE_D)
    assert viewer.layers["scan"].visible
    view.set_view(viewer, view.AXIAL)
    assert not hidden.visible and viewer.layers["scan"].visible
    assert labels.opacity == 0.3 and not is_visible(labels, FLUID)


def test_a_scan_without_labels_stays(viewer):
    labels = add_head(viewer)
    labels.data = np.zeros_like(labels.data)
    view.set_view(viewer, view.THREE_D)
    assert viewer.layers["scan"].visible
    labels.data = labels_array(shell())
    labels.visible = False
    view.set_view(viewer, view.THREE_D)
    assert viewer.layers["scan"].visible


def test_the_cortex_is_what_is_seen(window):
    viewer = window(show=True)
    viewer.window.resize(600, 450)
    labels = add_head(viewer)
    view.set_view(viewer, view.THREE_D)
    viewer.fit_to_view()
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)
    height, width = picture.shape[:2]
    seen = picture[height // 2, width // 2]
    color = np.array(labels.colormap.map(CORTEX)[:3])
    assert seen @ color / np.linalg.norm(seen) / np.linalg.norm(color) > 0.98
    assert np.ptp(color) > 0.2  # it is no grey, as the scan is
