"""Declare a parameter once: an annotated dataclass field from which everything else is derived.

A parameter is one field of a frozen dataclass, annotated with an `Info`, with a one-line docstring below it:

    >>> from dataclasses import dataclass
    >>> from typing import Annotated
    >>> from napari_synthseg.fields import Info, check
    >>> @dataclass(frozen=True)
    ... class Blur:
    ...     width: Annotated[float, Info(unit="mm", symbol="sigma", low=0, high=12)] = 1.0
    ...     def __post_init__(self) -> None:
    ...         check(self)
    >>> Blur(width=20.0)
    Traceback (most recent call last):
    napari_synthseg.errors.InputError: The option width must lie between 0 and 12 mm, not 20.

Checks, JSON, command line, Python text and the forms of the window are generic functions of these declarations.
No torch and no Qt here.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import shlex
import sys
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from napari_synthseg.errors import InputError

Options = TypeVar("Options")
Range = tuple[float, float]
"""Lower and upper bound; a field of this type is of the kind "range"."""
Kind = Literal["flag", "integer", "number", "text", "path", "choice", "range", "tuple", "other"]
KINDS: Mapping[Any, Kind] = {bool: "flag", int: "integer", float: "number", str: "text", Path: "path"}
UNITS = {"mm": "mm", "mm3": "mm³", "ml": "mL", "deg": "degrees", "minutes": "min", "seconds": "s"}
"""Units told by the last part of a field's name."""


@dataclass(frozen=True)
class Info:
    """What annotates a parameter. Several of one field are merged, the outer ones winning.

    Attributes:
        unit: of its numbers; by default that which ends the field's name (`UNITS`).
        symbol: in the source paper.
        equation: where it is defined, such as "eq. 20" or "SynthSeg+, Table S1".
        low, high: smallest and largest value allowed, both included.
        above, below: the value must be larger, or smaller, than this.
        slider: smallest and largest value that a control offers, where narrower than what is allowed.
        step: one click of a control.
        label: text beside a control; by default the field's name in words.
        group: heading under which a form shows the field.
        path: what a path leads to.
        data: what lies in a folder of data: label maps, scans, or scans with their labels.
        texts: for a choice, value to text; values not in it are shown as they are.
        start: value shown when an optional field is switched on.
        hidden: shown on no form.
        aliases: further names on the command line, such as "--set".
    """

    unit: str | None = None
    symbol: str | None = None
    equation: str | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    slider: tuple[float, float] | None = None
    step: float | None = None
    label: str | None = None
    group: str | None = None
    path: Literal["file", "folder"] | None = None
    data: Literal["labels", "scans", "pairs"] | None = None
    texts: Mapping[Any, str] | None = None
    start: Any = None
    hidden: bool | None = None
    aliases: tuple[str, ...] | None = None

    def updated(self, other: Info) -> Info:
        """This with everything that the other one sets."""
        given = {f.name: getattr(other, f.name) for f in fields(other) if getattr(other, f.name) is not None}
        return Info(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **given})


Probability = Annotated[float, Info(low=0, high=1, step=0.05, unit="probability")]
Fraction = Annotated[float, Info(low=0, high=1, step=0.05)]
Positive = Annotated[float, Info(above=0)]
PositiveInt = Annotated[int, Info(low=1)]
NonNegative = Annotated[float, Info(low=0)]
NonNegativeInt = Annotated[int, Info(low=0)]
Folder = Annotated[Path, Info(path="folder")]
File = Annotated[Path, Info(path="file")]
PriorSettings = Annotated[tuple[str, ...], Info(label="Changed priors")]
"""Priors to change, as name=value each; see `generator.presets`."""
LabelMaps = Annotated[Path, Info(path="folder", data="labels")]
Scans = Annotated[Path, Info(path="folder", data="scans")]
LabelledScans = Annotated[Path, Info(path="folder", data="pairs")]


@dataclass(frozen=True)
class Field:
    """One parameter of a dataclass, as checks, command line, forms and tables see it.

    Attributes:
        name: of the field.
        kind: what sort of value it takes; "other" for what only code can set.
        default: `dataclasses.MISSING` if it has to be given.
        optional: whether None is a value.
        doc: its docstring.
        choices: values of a choice.
        items: kinds of a tuple's items; a single one for a tuple of any length.
        fixed: whether a tuple's length is fixed.
        info: its annotation.
    """

    name: str
    kind: Kind
    default: Any
    optional: bool
    doc: str
    choices: tuple[Any, ...] = ()
    items: tuple[Kind, ...] = ()
    fixed: bool = False
    info: Info = Info()

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING

    @property
    def unit(self) -> str:
        """Unit of its numbers, or an empty text."""
        return UNITS.get(self.name.rpartition("_")[2], "") if self.info.unit is None else self.info.unit

    @property
    def label(self) -> str:
        """Text beside a control: the name in words, without its unit."""
        if self.info.label is not None:
            return self.info.label
        words = self.name.split("_")
        if len(words) > 1 and words[-1] in UNITS:
            words.pop()
        return " ".join(words).capitalize()

    @property
    def limits(self) -> str:
        """Allowed values in words, such as "1 to 12 mm" or "at least 1"; empty if all are allowed."""
        info = self.info
        if info.low is not None and info.high is not None:
            text = f"{_short(info.low)} to {_short(info.high)}"
        else:
            words = {"at least": info.low, "above": info.above, "at most": info.high, "below": info.below}
            text = ", ".join(f"{word} {_short(value)}" for word, value in words.items() if value is not None)
        return f"{text} {self.unit}" if text and self.unit not in ("", "probability") else text

    @property
    def facts(self) -> str:
        """Symbol, unit or limits, and source, joined by commas."""
        numbers = self.limits or self.unit
        return ", ".join(fact for fact in (self.info.symbol, numbers, self.info.equation) if fact)

    @property
    def tip(self) -> str:
        """Docstring, and the facts on a line of their own."""
        return f"{self.doc}\n{self.facts}" if self.facts else self.doc

    @property
    def help(self) -> str:
        """Docstring, followed by the facts in brackets."""
        return f"{self.doc} [{self.facts}]" if self.facts else self.doc


def fields_of(options: type) -> tuple[Field, ...]:
    """Describe the fields of an options dataclass, in their order."""
    return _fields_of(options)


@functools.cache
def _fields_of(options: Any) -> tuple[Field, ...]:
    docs, hints = field_docs(options), typing.get_type_hints(options, include_extras=True)
    return tuple(_field(f, hints[f.name], docs.get(f.name, "")) for f in fields(options) if f.init)  # type: ignore[arg-type]


def field_docs(options: type) -> dict[str, str]:
    """Return the docstring below each field of a class and of those it inherits from, by the field's name."""
    docs: dict[str, str] = {}
    for cls in reversed(options.__mro__[:-1]):
        try:
            if "." in cls.__qualname__:
                made: Any = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
            else:
                made = _classes(cls.__module__)[cls.__name__]
        except (OSError, TypeError, KeyError):  # made by code
            continue
        for one, after in zip(made.body, made.body[1:], strict=False):
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(after, ast.Expr):
                text = ast.literal_eval(after.value) if isinstance(after.value, ast.Constant) else None
                if isinstance(text, str):
                    docs[one.target.id] = " ".join(text.split())
    return docs


@functools.cache
def _classes(module: str) -> dict[str, ast.stmt]:
    source = inspect.getsource(sys.modules[module])  # parsed once: a form of steps opens in two thirds of the time
    return {one.name: one for one in ast.parse(source).body if isinstance(one, ast.ClassDef)}


def check(options: Any, noun: str = "option") -> None:
    """Check the values of a dataclass against its annotations; call it in `__post_init__`.

    Raises:
        InputError: a value is not allowed; the sentence begins with `noun` and name, and gives the limits.
    """
    for field in fields_of(type(options)):
        value = getattr(options, field.name)
        if value is None and field.optional:
            continue
        name = f"The {noun} {field.name}"
        if field.kind == "choice" and value not in field.choices:
            raise InputError(f"{name} cannot be {value!r}: choose {_alternatives(field.choices)}.")
        numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
        if field.kind == "tuple" and field.fixed and len(field.items) != len(numbers):
            raise InputError(f"{name} takes {len(field.items)} values, not {len(numbers)}.")
        if field.kind in ("integer", "number", "range", "tuple"):
            for number in numbers:
                _check_number(name, number, field)
        if field.kind == "range" and (len(numbers) != 2 or numbers[0] > numbers[1]):
            raise InputError(f"{name} is a range: give a lower bound and an upper bound at least as large.")


def _check_number(name: str, number: Any, field: Field) -> None:
    info = field.info
    if isinstance(number, bool) or not isinstance(number, Real):
        if field.kind == "tuple":
            return
        raise InputError(f"{name} must be a number, not {number!r}.")
    number = float(number)
    if not math.isfinite(number):
        raise InputError(f"{name} must be finite, not {number}.")
    too_low = (info.low is not None and number < info.low) or (info.above is not None and number <= info.above)
    too_high = (info.high is not None and number > info.high) or (info.below is not None and number >= info.below)
    if too_low or too_high:
        limits = field.limits.replace(" to ", " and ")
        verb = "lie between" if info.low is not None and info.high is not None else "be"
        raise InputError(f"{name} must {verb} {limits}, not {_short(number)}.")


def changed(options: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults, by name; those without a default always do."""
    found = {f: getattr(options, f.name) for f in fields_of(type(options))}
    return {f.name: value for f, value in found.items() if f.required or value != f.default}


def python_text(options: Any) -> str:
    """Return the call that makes these options, such as `SegmentOptions(fast=True)`."""
    inner = ", ".join(f"{name}={_python_value(value)}" for name, value in changed(options).items())
    return f"{type(options).__name__}({inner})"


def command_text(options: Any, leave_out: Sequence[str] = ()) -> str:
    """Return the arguments of the command line that make these options, such as `--fast --block-mm 96`.

    Args:
        options: the instance.
        leave_out: names of fields that are given elsewhere.
    """
    words: list[str] = []
    for name, value in changed(options).items():
        if name in leave_out or value is None:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            items = value if isinstance(value, (tuple, list)) else (value,)
            words += [f"--{flag}", *(f"{v:g}" if isinstance(v, float) else str(v) for v in items)]
    return shlex.join(words)


def to_json(options: Any) -> dict[str, Any]:
    """Return options as plain values; paths become absolute, so that another process can use them from anywhere."""
    return {f.name: _plain(getattr(options, f.name)) for f in fields(options)}


def from_json(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Make options from plain values; what is left out has its default.

    Raises:
        InputError: a value belongs to no field, is missing, of a wrong type, or not allowed.
    """
    hints = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind) if f.init}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise InputError(f"There is no option {unknown[0]!r}: it was written by another version of this program.")
    try:
        return kind(**{name: _typed(value, hints[name]) for name, value in values.items()})
    except (TypeError, AttributeError) as error:
        raise InputError(f"The options of {kind.__name__} cannot be read: {error}.") from error


def _field(field: Any, hint: Any, doc: str) -> Field:
    info, hint, optional = _unwrapped(hint)
    default = field.default if field.default_factory is MISSING else field.default_factory()
    common: dict[str, Any] = {"name": field.name, "default": default, "optional": optional, "doc": doc, "info": info}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return Field(kind="choice", choices=inner, **common)
    if hint == Range:
        return Field(kind="range", items=("number", "number"), fixed=True, **common)
    if hint in KINDS:
        return Field(kind=KINDS[hint], **common)
    if origin is tuple and all(one in KINDS for one in inner if one is not Ellipsis):
        items = tuple(KINDS[one] for one in inner if one is not Ellipsis)
        return Field(kind="tuple", items=items, fixed=Ellipsis not in inner, **common)
    return Field(kind="other", **common)


def _unwrapped(hint: Any) -> tuple[Info, Any, bool]:
    """Take annotations and None off a type; inner annotations first, so that outer ones win."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        info, bare, optional = _unwrapped(inner[0])
        for one in inner[1:]:
            info = info.updated(one) if isinstance(one, Info) else info
        return info, bare, optional
    if origin in (types.UnionType, typing.Union):
        others = [one for one in inner if one is not type(None)]
        if len(others) == 1:
            info, bare, _ = _unwrapped(others[0])
            return info, bare, len(others) < len(inner)
        return Info(), hint, len(others) < len(inner)
    return Info(), hint, False


def _short(number: float) -> str:
    """Return a number as a person writes it: whole ones with all their digits."""
    return f"{number:.0f}" if number == round(number) and abs(number) < 1e12 else f"{number:g}"


def _alternatives(values: Sequence[Any]) -> str:
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _python_value(value: Any) -> str:
    if isinstance(value, tuple) and any(isinstance(v, Path) for v in value):
        return repr(tuple(str(v) for v in value))
    return repr(str(value)) if isinstance(value, Path) else repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.expanduser().absolute())
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _typed(value: Any, hint: Any) -> Any:
    """Convert a plain value to its annotation: paths, tuples, floats, nested dataclasses."""
    kinds = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [k for k in typing.get_args(hint) if k is not type(None)]
    if value is None:
        return None
    for kind in kinds:
        if kind is Path:
            return Path(value)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
            return from_json(kind, value)
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            inner = typing.get_args(kind)
            each = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
            return tuple(_typed(v, k) for v, k in zip(value, each, strict=False))
    return value
