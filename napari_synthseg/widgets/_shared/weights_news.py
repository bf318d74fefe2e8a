"""Tells the faces that list weights that there are new ones; they look for them at once."""

from __future__ import annotations

from psygnal import Signal


class WeightsNews:
    """What happens to weights while widgets are open; emitted and heard on the main thread."""

    made = Signal(str)
    """A file of weights was written: its path."""


NEWS = WeightsNews()
