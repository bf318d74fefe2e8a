"""Two hundred random actions leave no error, no thread, no widget and no memory behind; see `monkey.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.widgets.conftest import HAS_SCREEN

ROOT = Path(__file__).parents[2]
GROWTH = 40.0
"""Megabytes that a second round of the same actions may add; it added 5 to 10 when this was written."""

pytestmark = pytest.mark.skipif(not HAS_SCREEN, reason="a napari window needs a screen (xvfb-run gives a virtual one)")


@pytest.mark.parametrize("seed", [7])
def test_a_monkey_in_the_window(seed, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.widgets.monkey", str(seed), "200", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml")},
        capture_output=True,
        text=True,
        timeout=500,
    )
    diary = (tmp_path / "diary.txt").read_text(encoding="utf-8")[-2000:]
    assert ended.returncode == 0, f"{diary}\n{ended.stderr}"
    report = json.loads((tmp_path / "report.json").read_text())
    before, after = report.pop("megabytes")
    assert report.pop("opened") > 2
    assert report.pop("pool") == report.pop("bars") == 0
    report.pop("napari's own")  # it paints into a layer that has become smaller, say
    assert report == {name: [] for name in ("errors", "qt", "threads", "processes", "alive")}, diary
    assert "Traceback" not in ended.stderr
    assert after - before < GROWTH
