"""A layer that extends too far, or holds more than memory: one sentence in every widget, and memory stays bounded."""

from __future__ import annotations

import resource

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.training.runs import RECIPES
from napari_synthseg.widgets.evaluate.widget import EvaluateWidget
from napari_synthseg.widgets.preview import PreviewWidget
from napari_synthseg.widgets.prompt import PromptWidget
from napari_synthseg.widgets.segment.widget import SegmentWidget
from napari_synthseg.widgets.train.new_run import NewRunPage
from napari_synthseg.widgets.train.new_run_model import make_run
from napari_synthseg.widgets.train.recipe_form import LAYERS
from tests.widgets.builders import click
from tests.widgets.preview.conftest import blocks
from tests.widgets.prompt.fakes import maker

FAR = {"scale": (2e4,) * 3}
"""Of a layer whose voxels are told in the wrong unit: hundreds of meters."""
MANY = da.zeros((4_000_000, 300, 300), dtype=np.uint8, chunks=(40_000, 300, 300))
"""360 GB, if it is ever computed."""
TOO_FAR, TOO_MANY = "scale", "crop or downsample it first"


@pytest.fixture
def viewer(qtbot):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield ViewerModel()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1_500_000, f"{grown / 1e6:.1f} GB more"  # torch and the weights are in it


def add(viewer, kind: str, labels: bool = False) -> None:
    data, place = (blocks().data, FAR) if kind == TOO_FAR else (MANY, {})
    if labels:
        viewer.add_labels(data, name="layer", **place)
    else:
        viewer.add_image(data, name="layer", contrast_limits=(0, 515), **place)


def said(qtbot, status, kind: str) -> None:
    qtbot.waitUntil(lambda: kind in status.text())
    assert status.text().count(". ") == 0 and "\n" not in status.text()


@pytest.mark.parametrize("kind", [TOO_FAR, TOO_MANY])
def test_segment(viewer, qtbot, kind):
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    widget.show()
    add(viewer, kind)
    click(qtbot, widget.run)
    said(qtbot, widget.status, kind)
    qtbot.waitUntil(lambda: not widget.queue.busy)


@pytest.mark.parametrize("kind", [TOO_FAR, TOO_MANY])
@pytest.mark.parametrize("labels", [True, False])
def test_preview_of_label_maps_and_of_scans(viewer, qtbot, kind, labels):
    add(viewer, kind, labels)
    widget = PreviewWidget(viewer)
    qtbot.addWidget(widget)
    widget.show()
    tab = widget.brains if labels else widget.degrade
    if labels:
        tab.source.choose(viewer.layers["layer"])
    else:
        widget.tabs.setCurrentIndex(1)
    click(qtbot, tab.draw)
    said(qtbot, tab.status, kind)
    qtbot.waitUntil(lambda: not tab.redrawer.running)


def test_prompt(viewer, qtbot):
    add(viewer, TOO_MANY)
    widget = PromptWidget(viewer, maker())
    qtbot.addWidget(widget)
    widget.show()
    widget.point.click()
    widget.prompting.click((0, 100, 100), outside=False)
    said(qtbot, widget.status, TOO_MANY)
    widget.close_down()


def test_evaluate(viewer, qtbot):
    add(viewer, TOO_MANY, labels=True)
    viewer.add_labels(blocks().data, name="other")
    widget = EvaluateWidget(viewer)
    qtbot.addWidget(widget)
    widget.show()
    click(qtbot, widget.run)
    said(qtbot, widget.status, TOO_MANY)


def test_train(viewer, qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_SYNTHSEG_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("NAPARI_SYNTHSEG_RUNS", raising=False)
    add(viewer, TOO_MANY, labels=True)
    page = NewRunPage(viewer, RECIPES)
    qtbot.addWidget(page)
    page.form.data["label_maps"].choose(LAYERS)
    with pytest.raises(InputError, match=TOO_MANY):
        run(make_run(page.request()))
    assert not list((tmp_path / "home").rglob("*.nii.gz"))
