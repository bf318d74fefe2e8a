"""Calibrates the expected Dice of weights: segments synthetic scans of all qualities and fits what is said of them.

    python benchmarks/calibrate_quality.py LABEL_MAPS [--weights synthseg-fast] [--scans 120] [--hold-out NAME ...]
        [--out FILE.quality.json] [--rows FILE.jsonl] [...]

LABEL_MAPS is what `train synthseg` takes. A scan is drawn from one of the maps in one of four ways in turn: the presets
`fast`, `synthseg` and `synthseg-plus`, and "degraded": preset `fast`, made worse by the degradation model with all of
its ranges scaled by one strength, 0 to 1 (noise up to 100 of 255). Every other four are segmented with flips. Three in
ten are drawn from the maps that are held out: nothing is fitted to them, they tell how well the calibration does.

Every scan is a line of --rows; a run that was stopped goes on from there. The calibration is written beside the weights
(or to --out), where `segment` finds it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import quality_fit as fit
import torch
from harness import arguments, command, finish
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Range
from napari_synthseg.generator.degradation import degrade
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.presets import DEGRADATION, STILL, degradation, preset
from napari_synthseg.generator.sample import apply, label_map_files, placed_affine, prepared
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.inference.quality.rating import path_beside
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.volume import Volume
from napari_synthseg.weights.store import load_model

KINDS = ("fast", "synthseg", "synthseg-plus", "degraded")
FIELD = (192, 224, 192)
"""Voxels of 1 mm that are drawn: the fast network's field of view."""
NOISE = 100.0
"""Largest standard deviation of a degraded scan's noise, intensities in [0, 255]; Table S1 of SynthSeg+ ends at 50."""
NEUTRAL = {"bias_std": 0.0, "gamma_exponent": 1.0, "slice_spacing_mm": 1.0, "slice_blur_mm": 0.5, "noise_std": 0.0}
"""What changes nothing."""
OUTSIDE = 3
"""So many of ten scans come from maps that are held out."""
Row = dict[str, Any]


def plan(scans: int, fitted: Sequence[Path], held_out: Sequence[Path]) -> list[Row]:
    """Which map, way and flips each scan has; the first ones stay the same when there are to be more."""
    rows, used = [], {True: 0, False: 0}
    for number in range(scans):
        outside = number % 10 >= 10 - OUTSIDE
        maps = held_out if outside else fitted
        path = maps[used[outside] % len(maps)]
        used[outside] += 1
        kind, flips = KINDS[number % len(KINDS)], number // len(KINDS) % 2 == 1
        rows.append({"scan": number, "map": path.name, "held_out": outside, "kind": kind, "flips": flips})
    return rows


def scaled(bounds: Range, neutral: float, strength: float) -> Range:
    """A range whose ends come as near to what changes nothing as a strength says."""
    return (neutral + strength * (bounds[0] - neutral), neutral + strength * (bounds[1] - neutral))


def draw_scan(label_map: LabelMap, affine: np.ndarray, kind: str, generator: torch.Generator) -> tuple[Volume, Volume]:
    """A synthetic scan at 1 mm and its true labels."""
    record = preset("fast" if kind == "degraded" else kind).sample(label_map, generator)
    grid = Grid.centered(FIELD)
    sample = apply(record, label_map, grid)
    table = np.array(sample.target_table(), np.int32)
    placed = placed_affine(grid, label_map, affine)
    scan, truth = Volume(sample.image.numpy(), placed), Volume(table[sample.labels.numpy()], placed)
    if kind != "degraded":
        return scan, truth
    strength = float(torch.rand(1, generator=generator))
    whole = {**DEGRADATION, "noise_std": (0.0, NOISE)}
    ranges = {name: scaled(whole[name], still, strength) for name, still in NEUTRAL.items()}
    return degrade(scan, degradation().with_values(**STILL, **ranges).sample(seed=generator)).image, truth


def scored(model: nn.Module, scan: Volume, truth: Volume, row: Row, threads: int | None) -> Row:
    """A row with the true Dice of each structure, the evidence (none where no brain was found), and the seconds."""
    start = time.perf_counter()
    try:
        result = segment(scan, network=model, flip=row["flips"], device="cpu", threads=threads)
    except InputError:
        return {**row, "values": [], "dice": [], "evidence": {}, "seconds": round(time.perf_counter() - start, 2)}
    assert result.qc_features is not None
    values, columns = result.qc_features.values, result.qc_features.columns
    return {
        **row,
        "values": list(values),
        "dice": fit.true_dice(result.labels.data, truth.data, values),
        "evidence": {name: [round(float(one), 4) for one in column] for name, column in columns.items()},
        "seconds": round(time.perf_counter() - start, 2),
    }


def collect(
    model: nn.Module, todo: Sequence[Row], maps: dict[str, Path], seed: int, threads: int | None
) -> Iterator[Row]:
    read: dict[str, tuple[LabelMap, np.ndarray]] = {}
    for row in todo:
        if row["map"] not in read:
            read[row["map"]] = prepared(maps[row["map"]])
        scan, truth = draw_scan(*read[row["map"]], row["kind"], step_generator(seed, row["scan"]))
        yield scored(model, scan, truth, row, threads)


@command
def main() -> int:
    args = arguments(
        __doc__, "label_maps", "--weights", "--scans", "--seed", "--out", "--threads", scans={"default": 120},
        hold_out={"nargs": "+", "default": ["training_seg_19", "training_seg_20"]}, rows={"type": Path},
    )  # fmt: skip
    files = label_map_files(args.label_maps)
    held_out = [path for path in files if path.name.split(".")[0] in args.hold_out]
    fitted = [path for path in files if path not in held_out]
    if not held_out or not fitted:
        raise InputError(f"{args.label_maps} needs maps to fit on and maps to hold out (--hold-out).")
    model = load_model(args.weights)
    card: dict[str, Any] = model.card  # type: ignore[assignment]
    card["confident_score"] = -1  # these scans lie as they say: nobody need try other orientations
    out = args.out or path_beside(Path(card["path"]))
    store = args.rows or out.with_name(out.name.removesuffix(".json") + ".rows.jsonl")
    key = {"seed": args.seed, "sha256": card["sha256"]}
    rows = [json.loads(line) for line in store.read_text(encoding="utf-8").splitlines()] if store.exists() else []
    rows = [row for row in rows if {name: row.get(name) for name in key} == key]
    known = {row["scan"] for row in rows}
    todo = [row for row in plan(args.scans, fitted, held_out) if row["scan"] not in known]
    store.parent.mkdir(parents=True, exist_ok=True)
    with open(store, "a", encoding="utf-8") as file:
        for row in collect(model, todo, {path.name: path for path in files}, args.seed, args.threads):
            rows.append({**row, **key})
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
            mean = np.mean([one for one in row["dice"] if one is not None] or [0.0])
            print("{scan} {map} {kind}: ".format(**row) + f"Dice {mean:.3f}, {row['seconds']} s", flush=True)
    rows = sorted((row for row in rows if row["scan"] < args.scans), key=lambda row: row["scan"])
    calibration = fit.calibrate(rows, sha256=card["sha256"], facts={"weights": card["name"], "seed": args.seed})
    calibration.save(out)
    return finish(json.dumps(calibration.facts, indent=1))


if __name__ == "__main__":
    sys.exit(main())
