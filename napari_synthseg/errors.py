"""Errors meant for users: one sentence that says what is wrong with which file, and what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Something given by the user cannot be used; the message is one sentence fit to be shown as it is."""
