"""Curves as TensorBoard reads them."""

from __future__ import annotations

import sys

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.training import runs
from napari_synthseg.training.engine.events import EventLog
from napari_synthseg.training.runs.tensorboard import to_tensorboard


def test_figures_and_dice_become_scalars(tiny, tmp_path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    path = runs.create("synthseg", tiny())
    log = EventLog(path)
    log.append({"event": "start"})
    log.append({"stage": "unet", "step": 1, "loss": 0.9})
    log.append({"stage": "unet", "step": 2, "loss": 0.5, "score": None, "dice": {"thalamus": 0.7}})
    assert run(to_tensorboard(path, tmp_path / "board")) == 3
    read = accumulator.EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"unet/loss", "unet/dice/thalamus"}
    assert [(one.step, round(one.value, 3)) for one in read.Scalars("unet/loss")] == [(1, 0.9), (2, 0.5)]


def test_without_the_package_it_says_what_to_install(tiny, tmp_path, monkeypatch) -> None:
    path = runs.create("synthseg", tiny())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install"):
        run(to_tensorboard(path, tmp_path))
