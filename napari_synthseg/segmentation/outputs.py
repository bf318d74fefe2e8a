"""The files that come of a scan: their names, what they may replace, and writing them together."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.files import stem, suffix, write_labels
from napari_synthseg.files.label_table import check_replaceable, table_path
from napari_synthseg.files.paths import WRITABLE
from napari_synthseg.segmentation.one_scan import PROGRAM, Segmentation
from napari_synthseg.segmentation.preview import write_preview
from napari_synthseg.segmentation.quality.ratings import rate
from napari_synthseg.segmentation.tissue_maps import TISSUE_MAPS, tissue_names
from napari_synthseg.volume import Volume, resample_to, same_grid


def plan_outputs(
    scans: Sequence[Path], out: Path, *, preview: bool = False, posteriors: bool = False, tissues: bool = False
) -> list[Path]:
    """The label file of each scan.

    Raises:
        InputError: several scans for one file, a clash of names, an output that is an input, or a file that would be
            replaced and is no result of an earlier run.
    """
    if suffix(out) in WRITABLE:
        if len(scans) > 1:
            raise InputError(f"{out} is one file, but there are {len(scans)} scans; give a folder.")
        targets = [out]
    else:
        if out.is_file():
            raise InputError(f"{out} is a file without one of {', '.join(WRITABLE)}; give a folder or such a name.")
        stems = [scan.name if scan.is_dir() else stem(scan) for scan in scans]
        names = [
            one if stems.count(one) == 1 else f"{scan.resolve().parent.name}_{one}"
            for scan, one in zip(scans, stems, strict=True)
        ]
        targets = [out / f"{name}_dseg.nii.gz" for name in names]
        clashes = {target.name for target in targets if targets.count(target) > 1}
        if clashes:
            raise InputError(f"Several scans would be written to {sorted(clashes)[0]}; segment them in separate runs.")
    sources = {scan.resolve() for scan in scans}
    for target in targets:
        if target.resolve() in sources:
            raise InputError(f"{target} is an input too; choose another name for the labels.")
        maps = [_tissue_map(target, name) for name in TISSUE_MAPS] if tissues else []
        for one in (target, *maps):
            check_replaceable(table_path(one))
        others = [*([_picture(target)] if preview else []), *([_soft(target)] if posteriors else [])]
        check_earlier(target, *others, *maps)
    return targets


def check_earlier(target: Path, *others: Path) -> None:
    """Refuses to replace what is no result of an earlier run: of such a one there is a record (.json) beside it.

    Args:
        target: what is written, a label file or a mask.
        others: what is written beside it, apart from its record.

    Raises:
        InputError: one of them, or the record, is another file, such as a scan, its BIDS sidecar, or labels that were
            drawn.
    """
    record = target.with_name(f"{stem(target)}.json")
    there = [path for path in (record, target, *others) if path.exists()]
    if there and not _is_ours(record):
        raise InputError(
            f"{there[0]} exists and is no result of an earlier run; choose another name for the labels or move it away."
        )


def _is_ours(record: Path) -> bool:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("program") == PROGRAM


def _picture(target: Path) -> Path:
    return target.with_name(f"{stem(target)}.png")


def _soft(target: Path) -> Path:
    return target.with_name(f"{stem(target).removesuffix('_dseg')}_probseg.nii.gz")


def _tissue_map(target: Path, name: str) -> Path:
    return target.with_name(f"{stem(target).removesuffix('_dseg')}_desc-{name}_dseg.nii.gz")


def write_results(
    target: Path, scan: Volume, result: Segmentation, *, preview: bool = False, tissues: bool = False
) -> list[Path]:
    """Write labels, table, record, picture and posteriors: into a folder beside the target first, then moved together.

    Args:
        target: the label file.
        scan: what was segmented.
        result: what came of it.
        preview: write the picture too.
        tissues: write the tissue maps too, where there are some.

    Returns:
        The files.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".segment-", dir=target.parent))
    try:
        name = stem(target)
        write_labels(part / target.name, result.labels, result_columns(result), names=result.names or None)
        (part / f"{name}.json").write_text(json.dumps(result_record(result), indent=1) + "\n", encoding="utf-8")
        if preview:
            shown = scan if same_grid(scan, result.labels) else _on_grid(scan, result.labels)
            write_preview(part / _picture(target).name, shown, result.labels, title=_title(name, result))
        if result.posteriors is not None:
            result.posteriors.write(part / _soft(target).name)
        for which, classes in result.tissues.items() if tissues else ():
            write_labels(part / _tissue_map(target, which).name, classes, names=tissue_names())
        files = sorted(part.iterdir(), key=lambda path: path.name == target.name)
        for path in files:
            os.replace(path, target.parent / path.name)
        return [target.parent / path.name for path in files]
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _on_grid(scan: Volume, labels: Volume) -> Volume:
    return resample_to(scan, labels.shape, labels.affine)


def _title(name: str, result: Segmentation) -> str:
    note = f"   {len(result.warnings)} warnings, see the record" if result.warnings else ""
    if math.isnan(result.intracranial_mm3):
        return f"{name}{note}"
    return f"{name}   intracranial {result.intracranial_mm3 / 1000:.0f} mL{note}"


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
