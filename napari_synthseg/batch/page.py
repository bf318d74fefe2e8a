"""`report.html`: one page on a batch, worst scans first, with nothing fetched from anywhere."""

from __future__ import annotations

import base64
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from napari_synthseg import __version__
from napari_synthseg.batch.outliers import FEWEST, LIMIT, Outlier
from napari_synthseg.batch.page_look import SCRIPT, STYLE
from napari_synthseg.batch.pictures import thumbnail_path
from napari_synthseg.batch.report import Entry
from napari_synthseg.inference.quality.ratings import AMBER, GREEN, RED, UNRATED, Rating
from napari_synthseg.io import stem

NAME = "report.html"
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
"""Heads of the columns and how they sort."""


def page(
    entries: Sequence[Entry],
    outliers: Mapping[str, Sequence[Outlier]],
    facts: Mapping[str, Any],
    folder: Path,
    most_pictures: int,
) -> str:
    """The page.

    Args:
        entries: of the scans that are over.
        outliers: of the scans that have some, by input.
        facts: of the run, a line each: what and how much.
        folder: where the page will stand; files are linked from there.
        most_pictures: inside the page, of the worst scans; those of others are linked.
    """
    ordered = sorted(entries, key=lambda one: badness(one, outliers.get(one.input, ())))
    rows = []
    for place, one in enumerate(ordered):
        rows.append(_row(one, outliers.get(one.input, ()), folder, inside=place < most_pictures))
    heads = "".join(
        f'<th data-sort="{sort}"><button>{name}</button></th>' if sort else f"<th>{name}</th>" for name, sort in COLUMNS
    )
    lines = "".join(f"<p><small>{escape(str(key))}: {escape(str(value))}</small></p>" for key, value in facts.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Batch of {len(entries)} scans - napari-synthseg</title><style>{STYLE}</style></head><body>
<h1>{len(entries)} scans segmented by napari-synthseg {escape(__version__)}</h1>
<div class="tiles">{_tiles(entries, outliers)}</div>
<p>Worst first: failed scans, then by verdict, by the number of unusual volumes, and by expected Dice. Click a head to sort.
All volumes and expected Dice: <a href="volumes.tsv">volumes.tsv</a>, <a href="quality.tsv">quality.tsv</a>.</p>
<p><small>Volume outliers: log of a structure's share of the intracranial volume (and of that volume itself), modified z-score
(x - median) / (1.4826 MAD) over the scans of this batch; beyond &plusmn;{LIMIT} it is named. Needs {FEWEST} scans.
Unusual need not be wrong: look at the picture.</small></p>
{lines}<table><thead><tr>{heads}</tr></thead><tbody>
{"".join(rows)}</tbody></table><script>{SCRIPT}</script></body></html>
"""  # noqa: E501


def badness(one: Entry, unusual: Sequence[Outlier]) -> tuple:
    """What the rows are sorted by: smaller is worse."""
    mean = 2.0 if one.expected_dice is None else one.expected_dice
    return one.status != "failed", WORST_FIRST.get(one.verdict, 2), -len(unusual), mean, one.input


def _tiles(entries: Sequence[Entry], outliers: Mapping[str, Sequence[Outlier]]) -> str:
    by_status = Counter(one.status for one in entries)
    by_verdict = Counter(one.verdict for one in entries if one.verdict)
    numbers = {
        "segmented now": by_status["ok"],
        "were done before": by_status["skipped"],
        "failed": by_status["failed"],
        **{f"{RATINGS[word].sign} {word}".strip(): by_verdict[word] for word in RATINGS if by_verdict[word]},
        "with unusual volumes": len(outliers),
    }
    return "".join(f'<div class="tile"><b>{count}</b>{escape(name)}</div>' for name, count in numbers.items())


def _row(one: Entry, unusual: Sequence[Outlier], folder: Path, *, inside: bool) -> str:
    failed = one.status == "failed"
    cells = (
        _cell(_picture(one, folder, inside)),
        _cell(_scan(one, folder), one.input, "scan"),
        _cell("failed" if failed else one.status, {"failed": 0, "ok": 1}.get(one.status, 2), "bad" if failed else ""),
        _cell(_verdict(RATINGS.get(one.verdict)), WORST_FIRST.get(one.verdict, 9)),
        _number(one.expected_dice, ".2f"),
        _number(None if one.intracranial_mm3 is None else one.intracranial_mm3 / 1000, ".0f"),
        _cell(_unusual(unusual), max((min(abs(each.z), 1e9) for each in unusual), default=0.0)),
        _number(one.seconds if one.status != "skipped" else None, ".1f"),
        _cell(_remarks(one)),
    )
    return f'<tr class="{one.status}">{"".join(cells)}</tr>\n'


def _cell(content: str, key: str | float = "", kind: str = "") -> str:
    return f'<td class="{kind}" data-key="{escape(str(key))}">{content}</td>'


def _number(value: float | None, form: str) -> str:
    unknown = value is None or math.isnan(value)
    return _cell("" if unknown else format(value, form), -1 if unknown else value or 0.0, "number")


def _verdict(rating: Rating | None) -> str:
    if rating is None:
        return ""
    style = f"--l:{rating.on_light};--d:{rating.on_dark}" if rating.on_light else ""
    return f'<span class="rating" style="{style}">{rating.sign} {rating.word}</span>'


def _scan(one: Entry, folder: Path) -> str:
    name = escape(stem(one.input) or one.input)
    where = f"<small>{escape(str(Path(one.input).parent))}</small>"
    if one.status == "failed":
        return f"{name}<br>{where}"
    return f'<a href="{_link(Path(one.output), folder)}">{name}</a><br>{where}'


def _unusual(unusual: Sequence[Outlier]) -> str:
    words = []
    for one in unusual[:MOST_OUTLIERS]:
        z = "missing" if math.isinf(one.z) else f"{one.z:+.1f}"
        words.append(f"{escape(one.name)} <small>{z}, {one.mm3 / 1000:.1f} mL</small>")
    more = len(unusual) - MOST_OUTLIERS
    return "<br>".join([*words, *([f"<small>and {more} more</small>"] if more > 0 else [])])


def _remarks(one: Entry) -> str:
    parts = [f'<span class="bad">{escape(one.reason)}</span>'] if one.reason else []
    if one.attempts > 1:
        parts.append(f"<small>{one.attempts} attempts</small>")
    if one.warnings:
        count = "1 warning" if len(one.warnings) == 1 else f"{len(one.warnings)} warnings"
        parts.append(f"<details><summary>{count}</summary>{'<br>'.join(map(escape, one.warnings))}</details>")
    return "<br>".join(parts)


def _picture(one: Entry, folder: Path, inside: bool) -> str:
    """The small picture as a part of the page, or by its address; none of a scan that failed."""
    path = thumbnail_path(Path(one.output))
    if one.status == "failed" or not path.is_file():
        return ""
    source = _link(path, folder)
    if inside:
        source = f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return f'<img loading="lazy" alt="Slices of {escape(stem(one.input))} with its labels" src="{source}">'


def _link(path: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def facts(options: Mapping[str, Any], seconds: float, done: int) -> dict[str, str]:
    """What the page says of the run.

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
