"""Which scan goes to which lane, what is tried again, and what is given up. Knows nothing of processes or machines.

A lane does one scan and reads the next one ahead. When it dies, either of the two may be why, or something else: nobody
is blamed, and both are tried again without company. Whoever is alone in a lane that dies is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.work import Outcome


@dataclass
class Lane:
    """What a lane does, and what it reads ahead."""

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
            deaths: how many lanes one may take down when it is alone there.
        """
        self._retries, self._most_deaths = retries, deaths
        self._fresh, self._again = deque(tasks), deque[Task]()
        self._alone, self._suspects = deque[Task](), set[int]()
        self._attempts, self._failures, self._deaths = Counter[int](), Counter[int](), Counter[int]()
        self.lanes: dict[Hashable, Lane] = {}

    @property
    def going(self) -> bool:
        """Whether anything is left to do."""
        busy = any(lane.doing or lane.then for lane in self.lanes.values())
        return busy or bool(self._fresh or self._again or self._alone)

    def join(self, lane: Hashable) -> None:
        """A lane is there."""
        self.lanes[lane] = Lane()

    def assign(self) -> Iterator[tuple[Hashable, Task, Task | None]]:
        """What to give to lanes that are idle: lane, scan, and the scan to read ahead."""
        for name, lane in list(self.lanes.items()):
            if lane.doing is not None:
                continue
            lane.doing, lane.then = lane.then or self._next() or self._read_by_another(), None
            if lane.doing is None:
                continue
            if lane.doing.number not in self._suspects and self._fresh:
                lane.then = self._fresh.popleft()
            self._attempts[lane.doing.number] += 1
            yield name, lane.doing, lane.then

    def _next(self) -> Task | None:
        for waiting in (self._fresh, self._alone, self._again):
            if waiting:
                return waiting.popleft()
        return None

    def _read_by_another(self) -> Task | None:
        """At the end: what waits for a busy lane while this one has nothing to do."""
        busy = next((lane for lane in self.lanes.values() if lane.then is not None), None)
        if busy is None:
            return None
        task, busy.then = busy.then, None
        return task

    def _suspect(self, task: Task) -> None:
        self._suspects.add(task.number)
        self._alone.append(task)

    def finish(self, lane: Hashable, task: Task, outcome: Outcome) -> Ending | None:
        """A lane has tried its scan; how that scan ended, unless it is tried again later."""
        if lane in self.lanes:
            self.lanes[lane].doing = None
        if outcome.reason:
            self._failures[task.number] += 1
            if self._failures[task.number] <= self._retries:
                self._again.append(task)
                return None
        return self._over(task, outcome)

    def leave(self, lane: Hashable, why: str) -> Ending | None:
        """A lane is gone; how its scan ended, unless it is tried again."""
        gone = self.lanes.pop(lane, Lane())
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

    def release(self, lane: Hashable) -> None:
        """A lane is replaced while it does nothing: what it has read ahead goes to others."""
        gone = self.lanes.pop(lane, Lane())
        if gone.then is not None:
            self._fresh.appendleft(gone.then)
