"""Jobs are driven, followed and stopped."""

from __future__ import annotations

import threading

import pytest

from napari_synthseg.jobs import Progress, Stopped, checkpoint, duration, run, stoppable


def counting(log: list):
    try:
        for number in range(3):
            yield Progress("Counting", number, 3)
            for step in range(4):
                checkpoint()
                log.append((number, step))
        return "all"
    finally:
        log.append("closed")


def test_a_job_gives_its_result_and_its_reports():
    reports: list = []
    assert run(counting([]), reports.append) == "all"
    assert [one.done for one in reports] == [0, 1, 2]


def test_a_job_stops_at_a_report():
    log: list = []
    with pytest.raises(Stopped):
        run(counting(log), should_stop=lambda: not log)
    assert log == ["closed"]


def test_a_job_stops_in_the_middle_of_a_step():
    log: list = []
    with pytest.raises(Stopped):
        run(counting(log), should_stop=lambda: len(log) == 6)
    assert log[-2:] == [(1, 1), "closed"]


def test_a_checkpoint_hears_only_its_own_thread():
    raised: list = []

    def elsewhere():
        try:
            checkpoint()
        except Stopped:
            raised.append(True)

    with stoppable(lambda: True):
        other = threading.Thread(target=elsewhere)
        other.start()
        other.join()
        with pytest.raises(Stopped):
            checkpoint()
    assert not raised
    checkpoint()  # outside nothing is asked


def test_durations_are_short():
    seconds = (None, float("nan"), 12, 59.6, 150, 3 * 3600 + 720, 3599.9, 30 * 3600 + 720, 80 * 3600)
    words = ["", "", "12 s", "1 min", "2 min", "3 h 12 min", "1 h", "30 h", "3 days 8 h"]
    assert [duration(s) for s in seconds] == words
