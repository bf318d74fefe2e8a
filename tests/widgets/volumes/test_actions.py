"""Structures are corrected, with undo, and become surfaces, in layers and files."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Surface
from qtpy.QtWidgets import QFileDialog

from napari_synthseg.volume import Volume
from napari_synthseg.widgets.layers.geometry import volume_to_layer
from napari_synthseg.widgets.layers.labels_layer import labels_kwargs
from napari_synthseg.widgets.volumes import shapes
from napari_synthseg.widgets.volumes.panel import VolumesPanel
from tests.widgets.builders import AFFINES


def ball(affine: str = "RAS") -> Volume:
    """A ball of 17, radius 7, with a hole and an islet, that touches a block of 53."""
    grid = np.indices((28, 26, 24)) - np.array([11, 12, 12])[:, None, None, None]
    data = np.where((grid**2).sum(axis=0) <= 49, 17, 0).astype(np.uint16)
    data[19:24, 6:18, 6:18] = 53
    data[11, 12, 12] = 0
    data[1, 1, 1] = 17
    return Volume(data, AFFINES[affine])


def layer_of(volume: Volume) -> Labels:
    array, kwargs = volume_to_layer(volume)
    return Labels(np.ascontiguousarray(array), name="seg", **kwargs, **labels_kwargs([17, 53], {17: 1.0, 53: 2.0}))


@pytest.fixture
def panel(qtbot):
    viewer = ViewerModel()
    panel = VolumesPanel(viewer)
    qtbot.addWidget(panel)
    panel.show_layer(viewer.add_layer(layer_of(ball("oblique LIA"))))
    panel.show()
    return panel


def choose(panel, *texts: str) -> None:
    """Take an entry of the menu of the left hippocampus, and wait."""
    model = panel.table.model()
    row = next(row for row in range(model.rowCount()) if model.index(row, 2).data() == "left")
    menu = panel.table.menu_at(model.index(row, 1))
    for text in texts[:-1]:
        menu = next(action.menu() for action in menu.actions() if action.text() == text)
    next(action for action in menu.actions() if action.text().startswith(texts[-1])).trigger()


def settle(qtbot, panel) -> None:
    qtbot.waitUntil(lambda: not panel.actions.job.running)


@pytest.mark.parametrize("name", shapes.CORRECTIONS)
def test_a_correction_leaves_neighbors_alone_and_is_undone(panel, qtbot, name):
    layer = panel.layer
    before = layer.data.copy()
    choose(panel, "Correct", name)
    settle(qtbot, panel)
    changed = layer.data != before
    assert changed.any() and "voxels changed" in panel.note.text()
    assert (layer.data == 53)[before == 53].all()
    choose(panel, "Correct", "Undo")
    assert np.array_equal(layer.data, before)


def test_what_corrections_do():
    data = ball().data
    mask = data == 17
    assert shapes.filled(mask, (1, 1, 1))[11, 12, 12]
    assert not shapes.largest(mask, (1, 1, 1))[1, 1, 1]
    assert not shapes.smoothed(mask, (1, 1, 1))[1, 1, 1]
    assert shapes.grown(mask, (1, 1, 1)).sum() > mask.sum() > shapes.shrunk(mask, (1, 1, 1)).sum()
    thick = shapes.grown(mask, (1, 1, 5))  # no margin across thick slices
    assert not (thick & ~mask).any(axis=(0, 1))[20]


def test_voxels_that_are_given_up_go_to_the_neighbor(panel):
    labels = np.zeros((9, 9, 9), np.uint16)
    labels[2:7, 2:7, 2:7] = 53
    labels[4, 4, 4] = 17
    labels[0, 0, 0:3] = 17
    job = shapes.corrected(labels, [17], "Keep the largest piece", (1, 1, 1))
    found = finished(job)
    assert found.values.tolist() == [53] and [int(axis[0]) for axis in found.indices] == [4, 4, 4]


def finished(job):
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value


def test_a_surface_lies_on_its_structure(panel, qtbot):
    choose(panel, "Surface as a layer")
    settle(qtbot, panel)
    surface = next(one for one in panel._viewer.layers if isinstance(one, Surface))
    where = np.argwhere(panel.layer.data == 17)
    world = np.array([panel.layer.data_to_world(place) for place in where])
    np.testing.assert_allclose(surface.data[0].min(axis=0), world.min(axis=0), atol=2)
    np.testing.assert_allclose(surface.data[0].max(axis=0), world.max(axis=0), atol=2)
    points, _, brightness = surface.data
    assert brightness[points[:, 0].argmax()] > 0.8 and brightness[points[:, 0].argmin()] < 0.2  # lit from above
    assert surface.shading == "none"


@pytest.mark.parametrize("ending", [".stl", ".obj", ".surf.gii"])
def test_surfaces_are_saved_in_scanner_coordinates(panel, qtbot, tmp_path, monkeypatch, ending):
    path = tmp_path / f"hippocampus{ending}"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(path), ""))
    choose(panel, "Save surface")
    settle(qtbot, panel)
    points = read_points(path)
    volume = ball("oblique LIA")
    voxels = np.argwhere(volume.data == 17)
    inside = nib.affines.apply_affine(volume.affine, voxels)
    np.testing.assert_allclose(points.mean(axis=0), inside[1:].mean(axis=0), atol=1.5)
    np.testing.assert_allclose(np.ptp(points, axis=0), np.ptp(inside, axis=0), atol=3)


def read_points(path) -> np.ndarray:
    if path.name.endswith(".gii"):
        return nib.load(path).agg_data("pointset")
    if path.suffix == ".obj":
        lines = path.read_text().splitlines()
        return np.array([line.split()[1:] for line in lines if line.startswith("v ")], dtype=float)
    raw = path.read_bytes()
    records = np.frombuffer(raw[84:], np.dtype([("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")]))
    return records["c"].reshape(-1, 3)


def test_faces_look_outward_and_the_volume_is_kept():
    volume = ball()
    volume.data[1, 1, 1] = 0
    found = finished(shapes.surface_of(volume.data, [17])).moved(volume.affine)
    a, b, c = (found.points[found.faces[:, corner]] for corner in range(3))
    enclosed = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert enclosed == pytest.approx(float((volume.data == 17).sum()), rel=0.05)
