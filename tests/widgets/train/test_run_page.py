"""The page *Runs*, on folders as trainings leave them."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from napari_synthseg.training.engine.events import EventLog, save_picture
from napari_synthseg.widgets.train.model import (
    doubts_about,
    pace,
    sample_interval,
    smoothed,
)
from tests.widgets.train.builders import STRUCTURES, made, step, trained


def shown(widget) -> dict[str, str]:
    return {name: label.text() for name, label in widget.runs.head.values.items()}


def test_a_finished_run_is_shown_with_its_curves_and_structures(open_widget, qtbot, maps):
    trained("done", maps, end={"how": "finished"})
    widget = open_widget()
    page = widget.runs
    qtbot.waitUntil(lambda: len(page.dice.table.rows) == len(STRUCTURES))
    assert page.list.currentItem().text().splitlines()[1].startswith("finished · Dice 0.890 ·")
    assert shown(widget)["Dice"] == "0.890" and shown(widget)["Loss"] == "0.2845"
    assert [row.name for row in page.dice.table.listed()] == sorted(STRUCTURES)
    assert page.dice.table.model().index(0, 2).data() == "+0.100"
    lines = page.curves.plot.drawn()
    assert set(lines) == {"locate", "refine"} and len(lines["refine"]) == 20
    page.dice.table.selectRow(0)
    assert "Brain-Stem" in page.dice.plot.drawn()
    assert not page.buttons.main.isEnabled() and not page.buttons.others["stop"].isEnabled()


def test_curves_move_while_events_come(open_widget, qtbot, maps):
    run = trained("moving", maps, steps=5)
    widget = open_widget()
    plot = widget.runs.curves.plot
    qtbot.waitUntil(lambda: len(plot.drawn().get("locate", ())) == 5)
    log = EventLog(run)
    for at in range(5, 9):
        step(log, at)
    qtbot.waitUntil(lambda: len(plot.drawn()["locate"]) == 9)
    widget.runs.curves.log.click()
    assert plot.plot.getPlotItem().ctrl.logYCheck.isChecked()


def test_a_run_that_ended_without_a_word_is_called_interrupted(open_widget, qtbot, maps):
    trained("killed", maps, steps=5)
    widget = open_widget()
    qtbot.waitUntil(lambda: widget.runs.list.current() is not None)
    assert widget.runs.list.current().state.kind == "interrupted"
    assert widget.runs.buttons.main.text() == "Resume" and widget.runs.buttons.main.isEnabled()


def test_a_failure_says_why(open_widget, qtbot, maps):
    trained("broken", maps, steps=5, end={"how": "failed", "why": "The disk is full."})
    widget = open_widget()
    qtbot.waitUntil(lambda: widget.runs.head.trouble.text() == "The disk is full.")


def test_a_sample_like_the_one_before_is_put_where_that_lies(open_widget, qtbot, maps, viewer):
    run = trained("seen", maps, steps=5)
    widget = open_widget()
    qtbot.waitUntil(lambda: widget.runs.run == run)
    widget.runs.show_samples.click()
    image, labels = np.random.default_rng(0).random((6, 7, 8), np.float32), np.full((6, 7, 8), 17, np.int16)
    save_picture(run, "locate", 5, {"image": image, "truth": labels, "prediction": labels})
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)
    before = [layer.data for layer in viewer.layers]
    measured = []
    viewer.dims.events.range.connect(lambda event: measured.append(event))
    save_picture(run, "locate", 6, {"image": image[::-1].copy(), "truth": labels + 1, "prediction": labels + 36})
    qtbot.waitUntil(lambda: viewer.layers["Training prediction"].data.max() == 53)
    assert all(layer.data is data for layer, data in zip(viewer.layers, before, strict=True)) and not measured
    assert np.array_equal(viewer.layers["Training sample"].data, image[::-1].T)
    assert viewer.layers["Training prediction"].get_value((4, 3, 3)) == 53
    save_picture(run, "locate", 7, {"image": image[:4], "truth": labels[:4], "prediction": labels[:4]})
    qtbot.waitUntil(lambda: viewer.layers["Training prediction"].data.shape == (8, 7, 4))


def test_a_curve_that_did_not_change_is_not_drawn_again(open_widget, qtbot, maps):
    trained("still", maps, steps=5)
    plot = open_widget().runs.curves.plot
    qtbot.waitUntil(lambda: "locate" in plot.drawn())
    line, told = plot._lines["locate"], []
    line.sigPlotChanged.connect(told.append)
    x, y = line.getOriginalDataset()
    plot.show_lines({"locate": (x.copy(), y.copy())})
    assert not told
    plot.show_lines({"locate": (x.copy(), y + 1)})
    assert told and plot.drawn()["locate"].tolist() == (y + 1).tolist()


def test_delete_asks_first(open_widget, qtbot, maps):
    run = trained("old", maps, end={"how": "finished"})
    widget = open_widget()
    page = widget.runs
    qtbot.waitUntil(page.buttons.others["delete"].isEnabled)
    for word, left in (("Cancel", True), ("Delete", False)):
        qtbot.mouseClick(page.buttons.others["delete"], Qt.MouseButton.LeftButton)
        box = widget.dialog
        assert isinstance(box, QMessageBox) and "old" in box.text() and run.exists()
        button = next(one for one in box.buttons() if one.text().replace("&", "") == word)
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not widget.jobs)
        assert run.exists() == left
    qtbot.waitUntil(lambda: page.about.isHidden())


@pytest.mark.parametrize(
    ("score", "end", "doubt"),
    [
        (0.07, "stopped", "a Dice of 0.07 after 34 of 60 steps"),
        (0.07, "finished", "a Dice of 0.07"),
        (0.81, "stopped", ""),
        (None, "stopped", "never validated"),
        (None, "finished", ""),
    ],
)
def test_weights_that_score_badly_are_used_only_after_asking(maps, score, end, doubt):
    run = made("poor", maps, steps=60)
    log = EventLog(run)
    log.append({"stage": "locate", "step": 30, "score": score and 0.9})
    log.append({"stage": "refine", "step": 3, "score": score})
    log.append({"stage": "refine", "step": 4})
    log.append({"event": "end", "how": end})
    said = doubts_about(run)
    assert doubt in said and bool(said) == bool(doubt)


def test_a_stage_is_short_enough_for_several_samples():
    assert sample_interval({"locate": 24, "refine": 36}) == 4
    assert sample_interval({"unet": 100_000}) == 25 and sample_interval({}) == 25 and sample_interval({"a": 1}) == 1


def test_duplicate_fills_the_form(open_widget, qtbot, maps):
    made("first", maps, seed=77)
    widget = open_widget()
    widget.tabs.setCurrentWidget(widget.runs)
    qtbot.waitUntil(widget.runs.buttons.others["duplicate"].isEnabled)
    qtbot.mouseClick(widget.runs.buttons.others["duplicate"], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.new.form.form.values()["seed"] == 77)
    assert widget.tabs.currentWidget() is widget.new
    assert widget.new.form.data["label_maps"].chosen() == maps


def test_many_runs_and_a_damaged_one(open_widget, qtbot, maps, home):
    for number in range(6):
        trained(f"run{number}", maps, steps=3)
    (home / "runs" / "run3" / "config.json").write_text("{")
    widget = open_widget()
    qtbot.waitUntil(lambda: len(widget.runs.list.rows) == 6)
    damaged = next(one for one in widget.runs.list.rows if one.run.name == "run3")
    assert damaged.state.kind == "failed"
    widget.runs.list.choose(damaged.run)
    qtbot.waitUntil(lambda: "config.json" in widget.runs.head.trouble.text())


def test_words():
    assert [pace(v) for v in (None, 3.21, 0.25)] == ["", "3.21 steps/s", "4 s/step"]


def test_a_smoothed_curve_keeps_its_mean_and_passes_over_gaps():
    values = np.random.default_rng(0).normal(size=500)
    values[10] = np.nan
    smooth = smoothed(values, 0.1)
    assert len(smooth) == 500 and np.isfinite(smooth).all()
    assert smooth.std() < 0.5 * np.nanstd(values)
