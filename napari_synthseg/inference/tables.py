"""The tables of a batch: a row a scan, written anew whenever a scan is done, so that a stopped batch has them too."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import placed
from napari_synthseg.inference.quality.ratings import Verdict

GROUPS = {name: members for name, members in anatomy.QUALITY_GROUPS.items() if name != "background"}
"""The columns that a table of SynthSeg's own quality scores has."""


@dataclass(frozen=True)
class Volumes:
    """The row of a scan in the table of volumes, mm^3; a batch keeps no more of a scan, so that it may be long."""

    intracranial_mm3: float
    """NaN for another organ than the brain."""
    by_value: dict[int, float]
    names: Mapping[int, str] = field(default_factory=dict)
    """What values are called that are not FreeSurfer's."""


@dataclass(frozen=True)
class Quality:
    """The row of a scan in the table of quality: the verdict, and expected Dice by FreeSurfer value."""

    verdict: Verdict
    by_value: dict[int, float]
    names: Mapping[int, str] = field(default_factory=dict)
    """What values are called that are not FreeSurfer's."""
    word: str = ""
    """The verdict's word where it was given before, by limits that are not known any more."""


Columns = Mapping[str, Mapping[str, str]]
"""Further columns after the first, by name: what each scan has in it."""


def write_volumes(path: Path, rows: Mapping[str, Volumes], more: Columns | None = None) -> None:
    """Each scan's path, its intracranial volume and every structure's, mm^3."""
    values = sorted({value for row in rows.values() for value in row.by_value})
    totals = {scan: "" if math.isnan(mm3 := row.intracranial_mm3) else f"{mm3:.1f}" for scan, row in rows.items()}
    lines = [[totals[scan], *_cells(row.by_value, values, ".1f")] for scan, row in rows.items()]
    _write(path, rows, ["intracranial", *_names(rows, values)], lines, more or {})


def write_quality(path: Path, rows: Mapping[str, Quality], more: Columns | None = None) -> None:
    """Each scan's path, verdict and expected mean Dice (calibrated or not), then those of groups and of structures.

    The groups are those that SynthSeg's own regressor scores, here the mean over their structures.
    """
    values = sorted({value for row in rows.values() for value in row.by_value})
    header = ["verdict", "mean", "calibrated", *GROUPS, *_names(rows, values)]
    _write(path, rows, header, [_quality_line(row, values) for row in rows.values()], more or {})


def _write(
    path: Path, scans: Iterable[str], header: Sequence[str], lines: Iterable[Sequence[str]], more: Columns
) -> None:
    """A table whose first columns are the scan and what is known of it."""
    first = [[scan, *(column.get(scan, "") for column in more.values())] for scan in scans]
    write_table(path, ["scan", *more, *header], [[*a, *b] for a, b in zip(first, lines, strict=True)])


def _quality_line(row: Quality, values: Sequence[int]) -> list[str]:
    verdict = row.verdict
    groups = []
    for members in GROUPS.values():
        known = [row.by_value[value] for value in members if value in row.by_value and value not in row.names]
        groups.append(f"{sum(known) / len(known):.3f}" if known else "")
    first = [row.word or verdict.rating.word, f"{verdict.mean:.3f}", "yes" if verdict.calibrated else "no"]
    return [*first, *groups, *_cells(row.by_value, values, ".3f")]


def _names(rows: Mapping[str, Volumes] | Mapping[str, Quality], values: Sequence[int]) -> list[str]:
    own = {value: name for row in rows.values() for value, name in row.names.items()}
    return [own.get(value, anatomy.name(value)) for value in values]


def _cells(by_value: Mapping[int, float], values: Iterable[int], form: str) -> list[str]:
    return [format(by_value[value], form) if value in by_value else "" for value in values]


def write_table(path: Path, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Write a CSV, or with tabs where the name ends in .tsv; the file appears complete or not at all."""
    with placed(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
