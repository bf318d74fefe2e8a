"""The widget in a viewer without a window, with a session that answers at once."""

from __future__ import annotations

import time

import numpy as np
import pytest
from qtpy.QtCore import QThreadPool
from qtpy.QtTest import QTest

from napari_synthseg.widgets.prompt import PromptWidget
from tests.widgets.prompt.fakes import PATIENCE, maker


@pytest.fixture(autouse=True)
def _a_model(monkeypatch):
    """There are weights to choose, whatever this computer has."""
    card = {"name": "mobilesam", "path": "mobile_sam.pt"}
    monkeypatch.setattr("napari_synthseg.weights.sam.available", lambda: [card])


@pytest.fixture
def make():
    return maker()


@pytest.fixture
def widget(viewer, make, qtbot):
    """ShownSlice, and pointing; the image of a test is added before it or after it."""
    widget = PromptWidget(viewer, make)
    qtbot.addWidget(widget)
    widget.show()
    yield widget
    widget.close_down()
    settle(widget)
    # The thread of a stopped job, which waits for it a moment only, must not be at work while Qt deletes the widget.
    assert QThreadPool.globalInstance().waitForDone(1000 * PATIENCE), "a thread did not end"


def settle(widget: PromptWidget) -> None:
    """Until every click is answered and nothing is followed."""
    asker, end = widget.prompting.asker, time.monotonic() + PATIENCE
    while asker.waiting or widget.prompting.through.running or asker._job.running:
        assert time.monotonic() < end, "there was no answer"
        QTest.qWait(5)


def blobs(shape=(8, 20, 24)) -> np.ndarray:
    """A volume with two boxes of other values, 1 and 2, on background 0; with two axes, the same without depth."""
    data = np.zeros(shape, np.uint8)
    depth = (slice(2, 6),) if len(shape) > 2 else ()
    lead = (slice(None),) * (len(shape) - 3)
    data[(*lead, *depth, slice(4, 12), slice(3, 9))] = 1
    data[(*lead, *depth, slice(6, 16), slice(13, 20))] = 2
    return data
