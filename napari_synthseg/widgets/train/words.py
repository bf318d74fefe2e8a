"""How runs are put into words: durations, sizes, signs of states, the two lines of a row. No Qt here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_synthseg.widgets._shared.words import duration

if TYPE_CHECKING:
    from napari_synthseg.training.runs import Status

GOING = ("waiting", "starting", "running", "paused", "stopping")
"""Kinds of states in which a process holds the run."""
STARTABLE = ("new", "stopped", "interrupted", "failed")
SIGNS = {
    "new": "·", "waiting": "…", "starting": "▸", "running": "▶", "paused": "❚❚", "stopping": "▸", "stopped": "■",
    "finished": "✓", "failed": "!", "interrupted": "⚠", "elsewhere": "↗",
}  # fmt: skip
COLORS = {
    "running": "#3f9bdc", "starting": "#3f9bdc", "stopping": "#3f9bdc", "waiting": "#8a8f98", "paused": "#d9a520",
    "stopped": "#8a8f98", "finished": "#3fa35b", "failed": "#d9534f", "interrupted": "#d9822b", "new": "#8a8f98",
    "elsewhere": "#8a8f98",
}  # fmt: skip


def size(count: float | None) -> str:
    """Bytes: "1.4 GB"; empty where they are not known."""
    if not count:
        return ""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def pace(steps_per_second: float | None) -> str:
    """Speed: "3.2 steps/s", or "4.1 s/step" where steps are slow."""
    if not steps_per_second:
        return ""
    return f"{steps_per_second:.3g} steps/s" if steps_per_second >= 1 else f"{1 / steps_per_second:.3g} s/step"


def moment(when: float | None, now: float | None = None) -> str:
    """A time of day, with the day where it is not today's."""
    if not when:
        return ""
    then, today = time.localtime(when), time.localtime(now if now is not None else time.time())
    same = then[:3] == today[:3]
    return time.strftime("%H:%M" if same else "%d %b %H:%M", then)


FIGURES = {
    "lr": "Learning rate", "rate": "Learning rate", "score": "Score", "took": "Seconds a step", "memory": "Memory, GB",
    "validating": "Seconds a validation", "gradient": "Norm of the gradient",
}  # fmt: skip


def plain(name: str) -> str:
    """A figure's name as people read it."""
    return FIGURES.get(name, name.replace("_", " ").capitalize())


def score_word(recipe: str) -> str:
    """What a recipe's score is: a Dice, but where nothing is segmented."""
    return "Score" if recipe == "pretrain" else "Dice"


def share(state: Status) -> float:
    """How much of a run is done, 0 to 1."""
    if state.kind == "finished":
        return 1.0
    return min(1.0, state.done / state.total) if state.total else 0.0


def status_line(state: Status, titles: Mapping[str, str], recipe: str, dice: float | None) -> str:
    """What stands below a run's name: time left or state, Dice, start, recipe."""
    left = duration(state.seconds_left) if state.kind == "running" else ""
    parts = [
        f"{left} left" if left else state.kind,
        f"{score_word(recipe)} {dice:.3f}" if dice is not None else "",
        f"since {moment(state.started)}" if state.kind in GOING and state.started else moment(state.started),
        titles.get(recipe, recipe),
    ]
    return " · ".join(part for part in parts if part)


def run_name(run: Path) -> str:
    """How a run is called: as its folder."""
    return run.name


def file_name(text: str) -> str:
    """A text as a part of a file name."""
    kept = "".join(c if c.isalnum() or c in "-.+" else "_" for c in text).strip("_.")
    return kept or "layer"
