"""The schedule of a batch: assignment of scans to slots, retries, and giving up. Knows no processes and no machines.

A slot segments one scan and reads the next one ahead. If it dies, either scan may be the cause, or neither: both are
tried again, each alone in a slot. A death counts against a scan only if it was alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.segmenter import Outcome


@dataclass
class Slot:
    """The scan that a slot segments, and the one that it reads ahead."""

    doing: Task | None = None
    then: Task | None = None


@dataclass(frozen=True)
class Ending:
    """A scan that was segmented or given up."""

    task: Task
    outcome: Outcome
    """Of the last attempt."""
    attempts: int
    """Deaths included."""


class Schedule:
    """The unfinished scans of a batch.

    Args:
        tasks: the scans, in order.
        retries: how often a scan that failed is tried again.
        deaths: how many slots a scan may take down, alone in them, before it is given up.
    """

    def __init__(self, tasks: Iterable[Task], *, retries: int, deaths: int) -> None:
        self._retries, self._most_deaths = retries, deaths
        self._fresh, self._again = deque(tasks), deque[Task]()
        self._alone, self._suspects = deque[Task](), set[int]()
        self._attempts, self._failures, self._deaths = Counter[int](), Counter[int](), Counter[int]()
        self.slots: dict[Hashable, Slot] = {}

    @property
    def unfinished(self) -> bool:
        """Whether anything is left to do."""
        busy = any(slot.doing or slot.then for slot in self.slots.values())
        return busy or bool(self._fresh or self._again or self._alone)

    def join(self, slot: Hashable) -> None:
        """Add a slot."""
        self.slots[slot] = Slot()

    def assign(self) -> Iterator[tuple[Hashable, Task, Task | None]]:
        """Assign scans to idle slots; yields slot, scan, and the scan to read ahead."""
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
        """Take over the scan that a busy slot has read ahead."""
        busy = next((slot for slot in self.slots.values() if slot.then is not None), None)
        if busy is None:
            return None
        task, busy.then = busy.then, None
        return task

    def _suspect(self, task: Task) -> None:
        self._suspects.add(task.number)
        self._alone.append(task)

    def finish(self, slot: Hashable, task: Task, outcome: Outcome) -> Ending | None:
        """Record that a slot has tried its scan; returns how it ended, unless it is tried again."""
        if slot in self.slots:
            self.slots[slot].doing = None
        if outcome.reason:
            self._failures[task.number] += 1
            if self._failures[task.number] <= self._retries:
                self._again.append(task)
                return None
        return self._ending(task, outcome)

    def leave(self, slot: Hashable, why: str) -> Ending | None:
        """Remove a slot that died; returns how its scan ended, unless it is tried again."""
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
        return self._ending(gone.doing, Outcome(f"It took down {times} that tried it ({why}).", 0.0, {}))

    def _ending(self, task: Task, outcome: Outcome) -> Ending:
        return Ending(task, outcome, self._attempts[task.number])

    def release(self, slot: Hashable) -> None:
        """Remove an idle slot; the scan that it has read ahead goes to others."""
        gone = self.slots.pop(slot, Slot())
        if gone.then is not None:
            self._fresh.appendleft(gone.then)
