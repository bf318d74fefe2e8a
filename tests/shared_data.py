"""Where the data for development lies, if it is there: `NAPARI_SYNTHSEG_SHARED`, else `shared` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

CLOSE, MARGIN = 1e-4, 1e-3
"""How far posteriors may be from the reference's, and the lead from which on the argmax must be the same."""


def _find() -> Path | None:
    named = os.environ.get("NAPARI_SYNTHSEG_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder if folder.is_dir() else None


SHARED: Path | None = _find()


def shared(path: str) -> Path:
    """A file or folder of the shared data; the test that asks is skipped where it is missing."""
    if SHARED is None or not (SHARED / path).exists():
        pytest.skip(f"no shared data ({path})")
    return SHARED / path


def golden(name: str) -> dict[str, np.ndarray]:
    """Arrays that the reference implementation gave."""
    return dict(np.load(shared(f"reference/golden/{name}")))


def assert_agrees(ours: torch.Tensor, z: dict[str, np.ndarray], posteriors: str, argmax: str) -> None:
    """Assert that (K, X, Y, Z) posteriors are the reference's, and the argmax wherever ours leads by the margin."""
    found = ours.flatten(1)[:, torch.from_numpy(z["voxel_idx"])].T
    np.testing.assert_allclose(found, z[posteriors], rtol=0, atol=CLOSE)
    first, second = ours.topk(2, 0).values
    different = (ours.argmax(0).numpy() != z[argmax]) & ((first - second).numpy() > MARGIN)
    assert not different.any()
