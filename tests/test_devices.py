"""Threads of the processor: each job has its own number, and what was set before comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_synthseg import devices
from napari_synthseg.devices import threads


@pytest.fixture(autouse=True)
def _three():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_a_number_holds_inside():
    with threads(2):
        assert torch.get_num_threads() == 2
        with threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 3


def test_no_number_changes_nothing():
    with threads(2), threads(None):
        assert torch.get_num_threads() == 2


def test_a_job_that_ends_late_changes_nothing_under_the_next():
    abandoned, following = threads(1), threads(2)
    abandoned.__enter__()
    following.__enter__()
    abandoned.__exit__(None, None, None)
    assert torch.get_num_threads() == 2
    following.__exit__(None, None, None)
    assert torch.get_num_threads() == 3


def test_a_failure_puts_it_back():
    with pytest.raises(RuntimeError), threads(1):
        raise RuntimeError
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    "given, used",
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_spin_shortly_unless_the_user_wants_otherwise(given, used):
    kept = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    code = "import os, sys, napari_synthseg; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **given}, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == used


# How much memory a device has left


CPU = torch.device("cpu")


def files(monkeypatch, contents: dict[str, str]) -> None:
    def read_text(path: Path, *_, **__) -> str:
        if str(path) in contents:
            return contents[str(path)]
        raise FileNotFoundError(str(path))

    monkeypatch.setattr(Path, "read_text", read_text)


MEMINFO = {"/proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   64 kB\n"}


def test_what_linux_says_is_free(monkeypatch):
    files(monkeypatch, MEMINFO)
    assert devices.free_memory(CPU) == 64 * 1024


@pytest.mark.parametrize(("limit", "free"), [("max", 65536), ("20480", 10240), ("9999999", 65536)])
def test_a_control_group_may_allow_less(monkeypatch, limit, free):
    group = {"/sys/fs/cgroup/memory.max": limit, "/sys/fs/cgroup/memory.current": "10240"}
    files(monkeypatch, MEMINFO | group)
    assert devices.free_memory(CPU) == free


def test_elsewhere_it_is_half_of_the_memory_or_not_known(monkeypatch):
    files(monkeypatch, {})
    found = devices.free_memory(CPU)
    assert found is None or found > 0
    assert devices.free_memory(torch.device("mps")) is None
