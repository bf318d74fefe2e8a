"""What records of every generative model can do: become plain numbers, and come back. No torch here."""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields
from typing import Any, Self


class Plain:
    """A frozen dataclass of numbers, strings and tuples of them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; what has a default may be missing, as in files of earlier versions.

        Raises:
            KeyError: a field without a default is missing.
        """
        known = [f for f in fields(cls) if f.name in data or f.default is MISSING]  # type: ignore[arg-type]
        plain = {f.name: data[f.name] for f in known}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()})
