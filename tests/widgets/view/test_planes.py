"""Three linked planes in a real window, and oblique scans resliced along the patient's axes."""

from __future__ import annotations

import gc
import inspect
import pkgutil
from importlib import metadata
from weakref import ref

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels, Layer
from napari.layers.shapes._shapes_mouse_bindings import initiate_polygon_draw
from qtpy.QtCore import Qt
from scipy.ndimage import map_coordinates

from napari_synthseg.volume import Volume
from napari_synthseg.widgets._shared.choosers import LayerChooser
from napari_synthseg.widgets.layers.geometry import layer_affine, layer_to_volume, volume_to_layer
from napari_synthseg.widgets.segment.choices import _is_scan
from napari_synthseg.widgets.segment.widget import SegmentWidget
from napari_synthseg.widgets.view import planes
from napari_synthseg.widgets.view.planes import Resliced, is_oblique, reslice
from tests.widgets.builders import scan_layer, steps

ortho_view_manager = pytest.importorskip("napari_orthogonal_views.ortho_view_manager")
pytestmark = pytest.mark.filterwarnings("ignore")


def models(viewer) -> dict[str, object]:
    manager = ortho_view_manager._get_manager(viewer)
    return {
        "sagittal": manager.right_widget.vm_container.viewer_model,
        "coronal": manager.bottom_widget.vm_container.viewer_model,
    }


def test_three_planes_are_linked_and_upright_and_let_go_after_them(window, qtbot):
    viewer = window(show=True)
    scan = viewer.add_layer(scan_layer("LIA"))
    geometry = {name: getattr(scan, name) for name in ("scale", "translate", "units", "axis_labels")}
    viewer.add_labels(np.ones(scan.data.shape, np.uint16), name="labels", **geometry)
    widget = SegmentWidget(viewer, steps=steps())
    viewer.window.add_dock_widget(widget)
    qtbot.waitUntil(widget.isVisible)
    qtbot.mouseClick(widget.view.planes, Qt.MouseButton.LeftButton)
    manager = ortho_view_manager._get_manager(viewer)

    beside = models(viewer)
    assert viewer.dims.order == (0, 1, 2)
    assert [tuple(beside[name].dims.order) for name in ("sagittal", "coronal")] == [(2, 0, 1), (1, 0, 2)]
    for plane in (viewer, *beside.values()):
        assert [str(one) for one in plane.scene.camera.orientation[1:]] == ["up", "right"]
        assert [layer.name for layer in plane.layers] == ["scan", "labels"]
    s, a, r = (one.start + one.step for one in viewer.dims.range)
    viewer.dims.set_point(range(3), [s, a, r])
    qtbot.waitUntil(lambda: {one.dims.point for one in models(viewer).values()} == {viewer.dims.point})
    for plane in beside.values():  # what is shown stays in the middle: the point is in view
        low, high = plane.layers.extent.world[:, list(plane.dims.displayed)]
        assert all(low - 1 <= plane.scene.camera.center[-2:]) and all(plane.scene.camera.center[-2:] <= high + 1)
    assert manager.main_controls_widget.findChild(planes.Place).text() == f"R {r:.1f}  A {a:.1f}  S {s:.1f} mm"

    viewer.add_image(np.zeros((2, 4, 4, 4)), name="series")  # one axis more, and less again
    viewer.layers.remove("series")
    viewer.layers.remove("scan")
    viewer.dims.set_current_step(0, 1)
    assert manager.is_shown()
    qtbot.mouseClick(widget.view.planes, Qt.MouseButton.LeftButton)
    assert not manager.is_shown()
    alive = [ref(model) for model in beside.values()]
    del beside, plane

    def gone() -> bool:
        gc.collect()
        return not any(model() for model in alive)

    qtbot.waitUntil(gone)
    ortho_view_manager.delete_and_cleanup(viewer)


def test_a_scan_does_not_keep_what_showed_it_resliced():
    scan = scan_layer("oblique")
    shown = ref(reslice(scan))
    gc.collect()
    assert shown() is None
    scan.data = np.zeros_like(scan.data)


def test_a_lasso_can_be_drawn_in_three_planes(window):
    """napari selects the shape at the first press of the mouse, when only the viewer has it."""
    viewer = window(show=True)
    viewer.add_layer(scan_layer())
    shapes = viewer.add_shapes(ndim=3, name="lassos")
    shapes.current_edge_width = 0.07
    planes.three_planes(viewer)
    shapes.mode = "add_polygon_lasso"
    initiate_polygon_draw(shapes, (3.0, 1.0, 1.0))
    shapes._finish_drawing()
    shapes.add(np.array([(3.0, 1, 1), (3, 1, 4), (3, 4, 4)]), shape_type="polygon", edge_width=0.07)
    for plane in models(viewer).values():
        assert plane.layers["lassos"].edge_width == [0.07]
    ortho_view_manager.delete_and_cleanup(viewer)


def test_oblique_scans_are_resliced_in_the_planes_and_themselves_again_after_them(window, qtbot, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(planes, "show_info", said.append)
    viewer = window(show=True)
    scan = viewer.add_layer(scan_layer("oblique"))
    hidden = viewer.add_layer(scan_layer("oblique LIA", "hidden"))
    hidden.visible = False
    viewer.layers.selection = {scan}
    planes.three_planes(viewer)
    names = ["scan", "scan (resliced)", "hidden"]
    assert [layer.name for layer in viewer.layers] == names and viewer.layers.selection == {scan}
    for plane in models(viewer).values():
        assert [layer.name for layer in plane.layers] == names
        assert [layer.visible for layer in plane.layers] == [False, True, False]
    labels = viewer.add_layer(half_labels_layer(scan))
    qtbot.waitUntil(lambda: "labels (resliced)" in viewer.layers)
    assert not labels.visible and not viewer.layers["labels (resliced)"].editable
    assert [one.value for one in LayerChooser(viewer, Image, _is_scan).entries()] == [hidden, scan]  # to be segmented
    viewer.layers.selection = {viewer.layers["labels (resliced)"]}  # to paint on it
    viewer.layers.selection = {labels}
    assert said == [planes.NOT_PAINTED.format("labels")]  # once
    viewer.layers.remove("labels")
    assert "labels (resliced)" not in viewer.layers
    ortho_view_manager._get_manager(viewer).main_controls_widget.show_checkbox.setChecked(False)  # its own switch
    assert [layer.name for layer in viewer.layers] == ["scan", "hidden"]
    assert scan.visible and not hidden.visible
    viewer.add_layer(half_labels_layer(scan))
    qtbot.wait(50)
    assert len(viewer.layers) == 3  # no longer replaced
    ortho_view_manager.delete_and_cleanup(viewer)


PRIVATE = {
    "napari_orthogonal_views.ortho_view_manager": ("_get_manager",),
    "napari_orthogonal_views.ortho_view_manager:OrthoViewManager": (
        "is_shown", "show", "hide", "update_dims_order", "set_cross_hairs",
    ),
    "napari_orthogonal_views.ortho_view_widget": ("check_center",),
    "napari_orthogonal_views.ortho_view_widget:OrthoViewWidget": (
        "_update_current_step", "_connect", "_disconnect", "_center_sync_blocked",
    ),
    "napari_orthogonal_views.cross_hair_overlay": ("CrosshairOverlay",),
    "napari_orthogonal_views.viewer_utils": ("_HOVERABLE_CANVASES",),
    "napari_orthogonal_views.cross_hair_overlay:VispyCrosshairOverlay": ("_move_crosshairs",),
    "napari._vispy.utils.visual": ("overlay_to_visual",),
}  # fmt: skip
"""What `planes` uses of other packages beyond their documentation; it replaces two functions of them."""


@pytest.mark.parametrize("place", PRIVATE)
def test_what_is_used_of_the_package_is_there(place):
    found = pkgutil.resolve_name(place)
    missing = [name for name in PRIVATE[place] if not hasattr(found, name)]
    version = metadata.version("napari-orthogonal-views")
    assert not missing, (
        f"{place} has no {', '.join(missing)} any more (napari-orthogonal-views {version}): three planes need it. "
        "Use its new name in widgets/view/planes.py, or stay below this version in pyproject.toml."
    )


@pytest.mark.parametrize(
    "place", ["ortho_view_widget:OrthoViewWidget._update_current_step",
              "cross_hair_overlay:VispyCrosshairOverlay._move_crosshairs"],
)  # fmt: skip
def test_what_we_replace_still_takes_an_index_for_a_place(place):
    """Once these read `dims.point` alone, our own link and crosshairs in `planes` can go."""
    source = inspect.getsource(pkgutil.resolve_name(f"napari_orthogonal_views.{place}"))
    assert "dims.current_step" in source, f"{place} was mended: remove its replacement in widgets/view/planes.py"


def half_labels_layer(scan) -> Labels:
    geometry = {name: getattr(scan, name) for name in ("scale", "translate", "units", "axis_labels", "metadata")}
    return Labels(np.ones(scan.data.shape, np.uint16), name="labels", **geometry)


SCANS = {
    "fine": ((0.3, -0.2, 0.15), (1.2, 1.1, 1.0), (60, 64, 70)),
    "thick": ((-0.2, 0.1, -0.25), (1.0, 1.3, 2.5), (70, 60, 30)),
}


def head(places: np.ndarray) -> np.ndarray:
    """Intensity of a smooth head that is not symmetric, at (3, N) RAS mm."""
    x, y, z = places
    return 100 * np.exp(-(((x - 5) / 20) ** 2) - ((y + 8) / 30) ** 2 - ((z - 3) / 15) ** 2)


def scanned(name: str) -> Volume:
    """A scan of the head on an oblique grid, its center at the origin."""
    angles, spacing, shape = SCANS[name]
    axes = nib.eulerangles.euler2mat(*angles) @ np.diag(spacing)
    affine = nib.affines.from_matvec(axes, -axes @ ((np.array(shape) - 1) / 2))
    places = axes @ np.indices(shape).reshape(3, -1) + affine[:3, 3:]
    return Volume(head(places).reshape(shape).astype(np.float32), affine)


def shown_scan(name: str) -> Image:
    array, kwargs = volume_to_layer(scanned(name))
    return Image(np.ascontiguousarray(array), name=name, **kwargs)


def seen_at(layer: Layer, places: np.ndarray) -> np.ndarray:
    """What the layer shows at (N, 3) RAS mm."""
    index = np.array([layer.world_to_data(place[::-1]) for place in places])
    return map_coordinates(np.asarray(layer.data), index.T, order=1)


@pytest.mark.parametrize(("affine", "oblique"), [("RAS", False), ("LIA", False), ("thick", False), ("oblique", True),
                                                 ("oblique LIA", True)])  # fmt: skip
def test_which_layers_are_oblique(affine, oblique):
    assert is_oblique(scan_layer(affine)) is oblique


def test_two_scans_of_one_head_overlay_only_when_they_are_resliced():
    places = np.random.default_rng(0).uniform(-18, 18, (400, 3))
    truth = head(places.T)
    layers = [shown_scan(name) for name in SCANS]
    assert all(np.abs(seen_at(layer, places) - truth).max() > 10 for layer in layers)
    for layer in map(reslice, layers):
        assert np.abs(seen_at(layer, places) - truth).max() < 1
        np.testing.assert_allclose(layer.scale, 1.0, atol=1e-6)


def test_the_scan_is_inside_and_its_geometry_exact():
    layer = shown_scan("thick")
    made = reslice(layer)
    corners = layer_affine(layer) @ [[0, 69], [0, 59], [0, 29], [1, 1]]
    low, high = made.extent.world
    assert (low[::-1] - 0.01 <= corners[:3].T).all() and (high[::-1] + 0.01 >= corners[:3].T).all()
    volume = layer_to_volume(made)  # what another widget would take of it
    np.testing.assert_allclose(volume.affine[:3, :3], np.eye(3), atol=1e-6)
    assert not made.editable and not is_oblique(made)


def test_slices_are_those_of_the_whole_and_it_is_computed_in_parts(monkeypatch):
    scan = scanned("fine")
    array = Resliced(scan.data.transpose(2, 1, 0), scan.affine, 1)
    whole = np.asarray(array)
    assert whole.shape == array.shape and whole.dtype == array.dtype
    np.testing.assert_array_equal(array[40], whole[40])
    np.testing.assert_array_equal(array[:, 40], whole[:, 40])
    np.testing.assert_array_equal(array[10:20, :, 40], whole[10:20, :, 40])
    assert array[40, 41, 42] == whole[40, 41, 42]
    monkeypatch.setattr("napari_synthseg.widgets.view.planes.MOST_POINTS", 1000)
    np.testing.assert_array_equal(np.asarray(array), whole)


def test_labels_keep_their_values_and_follow_what_is_painted():
    volume = scanned("fine")
    array, kwargs = volume_to_layer(Volume((volume.data > 50).astype(np.uint8) * 17, volume.affine))
    labels = Labels(np.ascontiguousarray(array), name="labels", **kwargs)
    made = reslice(labels)
    assert set(np.unique(made.data[:])) == {0, 17}
    labels.paint((35, 32, 30), 53)
    assert 53 in np.asarray(made.data)
    labels.data = np.zeros_like(labels.data)
    assert not np.asarray(made.data).any()
