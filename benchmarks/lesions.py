"""How well are white matter lesions marked, and what does it cost the other structures?

    python benchmarks/lesions.py LABEL_MAPS --maps NAME ... [--loads 0 5 15] [--contrasts T1 T2 FLAIR random1]
        [--weights synthseg-fast] [--lesion-weights FILE] [--fast] [--out FOLDER] [--seed 0] [--threads N]
    python benchmarks/lesions.py FOLDER --scans [--fast] ...

With label maps: heads drawn as `consistency.py` does, with lesions of so many ml painted (0: none), segmented as
`napari-synthseg segment --lesions` does. Said are the Dice of lesions by voxel, how many of them are found and how many
marks are right, by size; the volume of false marks; and the Dice of the other structures before and after.

The baseline is what an intensity threshold does: voxels of the segmented white matter (holes filled) more than T robust
standard deviations from its median, to the side that lesions are known to lie on, small components left out. T is the
one that is best on these very heads, so that the comparison flatters it.

With --scans: FOLDER holds scans, with label files beside them (`1002_t1.nii.gz`, `1002_labels.nii.gz`) or without: said
is what is marked in them.

Writes rows.json and table.md into --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import torch
from scipy.ndimage import binary_fill_holes

sys.path.insert(0, str(Path(__file__).parent))
from consistency import anatomy_record, chosen_maps, dice_by_value, real, true_labels, variant

from napari_synthseg import anatomy
from napari_synthseg.anatomy import LESION, WHITE_MATTER
from napari_synthseg.errors import InputError
from napari_synthseg.generator.sample import prepared, replay
from napari_synthseg.inference.lesion_stage import LEAST_MM3
from napari_synthseg.inference.one_scan import Segmentation, segment
from napari_synthseg.volume import Volume, to_canonical
from napari_synthseg.weights import DEFAULT, load_model

SIZES = ((0, 20), (20, 100), (100, 1000), (1000, 10**9))
"""Classes of lesions by volume, mm^3."""
THRESHOLDS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)
"""Robust standard deviations that the baseline tries."""
MEET = 0.1
"""Share of a lesion, or of a mark, that must be covered by the other to count as found, or as right."""
Row = dict[str, Any]


def by_size(these: np.ndarray, others: np.ndarray, voxel_mm3: float) -> list[tuple[int, int]]:
    """For each class of size: how many components of one mask meet the other, and how many there are."""
    labels = cc3d.connected_components(np.ascontiguousarray(these), connectivity=26)
    sizes = np.bincount(labels.ravel())
    met = np.bincount(labels[others].ravel(), minlength=len(sizes)) >= MEET * sizes
    volume = sizes * voxel_mm3
    found = []
    for low, high in SIZES:
        of_size = (volume >= low) & (volume < high)
        of_size[0] = False
        found.append((int((of_size & met).sum()), int(of_size.sum())))
    return found


def overlap(found: np.ndarray, truth: np.ndarray, voxel_mm3: float) -> Row:
    """Figures by voxel and by lesion."""
    both, a, b = int((found & truth).sum()), int(found.sum()), int(truth.sum())
    return {
        "dice": 2 * both / (a + b) if a + b else 1.0,
        "precision": both / a if a else None,
        "recall": both / b if b else None,
        "found_ml": a * voxel_mm3 / 1000,
        "true_ml": b * voxel_mm3 / 1000,
        "false_ml": (a - both) * voxel_mm3 / 1000,
        "recall_by_size": by_size(truth, found, voxel_mm3),
        "precision_by_size": by_size(found, truth, voxel_mm3),
    }


def thresholded(image: np.ndarray, white: np.ndarray, truth: np.ndarray, voxel_mm3: float) -> dict[float, Row]:
    """The baseline's figures for each threshold, lesions on the side of white matter that they are on."""
    inside = image[white]
    if not len(inside):
        return {}
    median = np.median(inside)
    spread = max(1.4826 * float(np.median(np.abs(inside - median))), 1e-6)
    side = np.sign(np.median(image[truth]) - median) if truth.any() else 1.0
    z = side * (image - median) / spread
    out = {}
    for threshold in THRESHOLDS:
        labels = cc3d.connected_components(np.ascontiguousarray((z > threshold) & white), connectivity=26)
        kept = np.bincount(labels.ravel()) * voxel_mm3 >= LEAST_MM3
        kept[0] = False
        out[threshold] = overlap(kept[labels], truth, voxel_mm3)
    return out


def before(result: Segmentation) -> np.ndarray:
    """The labels without the lesions: the likeliest of the other channels, since all of them gave the same share."""
    soft = result.posteriors
    assert soft is not None and soft.values[-1] == LESION
    plain = replace(soft, data=soft.data[:-1], values=soft.values[:-1])
    return to_canonical(plain.labels()).data.astype(np.int32)


def heads(paths: Sequence[Path], loads: Sequence[float], contrasts: Sequence[str], seed: int) -> Iterator[tuple]:
    """(names, scan, truth with lesions, truth without) of every head."""
    for path in paths:
        label_map, affine = prepared(path)
        for load in loads:
            record = anatomy_record(label_map, seed, load)
            apart = true_labels(record, label_map, affine)
            whole = true_labels(replace(record, drawn_lesions=None), label_map, affine)
            for number, contrast in enumerate(contrasts):
                scan = replay(variant(record, label_map, contrast, 1, number), label_map, affine).image
                yield {"anatomy": path.name.split(".")[0], "load_ml": load, "contrast": contrast}, scan, apart, whole


def measured(scan: Volume, apart: Volume, whole: Volume, options: dict[str, Any]) -> Row:
    """The figures of one drawn head."""
    start = time.process_time()
    result = segment(scan, lesions=True, posteriors=True, device="cpu", **options)
    seconds = time.process_time() - start
    found, plain = to_canonical(result.labels).data.astype(np.int32), before(result)
    true, true_whole = (to_canonical(one).data.astype(np.int32) for one in (apart, whole))
    mm3 = float(np.prod(scan.spacing))
    values = anatomy.evaluated_values()
    scores = {
        "before": dice_by_value(true_whole, plain, values),
        "after": dice_by_value(true, found, values),
    }
    white = np.isin(plain, WHITE_MATTER)
    filled = binary_fill_holes(white)
    image = to_canonical(scan).data.astype(np.float32)
    return {
        **overlap(found == LESION, true == LESION, mm3),
        "count": result.record["lesion_count"],
        "soft_ml": result.volumes[LESION] / 1000,
        "structures_before": statistics.mean(scores["before"].values()),
        "structures_after": statistics.mean(scores["after"].values()),
        "white_before": statistics.mean(scores["before"][v] for v in WHITE_MATTER),
        "white_after": statistics.mean(scores["after"][v] for v in WHITE_MATTER),
        "baseline": thresholded(image, filled, true == LESION, mm3),
        "cpu_s": round(seconds, 1),
        "stage_s": result.record["seconds"]["lesions"],
    }


def marked(scan: Volume, truth: Volume | None, options: dict[str, Any]) -> Row:
    """What is marked in a real scan, and its structures before and after."""
    result = segment(scan, lesions=True, posteriors=True, device="cpu", **options)
    row: Row = {"count": result.record["lesion_count"], "soft_ml": result.volumes[LESION] / 1000}
    found, plain = to_canonical(result.labels).data.astype(np.int32), before(result)
    row["found_ml"] = float((found == LESION).sum() * np.prod(scan.spacing) / 1000)
    row["share_of_white_matter"] = float((found == LESION).sum() / max(np.isin(plain, WHITE_MATTER).sum(), 1))
    if truth is not None:
        true = to_canonical(truth).data.astype(np.int32)
        row["labelled_ml"] = float((true == LESION).sum() * np.prod(scan.spacing) / 1000)
        for name, labels in (("structures_before", plain), ("structures_after", found)):
            row[name] = statistics.mean(dice_by_value(true, labels, anatomy.evaluated_values()).values())
    return row


def best_threshold(rows: Sequence[Row]) -> float | None:
    """The threshold with the best mean Dice over heads with lesions."""
    some = [row["baseline"] for row in rows if row["load_ml"] and row["baseline"]]
    if not some:
        return None
    return max(THRESHOLDS, key=lambda t: statistics.mean(one[t]["dice"] for one in some))


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line for each load and contrast, then lesions by size."""
    best = best_threshold(rows)
    lines = ["| ml | contrast | Dice | precision | recall | false ml | threshold's Dice | false ml | structures before "
             "| after | white matter before | after |", "|---" * 12 + "|"]  # fmt: skip
    keys = list(dict.fromkeys((row["load_ml"], row["contrast"]) for row in rows))
    for load in dict.fromkeys(load for load, _ in keys):
        for contrast in [*(c for one, c in keys if one == load), None]:
            some = [row for row in rows if row["load_ml"] == load and contrast in (row["contrast"], None)]
            base = [row["baseline"][best] for row in some if best is not None and row["baseline"]]
            cells = [f"{load:g}", contrast or "all"]
            cells += [_mean(some, name) if load else "-" for name in ("dice", "precision", "recall")]
            cells += [_mean(some, "false_ml", 2), _mean(base, "dice") if load else "-", _mean(base, "false_ml", 2)]
            cells += [_mean(some, f"{one}_{when}") for one in ("structures", "white") for when in ("before", "after")]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Threshold: {best} robust standard deviations.", ""]
    lines += ["| lesions of mm3 | found | threshold | marks that are right | threshold |", "|---|---|---|---|---|"]
    for i, (low, high) in enumerate(SIZES):
        cells = []
        for name in ("recall_by_size", "precision_by_size"):
            own = [row[name][i] for row in rows if row["load_ml"]]
            base = [row["baseline"][best][name][i] for row in rows if row["load_ml"] and best and row["baseline"]]
            cells += [_share(own), _share(base)]
        lines.append(f"| {low} to {high if high < 10**9 else 'more'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def scans_table(rows: Sequence[Row]) -> str:
    """Markdown: a line for each real scan."""
    lines = ["| scan | as | lesions | ml | % of white matter | structures before | after |", "|---" * 7 + "|"]
    for row in rows:
        cells = [row["anatomy"], row["contrast"], str(row["count"]), f"{row['found_ml']:.2f}"]
        cells += [f"{100 * row['share_of_white_matter']:.2f}"]
        cells += [f"{row[k]:.3f}" if k in row else "-" for k in ("structures_before", "structures_after")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(rows: Sequence[Row], name: str, digits: int = 3) -> str:
    figures = [row[name] for row in rows if row.get(name) is not None]
    return f"{statistics.mean(figures):.{digits}f}" if figures else "-"


def _share(counts: Sequence[tuple[int, int]]) -> str:
    met, of = (sum(one[i] for one in counts) for i in (0, 1))
    return f"{met} of {of} ({100 * met / of:.0f} %)" if of else "-"


def main() -> int:
    """Measures, and writes rows and table as they come."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--maps", nargs="+", default=[])
    parser.add_argument("--scans", action="store_true", help="the folder holds real scans, not label maps")
    parser.add_argument("--as-they-are", action="store_true", help="with --scans: not inverted ones too")
    parser.add_argument("--weights", default=DEFAULT)
    parser.add_argument("--lesion-weights", type=Path)
    parser.add_argument("--loads", nargs="+", type=float, default=[0.0, 5.0, 15.0], metavar="ML")
    parser.add_argument("--contrasts", nargs="+", default=["T1", "T2", "PD", "FLAIR", "CT"])
    parser.add_argument("--fast", action="store_true", help="without flips: half the time, a little less exact")
    parser.add_argument("--out", type=Path, help="folder for rows.json and table.md")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    try:
        options: dict[str, Any] = {"network": load_model(args.weights), "fast": args.fast, "threads": args.threads}
        if args.lesion_weights:
            options["lesion_weights"] = args.lesion_weights
        for row in _rows(args, options):
            rows.append(row)
            shown = {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}
            print(row["anatomy"], row["contrast"], shown, flush=True)
            if args.out is not None:
                (args.out / "rows.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")
    except (InputError, OSError) as error:
        print(f"lesions: {error}", file=sys.stderr)
        return 2
    text = scans_table(rows) if args.scans else table(rows)
    if args.out is not None:
        (args.out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def _rows(args: argparse.Namespace, options: dict[str, Any]) -> Iterator[Row]:
    if args.scans:
        for name, truth, scans in real(args.folder):
            for contrast, scan in scans:
                if contrast == "as it is" or not args.as_they_are:
                    yield {"anatomy": name, "contrast": contrast, **marked(scan, truth, options)}
        return
    for names, scan, apart, whole in heads(chosen_maps(args.folder, args.maps), args.loads, args.contrasts, args.seed):
        yield {**names, **measured(scan, apart, whole, options)}


if __name__ == "__main__":
    sys.exit(main())
