"""Errors meant for users: one sentence that says what is wrong with which file, and what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Something given by the user cannot be used; the message is one sentence fit to be shown as it is."""


def in_a_sentence(error: BaseException) -> str:
    """What an error says, in one line; of another than `ValueError` (which are written for users) the kind too."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
