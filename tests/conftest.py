"""What all tests share: a steady generator, and `tests.shared_data` importable from anywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20230707)
