"""The report of a batch: `report.json`, one entry a scan, written as it goes; and the tables over all scans."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import write_text
from napari_synthseg.batch.outliers import Outlier
from napari_synthseg.batch.plan import Task
from napari_synthseg.inference.quality.ratings import Verdict
from napari_synthseg.inference.tables import Quality, Volumes, write_quality, write_volumes

NAME = "report.json"
RARELY = 20.0
"""Between two writes the report rests this many times as long as the last one took, and a second at least."""

Status = Literal["ok", "failed", "skipped"]


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


_IN_REPORT = [one.name for one in fields(Entry) if one.name not in ("volumes_mm3", "quality", "calibrated")]


def entry(task: Task, status: Status, record: Mapping[str, Any], **more: Any) -> Entry:
    """The entry of a scan, from the record beside its labels."""
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

    def __init__(self, path: Path, tasks: Sequence[Task], describe: Callable[[], None] = lambda: None) -> None:
        """An empty one.

        Args:
            path: of the JSON file.
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
        """A scan is over; the file is written now and then."""
        if not self._entries:
            self._describe()
        self._entries[number] = one
        if time.monotonic() >= self._next:
            started = time.monotonic()
            self.write()
            self._next = time.monotonic() + max(1.0, RARELY * (time.monotonic() - started))

    def mark(self, outliers: Mapping[str, Sequence[Outlier]]) -> None:
        """Say which structures of which inputs are unusual."""
        for number, one in self._entries.items():
            names = tuple(each.name for each in outliers.get(one.input, ()))
            self._entries[number] = replace(one, unusual_volumes=names)

    def write(self) -> None:
        """Write the file; it appears complete or not at all."""
        lines = [json.dumps(_plain(one), ensure_ascii=False) for one in self.entries]
        write_text(self.path, "[" + ",".join(f"\n {line}" for line in lines) + "\n]\n")

    def write_tables(self, volumes: Path, quality: Path) -> None:
        """Write volumes and quality of all scans that have labels, one row a scan."""
        kept = [(task, self._entries[task.number]) for task in self.tasks if task.number in self._entries]
        kept = [(task, one) for task, one in kept if one.status != "failed"]
        names, own = _values(one for _, one in kept)
        rows, verdicts, keys = {}, {}, {}
        for task, one in kept:
            total = math.nan if one.intracranial_mm3 is None else one.intracranial_mm3
            mean = math.nan if one.expected_dice is None else one.expected_dice
            rows[one.input] = Volumes(total, {names[key]: value for key, value in one.volumes_mm3.items()}, own)
            graded = {names[key]: value for key, value in one.quality.items()}
            verdicts[one.input] = Quality(Verdict(mean, one.calibrated), graded, own, one.verdict)
            keys[one.input] = {} if task.name is None else task.name.entities
        subjects = {
            column: {scan: f"{key}-{entities[key]}" for scan, entities in keys.items() if key in entities}
            for column, key in (("participant_id", "sub"), ("session_id", "ses"))
        }
        subjects = {column: cells for column, cells in subjects.items() if cells}
        write_volumes(volumes, rows, subjects)
        write_quality(quality, verdicts, subjects)


def _plain(one: Entry) -> dict[str, Any]:
    return {key: getattr(one, key) for key in _IN_REPORT}


def _values(entries: Any) -> tuple[dict[str, int], dict[int, str]]:
    """Values for the names of structures, which order the tables; and the names that are not FreeSurfer's."""
    known = {one.name: one.value for one in anatomy.table()}
    known |= {one.name: one.value for one in anatomy.parcels().values()}
    own: dict[int, str] = {}
    for one in entries:
        for name in (*one.volumes_mm3, *one.quality):
            if name not in known:
                known[name] = 1_000_000 + len(own)
                own[known[name]] = name
    return known, own
