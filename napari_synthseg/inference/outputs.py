"""Writing the files that come of a scan: all of them together, or none."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import placed_files
from napari_synthseg.inference.one_scan import Segmentation
from napari_synthseg.inference.preview import write_preview
from napari_synthseg.inference.quality.ratings import rate
from napari_synthseg.inference.targets import (
    check_earlier,
    picture_path,
    plan_outputs,
    posteriors_path,
    record_path,
    tissue_path,
)
from napari_synthseg.inference.tissue_maps import tissue_names
from napari_synthseg.io import stem, write_labels

__all__ = ["check_earlier", "name_of", "plan_outputs", "result_columns", "result_record", "write_results"]
from napari_synthseg.volume import Volume, resample_to, same_grid


def write_results(
    target: Path,
    scan: Volume,
    result: Segmentation,
    *,
    preview: bool = False,
    tissues: bool = False,
    more: Mapping[str, Any] | None = None,
    also: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Write labels, table, record, picture and posteriors: into a folder beside the target first, then moved together.

    Args:
        target: the label file.
        scan: what was segmented.
        result: what came of it.
        preview: write the picture too.
        tissues: write the tissue maps too, where there are some.
        more: what else the record says.
        also: writes further files into the folder that it is given.

    Returns:
        The files, the label file last.
    """
    # The record first, so that what an interruption leaves is known as ours; the labels last: they complete it.
    order = {record_path(target).name: 0, target.name: 2}

    def rank(name: str) -> int:
        return order.get(name, 1)

    with placed_files(target.parent, prefix=_part_prefix(target), rank=rank) as part:
        name = stem(target)
        write_labels(part / target.name, result.labels, result_columns(result), names=result.names or None)
        content = {**result_record(result), "labels": checksum(part / target.name), **(more or {})}
        (part / record_path(target).name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if preview:
            shown = scan if same_grid(scan, result.labels) else resampled(scan, result.labels)
            write_preview(part / picture_path(target).name, shown, result.labels, title=_title(name, result))
        if result.posteriors is not None:
            result.posteriors.write(part / posteriors_path(target).name)
        for which, classes in result.tissues.items() if tissues else ():
            write_labels(part / tissue_path(target, which).name, classes, names=tissue_names())
        if also is not None:
            also(part)
        written = sorted((path.name for path in part.iterdir()), key=lambda name: (rank(name), name))
    return [target.parent / name for name in written]


def _part_prefix(target: Path) -> str:
    """How folders of a label file's unfinished results begin."""
    return f".segment-{zlib.crc32(target.name.encode()):08x}-"


def remove_unfinished(target: Path) -> None:
    """Remove what a process left that died while it wrote these results."""
    if target.parent.is_dir():
        for path in target.parent.iterdir():
            if path.name.startswith(_part_prefix(target)):
                shutil.rmtree(path, ignore_errors=True)


def checksum(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def resampled(scan: Volume, labels: Volume) -> Volume:
    """A scan on the grid of labels."""
    return resample_to(scan, labels.shape, labels.affine)


def _title(name: str, result: Segmentation) -> str:
    count = len(result.warnings)
    inside = "" if math.isnan(result.intracranial_mm3) else f"intracranial {result.intracranial_mm3 / 1000:.0f} mL"
    warned = f"{count} warning{'s' * (count > 1)}, see the record" if count else ""
    return "   ".join(part for part in (name, inside, result.verdict.told, warned) if part)


def result_record(result: Segmentation) -> dict:
    """The run's record with the volumes and the quality of each structure."""
    volumes = {name_of(result, value): round(mm3, 1) for value, mm3 in result.volumes.items()}
    quality = {name_of(result, value): round(one, 3) for value, one in result.quality.items()}
    total = None if math.isnan(result.intracranial_mm3) else round(result.intracranial_mm3, 1)
    mean = None if math.isnan(result.verdict.mean) else round(result.verdict.mean, 3)
    expected = {"calibrated": result.verdict.calibrated, "verdict": result.verdict.rating.word, "mean": mean}
    measured = {"intracranial_mm3": total, "volumes_mm3": volumes, "expected_dice": expected, "quality": quality}
    return {**result.record, **measured}


def name_of(result: Segmentation, value: int) -> str:
    """What a structure of a result is called."""
    return result.names[value].name if value in result.names else anatomy.name(value)


def result_columns(result: Segmentation) -> dict[str, dict[int, str]]:
    """What the table beside the labels says of each structure, beside its name and colour."""
    columns = {
        "volume_mm3": {value: f"{mm3:.1f}" for value, mm3 in result.volumes.items()},
        "quality": {value: f"{one:.3f}" for value, one in result.quality.items()},
    }
    if result.verdict.calibrated:
        columns["rating"] = {value: rate(one).word for value, one in result.quality.items()}
    return columns
