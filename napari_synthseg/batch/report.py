"""The report of a batch: `report.json` with an entry per scan, updated during the batch; tables; and a page of HTML.

The page lists the worst scans first and loads nothing; its template is `resources/templates/report.html.j2`. A volume
is an outlier if the modified z-score of the logarithm (volumes are skewed) of its share of the intracranial volume
(head size alone makes no outlier) over the batch, `z = (x - median) / (1.4826 MAD)`, is beyond +-3.5 (Iglewicz and
Hoaglin, How to Detect and Handle Outliers, 1993). The intracranial volume is tested too. A structure that is missing in
one scan and has a median volume above `PRESENT` is an outlier. Batches of fewer than `FEWEST` scans have none.
"""

from __future__ import annotations

import json
import math
import os
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np

from napari_synthseg import __version__, anatomy
from napari_synthseg.atomic_io import write_lines, write_text
from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.segmenter import thumbnail_path
from napari_synthseg.errors import printable
from napari_synthseg.inference.quality.rating import AMBER, GREEN, RED, UNRATED, in_words
from napari_synthseg.io import stem
from napari_synthseg.jobs import duration

NAME = "report.json"
WRITE_INTERVAL = 20.0
"""Least interval between two writes, in durations of the last one."""

Status = Literal["ok", "failed", "skipped"]
GROUPS = {name: members for name, members in anatomy.QUALITY_GROUPS.items() if name != "background"}
"""The columns of SynthSeg's own quality scores."""
Columns = list[tuple[str, Sequence[str]]]
"""Names and cells."""


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
        lines = []
        for one in self.entries:
            content = {name: getattr(one, name) for name in _IN_REPORT}
            text = json.dumps(content, ensure_ascii=False)
            lines.append(text if printable(text) == text else json.dumps(content))  # names that are not UTF-8: escaped
        write_text(self.path, "[" + ",".join(f"\n {line}" for line in lines) + "\n]\n")

    def write_tables(self, volumes: Path | None, quality: Path | None) -> None:
        """Write volumes (mm^3) and expected Dice of all scans with labels, one row per scan; .tsv files have tabs.

        The quality table has the verdict, the mean, the groups that SynthSeg's own regressor scores (here means over
        their structures), and the structures.
        """
        kept = [(task, self._entries[task.number]) for task in self.tasks if task.number in self._entries]
        kept = [(task, one) for task, one in kept if one.status != "failed"]
        rows = [one for _, one in kept]
        first: Columns = [("scan", [one.input for one in rows])]
        for column, key in (("participant_id", "sub"), ("session_id", "ses")):
            entities = [{} if task.name is None else task.name.entities for task, _ in kept]
            if any(key in one for one in entities):
                first.append((column, [f"{key}-{one[key]}" if key in one else "" for one in entities]))
        if volumes is not None:
            total = [_cell(one.intracranial_mm3, ".1f") for one in rows]
            own = _by_structure([one.volumes_mm3 for one in rows], ".1f")
            _write(volumes, [*first, ("intracranial", total), *own])
        if quality is not None:
            first.append(("verdict", [one.verdict for one in rows]))
            first.append(("mean", [_cell(one.expected_dice, ".3f") or "nan" for one in rows]))
            first.append(("calibrated", ["yes" if one.calibrated else "no" for one in rows]))
            for group, values in GROUPS.items():
                members = [each.name for each in anatomy.table() if each.value in values]
                scores = [[one.quality[name] for name in members if name in one.quality] for one in rows]
                first.append((group, [_cell(sum(some) / len(some) if some else None, ".3f") for some in scores]))
            _write(quality, [*first, *_by_structure([one.quality for one in rows], ".3f")])


def _by_structure(rows: Sequence[Mapping[str, float]], form: str) -> Columns:
    """Return a column for each name, structures first in the order of their FreeSurfer values."""
    values = {one.name: one.value for one in anatomy.table()}
    values |= {one.name: one.value for one in anatomy.parcels().values()}
    names = sorted(dict.fromkeys(name for row in rows for name in row), key=lambda name: values.get(name, math.inf))
    return [(name, [_cell(row.get(name), form) for row in rows]) for name in names]


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _write(path: Path, columns: Columns) -> None:
    write_lines(path, [[name for name, _ in columns], *zip(*(cells for _, cells in columns), strict=True)])


# Page

PAGE = "report.html"
WORST_FIRST = {one.word: one for one in (RED, AMBER, UNRATED, GREEN)}
LIMIT = 3.5
"""Modified z-scores beyond it are outliers."""
FEWEST = 10
"""Scans needed for a z-score."""
PRESENT = 100.0
"""Median volume, mm^3, above which a structure can be missing."""
LEAST_SPREAD = 0.005
"""Lower bound of the MAD of log volumes: in repeated scans of one head a difference of one percent is no outlier."""
INTRACRANIAL = "intracranial"


@dataclass(frozen=True)
class Outlier:
    """An unusual volume."""

    name: str
    """Of the structure, or `INTRACRANIAL`."""
    z: float
    """Modified z-score of the log share; -inf if the structure is missing."""
    mm3: float


def page(
    entries: Sequence[Entry],
    outliers: Mapping[str, Sequence[Outlier]],
    facts: Mapping[str, Any],
    folder: Path,
    most_pictures: int,
) -> str:
    """Return the HTML of the page.

    Args:
        entries: of the finished scans.
        outliers: by input.
        facts: about the run, by name.
        folder: of the page; links are relative to it.
        most_pictures: number of embedded pictures, of the worst scans; others are linked.
    """
    import jinja2

    def badness(one: Entry) -> tuple:
        mean = 2.0 if one.expected_dice is None else one.expected_dice
        rank = ranks.get(one.verdict, ranks[AMBER.word] + 1)
        return one.status != "failed", rank, -len(outliers.get(one.input, ())), mean, one.input

    def link(path: str) -> str:
        return quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix()))

    def picture(one: Entry, inside: bool) -> str:
        """The small picture as a data URL or a link; empty for a scan that failed."""
        path = thumbnail_path(Path(one.output))
        if one.status == "failed" or not path.is_file():
            return ""
        return f"data:image/jpeg;base64,{b64encode(path.read_bytes()).decode()}" if inside else link(str(path))

    ranks = {word: place for place, word in enumerate(WORST_FIRST)}
    status, verdicts = Counter(one.status for one in entries), Counter(one.verdict for one in entries)
    tiles = {"segmented now": status["ok"], "were done before": status["skipped"], "failed": status["failed"]}
    rated = [one for one in (RED, AMBER, GREEN, UNRATED) if verdicts[one.word]]
    tiles |= {f"{one.sign} {one.word}".strip(): verdicts[one.word] for one in rated}
    loader = jinja2.FileSystemLoader(anatomy.resources() / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "stem": lambda path: stem(path) or path,
        "folder": lambda path: Path(path).parent,
        "link": link,
    }
    return environment.get_template(f"{PAGE}.j2").render(
        entries=sorted(entries, key=badness),
        outliers=outliers,
        tiles={**tiles, "with unusual volumes": len(outliers)},
        picture=lambda one, place: picture(one, place < most_pictures),
        ratings=WORST_FIRST,
        ranks=ranks,
        facts=facts,
        version=__version__,
        limit=LIMIT,
        fewest=FEWEST,
    )


def run_facts(options: Mapping[str, Any], seconds: float, done: int) -> dict[str, str]:
    """Return what the page says about a run of `seconds` that segmented `done` scans."""
    said = {"Finished": time.strftime("%Y-%m-%d %H:%M"), "Options": ", ".join(f"{k} {v}" for k, v in options.items())}
    if done:
        said["Pace"] = f"{done} scans in {duration(seconds)}, {60 * done / max(seconds, 1e-9):.1f} a minute"
    return said


def find_outliers(
    rows: Mapping[str, Mapping[str, float]], totals: Mapping[str, float | None]
) -> dict[str, list[Outlier]]:
    """Return the outliers of each scan that has some, most extreme first.

    Args:
        rows: volumes by scan and name, mm^3.
        totals: intracranial volumes by scan, mm^3; if None, shares are of the sum of all structures.
    """
    if len(rows) < FEWEST:
        return {}

    def whole_of(scan: str) -> float:
        total = totals.get(scan)
        return float(total) if total is not None and math.isfinite(total) else float(sum(rows[scan].values()))

    whole = np.array([whole_of(scan) for scan in rows])
    found: dict[str, list[Outlier]] = {}
    columns = {INTRACRANIAL: (whole, np.ones_like(whole))}
    for name in dict.fromkeys(name for row in rows.values() for name in row):
        columns[name] = np.array([row.get(name, 0.0) for row in rows.values()]), whole
    for name, (volumes, of) in columns.items():
        for scan, z, mm3 in zip(rows, modified_z(volumes, of), volumes, strict=True):
            if abs(z) > LIMIT:
                found.setdefault(scan, []).append(Outlier(name, float(z), float(mm3)))
    return {scan: sorted(ones, key=lambda one: -abs(one.z)) for scan, ones in found.items()}


def modified_z(volumes: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the modified z-scores (N,) of log(volumes / of), both (N,) in mm^3; 0 if too few volumes are positive."""
    there = (volumes > 0) & (of > 0)
    z = np.zeros(len(volumes))
    if there.sum() < FEWEST:
        return z
    logs = np.log(volumes[there] / of[there])
    away = logs - np.median(logs)
    z[there] = away / (1.4826 * max(float(np.median(np.abs(away))), LEAST_SPREAD))
    if np.median(volumes) > PRESENT:
        z[~there] = -np.inf
    return z
