"""`report.html`, a page about a batch that lists the worst scans first and loads nothing; and outliers of volume.

The template is `resources/templates/report.html.j2`. A volume is an outlier if the modified z-score of the logarithm
(volumes are skewed) of its share of the intracranial volume (head size alone makes no outlier) over the batch,
`z = (x - median) / (1.4826 MAD)`, is beyond +-3.5 (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).
The intracranial volume is tested too. A structure that is missing in one scan and has a median volume above `PRESENT`
is an outlier. Batches of fewer than `FEWEST` scans have none.
"""

from __future__ import annotations

import math
import os
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from napari_synthseg import __version__
from napari_synthseg.anatomy import resources
from napari_synthseg.batch.report import Entry
from napari_synthseg.batch.segmenter import thumbnail_path
from napari_synthseg.inference.quality.rating import AMBER, GREEN, RED, UNRATED
from napari_synthseg.io import stem

NAME = "report.html"
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
    loader = jinja2.FileSystemLoader(resources() / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "stem": lambda path: stem(path) or path,
        "folder": lambda path: Path(path).parent,
        "link": link,
    }
    return environment.get_template(f"{NAME}.j2").render(
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


def facts(options: Mapping[str, Any], seconds: float, done: int) -> dict[str, str]:
    """Return what the page says about a run of `seconds` that segmented `done` scans."""
    said = {"Finished": time.strftime("%Y-%m-%d %H:%M"), "Options": ", ".join(f"{k} {v}" for k, v in options.items())}
    if done:
        said["Pace"] = f"{done} scans in {in_words(seconds)}, {60 * done / max(seconds, 1e-9):.1f} a minute"
    return said


def in_words(seconds: float) -> str:
    """Format a duration: 40 s, 12 min, 3 h 05 min, 2 d 4 h."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


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
