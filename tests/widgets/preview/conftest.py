"""A viewer without a window, a small head of blocks in it, and the widget on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Labels

from napari_synthseg.volume import Volume
from napari_synthseg.widgets.layers.geometry import volume_to_layer
from napari_synthseg.widgets.preview import PreviewWidget
from tests.widgets.builders import click


def blocks() -> Volume:
    """Bone (515), cortex (3, 42), white matter (2, 41) and hippocampi (17, 53) as nested blocks of 1 mm."""
    data = np.zeros((26, 30, 28), np.int32)
    data[2:-2, 2:-2, 2:-2] = 515
    for half, values in ((slice(4, 13), (3, 2, 17)), (slice(13, 22), (42, 41, 53))):
        data[half, 4:-4, 4:-4] = values[0]
        data[half, 7:-7, 7:-7] = values[1]
        data[half, 11:-11, 11:-11] = values[2]
    affine = np.eye(4)
    affine[:3, 3] = (-13.0, -15.0, -14.0)
    return Volume(data, affine)


def blocks_layer(name: str = "blocks") -> Labels:
    """The head of blocks as a layer of ours."""
    array, kwargs = volume_to_layer(blocks())
    return Labels(np.ascontiguousarray(array), name=name, **kwargs)


@pytest.fixture
def open_widget(qtbot, viewer):
    """Opens the widget, and sees that nothing still runs at the end."""
    opened = []

    def make() -> PreviewWidget:
        widget = PreviewWidget(viewer)
        widget.resize(300, 700)
        widget.show()
        opened.append(widget)
        return widget

    yield make
    for widget in opened:
        widget.close()
        for page in widget.pages.values():
            qtbot.waitUntil(lambda page=page: not page.redrawer.running and not page._saving.running)
        widget.deleteLater()


@pytest.fixture
def brains(qtbot, viewer, open_widget):
    """The first tab, on the head of blocks, after the first draw."""
    viewer.add_layer(blocks_layer())
    tab = open_widget().brains
    tab.source.choose(viewer.layers["blocks"])
    click(qtbot, tab.draw)
    settle(qtbot, tab)
    return tab


def settle(qtbot, page) -> None:
    """Wait until the page draws nothing more."""
    qtbot.waitUntil(lambda: not page.redrawer.running)


def record(tab) -> dict[str, Any]:
    """What the layer's record says, steps flattened."""
    made = tab.pair.image.metadata["synthesis"]
    drawn = {name: value for params in made["steps"].values() for name, value in params.items()}
    return {name: value for name, value in made.items() if name != "steps"} | drawn
