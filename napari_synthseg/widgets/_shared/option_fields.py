"""What a form must know of the fields of an options dataclass, read from the dataclass itself. No Qt here.

Types come from the annotations, defaults from the fields, and what each is for from the docstring below it, which may
also give a range: "64-256 mm", "1 or more", "counted from 0".
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal

KINDS: Mapping[type, str] = {bool: "flag", int: "integer", float: "number", str: "text", Path: "path"}
UNITS = {"mm": "mm", "minutes": "min", "seconds": "s"}
"""Ends of a field's name that say its unit."""

NUMBER = r"(-?\d+(?:\.\d+)?)"
RANGE = re.compile(NUMBER + r"\s?(?:-|to)\s?" + NUMBER + r"(?:\s(mm|ml|s|min|%))?(?![\w-])")
LEAST = re.compile(NUMBER + r"(?:\s(mm|ml|s|min|%))? or more|counted from " + NUMBER)


@dataclass(frozen=True)
class OptionField:
    """One field of an options dataclass.

    Attributes:
        name: of the field.
        kind: flag, choice, integer, number, text, path, or tuple.
        default: its value where nothing is chosen; `dataclasses.MISSING` for a field that must be given.
        optional: whether None is a value.
        doc: the docstring below the field.
        choices: values of a choice.
        items: kinds of the items of a tuple of fixed length; a single one for a tuple of any length.
        fixed: whether a tuple's length is fixed.
        low: smallest number, where the docstring or the metadata says so.
        high: largest number.
        unit: of a number.
    """

    name: str
    kind: str
    default: Any
    optional: bool
    doc: str
    choices: tuple[Any, ...] = ()
    items: tuple[str, ...] = ()
    fixed: bool = False
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING

    @property
    def text(self) -> str:
        """The name as a label: without underscores and without its unit."""
        words = self.name.split("_")
        if len(words) > 1 and words[-1] in UNITS:
            words.pop()
        return " ".join(words).capitalize()


def option_fields(options: type) -> list[OptionField]:
    """The fields of an options dataclass, in their order.

    Raises:
        TypeError: a field has a type that no control exists for.
    """
    docs, hints = field_docs(options), typing.get_type_hints(options)
    return [_field(one, hints[one.name], docs.get(one.name, "")) for one in fields(options) if one.init]


def field_docs(options: type) -> dict[str, str]:
    """The string below each field in the source of a class and of those it inherits from."""
    docs: dict[str, str] = {}
    for cls in reversed(options.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        statements = getattr(body, "body", [])
        for one, after in zip(statements, statements[1:], strict=False):
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(after, ast.Expr):
                text = ast.literal_eval(after.value) if isinstance(after.value, ast.Constant) else None
                if isinstance(text, str):
                    docs[one.target.id] = " ".join(text.split())
    return docs


def _field(field: Any, hint: Any, doc: str) -> OptionField:
    hint, optional = _without_none(hint)
    default = field.default if field.default_factory is MISSING else field.default_factory()
    low, high, unit = _limits(doc)
    low, high = field.metadata.get("low", low), field.metadata.get("high", high)
    unit = field.metadata.get("unit", unit) or UNITS.get(field.name.rpartition("_")[2], "")
    common = {"name": field.name, "default": default, "optional": optional, "doc": doc}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return OptionField(kind="choice", choices=inner, **common)
    if origin is tuple:
        fixed = Ellipsis not in inner
        items = tuple(KINDS[one] for one in inner if one is not Ellipsis)
        return OptionField(kind="tuple", items=items, fixed=fixed, **common)
    if hint not in KINDS:
        raise TypeError(f"There is no control for the field {field.name!r} of type {hint}.")
    if KINDS[hint] in ("integer", "number"):
        return OptionField(kind=KINDS[hint], low=low, high=high, unit=unit, **common)
    return OptionField(kind=KINDS[hint], **common)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    others = [one for one in typing.get_args(hint) if one is not type(None)]
    return (others[0], True) if len(others) == 1 else (hint, True)


def _limits(doc: str) -> tuple[float | None, float | None, str]:
    """Lowest and highest value and unit that a docstring names."""
    if found := RANGE.search(doc):
        return float(found[1]), float(found[2]), found[3] or ""
    if found := LEAST.search(doc):
        return float(found[1] or found[3]), None, found[2] or ""
    return None, None, ""
