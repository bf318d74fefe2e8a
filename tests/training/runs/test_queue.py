"""Which devices a run takes, and that it takes all of them or none."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.training import runs
from napari_synthseg.training.runs import queue
from napari_synthseg.training.runs.process import _local_processes
from napari_synthseg.training.runs.run import lock


@pytest.fixture
def gpus(monkeypatch) -> list[str]:
    """As if this machine had four GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(queue, "LOOK_AGAIN_S", 0.0)
    return [f"cuda:{number}" for number in range(4)]


def taken(gpus: list[str]) -> list[str]:
    """The GPUs that somebody holds."""
    found = []
    for device in gpus:
        held = queue.hold((device,))
        if held is None:
            found.append(device)
        else:
            held.close()
    return found


def waiting(name: str, wish: str, count: int = 1):
    """A run that waits, and its process's lock."""
    path = runs.runs_folder() / name
    path.mkdir(parents=True)
    alive = lock(path)
    alive.acquire(timeout=0)
    return queue.wait_for_device(path, wish, count), alive


def result(job):
    """What a job returns at its next step."""
    with pytest.raises(StopIteration) as end:
        next(job)
    return end.value.value


def test_a_run_on_several_gpus_holds_all_of_them(gpus) -> None:
    device, held = queue.take_device("auto", 3)
    assert device == "cuda:0" and taken(gpus) == gpus[:3]
    assert queue.take_device("cuda")[0] == "cuda:3"
    held.close()
    assert taken(gpus) == []


def test_where_one_of_several_is_taken_none_is_held(gpus) -> None:
    _, other = queue.take_device("cuda:1")
    assert queue.take_device("auto", 2) == ("cuda:0", None)
    assert taken(gpus) == ["cuda:1"]
    other.close()


def test_a_run_waits_for_all_its_gpus_and_those_after_it_let_it_pass(gpus) -> None:
    _, other = queue.take_device("cuda:1")
    two, _alive = waiting("two", "cuda", 2)
    assert next(two).stage == "Another run is on cuda:0 or cuda:1."
    one, _also_alive = waiting("one", "cuda:0")
    assert next(one).stage == "1 run before it on cuda:0."
    assert taken(gpus) == ["cuda:1"]
    third, _alive_too = waiting("third", "cuda")
    device, free = result(third)
    assert device == "cuda:2"  # nobody waits for this one
    other.close()
    device, held = result(two)
    assert device == "cuda:0" and taken(gpus) == gpus[:3]
    assert next(one).stage == "Another run is on cuda:0."
    held.close()
    assert result(one)[0] == "cuda:0"
    free.close()


def test_the_number_of_a_gpu_does_not_go_with_several(gpus) -> None:
    with pytest.raises(InputError, match="choose cuda instead of cuda:2"):
        queue.take_device("cuda:2", 2)
    device, held = queue.take_device("cuda:0", 2)
    assert device == "cuda:0" and taken(gpus) == gpus[:2]
    held.close()


def test_processes_on_a_cpu_share_it(home) -> None:
    assert queue.device_sets("cpu", 4) == [("cpu",)]


def test_started_by_torchrun_the_processes_of_this_machine_count(monkeypatch, tiny) -> None:
    assert _local_processes(tiny(devices=2)) == 2 and _local_processes(object()) == 1
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert _local_processes(tiny()) == 4
