"""What segments: lanes, each with one scan at a time; and what they say. Two kinds: `processes` and `cluster`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.work import Outcome


@dataclass(frozen=True)
class Joined:
    """A lane has its network and waits for a scan.

    Attributes:
        lane: which.
        about: what it is called.
    """

    lane: Hashable
    about: str = ""


@dataclass(frozen=True)
class Finished:
    """A lane has tried a scan."""

    lane: Hashable
    task: Task
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """A lane is gone, with whatever it did.

    Attributes:
        lane: which.
        why: in words that fit into a sentence.
    """

    lane: Hashable
    why: str


@dataclass(frozen=True)
class Unfit:
    """A lane cannot segment.

    Attributes:
        lane: which.
        sentence: why.
        for_all: whether no other could, either: the options are at fault.
    """

    lane: Hashable
    sentence: str
    for_all: bool


Event = Joined | Finished | Lost | Unfit


class Workers(Protocol):
    """Lanes that come and go by themselves."""

    waiting_for: str
    """What is waited for while there is no lane."""

    @property
    def hopeless(self) -> bool:
        """Whether there are lanes, and none of them can segment."""

    def poll(self, seconds: float) -> list[Event]:
        """What happened; waits for it up to this long."""

    def give(self, lane: Hashable, task: Task, then: Task | None) -> None:
        """Let a lane segment a scan, and read another meanwhile."""

    def renew(self, lane: Hashable) -> None:
        """Replace a lane by a fresh one; it does nothing at the moment."""

    def close(self) -> None:
        """End what was begun here."""
