"""A home for runs, label maps, and a training that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_synthseg.generator.labelmap import prepare, save
from napari_synthseg.training import runs
from napari_synthseg.training.recipes.synthseg import TrainSynthSegOptions
from tests.generator.builders import boxes


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Where runs and weights of these tests go."""
    monkeypatch.setenv("NAPARI_SYNTHSEG_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("NAPARI_SYNTHSEG_RUNS", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def maps(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "maps.npz"
    save(path, [prepare(boxes(side=24), name=f"map{i}") for i in range(2)])
    return path


@pytest.fixture
def tiny(maps):
    """Makes options of a training of a few tenths of a second a step."""

    def make(name: str = "tiny", **changes) -> TrainSynthSegOptions:
        usual = {
            "steps": 4,
            "validate_every": 100,
            "hold_out": ("map1",),
            "device": "cpu",
            "threads": 1,
            "name": "mine",
        }
        out = changes.pop("out", None) or runs.new_folder("synthseg", name)
        return TrainSynthSegOptions(
            label_maps=maps, out=out, preset="paper", crop=32, features=2, **{**usual, **changes}
        )

    return make
