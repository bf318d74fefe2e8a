"""Priors as settings, `name=value`, and back: what the command line takes and what a recipe prints. No torch here.

Values: `15` or `-15,15`; `none` for an optional range or a random slice direction; for the priors that hold a pair for
every class `mean:deviation,mean:deviation,...`, with `none` for a class that keeps its uniform prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.prior_table import degradation_rows, rows
from napari_synthseg.generator.priors import PRESETS, Priors, preset
from napari_synthseg.generator.shapes.priors import SHAPE_PRESETS, ShapePriors
from napari_synthseg.generator.shapes.table import shape_rows

AnyPriors = TypeVar("AnyPriors", Priors, DegradationPriors, ShapePriors)

BY_CLASS = ("class_means", "class_stds")


def changed(priors: AnyPriors, settings: Sequence[str]) -> AnyPriors:
    """Priors with some replaced.

    Args:
        priors: to start from.
        settings: "name=value" each.

    Raises:
        InputError: if a prior is unknown or its value is not of its kind.
    """
    kinds = _kinds(priors)
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in kinds or not text:
            raise InputError(f"{setting!r} sets no prior: write name=value with one of {', '.join(sorted(kinds))}.")
        values[name] = _parsed(name, kinds[name], text.strip())
    return replace(priors, **values)


def differences(priors: AnyPriors, base: AnyPriors) -> list[str]:
    """The settings that turn `base` into `priors`: `changed(base, differences(priors, base)) == priors`."""
    names = (f.name for f in fields(priors))
    return [f"{n}={_text(getattr(priors, n))}" for n in names if getattr(priors, n) != getattr(base, n)]


def describe_presets() -> str:
    """One line for each preset: its name and how it differs from the paper's; those of the scenes follow."""
    lines = []
    for name, priors in PRESETS.items():
        what = " ".join(differences(priors, Priors())) or "the same priors"
        lines.append(f"{name:20} {what if priors != Priors() or name != 'synthseg' else 'Table S1 of the paper'}")
    for name, shapes in SHAPE_PRESETS.items():
        what = " ".join(differences(shapes, ShapePriors())) or "both modules, every modality"
        lines.append(f"{name:20} (synthesize-shapes) {what}")
    return "\n".join(lines)


def describe_preset(name: str) -> str:
    """One line for each prior of a preset: its setting, and what it is.

    Raises:
        InputError: there is no such preset.
    """
    table, priors = (shape_rows(), SHAPE_PRESETS[name]) if name in SHAPE_PRESETS else (rows(), preset(name))
    lines = [(f"{row.name}={_text(getattr(priors, row.name))}", row) for row in table]
    width = max(len(setting) for setting, _ in lines)
    facts = [", ".join(part for part in (row.label, row.symbol, row.unit) if part) for _, row in lines]
    return "\n".join(f"{s:{width}}  {fact}" for (s, _), fact in zip(lines, facts, strict=True))


def _kinds(priors: Priors | DegradationPriors | ShapePriors) -> dict[str, str]:
    """What kind of value each prior holds."""
    if isinstance(priors, ShapePriors):
        return {row.name: row.kind for row in shape_rows()}
    if isinstance(priors, DegradationPriors):
        return {row.name: row.kind for row in degradation_rows()}
    return {**{row.name: row.kind for row in rows()}, **dict.fromkeys(BY_CLASS, "by class")}


def _parsed(name: str, kind: str, text: str) -> Any:
    if text.lower() == "none" and kind in ("optional range", "direction", "by class"):
        return None
    if kind == "by class":
        return tuple(_pair(name, part) for part in text.split(","))
    numbers = [_number(name, part, text) for part in text.split(",")]
    pair = "range" in kind
    if len(numbers) != (2 if pair else 1):
        raise InputError(f"The prior {name} takes {'two numbers, low,high' if pair else 'one number'}, not {text!r}.")
    if pair:
        return tuple(numbers)
    if kind in ("count", "direction"):
        if not numbers[0].is_integer():
            raise InputError(f"The prior {name} takes a whole number, not {text!r}.")
        return int(numbers[0])
    return numbers[0]


def _pair(name: str, text: str) -> tuple[float, float] | None:
    if text.lower() == "none":
        return None
    numbers = [_number(name, part, text) for part in text.split(":")]
    if len(numbers) != 2:
        raise InputError(f"The prior {name} takes a pair for every class, mean:deviation,..., not {text!r}.")
    return numbers[0], numbers[1]


def _number(name: str, part: str, text: str) -> float:
    try:
        return float(part)
    except ValueError as error:
        raise InputError(f"The prior {name} takes numbers, not {text!r}: write {name}=1 or {name}=0,2.") from error


def _text(value: Any) -> str:
    """A value as it stands in a setting; every number comes back the same."""
    if value is None:
        return "none"
    if not isinstance(value, tuple):
        return repr(float(value)).removesuffix(".0")
    if value and not isinstance(value[0], (int, float)) or any(isinstance(v, tuple) for v in value):
        return ",".join("none" if pair is None else ":".join(_text(v) for v in pair) for pair in value)
    return ",".join(_text(v) for v in value)
