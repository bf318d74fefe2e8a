"""Time and progress in words."""

from __future__ import annotations

import pytest

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.choices import elapsed, so_far


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.2, "3 s"), (60.0, "1 min 0 s"), (185.7, "3 min 5 s"), (3599.9, "59 min 59 s"), (7400.0, "2 h 3 min")],
)
def test_a_time_that_goes_on_is_seen_to_go_on(seconds, text):
    assert elapsed(seconds) == text


def test_progress_is_a_stage_a_count_and_a_time():
    assert so_far(Progress("Reading"), 0.2) == "Reading"
    assert so_far(Progress("Network", 3, 12), 65.0) == "Network (3 of 12), 1 min 5 s"
    assert so_far(Progress("Network", 0, 1), 2.0) == "Network, 2 s"
