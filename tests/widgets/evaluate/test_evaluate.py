"""The Evaluate widget: two layers in; a table, a layer of errors and worst slices out. With real clicks and keys."""

from __future__ import annotations

import time

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_synthseg.jobs import Progress, Stopped, stoppable
from napari_synthseg.volume import Volume, resample_labels_to
from napari_synthseg.widgets.evaluate.model import COLORS, is_errors
from napari_synthseg.widgets.evaluate.widget import CHANGED, EDITED, GONE, NO_LAYERS, RESAMPLED, SAME
from tests.widgets.evaluate.conftest import GEOMETRY, SHAPE, found_array, layer, true_array

LEFT = Qt.MouseButton.LeftButton


def column(widget, number) -> list[str]:
    model = widget.results.table.model()
    return [model.index(row, number).data() for row in range(model.rowCount())]


def click_row(qtbot, widget, row, number=1) -> None:
    table = widget.results.table
    qtbot.mouseClick(table.viewport(), LEFT, pos=table.visualRect(table.model().index(row, number)).center())


def evaluate(qtbot, widget) -> None:
    qtbot.mouseClick(widget.run, LEFT)
    qtbot.waitUntil(lambda: not widget.job.running)


def errors_in(viewer) -> list[Labels]:
    return [one for one in viewer.layers if is_errors(one)]


def endless(pred, truth):
    """A job that goes on until it is stopped."""
    for done in range(100_000):
        yield Progress("Comparing", done, 100_000)
        time.sleep(0.005)


# Which layers


def test_the_two_newest_layers_are_offered_and_can_be_exchanged(made, qtbot):
    widget = made()
    assert [one.name for one in widget.pair.layers()] == ["ours", "manual"]
    qtbot.mouseClick(widget.pair.swap, LEFT)
    assert [one.name for one in widget.pair.layers()] == ["manual", "ours"]
    assert widget.run.isEnabled()


def test_the_same_layer_twice_or_one_alone_cannot_be_compared(made, viewer):
    widget = made()
    widget.pair.truth.set_layer(widget.pair.pred.layer())
    assert widget.pair.hint.text() == SAME and not widget.run.isEnabled()
    viewer.layers.remove(viewer.layers["manual"])
    assert widget.pair.hint.text() == NO_LAYERS and not widget.run.isEnabled()
    viewer.layers.clear()
    assert not widget.run.isEnabled()
    viewer.add_layer(layer(true_array(), "again"))
    viewer.add_layer(layer(found_array(), "and again"))
    assert widget.run.isEnabled()


# What is found


def test_the_table_has_the_scores_of_every_structure(evaluated):
    assert column(evaluated, 0) == ["Brain-Stem", "L Hippocampus", "R Hippocampus"]
    assert column(evaluated, 1) == [f"{x:.3f}" for x in (2 * 36 / 84, 2 * 36 / 96, 2 * 36 / 84)]
    assert column(evaluated, 4) == ["+33", "+0", "-25"]
    mean = (2 * 36 / 84 + 2 * 36 / 96 + 2 * 36 / 84) / 3
    assert f"Mean of 3 scored: Dice {mean:.3f}" in evaluated.results.means.text()
    assert evaluated.results.title.text() == "ours against manual"


def test_the_colors_of_errors_have_a_legend(evaluated, viewer):
    legend = evaluated.results.legend
    assert not legend.isHidden()
    assert all(word in legend.text() for word in ("missed", "added", "other label"))
    assert [color in legend.text() for color in ("#57b5e8", "#e69e00", "#cc78a6")] == [True] * 3
    viewer.layers.remove(errors_in(viewer)[0])
    assert legend.isHidden()


def test_errors_are_named_coloured_and_on_the_grid_of_the_truth(evaluated, viewer):
    (errors,) = errors_in(viewer)
    assert errors.name == "ours errors"
    for name in ("scale", "translate", "units", "axis_labels"):
        assert np.all(getattr(errors, name) == getattr(viewer.layers["manual"], name))
    assert np.all(errors.data[5, 2:6, 1:4] == 1)
    assert np.all(errors.data[11, 4:8, 3:7] == 2)
    assert np.all(errors.data[4, 2:6, 6:9] == 3)
    assert np.count_nonzero(errors.data) == 12 + 16 + 12
    assert list(errors.features["name"]) == ["agrees", "missed", "added", "other label"]
    assert errors.features["volume (mL)"][1] == pytest.approx(12 * 3 / 1000)
    assert np.allclose(errors.colormap.map(2), COLORS[2], atol=0.01)
    assert errors not in (evaluated.pair.pred.layer(), evaluated.pair.truth.layer())


def test_evaluating_again_replaces_the_layer_of_errors(evaluated, viewer, qtbot):
    (first,) = errors_in(viewer)
    first.name = "mine"
    viewer.layers["ours"].data = true_array()
    evaluate(qtbot, evaluated)
    (second,) = errors_in(viewer)
    assert second is not first and second.name == "mine" and not second.data.any()
    assert column(evaluated, 1) == ["1.000"] * 3


# Going there


def test_a_click_shows_the_worst_slice_and_selects_the_structure(evaluated, viewer, qtbot):
    click_row(qtbot, evaluated, 1)  # left: slice 5 is missed, and slice 4 of the right side is added: 12 voxels each
    assert viewer.dims.point[0] in (GEOMETRY["translate"][0] + 2 * 4, GEOMETRY["translate"][0] + 2 * 5)
    click_row(qtbot, evaluated, 0)
    assert viewer.dims.point[0] == GEOMETRY["translate"][0] + 2 * 11
    assert all(viewer.layers[name].selected_label == 16 for name in ("ours", "manual"))


def test_the_slice_is_across_the_axis_that_is_not_on_the_canvas(evaluated, viewer, qtbot):
    viewer.dims.order = (2, 0, 1)
    click_row(qtbot, evaluated, 2)  # right: all of slice 4 in S, 4 voxels in each of the sagittal slices 6 to 8
    assert viewer.dims.point[2] - GEOMETRY["translate"][2] in (6, 7, 8)
    viewer.dims.ndisplay = 3
    click_row(qtbot, evaluated, 0)
    assert viewer.dims.point[0] == GEOMETRY["translate"][0] + 2 * 11


# Saving


@pytest.mark.parametrize(("typed", "made_name"), [("s.csv", "s.csv"), ("s.tsv", "s.tsv"), ("s", "s.tsv")])
def test_scores_are_saved(evaluated, qtbot, tmp_path, monkeypatch, typed, made_name):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / typed), ""))
    qtbot.mouseClick(evaluated.results.save, LEFT)
    mark = "," if made_name.endswith("csv") else "\t"
    rows = [line.split(mark) for line in (tmp_path / made_name).read_text().splitlines()]
    assert rows[0][:5] == ["index", "name", "side", "scored", "dice"]
    assert rows[1][1] == "mean of scored"
    assert [row[1] for row in rows[2:]] == ["Brain-Stem", "Left-Hippocampus", "Right-Hippocampus"]
    assert float(rows[3][4]) == pytest.approx(0.75)
    assert float(rows[2][8]) == 48 * 3


# Grids


def test_layers_on_other_grids_are_brought_together(made, viewer, qtbot):
    fine = np.repeat(found_array(), 2, axis=0)
    scale, first = (1, 1.5, 1), (-9.5, -7, 5)  # two slices in the place of one
    viewer.add_layer(layer(fine, "fine", scale=scale, translate=first))
    widget = made()
    widget.pair.truth.set_layer(viewer.layers["manual"])
    evaluate(qtbot, widget)
    assert column(widget, 1) == [f"{x:.3f}" for x in (2 * 36 / 84, 2 * 36 / 96, 2 * 36 / 84)]
    assert widget.results.note.text() == RESAMPLED
    assert errors_in(viewer)[0].data.shape == SHAPE


def test_layers_of_other_places_are_refused_in_a_sentence(made, viewer, qtbot):
    viewer.add_layer(layer(found_array(), "far", translate=(500, 500, 500)))
    widget = made()
    widget.pair.truth.set_layer(viewer.layers["manual"])
    evaluate(qtbot, widget)
    assert "lie nowhere in the field of view" in widget.status.text()
    assert widget.results.isHidden() and not errors_in(viewer)


@pytest.mark.parametrize(
    ("data", "sentence"), [(np.zeros(SHAPE, np.uint8), "holds a label"), (np.arange(1320).reshape(SHAPE) + 1, "hold")]
)
def test_nothing_or_too_much_to_compare(made, viewer, qtbot, data, sentence, monkeypatch):
    monkeypatch.setattr("napari_synthseg.widgets.evaluate.model.MOST_LABELS", 100)
    for name in ("a", "b"):
        viewer.add_labels(data, name=name, **GEOMETRY)
    widget = made()
    evaluate(qtbot, widget)
    assert sentence in widget.status.text()


def test_other_organs_are_called_as_their_layer_calls_them(made, viewer, qtbot):
    viewer.layers["manual"].features = {"index": [0, 16, 17, 53], "name": ["Background", "heart", "liver", "spleen"]}
    viewer.layers["ours"].features = {}
    widget = made()
    evaluate(qtbot, widget)
    assert column(widget, 0) == ["heart", "liver", "spleen"]


def test_the_volume_of_a_series_that_is_shown_is_compared(made, viewer, qtbot):
    series = np.stack([np.zeros(SHAPE, np.uint16), found_array()])
    viewer.add_layer(Labels(series, name="series", scale=(1, 2, 1.5, 1), translate=(0, -9, -7, 5)))
    viewer.dims.set_point(0, 1)
    widget = made()
    widget.pair.truth.set_layer(viewer.layers["manual"])
    evaluate(qtbot, widget)
    assert column(widget, 1)[1] == "0.750"
    click_row(qtbot, widget, 0)
    assert viewer.dims.point[1] == -9 + 2 * 11


# While it runs, and afterwards


def test_it_can_be_cancelled(made, viewer, qtbot):
    widget = made(steps=endless)
    qtbot.mouseClick(widget.run, LEFT)
    qtbot.waitUntil(lambda: widget.progress.value() >= 2)
    assert widget.cancel.isVisible() and not widget.run.isEnabled() and not widget.pair.isEnabled()
    qtbot.mouseClick(widget.cancel, LEFT)
    qtbot.waitUntil(lambda: not widget.job.running)
    assert widget.status.text() == "Stopped." and widget.run.isEnabled() and widget.results.isHidden()


@pytest.mark.parametrize("name", ["ours", "manual", "the widget"])
def test_a_layer_or_widget_removed_meanwhile_stops_it(made, viewer, qtbot, name):
    widget = made(steps=endless)
    qtbot.mouseClick(widget.run, LEFT)
    qtbot.waitUntil(lambda: widget.progress.value() >= 2)
    widget.close() if name == "the widget" else viewer.layers.remove(viewer.layers[name])
    qtbot.waitUntil(lambda: not widget.job.running)
    viewer.add_layer(Image(np.zeros((3, 3, 3)), name="later"))
    assert widget.results.isHidden() and not errors_in(viewer)


def test_renamed_and_edited_meanwhile(made, viewer, qtbot):
    from napari_synthseg.widgets.evaluate.model import compare_layers

    go_on = []

    def waits(pred, truth):
        while not go_on:
            yield Progress("Waiting")
            time.sleep(0.005)
        return (yield from compare_layers(pred, truth))

    widget = made(steps=waits)
    qtbot.mouseClick(widget.run, LEFT)
    viewer.layers["ours"].name = "theirs"
    viewer.layers["manual"].data = viewer.layers["manual"].data * 2
    go_on.append(True)
    qtbot.waitUntil(lambda: not widget.job.running)
    assert widget.results.title.text() == "theirs against manual"
    assert widget.results.note.text() == CHANGED
    assert column(widget, 0) == ["Brain-Stem", "L Hippocampus", "R Hippocampus"]


def test_an_edited_layer_is_said_to_be_newer_than_its_scores(evaluated, viewer):
    viewer.layers["ours"].paint((3, 3, 3), 53)
    assert evaluated.results.note.text() == EDITED


def test_the_table_stays_while_one_layer_lives(evaluated, viewer, qtbot):
    viewer.layers.remove(viewer.layers["manual"])
    assert column(evaluated, 1)[1] == "0.750" and evaluated.results.title.text() == "ours against manual"
    click_row(qtbot, evaluated, 0)
    assert evaluated.results.note.text() == GONE
    viewer.layers.remove(viewer.layers["ours"])
    assert evaluated.results.isHidden() and evaluated.results.table.rows == []


def test_putting_labels_on_another_grid_can_be_stopped():
    """In the middle of the resampling, which has no report of its own."""
    volume = Volume(true_array(), np.eye(4))
    asked = []

    def should_stop() -> bool:
        asked.append(True)
        return len(asked) > 2

    with stoppable(should_stop), pytest.raises(Stopped):
        resample_labels_to(volume, (300, 300, 300), np.diag([0.1, 0.1, 0.1, 1]))
