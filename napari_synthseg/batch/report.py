"""The report of a batch: `report.json` with an entry per scan, updated during the batch, and tables of all scans."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import write_lines, write_text
from napari_synthseg.batch.plan import Task
from napari_synthseg.errors import printable
from napari_synthseg.inference.quality.rating import in_words

NAME = "report.json"
WRITE_INTERVAL = 20.0
"""Least interval between two writes, in durations of the last one."""

Status = Literal["ok", "failed", "skipped"]
GROUPS = {name: members for name, members in anatomy.QUALITY_GROUPS.items() if name != "background"}
"""The columns of SynthSeg's own quality scores."""
Columns = Mapping[str, Mapping[str, str]]
"""Cells by name of the column and scan."""


@dataclass(frozen=True)
class Entry:
    """The result of one scan."""

    input: str
    """The scan, an absolute path."""
    output: str
    """The label file, also of a scan that failed."""
    status: Status
    """ok: segmented now. skipped: done before. failed."""
    reason: str = ""
    """Why it failed."""
    seconds: float = 0.0
    """Duration of the last attempt; 0 if skipped."""
    attempts: int = 0
    """In this run."""
    verdict: str = ""
    """Rating by the weights' own calibration: good, doubtful, likely failed, or not calibrated."""
    expected_dice: float | None = None
    """Mean over structures, 0-1."""
    intracranial_mm3: float | None = None
    warnings: tuple[str, ...] = ()
    unusual_volumes: tuple[str, ...] = ()
    """Structures whose volume is an outlier in this batch."""
    volumes_mm3: Mapping[str, float] = field(default_factory=dict, repr=False)
    """By name of the structure; in the tables only."""
    quality: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Expected Dice by name of the structure; in the tables only."""
    calibrated: bool = False
    """Whether the expected Dice is calibrated; in the tables only."""

    @property
    def summary(self) -> str:
        """Verdict and expected Dice in a few words; empty if nothing is expected."""
        return "" if self.expected_dice is None else in_words(self.verdict, self.expected_dice, self.calibrated)


_IN_REPORT = [one.name for one in fields(Entry) if one.name not in ("volumes_mm3", "quality", "calibrated")]


def entry(task: Task, status: Status, record: Mapping[str, Any], **more: Any) -> Entry:
    """Return the entry of a scan, from the record beside its labels."""
    expected = record.get("expected_dice") or {}
    return Entry(
        str(task.scan),
        str(task.target),
        status,
        verdict=str(expected.get("verdict", "")),
        expected_dice=expected.get("mean"),
        intracranial_mm3=record.get("intracranial_mm3"),
        warnings=tuple(record.get("warnings", ())),
        volumes_mm3=record.get("volumes_mm3", {}),
        quality=record.get("quality", {}),
        calibrated=bool(expected.get("calibrated")),
        **more,
    )


class Report:
    """Entries of the finished scans, in the order of the batch.

    Args:
        path: of the JSON file, or None.
        tasks: all scans.
        describe: called before the first entry is written.
    """

    def __init__(self, path: Path | None, tasks: Sequence[Task], describe: Callable[[], None] = lambda: None) -> None:
        self.path, self.tasks, self._describe = path, tasks, describe
        self._entries: dict[int, Entry] = {}
        self._next = 0.0

    @property
    def entries(self) -> list[Entry]:
        """Of the finished scans."""
        return [self._entries[number] for number in sorted(self._entries)]

    def add(self, number: int, one: Entry) -> None:
        """Add the entry of a finished scan; the file is updated from time to time."""
        first = not self._entries
        self._entries[number] = one
        if time.monotonic() >= self._next:
            started = time.monotonic()
            with suppress(OSError):  # a full disk stops the batch at the results of the next scan
                if first:
                    self._describe()
                self.write()
            self._next = time.monotonic() + max(1.0, WRITE_INTERVAL * (time.monotonic() - started))

    def mark(self, unusual: Mapping[str, Iterable[str]]) -> None:
        """Set the names of structures with unusual volumes, by input."""
        for number, one in self._entries.items():
            self._entries[number] = replace(one, unusual_volumes=tuple(unusual.get(one.input, ())))

    def write(self) -> None:
        """Write the file, atomically."""
        if self.path is None:
            return
        lines = [_json({name: getattr(one, name) for name in _IN_REPORT}) for one in self.entries]
        write_text(self.path, "[" + ",".join(f"\n {line}" for line in lines) + "\n]\n")

    def write_tables(self, volumes: Path | None, quality: Path | None) -> None:
        """Write volumes (mm^3) and expected Dice of all scans with labels, one row per scan; .tsv files have tabs.

        The quality table has the verdict, the mean, the groups that SynthSeg's own regressor scores (here means over
        their structures), and the structures.
        """
        kept = [(task, self._entries[task.number]) for task in self.tasks if task.number in self._entries]
        kept = [(task, one) for task, one in kept if one.status != "failed"]
        rows = [one for _, one in kept]
        first = _subjects(kept)
        if volumes is not None:
            names = _in_order(name for one in rows for name in one.volumes_mm3)
            cells = [[_cell(one.intracranial_mm3, ".1f"), *_cells(one.volumes_mm3, names, ".1f")] for one in rows]
            _write(volumes, rows, first, ["intracranial", *names], cells)
        if quality is not None:
            names = _in_order(name for one in rows for name in one.quality)
            header = ["verdict", "mean", "calibrated", *GROUPS, *names]
            _write(quality, rows, first, header, [_quality_cells(one, names) for one in rows])


def _json(content: dict[str, Any]) -> str:
    """Return one line of JSON; file names that are not UTF-8 are escaped."""
    text = json.dumps(content, ensure_ascii=False)
    return text if printable(text) == text else json.dumps(content)


# --- tables -----------------------------------------------------------------------------------------------------------


def _subjects(kept: Sequence[tuple[Task, Entry]]) -> Columns:
    entities = {one.input: {} if task.name is None else task.name.entities for task, one in kept}
    columns = {
        column: {scan: f"{key}-{found[key]}" for scan, found in entities.items() if key in found}
        for column, key in (("participant_id", "sub"), ("session_id", "ses"))
    }
    return {column: cells for column, cells in columns.items() if cells}


def _in_order(names: Iterable[str]) -> list[str]:
    """Return the distinct names, structures first in the order of their FreeSurfer values."""
    values = {one.name: one.value for one in anatomy.table()}
    values |= {one.name: one.value for one in anatomy.parcels().values()}
    return sorted(dict.fromkeys(names), key=lambda name: values.get(name, math.inf))


def _quality_cells(one: Entry, names: Sequence[str]) -> list[str]:
    known = {each.value: one.quality[each.name] for each in anatomy.table() if each.name in one.quality}
    groups = []
    for members in GROUPS.values():
        scores = [known[value] for value in members if value in known]
        groups.append(_cell(sum(scores) / len(scores) if scores else None, ".3f"))
    mean = math.nan if one.expected_dice is None else one.expected_dice
    first = [one.verdict, f"{mean:.3f}", "yes" if one.calibrated else "no"]
    return [*first, *groups, *_cells(one.quality, names, ".3f")]


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _cells(by_name: Mapping[str, float], names: Iterable[str], form: str) -> list[str]:
    return [_cell(by_name.get(name), form) for name in names]


def _write(
    path: Path, rows: Sequence[Entry], first: Columns, header: Sequence[str], cells: Iterable[Sequence[str]]
) -> None:
    subjects = ([column.get(one.input, "") for column in first.values()] for one in rows)
    lines = ([one.input, *own, *line] for one, own, line in zip(rows, subjects, cells, strict=True))
    write_lines(path, [["scan", *first, *header], *lines])
