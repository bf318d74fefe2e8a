"""Errors meant for users: one sentence that says what is wrong with which file, and what to do."""

from __future__ import annotations

import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class InputError(ValueError):
    """Something given by the user cannot be used; the message is one sentence fit to be shown as it is."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*(printable(one) if isinstance(one, str) else one for one in arguments))


def printable(text: str) -> str:
    """Return a text that any terminal shows: names of files may hold control sequences, and bytes that are no UTF-8."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def in_a_sentence(error: BaseException) -> str:
    """Return an error's message in one line, with its kind unless it is a `ValueError` (which is written for users)."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
