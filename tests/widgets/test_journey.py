"""What a user does from the first click to a closed window, with the real network; see `journeys.py`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_synthseg.weights import sam
from tests.widgets.conftest import HAS_SCREEN

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(not HAS_SCREEN, reason="a napari window needs a screen (xvfb-run gives a virtual one)"),
    pytest.mark.skipif(importlib.util.find_spec("nilearn") is None, reason="the MNI152 sample comes with nilearn"),
]


def go(name: str, folder: Path) -> None:
    """Go one way in a process of its own, and see that it ends well and leaves nothing behind."""
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.widgets.journeys", name, str(folder)],
        cwd=ROOT,
        env=os.environ | {"NAPARI_CONFIG": str(folder / "settings.yaml"), "PYTHONFAULTHANDLER": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report.pop("seconds to close") < 15
    assert report == {"threads": [], "pool": 0, "qt": [], "complaints": []}
    for sign in ("Traceback", "QThread", "QObject", "QTimer", "Fatal"):
        assert sign not in ended.stderr


def test_from_the_sample_to_a_file_that_opens_as_the_same_labels(tmp_path):
    """Open Sample, segment, a click in the table that moves the view, export, open again."""
    go("whole_way", tmp_path)


def test_cancelled_deleted_and_closed_while_the_network_is_at_work(tmp_path):
    go("interrupted", tmp_path)


def test_a_typed_prior_a_deleted_scan_and_a_window_closed_while_it_is_drawn(tmp_path):
    go("previewed", tmp_path)


@pytest.mark.skipif(not sam.available(), reason="there are no promptable weights")
def test_clicked_accepted_taken_back_and_closed_while_it_is_followed(tmp_path):
    go("pointed", tmp_path)
