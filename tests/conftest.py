"""What all tests share: a steady generator, and `tests.shared_data` importable from anywhere."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("NAPARI_SYNTHSEG_NICE", "0")  # runs in the background must not wait behind other tests


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20230707)
