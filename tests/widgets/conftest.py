"""Widgets are tested on a screen (a real or a virtual one); without one only Qt's offscreen platform is left."""

from __future__ import annotations

import os
import sys
from functools import partial

import pytest

HAS_SCREEN = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
if not HAS_SCREEN:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

pytest.importorskip("napari")
pytest.importorskip("qtpy")

PATIENCE_MS = 120_000


@pytest.fixture
def qtbot(qtbot, monkeypatch):
    """Wait as long as a slow and busy computer may need: what does not come is found all the same."""
    for name in ("waitUntil", "waitSignal", "waitSignals"):
        monkeypatch.setattr(qtbot, name, partial(getattr(qtbot, name), timeout=PATIENCE_MS))
    return qtbot


@pytest.fixture
def window(request):
    """`make_napari_viewer`, skipped where there is no screen to draw on."""
    if not HAS_SCREEN:
        pytest.skip("a napari window needs a screen (xvfb-run gives a virtual one)")
    return request.getfixturevalue("make_napari_viewer")


@pytest.fixture
def viewer():
    """A viewer without a window."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    """A test neither sees nor changes the choices of whoever runs it."""
    monkeypatch.setattr("napari_synthseg.widgets._shared.user._path", lambda: None)
