"""Options as JSON and back, so that another process can take up a run."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from napari_synthseg.errors import InputError

Options = TypeVar("Options")


def options_to_json(options: Any) -> dict[str, Any]:
    """Options as plain values; paths are made absolute, for a run may be resumed from anywhere."""
    return {name: _plain(value) for name, value in asdict(options).items()}


def options_from_json(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Options from plain values; what is left out has its default.

    Raises:
        InputError: a value has no such option, is missing, or is out of range.
    """
    hints = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise InputError(f"There is no option {unknown[0]!r}: it was written by another version of this program.")
    try:
        return kind(**{name: _typed(value, hints[name]) for name, value in values.items()})
    except TypeError as error:
        raise InputError(f"The options of the run cannot be used: {error}.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.expanduser().absolute())
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _typed(value: Any, hint: Any) -> Any:
    """A plain value as its annotation wants it: paths, tuples and floats."""
    kinds = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [k for k in typing.get_args(hint) if k is not type(None)]
    if value is None:
        return None
    for kind in kinds:
        if kind is Path:
            return Path(value)
        if kind is float and isinstance(value, int):
            return float(value)
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            inner = typing.get_args(kind)
            each = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
            return tuple(_typed(v, k) for v, k in zip(value, each, strict=False))
    return value
