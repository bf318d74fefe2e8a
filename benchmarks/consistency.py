"""Does one brain get the same labels whatever the contrast? Synthetic scans of one anatomy, and real ones inverted.

    python benchmarks/consistency.py LABEL_MAPS --maps NAME ... [--contrasts T1 random1] [--slices 1 5] [--lesions ML]
    python benchmarks/consistency.py FOLDER --scans [--fast] ...

With label maps: each is deformed once and drawn as T1, T2, PD, FLAIR and CT would show it (`benchmarks/sequences.py`
says where the intensities come from), or with random contrasts; at 1 mm, or with slices (axial) of so many mm. Every
scan is segmented as `napari-synthseg segment` does. Said are the Dice with the truth, the Dice between contrasts
(nothing of the anatomy differs), and the coefficient of variation of each structure's volume over the contrasts. With
--lesions the heads have lesions of that volume, which are white matter in the truth.

With --scans: FOLDER holds T1 scans with label files beside them (`1002_t1.nii.gz`, `1002_labels.nii.gz`); each is
segmented as it is and with inverted intensities, the nearest thing to another real contrast at hand.

Writes labels' scores to rows.json and pairs.json, both to scores.json, and table.md, into --out.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import PROFILE, Row, arguments, command, finish, labelled_pairs, markdown, write_json
from quality_fit import counts
from sequences import NAMES, as_sequence, inverted
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import Record
from napari_synthseg.generator.presets import preset
from napari_synthseg.generator.sample import label_map_files, prepared, replay
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.inference.whole_volume import NO_BRAIN
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.volume import Volume, to_canonical
from napari_synthseg.weights.store import load_model

BIAS = 0.2
"""Standard deviation of the logarithm of the MR contrasts' bias fields."""


def anatomy_record(label_map, seed: int, lesions_ml: float) -> Record:
    """One deformed head with its skull, from the full priors; its intensities come later."""
    load = {"lesion_load_ml": (lesions_ml, lesions_ml)} if lesions_ml else {}
    values = {"skull_strip": 0.0, "lesions": 0.0, "flip": 0.0, "bias_std": (BIAS, BIAS), **load}
    record = preset("synthseg").with_values(**values).sample(label_map, seed)
    blur = record["acquisition"]["in_plane_blur"]
    return record.changed("gamma", gamma=1.0).changed("acquisition", spacing_mm=1.0, thickness_mm=1.0, blur_mm=blur)


def variant(record: Record, label_map, contrast: str, slices_mm: float, number: int) -> Record:
    """The same head in another contrast, with its own noise and bias field, in axial slices of so many mm."""
    if contrast.startswith("random"):
        other = preset("synthseg").sample(label_map, 1000 + int(contrast[6:] or 0))["contrast"]
        record = record.changed("contrast", **{name: other[name] for name in ("means", "stds", "contrast")})
        if "lesions" in record:  # as bright as the cortex of that contrast
            record = record.changed("lesions", mean=other["means"][label_map.values.index(3)])
    else:
        record = as_sequence(record, label_map, contrast)
    record = record.changed("contrast", noise_seed=record["contrast"]["noise_seed"] + number)
    record = record.changed("bias", bias_seed=record["bias"]["bias_seed"] + number)
    if slices_mm <= 1:
        return record
    blur = PROFILE * slices_mm
    return record.changed("acquisition", direction=2, spacing_mm=slices_mm, thickness_mm=slices_mm, blur_mm=blur)


def synthetic(paths: Sequence[Path], contrasts: Sequence[str], slices: Sequence[float], seed: int, lesions_ml=0.0):
    """Yield (anatomy, truth, scans by name, one at a time) of each label map; lesions are white matter in the truth."""
    for path in paths:
        label_map, affine = prepared(path)
        record = anatomy_record(label_map, seed, lesions_ml)
        truth = replay(record.without("lesions"), label_map, affine).labels
        kinds = [(c, mm) for mm in slices for c in contrasts]

        def scans(kinds=kinds, record=record, label_map=label_map, affine=affine) -> Iterator[tuple[str, Volume]]:
            for number, (contrast, mm) in enumerate(kinds):
                made = replay(variant(record, label_map, contrast, mm, number), label_map, affine)
                yield contrast if mm <= 1 else f"{contrast} {mm:g} mm", made.image

        yield stem(path), truth, scans()


def real(folder: Path):
    """The same of each scan in a folder: as it is, and inverted."""
    for path, truth in labelled_pairs(folder):
        scan = read_volume(path)
        other = scan.with_data(inverted(np.asarray(scan.data, np.float32)))
        yield stem(path), read_labels(truth), iter((("as it is", scan), ("inverted", other)))


def dice_by_value(a: np.ndarray, b: np.ndarray, values: Sequence[int]) -> dict[int, float]:
    """Dice of each value that one of two label arrays holds."""
    return {v: 2 * both / (one + other) for v, (both, one, other) in counts(a, b, values).items() if one + other}


def measure(model: nn.Module, anatomies, values: Sequence[int], **options: Any) -> Iterator[tuple[Row, list[Row]]]:
    """A row for each scan, with the rows of its pairs with the scans of the same anatomy before it."""
    for name, truth, scans in anatomies:
        true = to_canonical(truth).data.astype(np.int32)
        before: list[tuple[str, np.ndarray]] = []
        for contrast, scan in scans:
            start = time.process_time()
            row: Row = {"anatomy": name, "contrast": contrast}
            try:
                result = segment(scan, network=model, device="cpu", **options)
            except InputError as error:
                if str(error) != NO_BRAIN:
                    raise
                yield {**row, "dice": 0.0, "by_structure": {}, "volumes_mm3": {}}, []
                continue
            found = to_canonical(result.labels).data.astype(np.int32)
            row["cpu_s"] = round(time.process_time() - start, 1)
            row["by_structure"] = dice_by_value(true, found, values)
            row["dice"] = statistics.mean(row["by_structure"].values())
            row["truth_mm3"] = {v: float((true == v).sum()) for v in row["by_structure"]}
            row["volumes_mm3"] = {v: result.volumes.get(v, 0.0) for v in values}
            pairs = []
            for other, labels in before:
                between = dice_by_value(labels, found, values)
                pairs.append({"anatomy": name, "contrasts": [other, contrast], "by_structure": between,
                              "dice": statistics.mean(between.values())})  # fmt: skip
            before.append((contrast, found))
            yield row, pairs


def variation(volumes: Sequence[float]) -> float | None:
    if len(volumes) < 2 or not statistics.mean(volumes):
        return None
    return 100 * statistics.stdev(volumes) / statistics.mean(volumes)


def table(scores: dict[str, list[Row]]) -> str:
    rows, pairs = scores["rows"], scores["pairs"]
    lines = []
    for contrast in dict.fromkeys(row["contrast"] for row in rows):
        own = [row["dice"] for row in rows if row["contrast"] == contrast]
        other = [pair["dice"] for pair in pairs if contrast in pair["contrasts"]]
        lines.append([contrast, _mean(own), min(own), _mean(other)])
    lines.append(["mean", _mean([row["dice"] for row in rows]), None, _mean([pair["dice"] for pair in pairs])])
    found = [_variation(rows, value) for value in dict.fromkeys(value for row in rows for value in row["volumes_mm3"])]
    varied = _mean([one for one in found if one is not None])
    header = ["contrast", "Dice with truth", "lowest", "Dice with the other contrasts"]
    text = markdown(header, lines).replace("|  |", "| |")
    if varied is None:
        return text
    return (
        f"{text}\n\nVolumes vary by {varied:.1f} % over the contrasts (coefficient of variation, mean over structures)."
    )


def _variation(rows: Sequence[Row], value: int) -> float | None:
    """Mean over anatomies of the variation of one structure's volume."""
    by_anatomy: dict[str, list[float]] = {}
    for row in rows:
        if value in row["volumes_mm3"]:
            by_anatomy.setdefault(row["anatomy"], []).append(row["volumes_mm3"][value])
    return _mean([one for one in map(variation, by_anatomy.values()) if one is not None])


def _mean(figures: Sequence[float]) -> float | None:
    return statistics.mean(figures) if figures else None


def chosen_maps(folder: Path, names: Sequence[str]) -> list[Path]:
    found: Mapping[str, Path] = {stem(path): path for path in label_map_files(folder)}
    if unknown := [name for name in names if name not in found]:
        raise InputError(f"{folder} holds no label map {unknown[0]!r}: there are {', '.join(found)}.")
    return [found[name] for name in names] if names else list(found.values())


@command
def main() -> int:
    args = arguments(
        __doc__, "folder", "--weights", "--out", "--seed", "--fast", "--threads", out={"default": Path("consistency")},
        seed={"default": 0}, maps={"nargs": "+", "default": []},
        scans={"action": "store_true", "help": "the folder holds real scans, not label maps"},
        contrasts={"nargs": "+", "default": list(NAMES), "help": "sequences, or random1, random2 ..."},
        slices={"nargs": "+", "type": float, "default": [1.0], "metavar": "MM"},
        lesions={"type": float, "default": 0.0, "metavar": "ML", "help": "paint lesions of this volume"},
    )  # fmt: skip
    model = load_model(args.weights)
    paths = [] if args.scans else chosen_maps(args.folder, args.maps)
    some = real(args.folder) if args.scans else synthetic(paths, args.contrasts, args.slices, args.seed, args.lesions)
    values = [*anatomy.evaluated_values()]
    rows: list[Row] = []
    pairs: list[Row] = []
    for row, new in measure(model, some, values, fast=args.fast, threads=args.threads):
        rows.append(row)
        pairs += new
        print(f"{row['anatomy']} {row['contrast']}: Dice {row['dice']:.3f}, {row.get('cpu_s', 0)} CPU-s", flush=True)
        write_json(args.out / "rows.json", rows, indent=0)
        write_json(args.out / "pairs.json", pairs, indent=0)
    scores = {"rows": rows, "pairs": pairs}
    write_json(args.out / "scores.json", scores, indent=0)
    return finish(table(scores), args.out)


if __name__ == "__main__":
    sys.exit(main())
