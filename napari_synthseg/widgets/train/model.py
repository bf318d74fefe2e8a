"""Qt-free model of the runs page: rows, figures and curves of a run, and their texts."""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.jobs import duration
from napari_synthseg.training import runs

ACTIVE_HERE = ("waiting", "starting", "running", "paused", "stopping")
"""Kinds of status in which a process of this machine holds the run."""
EVERY, SAMPLES = 25, 6
"""Steps between two samples at most, and samples that the shortest stage shows at least."""
GOOD_DICE = 0.5
"""Weights with a lower validation Dice are used only after asking."""
GRAY, BLUE, ORANGE = "#8a8f98", "#3f9bdc", "#d9822b"
LOOKS = {
    "new": ("·", GRAY), "waiting": ("…", GRAY), "starting": ("▸", BLUE), "running": ("▶", BLUE),
    "paused": ("❚❚", ORANGE), "stopping": ("▸", BLUE), "stopped": ("■", GRAY), "finished": ("✓", "#3fa35b"),
    "failed": ("!", "#d9534f"), "interrupted": ("⚠", ORANGE), "elsewhere": ("↗", GRAY),
}  # fmt: skip
"""Sign and color of a kind of status."""
FIGURES = {
    "lr": "Learning rate", "rate": "Learning rate", "score": "Score", "took": "Seconds a step", "memory": "Memory, GB",
    "validating": "Seconds a validation", "gradient": "Norm of the gradient",
}  # fmt: skip


def size(count: float | None) -> str:
    """Format bytes: "1.4 GB"; empty if unknown."""
    if not count:
        return ""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def pace(steps_per_second: float | None) -> str:
    """Format a speed: "3.2 steps/s", or "4.1 s/step" for slow steps."""
    if not steps_per_second:
        return ""
    return f"{steps_per_second:.3g} steps/s" if steps_per_second >= 1 else f"{1 / steps_per_second:.3g} s/step"


def moment(when: float | None) -> str:
    """Format a time of day, with the date unless it is today's."""
    if not when:
        return ""
    then = time.localtime(when)
    return time.strftime("%H:%M" if then[:3] == time.localtime()[:3] else "%d %b %H:%M", then)


def figure_label(name: str) -> str:
    return FIGURES.get(name, name.replace("_", " ").capitalize())


def score_word(recipe: str) -> str:
    return runs.RECIPES[recipe].score if recipe in runs.RECIPES else runs.Recipe.score


def fraction_done(state: runs.Status) -> float:
    if state.kind == "finished":
        return 1.0
    return min(1.0, state.done / state.total) if state.total else 0.0


def status_line(state: runs.Status, titles: Mapping[str, str], recipe: str, dice: float | None) -> str:
    """Return the line below a run's name: time left, activity or state, then Dice, start and recipe."""
    left = duration(state.seconds_left) if state.kind == "running" and not state.message else ""
    now = state.message.rstrip(".") if state.kind in ("starting", "running") else ""
    parts = [
        f"{left} left" if left else now or state.kind,
        f"{score_word(recipe)} {dice:.3f}" if dice is not None else "",
        f"since {moment(state.started)}" if state.kind in ACTIVE_HERE and state.started else moment(state.started),
        titles.get(recipe, recipe),
    ]
    return " · ".join(part for part in parts if part)


def sample_interval(stages: Mapping[str, int]) -> int:
    """Return the steps between two samples that suit the shortest stage."""
    return max(1, min([EVERY, *(steps // SAMPLES for steps in stages.values())]))


def doubts_about(run: Path) -> str:
    """Return why the weights of a run may be of little use, as a sentence; empty if nothing is known against them."""
    status = runs.status(run)
    score = runs.best_score(run)
    steps = f"{status.done:,} of {status.total:,} steps"
    if score is None:
        return "" if status.kind == "finished" else f"The run has done {steps} and was never validated."
    if score_word(runs.recipe_of(run) or "") != "Dice" or score >= GOOD_DICE:
        return ""
    return f"They reach a Dice of {score:.2f} after {steps}: most structures will be wrong."


# Figures of runs

SMOOTH = 0.02
"""Fraction of a curve over which it is smoothed."""
Series = tuple[np.ndarray, np.ndarray]
"""Steps and values."""


@dataclass(frozen=True)
class Listed:
    run: Path
    recipe: str
    state: Any
    dice: float | None


@dataclass(frozen=True)
class Detail:
    """Figures of the run that is followed."""

    run: Path
    stages: dict[str, int]
    """Steps of each stage, in order."""
    series: dict[str, dict[str, Series]]
    """By stage and figure."""
    figures: dict[str, float]
    """The newest of each figure."""
    dice: dict[str, float]
    """The newest of each structure."""
    validations: int
    """Changes with every validation that is added or dropped."""
    history: dict[str, Series] = field(default_factory=dict)
    """Dice by structure, with steps counted over all stages."""

    def offset(self, stage: str) -> int:
        names = list(self.stages)
        return sum(self.stages[one] for one in names[: names.index(stage)]) if stage in names else 0

    def curves(self, figure: str) -> dict[str, Series]:
        """Return a figure by stage, with steps counted over all stages."""
        found = {stage: one[figure] for stage, one in self.series.items() if figure in one and len(one[figure][0])}
        return {stage: (x + self.offset(stage), y) for stage, (x, y) in found.items()}

    def score_text(self) -> str:
        scores = self.curves("score")
        if not scores:
            return ""
        values = list(scores.values())[-1][1]
        newest, best = float(values[-1]), float(values.max())
        return f"{newest:.3f}" if newest >= best else f"{newest:.3f} (best {best:.3f})"


def detail_of(run: Path, config: Any, follower: Any, before: Detail | None = None) -> Detail:
    """Copy the figures of a follower; the histories of before stay if no validation was added."""
    series = {
        stage: {name: _series(curves, name) for name in curves.names} for stage, curves in follower.curves.items()
    }
    detail = Detail(run, dict(config.stages), series, dict(follower.figures), follower.dice, follower.validations)
    if before is not None and before.validations == detail.validations:
        return replace(detail, history=before.history)
    return replace(detail, history=_histories(detail, follower.dice_history))


def _histories(detail: Detail, validations: list[tuple[str, int, dict[str, float]]]) -> dict[str, Series]:
    """Return the Dice of each structure over the steps of all stages, which no line joins."""
    places: dict[str, list[tuple[float, float]]] = {}
    before = None
    for stage, step, dice in validations:
        for name, value in dice.items():
            known = places.setdefault(name, [])
            if known and stage != before:
                known.append((known[-1][0], np.nan))
            known.append((detail.offset(stage) + step, value))
        before = stage
    return {name: (np.array([p for p, _ in one]), np.array([v for _, v in one])) for name, one in places.items()}


def _series(curves: Any, name: str) -> Series:
    steps, values = curves.series(name)
    return steps, values / 1e9 if name == "memory" else values


def last_score(run: Path) -> float | None:
    """Find the score of a run's last validation from the end of its events, without reading them all."""
    try:
        with (run / runs.EVENTS).open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as text:
            place = text.rfind(b'"score": ')
            line = text[text.rfind(b"\n", 0, place) + 1 : text.find(b"\n", place)] if place >= 0 else b""
            return float(json.loads(line)["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def smoothed(values: np.ndarray, fraction: float = SMOOTH) -> np.ndarray:
    """Return the running mean over a fraction of the values, shorter at both ends."""
    half = int(len(values) * fraction / 2)
    if half < 1:
        return values
    finite = np.where(np.isfinite(values), values, 0.0)
    total = np.concatenate([[0.0], np.cumsum(finite)])
    count = np.concatenate([[0], np.cumsum(np.isfinite(values))])
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return (total[high] - total[low]) / np.maximum(count[high] - count[low], 1)
