"""The names of the files that come of a scan, and what they may replace. No torch here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_synthseg.anatomy import TISSUE_MAPS
from napari_synthseg.errors import InputError
from napari_synthseg.io import stem, suffix
from napari_synthseg.io.formats import ends_like_a_file, writable
from napari_synthseg.io.labels import check_replaceable, table_path

PROGRAM = "napari-synthseg"
"""How records of runs are known."""


def plan_outputs(
    scans: Sequence[Path], out: Path, *, preview: bool = False, posteriors: bool = False, tissues: bool = False
) -> list[Path]:
    """The label file of each scan.

    Raises:
        InputError: several scans for one file, a clash of names, an output that is an input, a name like that of
            another kind of file, or a file that would be replaced and is no result of an earlier run.
    """
    if suffix(out) in writable():
        if len(scans) > 1:
            raise InputError(f"{out} is one file, but there are {len(scans)} scans; give a folder.")
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
        check_target(target, preview=preview, posteriors=posteriors, tissues=tissues)
    return targets


def check_target(target: Path, *, preview: bool = False, posteriors: bool = False, tissues: bool = False) -> None:
    """Refuses a label file if it, or what is written beside it, would replace what is no result of an earlier run.

    Raises:
        InputError: it would.
    """
    maps = [tissue_path(target, name) for name in TISSUE_MAPS] if tissues else []
    for one in (target, *maps):
        check_replaceable(table_path(one))
    others = [*([picture_path(target)] if preview else []), *([posteriors_path(target)] if posteriors else [])]
    check_earlier(target, *others, *maps)


def check_earlier(target: Path, *others: Path) -> None:
    """Refuses to replace what is no result of an earlier run: of such a one there is a record (.json) beside it.

    Args:
        target: what is written, a label file or a mask.
        others: what is written beside it, apart from its record.

    Raises:
        InputError: one of them, or the record, is another file, such as a scan, its BIDS sidecar, or labels that were
            drawn.
    """
    record = record_path(target)
    there = [path for path in (record, target, *others) if path.exists()]
    if there and not read_record(target):
        raise InputError(
            f"{there[0]} exists and is no result of an earlier run; choose another name for the labels or move it away."
        )


def record_path(target: Path) -> Path:
    """Where the record of a label file stands."""
    return target.with_name(f"{stem(target)}.json")


def read_record(target: Path) -> dict[str, Any]:
    """The record of a label file that this program wrote; empty if there is none."""
    try:
        content = json.loads(record_path(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("program") == PROGRAM else {}


def picture_path(target: Path) -> Path:
    """Where the picture of a label file stands."""
    return target.with_name(f"{stem(target)}.png")


def posteriors_path(target: Path) -> Path:
    """Where the posteriors that belong to a label file stand."""
    return target.with_name(f"{stem(target).removesuffix('_dseg')}_probseg.nii.gz")


def tissue_path(target: Path, name: str) -> Path:
    """Where a tissue map that belongs to a label file stands."""
    return target.with_name(f"{stem(target).removesuffix('_dseg')}_desc-{name}_dseg.nii.gz")
