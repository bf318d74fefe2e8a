"""Runs that were never trained: folders with a config and events, as a training leaves them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_synthseg.training import runs
from napari_synthseg.training.engine.events import EventLog
from napari_synthseg.training.recipes.synthseg import TrainSynthSegOptions

STRUCTURES = ("Right-Thalamus", "Left-Thalamus", "Brain-Stem")


def made(name: str, maps: Path, **changes) -> Path:
    """A run that was made and not started."""
    options = TrainSynthSegOptions(
        label_maps=maps, out=runs.new_folder("synthseg", name), steps=40, locate_fraction=0.5, device="cpu"
    )
    return runs.create("synthseg", replace(options, **changes))


def trained(name: str, maps: Path, *, steps: int = 40, end: dict | None = None, **changes) -> Path:
    """A run with curves of two stages, a validation every ten steps, and perhaps an end."""
    run = made(name, maps, **changes)
    log = EventLog(run)
    log.append({"event": "start", "device": "cpu"})
    for at in range(steps):
        step(log, at)
    if end is not None:
        log.append({"event": "end", **end})
    return run


def step(log: EventLog, at: int) -> None:
    """One line of a step; twenty of them are a stage."""
    stage, place = ("locate", at + 1) if at < 20 else ("refine", at - 19)
    line = {"stage": stage, "step": place, "took": 0.5, "memory": 3_000_000_000, "rate": 2e-3,
            "loss": float(2 * np.exp(-at / 20))}  # fmt: skip
    if place % 10 == 0:
        score = 0.5 + at / 100
        line |= {"score": score, "dice": {name: score + number / 50 for number, name in enumerate(STRUCTURES)}}
    log.append(line)
