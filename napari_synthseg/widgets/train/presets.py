"""A few sets of options that make sense together: to try a recipe, for a night, and as in the paper. No Qt here.

They are derived from a recipe's options: what it calls its steps, and which option chooses what the paper has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from napari_synthseg.fields import Field, fields_of

TRY, NIGHT, PAPER = "Try it", "Overnight", "Paper"
TRY_STEPS = 60
"""Steps in all of a first try: a few minutes on a processor, enough to see curves and a validation."""
NIGHT_SECONDS = 9 * 3600.0
SWITCHES = ("preset", "plan", "size")
"""Options that choose between a quick way and the paper's; the first one that there is counts."""
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


def presets(options: type) -> list[Preset]:
    """The presets of a recipe; how many steps fit into a night has to be measured (see `scaled`).

    Args:
        options: its dataclass.
    """
    fields = {one.name: one for one in fields_of(options)}
    quick, paper = _ways(fields)
    found = [
        Preset(TRY, f"Minutes: about {TRY_STEPS} steps in all, to see that everything works.", quick | _trial(fields)),
        Preset(NIGHT, "As many steps as fit into nine hours here; a few are tried first, to know.", quick),
    ]
    if paper is not None:
        found.append(Preset(PAPER, "The published network and schedule: for a large GPU and days.", paper))
    return found


def step_fields(options: type) -> list[str]:
    """The options that say how long is trained: "steps", or one for each stage."""
    return [one.name for one in fields_of(options) if _says_steps(one)]


def usual_steps(options: Any, stages: Callable[[Any], Mapping[str, int]]) -> dict[str, int]:
    """How many steps are trained where an option that may say so does not.

    Args:
        options: of a run; what they ask for themselves does not matter.
        stages: of the recipe.
    """
    names = [one.name for one in fields_of(type(options)) if _says_steps(one) and one.optional]
    usual = stages(replace(options, **dict.fromkeys(names)))
    return {name: _steps_of(name, usual) for name in names}


def scaled(options: Any, stages: Mapping[str, int], steps: int) -> dict[str, int]:
    """The options that ask for so many steps in all, in the same proportions as now.

    Args:
        options: of a run.
        stages: steps of each of its stages.
        steps: in all.
    """
    names, total = step_fields(type(options)), sum(stages.values())
    if len(names) < 2:
        return dict.fromkeys(names, steps)
    own = {name: getattr(options, name) or _steps_of(name, stages) for name in names}
    return {name: max(1, round(value * steps / total)) for name, value in own.items() if value}


def night_steps(seconds: float, steps: int) -> int:
    """How many steps fit into a night, as two digits that count: 13,000 and not 13,214.

    Args:
        seconds: that `steps` take, validations included.
        steps: see there.
    """
    fit = steps * NIGHT_SECONDS / max(seconds, 1e-9)
    unit = 10 ** max(0, len(str(int(fit))) - 2)
    return max(1, int(fit // unit * unit))


def matching(found: Sequence[Preset], changed: Mapping[str, Any]) -> str:
    """Name of the preset whose values are exactly what differs from the defaults; empty where there is none."""
    return next((one.name for one in found if dict(one.values) == dict(changed)), "")


def _ways(fields: Mapping[str, Field]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What makes a recipe quick, and what makes it the paper's (None: it has no such way), where that is no default."""
    name = next((one for one in SWITCHES if one in fields and "paper" in fields[one].choices), None)
    if name is None or (name == "size" and "network" not in fields):  # of fine-tuning, size concerns few networks
        return {}, None
    quick = next(value for value in fields[name].choices if value != "paper")
    default = fields[name].default
    return ({name: quick} if default != quick else {}), ({name: "paper"} if default != "paper" else {})


def _trial(fields: Mapping[str, Field]) -> dict[str, Any]:
    names = [name for name, one in fields.items() if _says_steps(one)]
    each = max(1, TRY_STEPS // max(1, len(names)))
    values: dict[str, Any] = dict.fromkeys(names, each)
    if "validate_every" in fields:
        values["validate_every"] = max(1, each // 3)
    if "teach_from" in fields:
        values["teach_from"] = each // 3
    return values


def _says_steps(field: Field) -> bool:
    return field.kind == "integer" and field.name.split("_")[0] == STEPS


def _steps_of(name: str, stages: Mapping[str, int]) -> int:
    """Steps of the stages that "steps_s1" stands for: all whose names begin with "s1"; "steps" stands for all."""
    word = name.partition("_")[2]
    return sum(steps for stage, steps in stages.items() if stage.startswith(word))
