"""A home for runs, label maps of a few boxes, and the widget in a viewer without a window."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_synthseg.generator.labelmap import prepare, save
from napari_synthseg.training import runs
from napari_synthseg.widgets.train.widget import TrainWidget
from tests.generator.builders import boxes

TINY = {"preset": "paper", "crop": 32, "features": 2, "device": "cpu", "threads": 1, "validate_every": 100_000,
        "name": "tiny"}  # fmt: skip
"""Options of a training of a few tenths of a second a step; no map is held out, so nothing is validated."""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Where runs and weights of these tests go."""
    monkeypatch.setenv("NAPARI_SYNTHSEG_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("NAPARI_SYNTHSEG_RUNS", raising=False)
    monkeypatch.delenv("NAPARI_SYNTHSEG_WEIGHTS", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def maps(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "maps.npz"
    save(path, [prepare(boxes(side=24), name=f"map{i}") for i in range(2)])
    return path


@pytest.fixture
def open_widget(qtbot, viewer):
    """Opens the widget, and sees that nothing still runs at the end."""
    opened = []

    def make() -> TrainWidget:
        widget = TrainWidget(viewer)
        widget.show()
        opened.append(widget)
        return widget

    yield make
    going = [run for run in runs.all_runs() if runs.is_active(run)]
    for run in going:
        runs.stop(run)
    for widget in opened:
        widget.close_down()
        for job in list(widget.jobs):
            job.stop()
        qtbot.waitUntil(lambda widget=widget: not widget.jobs)
        widget.close()
        widget.deleteLater()
    qtbot.waitUntil(lambda: not any(runs.is_active(run) for run in going))
