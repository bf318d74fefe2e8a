"""The files that come of a scan: their names, what they may replace, and writing all of them together, or none.

No torch is imported here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg import anatomy
from napari_synthseg.anatomy import TISSUE_MAPS
from napari_synthseg.atomic_io import placed_files, writing
from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import SegmentOptions, tissue_names
from napari_synthseg.inference.quality.rating import light_of
from napari_synthseg.io import FileHeader, stem, suffix, write_labels
from napari_synthseg.io.formats import ends_like_a_file, writable
from napari_synthseg.io.labels import check_replaceable, table_path
from napari_synthseg.volume import Volume, resample_to, same_grid

if TYPE_CHECKING:
    from napari_synthseg.inference.state import Segmentation

PROGRAM = "napari-synthseg"
"""How records of runs are known."""


def plan_outputs(
    scans: Sequence[Path], out: Path, options: SegmentOptions | None = None, *, preview: bool = False
) -> list[Path]:
    """Choose the label file of each scan.

    Raises:
        InputError: several scans for one file, a clash of names, an output that is an input, a name like that of
            another kind of file, or a file that would be replaced and is no result of an earlier run.
    """
    if suffix(out) in writable():
        if len(scans) > 1:
            some = ", ".join([*map(str, scans[:3]), *["..."][: len(scans) - 3]])
            raise InputError(
                f"{out} is one file, but there are {len(scans)} scans ({some}): give a folder, or one scan."
            )
        targets = [out]
    else:
        if out.is_file():
            raise InputError(f"{out} is a file without one of {', '.join(writable())}; give a folder or such a name.")
        if ends_like_a_file(out) and not out.is_dir():
            raise InputError(
                f"{out} is no name for labels: let it end in one of {', '.join(writable())}, or give a folder."
            )
        stems = [scan.name if scan.is_dir() else stem(scan) for scan in scans]
        often = Counter(stems)
        names = [
            one if often[one] == 1 else f"{scan.resolve().parent.name}_{one}"
            for scan, one in zip(scans, stems, strict=True)
        ]
        targets = [out / f"{name}_dseg.nii.gz" for name in names]
        clashes = sorted(target.name for target, count in Counter(targets).items() if count > 1)
        if clashes:
            raise InputError(f"Several scans would be written to {clashes[0]}; segment them in separate runs.")
    sources = {scan.resolve() for scan in scans}
    for target in targets:
        if target.resolve() in sources:
            raise InputError(f"{target} is an input too; choose another name for the labels.")
        check_target(target, options or SegmentOptions(), preview=preview)
    return targets


def check_target(target: Path, options: SegmentOptions, *, preview: bool = False) -> None:
    """Refuse a label file if it, or a file beside it, would replace anything but results of an earlier run."""
    maps = [tissue_path(target, name) for name in TISSUE_MAPS] if options.tissues else []
    for one in (target, *maps):
        check_replaceable(table_path(one))
    others = {picture_path(target): preview, posteriors_path(target): options.posteriors}
    check_earlier(target, *(path for path, wanted in others.items() if wanted), *maps)


def check_earlier(target: Path, *others: Path) -> None:
    """Refuse to replace anything but the result of an earlier run, which has a record (.json) beside it.

    Raises:
        InputError: the target, another file beside it, or the record is another file, such as a scan, its BIDS sidecar,
            or labels that were drawn.
    """
    record = record_path(target)
    there = [path for path in (record, target, *others) if path.exists()]
    if there and not read_record(target):
        raise InputError(
            f"{there[0]} exists and is no result of an earlier run; choose another name for the labels or move it away."
        )


def record_path(target: Path) -> Path:
    return target.with_name(f"{stem(target)}.json")


def read_record(target: Path) -> dict[str, Any]:
    """Read the record of a label file that this program wrote; empty if there is none."""
    try:
        content = json.loads(record_path(target).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("program") == PROGRAM else {}


def picture_path(target: Path) -> Path:
    return target.with_name(f"{stem(target)}.png")


def posteriors_path(target: Path) -> Path:
    return target.with_name(f"{stem(target).removesuffix('_dseg')}_probseg.nii.gz")


def tissue_path(target: Path, name: str) -> Path:
    return target.with_name(f"{stem(target).removesuffix('_dseg')}_desc-{name}_dseg.nii.gz")


def write_results(
    target: Path,
    scan: Volume,
    result: Segmentation,
    *,
    preview: bool = False,
    tissues: bool = False,
    header: FileHeader | None = None,
    more: Mapping[str, Any] | None = None,
    also: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Write labels, table, record, picture and posteriors: into a folder beside the target first, then moved together.

    Args:
        target: the label file.
        scan: the input.
        result: of its segmentation.
        preview: write the picture too.
        tissues: write the tissue maps too, if there are some.
        header: of the scan's file: labels lie in the space it names.
        more: further entries of the record.
        also: writes further files into the folder that it is given.

    Returns:
        The files, the label file last.
    """
    with placed_results(target) as part:
        name = stem(target)
        columns, names = result_columns(result), result.names or None
        write_labels(part / target.name, result.labels, columns, names=names, header=header)
        content = {**result_record(result), "labels": checksum(part / target.name), **(more or {})}
        (part / record_path(target).name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if preview:
            from napari_synthseg.inference.preview import write_preview

            shown = scan if same_grid(scan, result.labels) else resampled(scan, result.labels)
            write_preview(part / picture_path(target).name, shown, result.labels, title=_title(name, result))
        if result.posteriors is not None:
            result.posteriors.write(part / posteriors_path(target).name, header=header)
        for which, classes in result.tissues.items() if tissues else ():
            write_labels(part / tissue_path(target, which).name, classes, names=tissue_names(), header=header)
        if also is not None:
            also(part)
        written = sorted((path.name for path in part.iterdir()), key=lambda name: (name == target.name, name))
    return [target.parent / name for name in written]


@contextmanager
def placed_results(target: Path) -> Iterator[Path]:
    """A folder to write a label file, its record and what belongs to them to; they are moved beside the target.

    The record comes first, so that what an interruption leaves is known as ours; the labels last: they complete it.
    """
    order = {record_path(target).name: 0, target.name: 2}
    prefix = _part_prefix(target)
    with writing(target), placed_files(target.parent, prefix=prefix, rank=lambda name: order.get(name, 1)) as part:
        yield part


def _part_prefix(target: Path) -> str:
    """Return how the names of folders of unfinished results begin."""
    return f".segment-{zlib.crc32(os.fsencode(target.name)):08x}-"


def remove_unfinished(target: Path) -> None:
    """Remove unfinished results of a process that died while it wrote them."""
    if target.parent.is_dir():
        for path in target.parent.iterdir():
            if path.name.startswith(_part_prefix(target)):
                shutil.rmtree(path, ignore_errors=True)


def checksum(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def resampled(scan: Volume, labels: Volume) -> Volume:
    return resample_to(scan, labels.shape, labels.affine)


def _title(name: str, result: Segmentation) -> str:
    count = len(result.warnings)
    inside = "" if math.isnan(result.intracranial_mm3) else f"intracranial {result.intracranial_mm3 / 1000:.0f} mL"
    warned = f"{count} warning{'s' * (count > 1)}, see the record" if count else ""
    return "   ".join(part for part in (name, inside, result.qc_rating.summary, warned) if part)


def result_record(result: Segmentation) -> dict:
    """Return the run's record with the volumes and the quality of each structure."""
    volumes = {name_of(result, value): round(mm3, 1) for value, mm3 in result.volumes.items()}
    quality = {name_of(result, value): round(one, 3) for value, one in result.quality.items()}
    total = None if math.isnan(result.intracranial_mm3) else round(result.intracranial_mm3, 1)
    mean = None if math.isnan(result.qc_rating.mean) else round(result.qc_rating.mean, 3)
    expected = {"calibrated": result.qc_rating.calibrated, "verdict": result.qc_rating.light.word, "mean": mean}
    measured = {"intracranial_mm3": total, "volumes_mm3": volumes, "expected_dice": expected, "quality": quality}
    return {**result.record, **measured}


def name_of(result: Segmentation, value: int) -> str:
    return result.names[value].name if value in result.names else anatomy.name(value)


def result_columns(result: Segmentation) -> dict[str, dict[int, str]]:
    """Return the columns of the table beside the labels, besides name and color."""
    columns = {
        "volume_mm3": {value: f"{mm3:.1f}" for value, mm3 in result.volumes.items()},
        "quality": {value: f"{one:.3f}" for value, one in result.quality.items()},
    }
    if result.qc_rating.calibrated:
        columns["rating"] = {value: light_of(one).word for value, one in result.quality.items()}
    return columns
