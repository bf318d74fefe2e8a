"""Redraws: the newest request wins; the row of steps."""

from __future__ import annotations

import threading
import time

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.preview.panels import Redrawer


@pytest.fixture
def redrawer(qtbot):
    made = Redrawer()
    made.shown = []
    made.pictured.connect(made.shown.append)
    yield made
    made.stop()
    qtbot.waitUntil(lambda: not made.running)


def quick_then_full(name: str, seconds: float = 0.0):
    yield Progress("Drawing")
    yield Progress("Full size", figures={"picture": f"{name} quick"})
    for _ in range(round(seconds / 0.02) or 1):
        time.sleep(min(seconds, 0.02))
        yield Progress("Full size")
    return name


def test_the_quick_look_comes_before_the_full_size(redrawer, qtbot):
    redrawer.request(quick_then_full, "one")
    qtbot.waitUntil(lambda: redrawer.shown == ["one quick", "one"])
    assert not redrawer.running


def test_changes_in_quick_succession_are_one_redraw(redrawer, qtbot):
    for name in ("one", "two", "three"):
        redrawer.request(quick_then_full, name)
    qtbot.waitUntil(lambda: not redrawer.running)
    assert redrawer.shown == ["three quick", "three"]


def test_a_newer_change_ends_the_older_full_size(redrawer, qtbot):
    redrawer.request(quick_then_full, "one", 600.0, wait_ms=0)
    qtbot.waitUntil(lambda: redrawer.shown == ["one quick"])
    redrawer.request(quick_then_full, "two", wait_ms=0)
    qtbot.waitUntil(lambda: "two" in redrawer.shown)
    assert redrawer.shown == ["one quick", "two quick", "two"]


def test_a_thread_that_cannot_be_interrupted_does_not_hold_up_the_next(redrawer, qtbot):
    free = threading.Event()

    def stubborn():
        yield Progress("Drawing")
        free.wait(120)
        return "late"

    redrawer.request(stubborn, wait_ms=0)
    qtbot.wait(200)
    redrawer.request(quick_then_full, "next", wait_ms=0)
    qtbot.waitUntil(lambda: "next" in redrawer.shown)
    free.set()
    qtbot.wait(100)
    assert "late" not in redrawer.shown


def test_an_error_is_told_and_the_next_request_works(redrawer, qtbot):
    def broken():
        yield Progress("Drawing")
        raise InputError("The map is empty.")

    with qtbot.waitSignal(redrawer.failed):
        redrawer.request(broken, wait_ms=0)
    redrawer.request(quick_then_full, "one", wait_ms=0)
    qtbot.waitUntil(lambda: "one" in redrawer.shown)


def test_stopping_shows_nothing_more(redrawer, qtbot):
    redrawer.request(quick_then_full, "one", 600.0, wait_ms=0)
    qtbot.waitUntil(lambda: redrawer.shown == ["one quick"])
    redrawer.stop()
    qtbot.waitUntil(lambda: not redrawer.running)
    assert redrawer.shown == ["one quick"]
