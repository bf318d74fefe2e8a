"""Which scan goes to which slot, what is tried again, and what is given up. Knows nothing of processes or machines.

A slot does one scan and reads the next one ahead. When it dies, either of the two may be why, or something else: nobody
is blamed, and both are tried again without company. Whoever is alone in a slot that dies is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.segmenter import Outcome


@dataclass
class Slot:
    """What a slot does, and what it reads ahead."""

    doing: Task | None = None
    then: Task | None = None


@dataclass(frozen=True)
class Ending:
    """A scan that is over: segmented, or given up.

    Attributes:
        task: the scan.
        outcome: of the last attempt.
        attempts: how often it was tried, deaths included.
    """

    task: Task
    outcome: Outcome
    attempts: int


class Schedule:
    """The scans of a batch that are still to be done."""

    def __init__(self, tasks: Iterable[Task], *, retries: int, deaths: int) -> None:
        """All of them in order.

        Args:
            tasks: the scans.
            retries: how often one that failed is tried again.
            deaths: how many slots one may take down when it is alone there.
        """
        self._retries, self._most_deaths = retries, deaths
        self._fresh, self._again = deque(tasks), deque[Task]()
        self._alone, self._suspects = deque[Task](), set[int]()
        self._attempts, self._failures, self._deaths = Counter[int](), Counter[int](), Counter[int]()
        self.slots: dict[Hashable, Slot] = {}

    @property
    def going(self) -> bool:
        """Whether anything is left to do."""
        busy = any(slot.doing or slot.then for slot in self.slots.values())
        return busy or bool(self._fresh or self._again or self._alone)

    def join(self, slot: Hashable) -> None:
        """A slot is there."""
        self.slots[slot] = Slot()

    def assign(self) -> Iterator[tuple[Hashable, Task, Task | None]]:
        """What to give to slots that are idle: slot, scan, and the scan to read ahead."""
        for name, slot in list(self.slots.items()):
            if slot.doing is not None:
                continue
            slot.doing, slot.then = slot.then or self._next() or self._read_by_another(), None
            if slot.doing is None:
                continue
            if slot.doing.number not in self._suspects and self._fresh:
                slot.then = self._fresh.popleft()
            self._attempts[slot.doing.number] += 1
            yield name, slot.doing, slot.then

    def _next(self) -> Task | None:
        for waiting in (self._fresh, self._alone, self._again):
            if waiting:
                return waiting.popleft()
        return None

    def _read_by_another(self) -> Task | None:
        """At the end: what waits for a busy slot while this one has nothing to do."""
        busy = next((slot for slot in self.slots.values() if slot.then is not None), None)
        if busy is None:
            return None
        task, busy.then = busy.then, None
        return task

    def _suspect(self, task: Task) -> None:
        self._suspects.add(task.number)
        self._alone.append(task)

    def finish(self, slot: Hashable, task: Task, outcome: Outcome) -> Ending | None:
        """A slot has tried its scan; how that scan ended, unless it is tried again later."""
        if slot in self.slots:
            self.slots[slot].doing = None
        if outcome.reason:
            self._failures[task.number] += 1
            if self._failures[task.number] <= self._retries:
                self._again.append(task)
                return None
        return self._over(task, outcome)

    def leave(self, slot: Hashable, why: str) -> Ending | None:
        """A slot is gone; how its scan ended, unless it is tried again."""
        gone = self.slots.pop(slot, Slot())
        if gone.then is not None:
            self._suspect(gone.then)
        if gone.doing is None:
            return None
        self._deaths[gone.doing.number] += gone.then is None
        count = self._deaths[gone.doing.number]
        if count < self._most_deaths:
            self._suspect(gone.doing)
            return None
        times = "the process" if count == 1 else f"each of the {count} processes"
        return self._over(gone.doing, Outcome(f"It took down {times} that tried it ({why}).", 0.0, {}))

    def _over(self, task: Task, outcome: Outcome) -> Ending:
        return Ending(task, outcome, self._attempts[task.number])

    def release(self, slot: Hashable) -> None:
        """A slot is replaced while it does nothing: what it has read ahead goes to others."""
        gone = self.slots.pop(slot, Slot())
        if gone.then is not None:
            self._fresh.appendleft(gone.then)


# --- what segments, and what it says ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joined:
    """A slot has its network and waits for a scan.

    Attributes:
        slot: which.
        about: what it is called.
    """

    slot: Hashable
    about: str = ""


@dataclass(frozen=True)
class Finished:
    """A slot has tried a scan."""

    slot: Hashable
    task: Task
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """A slot is gone, with whatever it did.

    Attributes:
        slot: which.
        why: in words that fit into a sentence.
    """

    slot: Hashable
    why: str


@dataclass(frozen=True)
class Unfit:
    """A slot cannot segment.

    Attributes:
        slot: which.
        sentence: why.
        for_all: whether no other could, either: the options are at fault.
    """

    slot: Hashable
    sentence: str
    for_all: bool


Event = Joined | Finished | Lost | Unfit


class Workers(Protocol):
    """Slots that come and go by themselves."""

    waiting_for: str
    """What is waited for while there is no slot."""

    @property
    def hopeless(self) -> bool:
        """Whether there are slots, and none of them can segment."""

    def poll(self, seconds: float) -> list[Event]:
        """What happened; waits for it up to this long."""

    def give(self, slot: Hashable, task: Task, then: Task | None) -> None:
        """Let a slot segment a scan, and read another meanwhile."""

    def renew(self, slot: Hashable) -> None:
        """Replace a slot by a fresh one; it does nothing at the moment."""

    def close(self) -> None:
        """End what was begun here."""
