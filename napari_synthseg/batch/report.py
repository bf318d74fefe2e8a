"""The report of a batch: `report.json`, one entry a scan, written as it goes; and the tables over all scans."""

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
from napari_synthseg.inference.quality.rating import QcRating

NAME = "report.json"
RARELY = 20.0
"""Between two writes the report rests this many times as long as the last one took, and a second at least."""

Status = Literal["ok", "failed", "skipped"]
GROUPS = {name: members for name, members in anatomy.QUALITY_GROUPS.items() if name != "background"}
"""The columns of SynthSeg's own quality scores."""
Columns = Mapping[str, Mapping[str, str]]
"""Further columns of a table, by name: each scan's cell."""


@dataclass(frozen=True)
class Entry:
    """What came of one scan; its fields stand in `report.json`."""

    input: str
    """The scan, an absolute path."""
    output: str
    """The label file; of a failed scan, where it would stand."""
    status: Status
    """ok: segmented now. skipped: was done before. failed."""
    reason: str = ""
    """Why it failed."""
    seconds: float = 0.0
    """What the last attempt took; 0 where it was skipped."""
    attempts: int = 0
    """How often it was tried in this run."""
    verdict: str = ""
    """What is expected of the segmentation: good, doubtful, likely failed, not calibrated."""
    expected_dice: float | None = None
    """Mean over structures, 0-1."""
    intracranial_mm3: float | None = None
    warnings: tuple[str, ...] = ()
    """What looked implausible."""
    unusual_volumes: tuple[str, ...] = ()
    """Structures whose volume is unlike that of the other scans, at the end of the batch."""
    volumes_mm3: Mapping[str, float] = field(default_factory=dict, repr=False)
    """By name of the structure; not in `report.json`, but in the tables."""
    quality: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Expected Dice by name of the structure; likewise."""
    calibrated: bool = False
    """Whether the expected Dice is calibrated; likewise."""

    @property
    def told(self) -> str:
        """A few words on the quality to expect."""
        mean = math.nan if self.expected_dice is None else self.expected_dice
        return QcRating(mean, self.calibrated, warned=bool(self.warnings)).summary


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
    """Entries of the scans that are over, in the order of the batch."""

    def __init__(self, path: Path | None, tasks: Sequence[Task], describe: Callable[[], None] = lambda: None) -> None:
        """An empty one.

        Args:
            path: of the JSON file; None for none.
            tasks: all scans.
            describe: called before the first entry: there are results now.
        """
        self.path, self.tasks, self._describe = path, tasks, describe
        self._entries: dict[int, Entry] = {}
        self._next = 0.0

    @property
    def entries(self) -> list[Entry]:
        """Of the scans that are over."""
        return [self._entries[number] for number in sorted(self._entries)]

    def add(self, number: int, one: Entry) -> None:
        """Take the entry of a scan that is over; the file is written now and then.

        A full disk shows in the results of the next scan, and stops the batch there.
        """
        first = not self._entries
        self._entries[number] = one
        if time.monotonic() >= self._next:
            started = time.monotonic()
            with suppress(OSError):
                if first:
                    self._describe()
                self.write()
            self._next = time.monotonic() + max(1.0, RARELY * (time.monotonic() - started))

    def mark(self, unusual: Mapping[str, Iterable[str]]) -> None:
        """Say which structures of which inputs have unusual volumes."""
        for number, one in self._entries.items():
            self._entries[number] = replace(one, unusual_volumes=tuple(unusual.get(one.input, ())))

    def write(self) -> None:
        """Write the file; it appears complete or not at all."""
        if self.path is None:
            return
        lines = [_json(_plain(one)) for one in self.entries]
        write_text(self.path, "[" + ",".join(f"\n {line}" for line in lines) + "\n]\n")

    def write_tables(self, volumes: Path | None, quality: Path | None) -> None:
        """Write volumes (mm^3) and quality of all scans that have labels, one row a scan; tabs if a name ends in .tsv.

        Of the quality, verdict and expected mean Dice (calibrated or not), then those of groups and of structures. The
        groups are those that SynthSeg's own regressor scores, here the mean over their structures.
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
    """One line of JSON, letters as they are; names that are no UTF-8 escaped."""
    text = json.dumps(content, ensure_ascii=False)
    return text if printable(text) == text else json.dumps(content)


def _plain(one: Entry) -> dict[str, Any]:
    return {key: getattr(one, key) for key in _IN_REPORT}


# --- tables -----------------------------------------------------------------------------------------------------------


def _subjects(kept: Sequence[tuple[Task, Entry]]) -> Columns:
    """Participant and session of the scans that have BIDS names."""
    entities = {one.input: {} if task.name is None else task.name.entities for task, one in kept}
    columns = {
        column: {scan: f"{key}-{found[key]}" for scan, found in entities.items() if key in found}
        for column, key in (("participant_id", "sub"), ("session_id", "ses"))
    }
    return {column: cells for column, cells in columns.items() if cells}


def _in_order(names: Iterable[str]) -> list[str]:
    """Names of structures, each once, by their FreeSurfer values; others behind, as they come."""
    values = {one.name: one.value for one in anatomy.table()}
    values |= {one.name: one.value for one in anatomy.parcels().values()}
    return sorted(dict.fromkeys(names), key=lambda name: values.get(name, math.inf))


def _quality_cells(one: Entry, names: Sequence[str]) -> list[str]:
    known = {value: one.quality[name] for value, name in _value_names().items() if name in one.quality}
    groups = []
    for members in GROUPS.values():
        scores = [known[value] for value in members if value in known]
        groups.append(f"{sum(scores) / len(scores):.3f}" if scores else "")
    mean = math.nan if one.expected_dice is None else one.expected_dice
    first = [one.verdict, f"{mean:.3f}", "yes" if one.calibrated else "no"]
    return [*first, *groups, *_cells(one.quality, names, ".3f")]


def _value_names() -> dict[int, str]:
    return {one.value: one.name for one in anatomy.table()}


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _cells(by_name: Mapping[str, float], names: Iterable[str], form: str) -> list[str]:
    return [_cell(by_name.get(name), form) for name in names]


def _write(
    path: Path, rows: Sequence[Entry], first: Columns, header: Sequence[str], cells: Iterable[Sequence[str]]
) -> None:
    """Write a table whose first columns are the scan and its subject."""
    subjects = ([column.get(one.input, "") for column in first.values()] for one in rows)
    lines = ([one.input, *own, *line] for one, own, line in zip(rows, subjects, cells, strict=True))
    write_lines(path, [["scan", *first, *header], *lines])
