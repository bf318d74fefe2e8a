"""What *Segment brain* adds: labels that lie on their scan, and probabilities on request."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt

from napari_synthseg.inference.grid import OutputGrid
from napari_synthseg.inference.posteriors import Posteriors
from napari_synthseg.inference.state import Segmentation
from napari_synthseg.io import LabelName
from napari_synthseg.jobs import Progress
from napari_synthseg.volume import Volume
from napari_synthseg.widgets.layers.geometry import METADATA_KEY
from napari_synthseg.widgets.layers.labels_layer import pairs_of, recounted, rows_of, volumes_table
from napari_synthseg.widgets.segment.model import LOCKED, SegmentedLayer, outcome_to_layer
from napari_synthseg.widgets.segment.probabilities import structure_name
from tests.widgets.builders import half_labels, labels_in, scan_layer, steps
from tests.widgets.segment.conftest import press

VALUES = (0, 17, 53)


def soft(scan: Volume) -> Posteriors:
    """Posteriors of 0.75 where `half_labels` has a structure."""
    hard = half_labels(scan).data
    data = torch.stack([torch.from_numpy(np.where(hard == value, 0.75, 0.125)).half() for value in VALUES])
    return Posteriors(data, (0, 0, 0), VALUES, OutputGrid.between(scan.affine, scan.affine, scan.data.shape))


def careful():
    """Like `steps`, with posteriors when they are asked for."""

    def run(scan: Volume, **options):
        result = yield from steps(1)(scan, **options)
        result.posteriors = soft(scan) if options["posteriors"] else None
        return result

    return run


# Results


@pytest.mark.parametrize("volume", [0, 1])
def test_the_result_of_a_volume_of_a_series_says_which(viewer, open_widget, qtbot, volume):
    widget = open_widget()
    viewer.add_image(np.random.default_rng(1).random((2, 5, 6, 7)), name="fmri", units=("s", "mm", "mm", "mm"))
    viewer.dims.set_current_step(0, volume)
    press(qtbot, widget)
    assert [layer.name for layer in labels_in(viewer)] == [f"fmri volume {volume} segmentation"]


def test_labels_at_one_millimetre_move_with_their_scan(viewer, open_widget, qtbot):
    def coarse(scan, **options):
        result = yield from steps(1)(scan, **options)
        half = np.ascontiguousarray(half_labels(scan).data[::2, ::2, ::2])
        result.labels = Volume(half, scan.affine @ np.diag([2.0, 2, 2, 1]))
        return result

    widget = open_widget(coarse)
    image = viewer.add_layer(scan_layer("LIA"))
    press(qtbot, widget)
    (layer,) = labels_in(viewer)
    np.testing.assert_allclose(layer.scale, (2, 2, 2))
    image.affine = np.diag([1.0, 1.5, 1, 1])  # as when it is moved by hand
    np.testing.assert_array_equal(np.asarray(layer.affine), np.asarray(image.affine))


def test_each_scan_has_its_own_result(viewer, open_widget, qtbot):
    widget = open_widget()
    a, b = viewer.add_layer(scan_layer(name="a")), viewer.add_layer(scan_layer(name="b"))
    viewer.layers.selection = {a, b}
    assert widget.run.text() == "&Segment 2 brains"
    press(qtbot, widget)
    assert {layer.name for layer in labels_in(viewer)} == {"a segmentation", "b segmentation"}
    assert widget.status.text() == "2 of 2 scans segmented."
    assert {layer.name for layer in viewer.layers if layer.visible} == {"b", "b segmentation"}


def test_a_queue_says_which_scans_have_warnings(viewer, open_widget, qtbot):
    def some(scan, **options):
        warned = ("The brain is small.",) if '"b"' in options["name"] else ()
        return (yield from steps(1, warnings=warned)(scan, **options))

    widget = open_widget(some)
    viewer.layers.selection = {viewer.add_layer(scan_layer(name=name)) for name in "ab"}
    press(qtbot, widget)
    assert "1 with warnings" in widget.status.text()
    assert [widget.list.columns[0].text(run) for run in widget.list.rows] == ["✓", "⚠"]
    assert "The brain is small." in widget.list.model().index(1, 0).data(Qt.ItemDataRole.ToolTipRole)


# Lying on the scan


@pytest.mark.parametrize("kind", ["RAS", "oblique LIA"])
def test_the_result_moves_with_its_scan(viewer, open_widget, qtbot, kind):
    widget = open_widget()
    image = viewer.add_layer(scan_layer(kind))
    press(qtbot, widget)
    (layer,) = labels_in(viewer)
    image.translate = (5, 6, 7)
    image.affine = np.diag([1.0, 1.1, 1.2, 1])
    for name in LOCKED[:-1]:
        assert np.array_equal(np.asarray(getattr(layer, name)), np.asarray(getattr(image, name))), name
    assert np.array_equal(layer.extent.world, image.extent.world)


# Probabilities


def ask(qtbot, widget, value: int) -> None:
    widget.volumes.probability_requested.emit(value)
    qtbot.waitUntil(lambda: not widget.queue.busy and not widget.probabilities.job.running)


def test_a_structures_probability_is_a_layer_on_the_scan(viewer, open_widget, qtbot):
    widget = open_widget(careful())
    widget.choices.form.set_values({"posteriors": True})
    image = viewer.add_layer(scan_layer("LIA"))
    press(qtbot, widget)
    (labels,) = labels_in(viewer)
    ask(qtbot, widget, 17)
    layer = viewer.layers["scan Left-Hippocampus probability"]
    assert np.array_equal(np.asarray(layer.data) == 0.75, labels.data == 17)
    assert np.array_equal(layer.extent.world, image.extent.world)
    assert tuple(layer.contrast_limits) == (0, 1)
    assert layer.blending == "additive"
    assert widget.image.layer() is image  # a probability is not offered as a scan


def test_a_result_that_is_removed_gives_its_posteriors_back(viewer, open_widget, qtbot):
    widget = open_widget(careful())
    widget.choices.form.set_values({"posteriors": True})
    viewer.add_layer(scan_layer())
    press(qtbot, widget)
    (labels,) = labels_in(viewer)
    assert len(widget.probabilities._kept) == 1
    viewer.layers.remove(labels)
    assert len(widget.probabilities._kept) == 0


def test_posteriors_of_the_latest_results_are_kept(viewer, open_widget, qtbot):
    widget = open_widget(careful())
    widget.choices.form.set_values({"posteriors": True})
    viewer.layers.selection = {viewer.add_layer(scan_layer(name=name)) for name in "abcd"}
    press(qtbot, widget)
    kept = {layer.name[0] for layer in widget.probabilities._kept}
    assert kept == {"b", "c", "d"}
    widget.volumes.show_layer(viewer.layers["a segmentation"])
    ask(qtbot, widget, 17)
    assert "were not kept" in widget.status.text()


# Keyboard


def test_nothing_but_a_report_comes_from_a_run_that_waits_for_its_turn(viewer, open_widget, qtbot):
    def slow(scan, **options):
        yield Progress("Network", 1, 4)
        return (yield from steps(5, seconds=0.02)(scan, **options))

    widget = open_widget(slow)
    a, b = viewer.add_layer(scan_layer(name="a")), viewer.add_layer(scan_layer(name="b"))
    viewer.layers.selection = {a, b}
    qtbot.mouseClick(widget.run, Qt.MouseButton.LeftButton)
    viewer.layers.remove(b)
    qtbot.waitUntil(lambda: not widget.queue.busy)
    assert [layer.name for layer in labels_in(viewer)] == ["a segmentation"]
    assert widget.status.text() == "1 of 2 scans segmented."


NAMES = {2: LabelName("left kidney", (10, 20, 30)), 41: LabelName("tumour"), 900: LabelName("stone")}


def result_layer():
    image = scan_layer()
    array = np.zeros(image.data.shape, np.uint16)
    array[0, 0, :3] = (2, 41, 900)
    volumes = {2: 1000.0, 41: 500.0, 900: 10.0}
    labels = Volume(array.transpose(2, 1, 0), np.eye(4))
    found = Segmentation(labels, volumes, math.nan, (), None, {}, {2: 0.9, 41: 0.8, 900: 0.3}, names=NAMES)
    return outcome_to_layer(SegmentedLayer(found, array, True), image)


def test_names_and_colours_are_the_card_s():
    layer = result_layer()
    named = dict(zip(layer.features["index"], layer.features["name"], strict=True))
    assert named == {0: "Background", 2: "left kidney", 41: "tumour", 900: "stone"}
    assert set(layer.features["side"]) == {""}
    assert [round(255 * float(c)) for c in layer.get_color(2)[:3]] == [10, 20, 30]
    assert layer.metadata[METADATA_KEY]["intracranial_mm3"] is None
    assert structure_name(41, layer) == "tumour" and structure_name(41) == "Right-Cerebral-White-Matter"


def test_the_table_of_volumes_pairs_nothing():
    rows = rows_of(result_layer().features)
    assert pairs_of(rows) == []
    assert volumes_table(rows, "organ")[0] == ("scan", "intracranial", "left kidney", "tumour", "stone")
    assert volumes_table(rows, "organ")[1][:2] == ("organ", "")


def test_edits_leave_the_names():
    layer = result_layer()
    new = recounted(layer.features, {2: 900.0, 41: 600.0})
    assert list(new["name"]) == ["Background", "left kidney", "tumour", "stone"] and set(new["side"]) == {""}
