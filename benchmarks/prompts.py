"""Two promptable models on the same images and the same prompts, side by side.

    python benchmarks/prompts.py MANIFEST MODEL OTHER [--draws N] [--sampling band|far] [--seed N] [--device auto]
        [--json FILE]

MANIFEST, MODEL and the options are those of `napari-synthseg evaluate-prompts`; in place of a model, rows that it wrote
with --json will do. Prints a Markdown table: mean Dice of each modality and setting (a dataset counts the same whatever
its size), MODEL's, OTHER's and the difference, with the interval that holds it in 95 % of 2,000 repetitions with other
images (paired bootstrap; images are drawn within their dataset, with all their masks).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from harness import arguments, command, finish, markdown, write_json

from napari_synthseg import cli
from napari_synthseg.errors import InputError
from napari_synthseg.prompting.evaluate import EvaluatePromptsOptions, Row, evaluate_steps, setting_name

REPETITIONS = 2000
POINTS = ("(1,0)", "(1,2)", "(3,0)", "(3,2)")
SUMMARIES = {"mean of points": POINTS, "mean of all": (*POINTS, "box")}
"""Means over settings, below them in the table."""
Comparison = dict[str, dict[str, tuple[float, float, float, float]]]
"""By modality and setting: both means, and the ends of the interval of their difference."""


@command
def main() -> int:
    args = arguments(
        __doc__, "manifest", "--seed", "--json", seed={"default": 0}, draws={"type": int, "default": 1},
        models_={"nargs": 2, "metavar": "MODEL", "help": "a model, or rows of evaluate-prompts --json"},
        sampling={"choices": ["band", "far"], "default": "band"}, device={"default": "auto"},
    )  # fmt: skip
    options = {"draws": args.draws, "sampling": args.sampling, "seed": args.seed, "device": args.device}
    found = compare(*(rows_of(model, args.manifest, options) for model in args.models))
    write_json(args.json, found)
    return finish(table(found, [Path(model).stem for model in args.models]))


def rows_of(model: str, manifest: Path, options: dict) -> list[Row]:
    """The rows of a model, measured now unless they are given as a file."""
    if Path(model).suffix == ".json":
        return json.loads(Path(model).read_text(encoding="utf-8"))
    return cli.follow(evaluate_steps(manifest, EvaluatePromptsOptions(model, **options)))


def table(found: Comparison, names: list[str]) -> str:
    rows = [
        [modality, name, first, second, f"{first - second:+.3f}", f"{low:+.3f} to {high:+.3f}"]
        for modality, settings in found.items()
        for name, (first, second, low, high) in settings.items()
    ]
    return markdown(["modality", "prompts", *names, "difference", "95 %"], rows)


def compare(rows: list[Row], others: list[Row]) -> Comparison:
    """By modality and setting: both means, and the interval of their difference.

    Raises:
        InputError: the rows are not of the same masks and settings.
    """
    ours, theirs = {key(row): row for row in rows}, {key(row): row for row in others}
    if ours.keys() != theirs.keys():
        raise InputError(
            "The two models were not measured on the same masks and settings: measure both on one manifest."
        )
    found: Comparison = {}
    for modality in sorted({row["modality"] for row in rows}):
        pairs = [(row, theirs[key(row)]) for row in rows if row["modality"] == modality]
        settings = dict.fromkeys(setting_name(row) for row, _ in pairs)
        wanted = {**{name: (name,) for name in settings}, **SUMMARIES}
        found[modality] = {
            title: interval([pair for pair in pairs if setting_name(pair[0]) in names])
            for title, names in wanted.items()
            if set(names) <= set(settings)
        }
    return found


def key(row: Row) -> tuple:
    return row["modality"], row["dataset"], row["image"], row["mask"], setting_name(row)


def interval(pairs: Iterable[tuple[Row, Row]]) -> tuple[float, float, float, float]:
    """Means over datasets of both sides of pairs of rows, and the ends of the 95 % interval of their difference."""
    by_dataset: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row, other in pairs:
        by_dataset.setdefault(row["dataset"], {}).setdefault(row["image"], []).append((row["dsc"], other["dsc"]))
    rng = np.random.default_rng(0)
    means, repeated = [], []
    for images in by_dataset.values():
        sums = np.array([np.sum(dscs, axis=0) for dscs in images.values()])  # (images, 2)
        counts = np.array([len(dscs) for dscs in images.values()])
        times = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), REPETITIONS)  # an image was drawn
        means.append(sums.sum(0) / counts.sum())
        repeated.append(times @ (sums[:, 0] - sums[:, 1]) / (times @ counts))
    first, second = np.mean(means, axis=0)
    low, high = np.percentile(np.mean(repeated, axis=0), (2.5, 97.5))
    return float(first), float(second), float(low), float(high)


if __name__ == "__main__":
    sys.exit(main())
