"""Tiny heads, labelled scans and networks for the tests of training, and a run that is interrupted."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Folder, PositiveInt
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.jobs import Progress, run
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data import cases
from napari_synthseg.training.data.synthetic import Heads
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.engine.loop import LoopOptions, Objective
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.objectives import locate_refine, tissues
from napari_synthseg.training.recipe import Recipe, RunOptions, TrainingStage
from napari_synthseg.volume import Volume
from napari_synthseg.weights import store
from tests.generator.builders import boxes

VALUES = (2, 3, 41, 42)
LABELS = (0, 2, 3, 41, 42)


def small_heads(patch: pytest.MonkeyPatch) -> None:
    """Set the field of view of the networks in this process to 96 x 128 x 96 mm, and score less of it."""
    patch.setattr(locate_refine, "POSITION_HEADS", 1)  # small networks learn nothing from more
    patch.setattr(locate_refine.Refine, "crop", 48)
    patch.setattr(LocateRefine, "head_shape", (48, 64, 48))
    patch.setattr(Heads, "shape", (48, 64, 48))
    patch.setattr(cases, "SHAPE", (96, 128, 96))
    for module in (cases, tissues):
        patch.setattr(module, "MIDDLE", (slice(32, 64), slice(48, 80), slice(32, 64)))


def write_scan(folder: Path, name: str, image: np.ndarray, labels: np.ndarray) -> None:
    """A scan with its label file beside it, at 1 mm."""
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(folder / f"{name}_t1.nii.gz", Volume(image.astype(np.float32), np.eye(4)))
    write_labels(folder / f"{name}_labels.nii.gz", Volume(labels, np.eye(4)))


def write_scans(folder: Path, count: int = 3, values: tuple[int, ...] = VALUES, side: int = 24) -> Path:
    """Scans of boxes, each structure with a brightness of its own, with label files beside them."""
    for i in range(count):
        labels = boxes(values, side)
        noise = np.random.default_rng(i).normal(0, 1, labels.shape)
        image = (30.0 * (np.searchsorted(sorted({0, *values}), labels)) + noise + 5).clip(0)
        write_scan(folder, str(i), image, labels)
    return folder


def fast_weights(path: Path, labels: tuple[int, ...] = LABELS) -> str:
    """A small fast network with random weights."""
    card = {"name": path.stem, "network": "locate-refine", "labels": list(labels), "licence": "Apache-2.0",
            "locator_features": [4, 4, 4, 4], "refiner_features": [4, 4, 4]}  # fmt: skip
    model = LocateRefine(labels, card["locator_features"], card["refiner_features"])
    store.save(path, model.state_dict(), card)
    return str(path)


def unet_weights(path: Path, labels: tuple[int, ...] = LABELS, **more) -> str:
    """A small U-Net with random weights."""
    card = {"name": path.stem, "network": "unet", "labels": list(labels), "features": 2, "levels": 3, **more}
    store.save(path, UNet3d(labels, 2, 3).state_dict(), card)
    return str(path)


class Line(Objective):
    """Fits y = 3x - 1 from samples that depend on the step alone; scored by its slope, or as given."""

    def __init__(self, score: float | None = None) -> None:
        torch.manual_seed(0)
        self.model = self.trained = nn.Linear(1, 1)
        self.score = score

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.randn(8, 1, generator=torch.Generator().manual_seed(step))
        return (self.model(x) - (3 * x - 1)).square().mean(), {}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {"score": -abs(model.weight.item() - 3.0) if self.score is None else self.score}


@dataclass(frozen=True, kw_only=True)
class LineOptions(RunOptions):
    """How a line is fitted."""

    scans: Folder | None = None
    """Folder that must exist."""
    steps: PositiveInt = 4
    """Steps in all."""


class LineRecipe(Recipe):
    """Fits a line: a run of a few milliseconds."""

    name, title, summary, options = "line", "Line", "Fits a line.", LineOptions
    renamed = {**Recipe.renamed, "rounds": "steps"}

    def stages(self, options):
        return {"line": options.steps}

    def prepare(self, options, device):
        yield Progress("reading")
        if options.scans is not None and not options.scans.is_dir():
            raise InputError(f"There is no folder {options.scans}.")

    def card(self, options, data):
        return {"network": "line", "labels": [0], "data": "none", "summary": "a line"}

    def build(self, options, data, device):
        yield TrainingStage("line", Line(0.25), LoopOptions.of(options, options.steps, 0.1))


def events(out: Path) -> list[dict[str, Any]]:
    """All lines of a run's log."""
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def interrupted(recipe: Recipe, options: Any, stage: str, at: int) -> Path:
    """Weights of a run that is stopped after a step of a stage and resumed."""
    job = recipe.train(options)
    for report in job:
        if report.stage == stage and report.done == at:
            job.close()
    assert load_checkpoint(checkpoint(options.out, stage))["step"] == at
    return run(recipe.train(replace(options, resume=True)))


def assert_same_ends(one: Path, other: Path, *stages: str) -> None:
    """Two runs have the same checkpoints of these stages, to the bit, and the same weights."""
    for stage in stages:
        a, b = (load_checkpoint(checkpoint(path.parent, stage)) for path in (one, other))
        assert all(a[name] == b[name] for name in ("step", "best", "card"))
        assert all(torch.equal(v, b["model"][k]) for k, v in a["model"].items()), stage
    assert one.read_bytes() == other.read_bytes()
