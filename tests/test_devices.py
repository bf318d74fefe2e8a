"""Threads of the processor: each job has its own number, and what was set before comes back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

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
