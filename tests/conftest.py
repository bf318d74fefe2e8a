"""What all tests share: a steady generator, and `tests.shared_data` importable from anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("NAPARI_SYNTHSEG_NICE", "0")  # runs in the background must not wait behind other tests


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20230707)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Where runs and weights go in this test."""
    monkeypatch.setenv("NAPARI_SYNTHSEG_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("NAPARI_SYNTHSEG_RUNS", raising=False)
    return tmp_path / "home"


def examples(usual: int) -> int:
    """How many cases hypothesis tries: `NAPARI_SYNTHSEG_EXAMPLES`, or what is usual in this test."""
    return int(os.environ.get("NAPARI_SYNTHSEG_EXAMPLES", usual))


@contextmanager
def full_disk() -> Iterator[None]:
    """Inside, no file gets more than 50 bytes, whoever writes it, as on a full disk."""
    resource = pytest.importorskip("resource", reason="Windows bounds no files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
