"""Which sizes of shapes and windows SynthFM's decoder should be trained with, judged on synthetic scenes alone.

    python benchmarks/sizes.py OUT [--steps N] [--targets N] [--seed N] [--only NAME ...] [--json FILE]

Equal short runs from nothing differ in the priors of sizes and in the windows through which targets are seen. They are
judged where any size counts alike, because anybody may click on anything: held-out scenes whose sizes are drawn from a
wider range than any variant's, and the same number of targets from each of six bins of areas, even on a logarithmic
scale from the least to the largest object that a scene may hold. No real image is looked at.

The shipped `synthfm-mobile` is measured too, with and without `meant_parts`, which keeps the connected parts that a
prompt means. OUT keeps the scenes, the runs and their rows: what is there is not made again. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch
from ablations import short_run
from harness import arguments, command, finish, kept, markdown, write_json
from torch.nn import functional as F

from napari_synthseg.generator.presets import SHAPE_PRESETS, shape_preset
from napari_synthseg.generator.shapes.scenes import LARGEST, SMALLEST
from napari_synthseg.networks.prompt_layers import PromptTensors
from napari_synthseg.networks.promptable import SINGLE, FrozenEncoder, Promptable
from napari_synthseg.prompting.decode import meant_parts
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.training.data import scenes
from napari_synthseg.training.data.prompts import CELL, Window, draw_prompts
from napari_synthseg.training.data.scenes import SETTINGS, EncodedScenes
from napari_synthseg.training.objectives import prompts as objective
from napari_synthseg.weights.sam import load_model

SMALL = {"object_size": (0.02, 0.22), "region_grid": (3.0, 9.0)}
"""Ranges of sizes before they were widened."""
NARROW = {"WINDOWS": ((0.6, 2), (0.2, 3), (0.2, 4)), "WIDE": 0.0}
"""Windows before large targets got wide ones."""
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "small shapes, narrow windows": (SMALL, NARROW),
    "small shapes": (SMALL, {}),
    "narrow windows": ({}, NARROW),
    "as shipped": ({}, {}),
}
"""Changed priors and changed constants of `training.objectives.prompts` and `training.data.scenes`."""
SHIPPED = {"shipped, whole answers": False, "shipped, parts that are meant": True}
"""Rows of the shipped weights: are parts that no prompt means left out?"""
JUDGES = shape_preset("both").with_values(object_size=(0.01, 0.5), region_grid=(2.0, 16.0))
"""Priors of the scenes that judge: any size."""
AREAS = (SMALLEST * 1024**2, LARGEST * 1024**2)
BINS = 6
SCENE_SEED = 77_000_003
"""Of the scenes that judge; no training and no validation is near it."""
MOST_SCENES = 400


@dataclass(frozen=True)
class Judge:
    """Targets of one scene: its embedding, masks (T, side, side), the bin of each, and prompts by setting."""

    embedding: torch.Tensor
    targets: torch.Tensor
    bins: list[int]
    prompts: dict[str, PromptTensors]


@command
def main() -> int:
    args = arguments(
        __doc__, "out", "--seed", "--json", steps={"type": int, "default": 300},
        targets={"type": int, "default": 24, "help": "in each bin of areas"},
        only={"nargs": "*", "choices": VARIANTS, "default": list(VARIANTS)},
    )  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    shipped = load_model("synthfm-mobile")
    judges = list(made(shipped, args.targets))
    rows = {name: scored(name, judges, args) for name in args.only}
    for name, parts in SHIPPED.items():
        rows[name] = kept(file_of(args.out, name), partial(score, shipped, judges, parts=parts))
    write_json(args.json, rows)
    return finish(table(rows))


def made(model: Promptable, wanted: int) -> Iterator[Judge]:
    """Scenes until every bin has its targets."""
    scenes = EncodedScenes(FrozenEncoder(model), JUDGES, SCENE_SEED, torch.device("cpu"))
    missing = [wanted] * BINS
    for index in range(MOST_SCENES):
        if not any(missing):
            return
        encoded = scenes[index]
        bins: list[int] = []
        masks: list[torch.Tensor] = []
        for number, seen in enumerate(encoded.scene.visibility, 1):
            mask = encoded.objects == number
            where = bin_of(int(mask.sum()))
            if where is not None and missing[where] and seen >= 1.0 and bins.count(where) < 2:
                missing[where] -= 1
                bins.append(where)
                masks.append(mask)
        if masks:
            targets = torch.stack(masks)
            windows, extents = [Window(0, 0, targets.shape[-1])] * len(bins), [encoded.scene.extent] * len(bins)
            g = torch.Generator().manual_seed(index)
            prompts = {n: draw_prompts(masks, windows, extents, plan, g) for n, plan in SETTINGS.items()}
            yield Judge(encoded.embedding, targets, bins, prompts)
        if index % 10 == 9:
            print(f"{index + 1} scenes, still to find by size: {missing}", file=sys.stderr, flush=True)


def bin_of(area: int) -> int | None:
    """Which bin an area in pixels belongs to, if any."""
    low, high = (math.log(a) for a in AREAS)
    where = math.floor(BINS * (math.log(max(area, 1)) - low) / (high - low))
    return where if 0 <= where < BINS else None


def scored(name: str, judges: list[Judge], args: argparse.Namespace) -> list[list[float]]:
    """Figures of a variant, trained and measured now unless they are there."""
    file = file_of(args.out, name)

    def measured() -> list[list[float]]:
        with variant(file.stem, *VARIANTS[name]):
            weights = short_run(args.out / file.stem, args.seed, steps=args.steps, scenes=file.stem)
        return score(load_model(weights), judges, parts=True)

    return kept(file, measured)


def file_of(out: Path, name: str) -> Path:
    return out / f"{name.replace(', ', '-').replace(' ', '-')}.json"


@contextmanager
def variant(preset: str, priors: dict[str, Any], constants: dict[str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(patch.dict(SHAPE_PRESETS, {preset: priors}))
        for key, value in constants.items():
            stack.enter_context(patch.object(objective if hasattr(objective, key) else scenes, key, value))
        yield


@torch.inference_mode()
def score(model: Promptable, judges: list[Judge], *, parts: bool) -> list[list[float]]:
    found: list[list[list[float]]] = [[[] for _ in SETTINGS] for _ in range(BINS)]
    for judge in judges:
        truth = F.avg_pool2d(judge.targets[:, None].float(), CELL)[:, 0] > 0.5
        for i, given in enumerate(judge.prompts.values()):
            embedding = judge.embedding[None].float()
            logits, _ = model.decode(embedding, *given)
            for number, where in enumerate(judge.bins):
                answer = logits[number, SINGLE] > 0
                if parts:
                    answer = torch.from_numpy(meant_parts(answer.numpy(), on_cells(given, number)))
                both = 2 * (answer & truth[number]).sum().item()
                found[where][i].append(both / max(1, (answer.sum() + truth[number].sum()).item()))
    return [[fmean(dice) if dice else math.nan for dice in of_bin] for of_bin in found]


def on_cells(given: PromptTensors, number: int) -> Prompts:
    """The prompts of one target on the decoder's grid, rows first."""
    points, positive, box = [], [], None
    if given.points is not None and given.labels is not None:
        points = [(y / CELL - 0.5, x / CELL - 0.5) for x, y in given.points[number].tolist()]
        positive = [sign > 0 for sign in given.labels[number].tolist()]
    if given.boxes is not None:
        x0, y0, x1, y1 = (v / CELL - 0.5 for v in given.boxes[number].tolist())
        box = (y0, x0, y1, x1)
    return Prompts(points=tuple(points), positive=tuple(positive), box=box)


def table(rows: dict[str, list[list[float]]]) -> str:
    low, high = (math.log(a) for a in AREAS)
    edges = [math.exp(low + i * (high - low) / BINS) for i in range(BINS + 1)]
    names = [f"{a:,.0f}-{b:,.0f} px" for a, b in zip(edges, edges[1:], strict=False)]
    lines = []
    for name, figures in rows.items():
        by_bin = [fmean(one) for one in figures]
        lines.append([name, *by_bin, *(fmean(one) for one in zip(*figures, strict=True)), fmean(by_bin)])
    return markdown(["", *names, *SETTINGS, "mean"], lines)


if __name__ == "__main__":
    sys.exit(main())
