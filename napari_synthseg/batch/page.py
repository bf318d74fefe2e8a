"""`report.html`: one page on a batch, worst scans first, with nothing fetched from anywhere; and unusual volumes.

Its template is `resources/templates/report.html.j2`. Volumes are unusual if they are unlike those of the other scans of
a batch: of every structure the share of the intracranial volume is taken (head size alone makes no outlier), its
logarithm (volumes are skewed: ventricles most of all), and the modified z-score of it over the batch,
`z = (x - median) / (1.4826 MAD)`. Beyond +-3.5 counts as an outlier (Iglewicz and Hoaglin, How to Detect and Handle
Outliers, 1993). The intracranial volume itself is judged likewise. A structure that is missing in one scan and has a
usual volume of more than `PRESENT` in the others is one too. With fewer than `FEWEST` scans nothing is said.
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
"""Structures named in a row."""
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
"""Heads of the columns, and how they sort."""
LIMIT = 3.5
"""Modified z-scores beyond it are outliers."""
FEWEST = 10
"""Scans that are needed to say what is usual."""
PRESENT = 100.0
"""mm^3: a structure whose median is above it can be missed."""
LEAST_SPREAD = 0.005
"""Least MAD of log volumes: where repeated scans agree to half a percent, a percent more is no outlier."""
INTRACRANIAL = "intracranial"


@dataclass(frozen=True)
class Outlier:
    """A volume that is unlike the others'.

    Attributes:
        name: of the structure, or `INTRACRANIAL`.
        z: modified z-score of the log share; -inf where the structure is missing.
        mm3: its volume.
    """

    name: str
    z: float
    mm3: float

    @property
    def told(self) -> str:
        """Its z-score and volume in words."""
        z = "missing" if math.isinf(self.z) else f"{self.z:+.1f}"
        return f"{z}, {self.mm3 / 1000:.1f} mL"


def page(
    entries: Sequence[Entry],
    outliers: Mapping[str, Sequence[Outlier]],
    facts: Mapping[str, Any],
    folder: Path,
    most_pictures: int,
) -> str:
    """Return the page.

    Args:
        entries: of the scans that are over.
        outliers: of the scans that have some, by input.
        facts: of the run, a line each, by name.
        folder: where the page will stand; files are linked from there.
        most_pictures: inside the page, of the worst scans; those of others are linked.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(resources() / "templates")
    template = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    ordered = sorted(entries, key=lambda one: badness(one, outliers.get(one.input, ())))
    return template.get_template(TEMPLATE).render(
        rows=[
            _row(one, outliers.get(one.input, ()), folder, place < most_pictures) for place, one in enumerate(ordered)
        ],
        tiles=_tiles(entries, outliers),
        columns=COLUMNS,
        facts=facts,
        version=__version__,
        limit=LIMIT,
        fewest=FEWEST,
    )


def badness(one: Entry, unusual: Sequence[Outlier]) -> tuple:
    """Return the key that sorts the rows: smaller is worse."""
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
    """What the template needs of a scan, beside its entry."""
    return {
        "entry": one,
        "name": stem(one.input) or one.input,
        "folder": str(Path(one.input).parent),
        "link": _link(Path(one.output), folder),
        "picture": _picture(one, folder, inside),
        "rating": RATINGS.get(one.verdict),
        "rank": WORST_FIRST.get(one.verdict, 9),
        "intracranial_ml": None if one.intracranial_mm3 is None else one.intracranial_mm3 / 1000,
        "unusual": [{"name": each.name, "told": each.told} for each in unusual[:MOST_OUTLIERS]],
        "more_unusual": max(0, len(unusual) - MOST_OUTLIERS),
        "most_unusual": max((min(abs(each.z), 1e9) for each in unusual), default=0.0),
    }


def _picture(one: Entry, folder: Path, inside: bool) -> str:
    """The small picture as a part of the page, or its address; none of a scan that failed."""
    path = thumbnail_path(Path(one.output))
    if one.status == "failed" or not path.is_file():
        return ""
    if inside:
        return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return _link(path, folder)


def _link(path: Path, folder: Path) -> str:
    return quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix()))


def facts(options: Mapping[str, Any], seconds: float, done: int) -> dict[str, str]:
    """Return what the page says of the run.

    Args:
        options: how scans were segmented.
        seconds: of this run.
        done: scans segmented in it.
    """
    said = {"Finished": time.strftime("%Y-%m-%d %H:%M"), "Options": ", ".join(f"{k} {v}" for k, v in options.items())}
    if done:
        said["Pace"] = f"{done} scans in {in_words(seconds)}, {60 * done / max(seconds, 1e-9):.1f} a minute"
    return said


def in_words(seconds: float) -> str:
    """A duration, short: 40 s, 12 min, 3 h 05 min, 2 d 4 h."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def find_outliers(
    rows: Mapping[str, Mapping[str, float]], totals: Mapping[str, float | None]
) -> dict[str, list[Outlier]]:
    """Return the outliers of every scan that has some, most extreme first.

    Args:
        rows: volumes by scan and name, mm^3.
        totals: intracranial volumes by scan; None where there is none: shares are of the sum of all structures then.
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
    """Return modified z-scores of log(volume / of), (N,); 0 where too few scans have the structure to judge it.

    Args:
        volumes: (N,) mm^3, 0 where it is missing.
        of: (N,) mm^3 of what it is a share of.
    """
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
