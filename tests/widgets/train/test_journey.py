"""A training from the first click to its weights: started, watched, paused, killed, taken up again, used."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from qtpy.QtCore import Qt, QTimer

from napari_synthseg.training import runs
from napari_synthseg.widgets._shared.choosers import ModelChooser
from tests.widgets.conftest import PATIENCE_MS
from tests.widgets.train.conftest import TINY


def click(qtbot, button) -> None:
    qtbot.waitUntil(button.isEnabled)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def started(open_widget, maps, qtbot):
    """Fills the form, presses Start, and waits for the first curve."""

    def start(*, here: bool = False, **changes):
        widget = open_widget()
        widget.new.here.setChecked(here)
        widget.new.form.data["label_maps"].choose(maps)
        widget.new.form.form.set_values(TINY | changes)
        click(qtbot, widget.new.start)
        qtbot.waitUntil(lambda: widget.runs.run is not None)
        return widget

    return start


def state(widget):
    one = widget.runs.list.current()
    return None if one is None else one.state


def wait_for(qtbot, widget, *kinds: str) -> None:
    qtbot.waitUntil(lambda: state(widget) is not None and state(widget).kind in kinds)


def points(widget) -> int:
    """Of the loss curve."""
    return sum(len(values) for values in widget.runs.curves.plot.drawn().values())


class Stalls:
    """The most processor time that the window's thread spends between two ticks: other programs do not count."""

    def __init__(self) -> None:
        self.worst, self._before = 0.0, time.thread_time()
        self.timer = QTimer()
        self.timer.timeout.connect(self._tick)
        self.timer.start(10)

    def _tick(self) -> None:
        now = time.thread_time()
        self.worst, self._before = max(self.worst, now - self._before), now


def test_started_watched_paused_killed_taken_up_again_and_used(started, open_widget, qtbot, viewer, monkeypatch):
    monkeypatch.delenv("NAPARI_SYNTHSEG_NICE", raising=False)
    widget = started(steps=5_000)
    run = widget.runs.run
    assert widget.tabs.currentWidget() is widget.runs
    qtbot.waitUntil(lambda: points(widget) > 1)
    if sys.platform != "win32":  # it has neither niceness nor sessions
        process = runs.status(run).pid
        assert os.getpriority(os.PRIO_PROCESS, process) == os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getsid(process) != os.getsid(0)  # else Linux (autogroup) would let it share with this window alone
    stalls = Stalls()
    before = points(widget)
    qtbot.waitUntil(lambda: points(widget) > before)
    assert widget.runs.head.values["Loss"].text() != "–"

    widget.runs.every.setValue(1)
    widget.runs.show_samples.click()
    qtbot.waitUntil(lambda: "Training sample" in viewer.layers)
    layer = viewer.layers["Training sample"]
    shown = layer.metadata["step"]
    qtbot.waitUntil(lambda: layer.metadata["step"] > shown)
    assert viewer.layers["Training sample"] is layer
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)

    click(qtbot, widget.runs.buttons.main)
    wait_for(qtbot, widget, "paused")
    assert widget.runs.buttons.main.text() == "Resume"
    click(qtbot, widget.runs.buttons.main)
    wait_for(qtbot, widget, "running")
    assert stalls.worst < 1

    widget.close_down()
    widget.close()
    at = runs.status(run).done
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while runs.status(run).done <= at and time.monotonic() < deadline:  # without a window
        time.sleep(0.1)
    assert runs.status(run).done > at

    again = open_widget()
    wait_for(qtbot, again, "running")
    assert again.runs.run == run
    again.tabs.setCurrentWidget(again.runs)
    click(qtbot, again.runs.buttons.others["stop"])
    wait_for(qtbot, again, "stopped")
    kept = state(again).done

    click(qtbot, again.runs.buttons.main)  # resume
    wait_for(qtbot, again, "running")
    qtbot.waitUntil(lambda: state(again).done > kept)
    os.kill(runs.status(run).pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    wait_for(qtbot, again, "interrupted")
    assert "Resume" in again.runs.head.trouble.text()
    assert again.runs.buttons.main.text() == "Resume"

    chooser = ModelChooser()
    qtbot.addWidget(chooser)
    names = [card["name"] for card in chooser.cards]
    click(qtbot, again.runs.buttons.others["use"])
    qtbot.waitUntil(lambda: again.dialog is not None)
    assert "never validated" in again.dialog.informativeText()
    click(qtbot, next(one for one in again.dialog.buttons() if one.text() == "&Use"))
    qtbot.waitUntil(lambda: not again.runs.card.isHidden())
    assert "tiny" in {card["name"] for card in chooser.cards} - set(names)
    assert "Segment brain" in again.runs.status.text()
    assert "label map" in again.runs.card.text.text()


def test_in_this_window_and_to_the_end(started, qtbot):
    widget = started(here=True, steps=2)
    wait_for(qtbot, widget, "finished")
    assert state(widget).weights is not None
    assert not widget.runs.buttons.main.isEnabled()
