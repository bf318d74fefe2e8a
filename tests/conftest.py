"""What all tests share: a steady generator, and `tests.shared_data` importable from anywhere."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20230707)
