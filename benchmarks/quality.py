"""Does the expected Dice tell how good a segmentation is? Expected against true Dice on labelled scans.

    python benchmarks/quality.py FOLDER [--weights synthseg-fast] [--out quality] [--scans N] [--levels KIND=LEVEL ...]
        [--flips] [--threads N]

FOLDER holds scans with label files beside them, as `benchmarks/robustness.py` takes them; each is segmented as it is
and made worse in the ways of that benchmark (`noise=25`). Nothing is fitted here: the calibration is that of the
weights (`benchmarks/calibrate_quality.py`), made of synthetic scans alone.

Writes rows.json (a segmentation each; a run that was stopped goes on from there, and another calibration is tried
without segmenting again), summary.json and table.md to --out.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import quality_fit as fit
from harness import Rows, arguments, command, finish, labelled_pairs, markdown, write_json
from robustness import LEVELS, made_worse
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.metrics import aligned
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.inference.quality.rating import FAILED, Calibration, calibration_of, sigmoid
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.volume import Volume
from napari_synthseg.weights.store import load_model

AS_IT_IS = "none=0"
USUAL = (AS_IT_IS, "noise=25", "noise=75", "blur=3", "coronal slices=7", "bias=1", "contrast=0.25")
Row = dict[str, Any]


def parsed(level: str) -> tuple[str, float]:
    """Kind and strength of a way to make a scan worse.

    Raises:
        InputError: there is no such way.
    """
    kind, _, strength = level.partition("=")
    with contextlib.suppress(ValueError):
        if kind in LEVELS or kind == "none":
            return kind, float(strength)
    raise InputError(f"{level!r} is no way to make a scan worse: give one of {', '.join(LEVELS)}, =, and a number.")


def measured(
    pairs: Sequence[tuple[Path, Path]], levels: Sequence[str], model: nn.Module, done: Sequence[Row], **options: Any
) -> Iterator[Row]:
    """A row each for every scan and level that is not among those done: true Dice and evidence of each structure."""
    known = {(row["map"], row["level"], row["flips"]) for row in done}
    for number, (scan_path, truth_path) in enumerate(pairs):
        todo = [one for one in levels if (stem(scan_path), one, options["flip"]) not in known]
        scan, truth = (read_volume(scan_path), read_labels(truth_path)) if todo else (None, None)
        for level in todo:
            row = {"map": stem(scan_path), "level": level, "flips": options["flip"], "held_out": True}
            bad = made_worse(scan, *parsed(level), seed=number)
            try:
                result = segment(bad, network=model, **options)
            except InputError:  # no brain was found
                yield {**row, "values": [], "dice": [], "evidence": {}}
                continue
            assert result.qc_features is not None
            columns = {name: [round(float(x), 4) for x in one] for name, one in result.qc_features.columns.items()}
            values = list(result.qc_features.values)
            yield {**row, "values": values, "dice": true_dice(result.labels, truth, values), "evidence": columns}


def true_dice(labels: Volume, truth: Volume, values: Sequence[int]) -> list[float | None]:
    """Dice of each scored structure; None of the others, and where the truth has none of it."""
    a, b, _ = aligned(labels, truth, ("the segmentation", "the ground truth"))
    scored = set(anatomy.evaluated_values())
    found = zip(values, fit.true_dice(a, b, values), strict=True)
    return [dice if value in scored else None for value, dice in found]


def summary(rows: Sequence[Row], calibration: Calibration) -> dict[str, Any]:
    """Agreement of expected and true Dice over structures and scans, failures, and means of each level."""
    useful = [row for row in rows if row["evidence"]]
    table = fit.tabulated(useful)
    ways = {"": expectations(useful, calibration), ", soft Dice": soft_dice(table)}
    truth = fit.scan_means(table, table.y)
    found: dict[str, Any] = {}
    for name, guess in ways.items():
        means = fit.scan_means(table, guess)
        found[f"structures{name}"] = fit.agreement(guess, table.y)
        found[f"scans{name}"] = fit.agreement(np.array([*means.values()]), np.array([*truth.values()]))
    means, levels = fit.scan_means(table, ways[""]), {}
    for level in dict.fromkeys(row["level"] for row in useful):
        here = [row["scan"] for row in useful if row["level"] == level]
        name = "as they are" if level == AS_IT_IS else level.replace("=", " ")
        levels[name] = [float(np.mean([one[scan] for scan in here])) for one in (truth, means)]
    scores = fit.scored(calibration, useful)
    failures = {"failed": scores["failed"], "named": scores["named"], "false alarms": scores["false_alarms"]}
    counts = {"segmentations": len(useful), "no brain": len(rows) - len(useful), "failed below": FAILED}
    return {**found, **counts, **failures, "levels": levels}


def table(found: dict[str, Any]) -> str:
    """Markdown: agreement of the expected with the true Dice, and which failures are named."""
    head = ["", "Pearson", "Spearman", "mean absolute error", "the same for the soft Dice alone"]
    lines = [
        [name, *_agreement(found[key]), ", ".join(_agreement(found[f"{key}, soft Dice"]))]
        for name, key in (("structures", "structures"), ("means of scans", "scans"))
    ]
    said = (
        f"{found['segmentations']} segmentations, of which {found['failed']} failed (true mean Dice below "
        f"{found['failed below']:g}): {found['named']} of these are named, and {found['false alarms']} others."
    )
    if found["no brain"]:
        said += f" In {found['no brain']} more no brain was found, which the program says."
    levels = markdown(["scans", "true mean Dice", "expected"], [[k, *pair] for k, pair in found["levels"].items()])
    return "\n\n".join((markdown(head, lines), said, levels))


def _agreement(one: dict[str, float | None]) -> list[str]:
    pearson, spearman = ("-" if one[k] is None else f"{one[k]:.2f}" for k in ("pearson", "spearman"))
    return [pearson, spearman, f"{one['mean_absolute_error']:.3f}"]


def soft_dice(table: fit.Evidence) -> np.ndarray:
    """(n,) what is expected without a calibration."""
    return sigmoid(table.x[:, table.columns.index(fit.FIRST)])


def expectations(rows: Sequence[Row], calibration: Calibration) -> np.ndarray:
    """(n,) expected Dice of every line of `fit.tabulated`."""
    return np.concatenate([fit.expected_of(calibration, row) for row in rows])


@command
def main() -> int:
    args = arguments(
        __doc__, "folder", "--weights", "--out", "--scans", "--threads", out={"default": Path("quality")},
        levels={"nargs": "+", "default": list(USUAL)},
        flips={"action": "store_true", "help": "as segment does by default: twice the time"},
    )  # fmt: skip
    for level in args.levels:
        parsed(level)
    pairs = labelled_pairs(args.folder, args.scans)
    model = load_model(args.weights)
    card: dict[str, Any] = model.card  # type: ignore[assignment]
    card["confident_score"] = -1  # these scans lie as they say: nobody need try other orientations
    rows = Rows(args.out)
    rows[:] = [row for row in rows if row["sha256"] == card["sha256"]]
    new = measured(pairs, args.levels, model, tuple(rows), flip=args.flips, device="cpu", threads=args.threads)
    rows.collect(({**row, "scan": len(rows), "sha256": card["sha256"]} for row in new), "{map} {level}: done")
    calibration = calibration_of(card)
    if calibration is None:
        raise InputError(f"The weights {card['name']!r} have no calibration: make one first.")
    shown = [row for row in rows if row["flips"] == args.flips and row["level"] in args.levels]
    found = summary(shown, calibration)
    write_json(args.out / "summary.json", found)
    return finish(table(found), args.out)


if __name__ == "__main__":
    sys.exit(main())
