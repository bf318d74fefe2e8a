"""A few sets of options that make sense together: to try a recipe, for a night, and as in the paper. No Qt here.

They are derived from a recipe's options: what it calls its steps, and whether it has a plan of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_synthseg.widgets.parts.option_fields import OptionField, option_fields

TRY_STEPS = 60
"""Steps in all of a first try: a few minutes on a processor, enough to see curves and a validation."""
NIGHT_SECONDS = 9 * 3600.0
SWITCHES = ("preset", "plan")
"""Options that choose between a quick way and the paper's."""
STEPS = "steps"


@dataclass(frozen=True)
class Preset:
    """Options that differ from the defaults.

    Attributes:
        name: on its button.
        tip: what it is for.
        values: of options; whatever they do not name has its default.
    """

    name: str
    tip: str
    values: Mapping[str, Any]


def presets(options: type, pace: Mapping[str, float] | None = None, stages: Mapping[str, int] | None = None):
    """The presets of a recipe.

    Args:
        options: its dataclass.
        pace: seconds a step of each stage, if they were measured: the night's steps follow from them.
        stages: steps of each stage as the options are now.
    """
    fields = {one.name: one for one in option_fields(options)}
    found = [
        Preset("Try it", f"Minutes: about {TRY_STEPS} steps in all, to see that everything works.", _trial(fields)),
        Preset("Overnight", *_night(fields, pace or {}, stages or {})),
    ]
    if paper := _paper(fields):
        found.append(Preset("As in the paper", "The published network and schedule: for a large GPU and days.", paper))
    return found


def step_fields(fields: Mapping[str, OptionField]) -> list[str]:
    """The options that say how long is trained: "steps", or one for each stage."""
    return [name for name, one in fields.items() if one.kind == "integer" and name.split("_")[0] == STEPS]


def _trial(fields: Mapping[str, OptionField]) -> dict[str, Any]:
    names = step_fields(fields)
    each = max(1, TRY_STEPS // max(1, len(names)))
    values: dict[str, Any] = dict.fromkeys(names, each)
    if "validate_every" in fields:
        values["validate_every"] = max(1, each // 3)
    if "teach_from" in fields:
        values["teach_from"] = each // 3
    return values


def _night(
    fields: Mapping[str, OptionField], pace: Mapping[str, float], stages: Mapping[str, int]
) -> tuple[str, dict[str, Any]]:
    seconds = sum(pace.get(stage, 0.0) * steps for stage, steps in stages.items())
    names = step_fields(fields)
    if not seconds or names != [STEPS]:
        return "The quick way of this program with its usual number of steps. Estimate says how long it takes.", {}
    total = sum(stages.values())
    steps = _rounded(total * NIGHT_SECONDS / seconds)
    return f"As many steps as fit into nine hours, as estimated: {steps:,}.", {STEPS: steps}


def _rounded(steps: float) -> int:
    """Two digits that count: 13,000 and not 13,214."""
    unit = 10 ** max(0, len(str(int(steps))) - 2)
    return max(1, int(steps // unit * unit))


def _paper(fields: Mapping[str, OptionField]) -> dict[str, Any]:
    return {name: "paper" for name in SWITCHES if name in fields and "paper" in fields[name].choices}


def matching(found: Sequence[Preset], changed: Mapping[str, Any]) -> str:
    """Name of the preset whose values are exactly what differs from the defaults; empty where there is none."""
    return next((one.name for one in found if dict(one.values) == dict(changed)), "")
