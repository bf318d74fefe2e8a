"""Label maps and small heads that make runs of recipes short."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_synthseg.generator.labelmap import prepare, save
from tests.generator.builders import boxes
from tests.training.builders import small_heads


@pytest.fixture(scope="module", autouse=True)
def few_heads():
    """Small heads, and few of them."""
    with pytest.MonkeyPatch.context() as patch:
        small_heads(patch)
        yield patch


@pytest.fixture(scope="session")
def maps(tmp_path_factory) -> Path:
    """Three label maps of boxes, map0 to map2."""
    path = tmp_path_factory.mktemp("maps") / "maps.npz"
    save(path, [prepare(boxes(side=24), name=f"map{i}") for i in range(3)])
    return path
