"""A home for runs, and a training that takes seconds."""

from __future__ import annotations

import pytest

from napari_synthseg.training import runs
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.organ import TrainOrganOptions
from napari_synthseg.training.recipes.synthseg import TrainSynthSegOptions
from tests.training.builders import LineOptions, LineRecipe, write_scans


@pytest.fixture(autouse=True)
def at_home(home) -> None:
    """All tests of runs are."""


@pytest.fixture
def line(monkeypatch):
    """Makes options of a training of milliseconds, in this process, and its recipe known."""
    monkeypatch.setitem(recipes(), "line", LineRecipe())

    def make(name: str = "line", **changes) -> LineOptions:
        usual = {"validate_every": 100, "device": "cpu", "threads": 1, "name": "mine"}
        return LineOptions(out=runs.new_folder("line", name), **{**usual, **changes})

    return make


@pytest.fixture
def tiny(maps):
    """Makes options of a training of a few tenths of a second a step."""

    def make(name: str = "tiny", **changes) -> TrainSynthSegOptions:
        usual = {"steps": 4, "validate_every": 100, "hold_out": ("map1",), "device": "cpu", "threads": 1,
                 "name": "mine", "preset": "paper", "crop": 32, "features": 2}  # fmt: skip
        usual["out"] = changes.pop("out", None) or runs.new_folder("synthseg", name)
        return TrainSynthSegOptions(label_maps=maps, **{**usual, **changes})

    return make


@pytest.fixture
def tiny_organ(tmp_path) -> TrainOrganOptions:
    """Options of a training that is short in another process, too: it does not validate on whole heads."""
    small = {"spacing": 1.0, "crop": 32, "features": 2, "subregions": False, "hold_out": ("1",), "validate_every": 100}
    scans = write_scans(tmp_path / "scans", 2)
    return TrainOrganOptions(pairs=scans, out=tmp_path / "organ", device="cpu", threads=1, name="mine", **small)
