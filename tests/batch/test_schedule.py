"""Who gets what, what is tried again, who is blamed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.schedule import Schedule
from napari_synthseg.batch.segmenter import Outcome

GOOD, BAD = Outcome("", 1.0, {"program": "x"}), Outcome("damaged", 0.1, {})


def tasks(count: int) -> list[Task]:
    return [Task(n, Path(f"/{n}.nii"), Path(f"/{n}_dseg.nii.gz")) for n in range(count)]


def numbers(schedule: Schedule) -> list[tuple]:
    return [(slot, task.number, None if then is None else then.number) for slot, task, then in schedule.assign()]


@pytest.fixture
def schedule() -> Schedule:
    made = Schedule(tasks(5), retries=0, deaths=1)
    made.join("a")
    return made


def test_each_lane_has_a_scan_and_reads_the_next(schedule):
    schedule.join("b")
    assert numbers(schedule) == [("a", 0, 1), ("b", 2, 3)]
    assert numbers(schedule) == []
    assert schedule.finish("a", tasks(5)[0], GOOD).attempts == 1
    assert numbers(schedule) == [("a", 1, 4)]


def test_at_the_end_an_idle_lane_takes_what_waits_for_a_busy_one():
    some = tasks(2)
    schedule = Schedule(some, retries=0, deaths=1)
    schedule.join("a")
    assert numbers(schedule) == [("a", 0, 1)]
    schedule.join("b")
    assert numbers(schedule) == [("b", 1, None)]
    schedule.finish("a", some[0], GOOD)
    assert numbers(schedule) == []
    assert schedule.unfinished and schedule.finish("b", some[1], GOOD) and not schedule.unfinished


def test_what_failed_is_tried_again_last_of_all():
    some = tasks(3)
    schedule = Schedule(some, retries=1, deaths=1)
    schedule.join("a")
    order = []
    endings = []
    while schedule.unfinished:
        for slot, task, _ in schedule.assign():
            order.append(task.number)
            endings.append(schedule.finish(slot, task, BAD if task.number == 0 else GOOD))
    assert order == [0, 1, 2, 0]
    assert [one.attempts for one in endings if one] == [1, 1, 2]
    assert endings[-1].outcome.reason == "damaged"


def test_after_a_death_both_suspects_are_tried_alone_and_only_the_culprit_is_given_up():
    some = tasks(3)
    schedule = Schedule(some, retries=0, deaths=2)
    schedule.join("a")
    assert numbers(schedule) == [("a", 0, 1)]  # 1 is what kills, while it is read
    assert schedule.leave("a", "killed") is None
    schedule.join("b")
    assert numbers(schedule) == [("b", 2, None)]
    schedule.finish("b", some[2], GOOD)
    alone = []
    endings = {}
    for slot in "bcdefg":
        schedule.slots or schedule.join(slot)
        for name, task, then in schedule.assign():
            alone.append((task.number, then))
            end = schedule.leave(name, "killed") if task.number == 1 else schedule.finish(name, task, GOOD)
            if end:
                endings[end.task.number] = end
    assert not schedule.unfinished
    assert all(then is None for _, then in alone)
    assert endings[0].outcome is GOOD and endings[0].attempts == 2
    assert endings[1].outcome.reason == "It took down each of the 2 processes that tried it (killed)."
    assert endings[1].attempts == 2  # and was read ahead once


def test_a_lane_that_does_nothing_takes_nothing_along():
    schedule = Schedule(tasks(2), retries=0, deaths=1)
    schedule.join("a")
    assert schedule.leave("a", "gone") is None and schedule.leave("never there", "gone") is None
    schedule.join("b")
    list(schedule.assign())
    schedule.finish("b", tasks(2)[0], GOOD)
    schedule.release("b")  # it is replaced: what it has read ahead goes to another
    schedule.join("c")
    assert numbers(schedule) == [("c", 1, None)]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_every_scan_ends_once(seed):
    """Slots come, die, fail and are replaced at random: nothing is lost, nothing done twice."""
    chance = random.Random(seed)
    some = tasks(chance.randrange(1, 12))
    schedule = Schedule(some, retries=chance.randrange(3), deaths=chance.randrange(1, 4))
    names = iter(range(10**6))
    ended: list[int] = []
    for _ in range(10_000):
        if not schedule.unfinished:
            break
        if len(schedule.slots) < 3 and chance.random() < 0.5:
            schedule.join(next(names))
        list(schedule.assign())
        doing = [slot.doing for slot in schedule.slots.values() if slot.doing]
        assert max(Counter(task.number for task in doing).values(), default=1) == 1
        if not schedule.slots:
            continue
        slot = chance.choice(list(schedule.slots))
        task, what = schedule.slots[slot].doing, chance.random()
        if what < 0.2:
            end = schedule.leave(slot, "killed")
        elif task is None:
            schedule.release(slot)
            continue
        else:
            end = schedule.finish(slot, task, BAD if what < 0.4 else GOOD)
        if end:
            ended.append(end.task.number)
    assert sorted(ended) == list(range(len(some)))
