"""Two label maps that differ in known places, as layers."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_synthseg.widgets.evaluate.widget import EvaluateWidget
from napari_synthseg.widgets.layers.labels_layer import labels_kwargs

SHAPE = (12, 11, 10)  # S, A, R
GEOMETRY = {"scale": (2, 1.5, 1), "translate": (-9, -7, 5), "units": ("mm",) * 3}


def true_array() -> np.ndarray:
    """Left and right hippocampus, 4 x 4 x 3 each, and the brain stem."""
    data = np.zeros(SHAPE, np.uint16)
    data[2:6, 2:6, 1:4] = 17
    data[2:6, 2:6, 6:9] = 53
    data[8:11, 4:8, 3:7] = 16
    return data


def found_array() -> np.ndarray:
    """The left one without slice 5, the right one with its slice 4 given to the left, the brain stem one too long."""
    data = true_array()
    data[5, 2:6, 1:4] = 0
    data[4, 2:6, 6:9] = 17
    data[11, 4:8, 3:7] = 16
    return data


def layer(array: np.ndarray, name: str, **geometry) -> Labels:
    values = [int(value) for value in np.unique(array) if value]
    return Labels(array, name=name, **(GEOMETRY | geometry), **labels_kwargs(values))


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_layer(layer(true_array(), "manual"))
    viewer.add_layer(layer(found_array(), "ours"))
    return viewer


@pytest.fixture
def made(viewer, qtbot):
    """Makes a widget on the screen, with the job that is given."""

    def make(**how) -> EvaluateWidget:
        widget = EvaluateWidget(viewer, **how)
        qtbot.addWidget(widget)
        widget.resize(360, 700)
        widget.show()
        return widget

    return make


@pytest.fixture
def evaluated(made, qtbot) -> EvaluateWidget:
    """A widget that has compared the two."""
    widget = made()
    widget.run.click()
    qtbot.waitUntil(lambda: not widget.job.running)
    assert widget.results.isVisible()
    return widget
