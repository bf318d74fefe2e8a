"""Label maps and patched constants that make runs of recipes short."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_synthseg.generator.labelmap import prepare, save
from tests.generator.builders import boxes


@pytest.fixture(scope="module", autouse=True)
def few_heads():
    """Set positional terms from one head: small networks learn nothing from more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_synthseg.training.objectives.locate_refine.POSITION_HEADS", 1)
        yield patch


@pytest.fixture(scope="session")
def maps(tmp_path_factory) -> Path:
    """Three label maps of boxes, map0 to map2."""
    path = tmp_path_factory.mktemp("maps") / "maps.npz"
    save(path, [prepare(boxes(side=24), name=f"map{i}") for i in range(3)])
    return path
