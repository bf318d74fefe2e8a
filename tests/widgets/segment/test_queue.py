"""Runs follow one another, end in exactly one way, and can be cancelled one by one."""

from __future__ import annotations

import time

import pytest
from qtpy.QtCore import Qt

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.segment.queue import (
    CANCEL,
    DONE,
    FAILED,
    RUNNING,
    STOPPED,
    WAITING,
    QueueList,
    Run,
    SegmentQueue,
)
from tests.widgets.builders import SOON, scan_layer, steps


@pytest.fixture
def queue_of(qtbot):
    """Makes a queue on a given pipeline that notes what it says, and sees that nothing still runs at the end."""
    made = []

    def make(fake) -> SegmentQueue:
        queue = SegmentQueue(fake)
        queue.said = []
        queue.finished.connect(lambda run, _: queue.said.append((run.layer.name, DONE)))
        queue.failed.connect(lambda run, _: queue.said.append((run.layer.name, FAILED)))
        queue.stopped.connect(lambda run: queue.said.append((run.layer.name, STOPPED)))
        made.append(queue)
        return queue

    yield make
    for queue in made:
        queue.stop_all()
        qtbot.waitUntil(lambda queue=queue: not queue.busy)


def runs(*names: str) -> list[Run]:
    return [Run(scan_layer(name=name), {"model": name}) for name in names]


def finish(qtbot, queue: SegmentQueue) -> None:
    qtbot.waitUntil(lambda: not queue.busy)


def test_runs_follow_one_another_in_order(queue_of, qtbot):
    fake = steps(2)
    queue = queue_of(fake)
    queue.add(runs("a", "b", "c"))
    assert [run.state for run in queue.runs] == [RUNNING, WAITING, WAITING]
    finish(qtbot, queue)
    assert queue.said == [("a", DONE), ("b", DONE), ("c", DONE)]
    assert [call["model"] for call in fake.calls] == ["a", "b", "c"]
    assert len(set(fake.ended)) == 3


def test_one_failure_stops_no_other(queue_of, qtbot):
    def fake(volume, **options):
        yield Progress("Network")
        if options["model"] == "a":
            raise InputError("It is constant.")
        return (yield from steps(1)(volume, **options))

    queue = queue_of(fake)
    queue.add(runs("a", "b"))
    finish(qtbot, queue)
    assert queue.said == [("a", FAILED), ("b", DONE)]
    assert queue.runs[0].note == "It is constant."


def test_one_that_runs_is_cancelled_and_the_next_one_starts(queue_of, qtbot):
    fake = steps(100_000, seconds=0.02)
    queue = queue_of(fake)
    queue.add(runs("a", "b"))
    first, second = queue.runs
    qtbot.waitUntil(lambda: bool(fake.calls))
    queue.stop(first)
    qtbot.waitUntil(lambda: second.state == RUNNING)
    assert queue.said == [("a", STOPPED)]


def test_one_that_waits_is_cancelled_and_never_starts(queue_of, qtbot):
    fake = steps(3, seconds=0.02)
    queue = queue_of(fake)
    queue.add(runs("a", "b", "c"))
    queue.stop(queue.runs[1])
    finish(qtbot, queue)
    assert [call["model"] for call in fake.calls] == ["a", "c"]
    assert queue.runs[1].state == STOPPED


def test_all_are_cancelled_soon_and_none_starts_in_between(queue_of, qtbot):
    fake = steps(100_000, seconds=0.02)
    queue = queue_of(fake)
    queue.add(runs("a", "b", "c"))
    qtbot.waitUntil(lambda: bool(fake.calls))
    before = time.monotonic()
    queue.stop_all()
    finish(qtbot, queue)
    assert time.monotonic() - before < SOON
    assert [call["model"] for call in fake.calls] == ["a"]
    assert {run.state for run in queue.runs} == {STOPPED}


def test_a_removed_layer_is_skipped(queue_of, qtbot):
    queue = queue_of(steps(3, seconds=0.02))
    queue.add(runs("a", "b"))
    queue.stop_layer(queue.runs[1].layer)
    finish(qtbot, queue)
    assert queue.said[-1] == ("a", DONE)
    assert queue.runs[1].note == "its layer was removed"


def test_a_scan_that_is_closed_after_its_run_is_let_go(queue_of, qtbot):
    queue = queue_of(steps(1))
    queue.add(runs("a", "b"))
    shown = QueueList(queue)
    qtbot.addWidget(shown)
    finish(qtbot, queue)
    queue.stop_layer(queue.runs[0].layer)
    assert [run.layer.name for run in queue.runs] == ["b"] == [run.layer.name for run in shown.rows]


def test_the_list_shows_every_state_and_its_buttons_cancel(queue_of, qtbot):
    queue = queue_of(steps(100_000, seconds=0.02))
    shown = QueueList(queue)
    qtbot.addWidget(shown)
    assert shown.isHidden()
    queue.add(runs("a", "b", "c"))
    assert not shown.isHidden()
    shown.show()
    assert texts(shown) == [("▸", "a", RUNNING, "✕"), ("·", "b", WAITING, "✕"), ("·", "c", WAITING, "✕")]
    press(qtbot, shown, 2, CANCEL)
    assert texts(shown)[2] == ("–", "c", STOPPED, "")
    press(qtbot, shown, 0, 1)
    assert texts(shown)[0][2] == RUNNING
    press(qtbot, shown, 0, CANCEL)
    qtbot.waitUntil(lambda: texts(shown)[1][2] == RUNNING)
    assert texts(shown)[0][2] == STOPPED


def texts(shown: QueueList) -> list[tuple[str, ...]]:
    return [tuple(column.text(run) for column in shown.columns) for run in shown.rows]


def press(qtbot, shown: QueueList, row: int, column: int) -> None:
    where = shown.visualRect(shown.model().index(row, column)).center()
    qtbot.mouseClick(shown.viewport(), Qt.MouseButton.LeftButton, pos=where)
