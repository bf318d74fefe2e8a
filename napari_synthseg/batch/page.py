"""`report.html`, a page about a batch that lists the worst scans first and loads nothing; and outliers of volume.

The template is `resources/templates/report.html.j2`. A volume is an outlier if the modified z-score of the logarithm
(volumes are skewed) of its share of the intracranial volume (head size alone makes no outlier) over the batch,
`z = (x - median) / (1.4826 MAD)`, is beyond +-3.5 (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).
The intracranial volume is tested too. A structure that is missing in one scan and has a median volume above `PRESENT`
is an outlier. Batches of fewer than `FEWEST` scans have none.
"""

from __future__ import annotations

import base64
import math
import os
import time
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
TEMPLATE = "report.html.j2"
MOST_OUTLIERS = 4
"""Structures named per scan."""
RATINGS = {one.word: one for one in (RED, AMBER, GREEN, UNRATED)}
WORST_FIRST = {RED.word: 0, AMBER.word: 1, UNRATED.word: 2, GREEN.word: 3}
COLUMNS = (
    ("Picture", ""),
    ("Scan", "text"),
    ("Status", "number"),
    ("Verdict", "number"),
    ("Expected Dice", "number"),
    ("Intracranial mL", "number"),
    ("Volume outliers", "number"),
    ("Seconds", "number"),
    ("Remarks", ""),
)
"""Titles of the columns, and how they are sorted."""
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

    @property
    def text(self) -> str:
        """Z-score and volume."""
        z = "missing" if math.isinf(self.z) else f"{self.z:+.1f}"
        return f"{z}, {self.mm3 / 1000:.1f} mL"


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

    loader = jinja2.FileSystemLoader(resources() / "templates")
    template = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    judged = [(one, outliers.get(one.input, ())) for one in entries]
    judged.sort(key=lambda pair: _badness(*pair))
    return template.get_template(TEMPLATE).render(
        rows=[_row(*pair, folder, place < most_pictures) for place, pair in enumerate(judged)],
        tiles=_tiles(entries, outliers),
        columns=COLUMNS,
        facts=facts,
        version=__version__,
        limit=LIMIT,
        fewest=FEWEST,
    )


def _badness(one: Entry, unusual: Sequence[Outlier]) -> tuple:
    mean = 2.0 if one.expected_dice is None else one.expected_dice
    return one.status != "failed", WORST_FIRST.get(one.verdict, 2), -len(unusual), mean, one.input


def _tiles(entries: Sequence[Entry], outliers: Mapping[str, Sequence[Outlier]]) -> dict[str, int]:
    by_status = Counter(one.status for one in entries)
    by_verdict = Counter(one.verdict for one in entries if one.verdict)
    return {
        "segmented now": by_status["ok"],
        "were done before": by_status["skipped"],
        "failed": by_status["failed"],
        **{f"{RATINGS[word].sign} {word}".strip(): by_verdict[word] for word in RATINGS if by_verdict[word]},
        "with unusual volumes": len(outliers),
    }


def _row(one: Entry, unusual: Sequence[Outlier], folder: Path, inside: bool) -> dict[str, Any]:
    return {
        "entry": one,
        "name": stem(one.input) or one.input,
        "folder": str(Path(one.input).parent),
        "link": _link(Path(one.output), folder),
        "picture": _picture(one, folder, inside),
        "rating": RATINGS.get(one.verdict),
        "rank": WORST_FIRST.get(one.verdict, 9),
        "intracranial_ml": None if one.intracranial_mm3 is None else one.intracranial_mm3 / 1000,
        "unusual": [{"name": each.name, "told": each.text} for each in unusual[:MOST_OUTLIERS]],
        "more_unusual": max(0, len(unusual) - MOST_OUTLIERS),
        "most_unusual": max((min(abs(each.z), 1e9) for each in unusual), default=0.0),
    }


def _picture(one: Entry, folder: Path, inside: bool) -> str:
    """Return the small picture as a data URL or a link; empty for a scan that failed."""
    path = thumbnail_path(Path(one.output))
    if one.status == "failed" or not path.is_file():
        return ""
    if inside:
        return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return _link(path, folder)


def _link(path: Path, folder: Path) -> str:
    return quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix()))


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
    scans = list(rows)
    whole = np.array([_whole(rows[scan], totals.get(scan)) for scan in scans])
    found: dict[str, list[Outlier]] = {}
    names = dict.fromkeys(name for row in rows.values() for name in row)
    columns = {name: np.array([rows[scan].get(name, 0.0) for scan in scans]) for name in names}
    judged = {INTRACRANIAL: (whole, np.ones_like(whole))} | {name: (mm3, whole) for name, mm3 in columns.items()}
    for name, (volumes, of) in judged.items():
        for index, z in enumerate(modified_z(volumes, of)):
            if abs(z) > LIMIT:
                found.setdefault(scans[index], []).append(Outlier(name, float(z), float(volumes[index])))
    return {scan: sorted(ones, key=lambda one: -abs(one.z)) for scan, ones in found.items()}


def _whole(volumes: Mapping[str, float], total: float | None) -> float:
    return float(total) if total is not None and math.isfinite(total) else float(sum(volumes.values()))


def modified_z(volumes: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the modified z-scores (N,) of log(volumes / of), both (N,) in mm^3; 0 if too few volumes are positive."""
    there = (volumes > 0) & (of > 0)
    z = np.zeros(len(volumes))
    if there.sum() < FEWEST:
        return z
    logs = np.log(volumes[there] / of[there])
    middle = np.median(logs)
    spread = max(float(np.median(np.abs(logs - middle))), LEAST_SPREAD)
    z[there] = (logs - middle) / (1.4826 * spread)
    if np.median(volumes) > PRESENT:
        z[~there] = -np.inf
    return z
