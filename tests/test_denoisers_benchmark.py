"""`benchmarks/denoisers.py`: the denoisers of two runs on the same degraded scans."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.training.folder import checkpoint, write_config
from napari_synthseg.training.recipes.robust import TrainRobustOptions, parts
from napari_synthseg.volume import Volume
from tests.generator.builders import boxes
from tests.test_benchmarks import script

LABELS = (0, 2, 24, 41)
bench = script("denoisers")


def a_run(folder, seed: int, passing: bool):
    """A run's facts and checkpoints; its denoiser says the background everywhere, or passes S1's word on."""
    options = TrainRobustOptions(label_maps=folder, out=folder, s1_features=(2,) * 4, locator_features=(4,) * 4,
                                 refiner_features=(4,) * 3, denoiser_features=2)  # fmt: skip
    card = {"network": "robust", "name": "tiny", "labels": list(LABELS), "parts": parts(options, LABELS)}
    write_config(folder, recipe="robust", options={}, card=card)
    checkpoint(folder, "s1").parent.mkdir()
    torch.manual_seed(seed)
    model = RobustLocateRefine(LABELS, (4,) * 4, (4,) * 3, (2,) * 4, 2)
    if not passing:
        torch.nn.init.zeros_(model.locator.denoiser.likelihood.weight)
        model.locator.denoiser.likelihood.bias.data = torch.tensor([9.0, 0, 0, 0, 0])
    for name, part in (("s1", model.locator.s1), ("d", model.locator.denoiser)):
        torch.save({"model": part.state_dict(), "average": {}}, checkpoint(folder, name))
    return folder


@pytest.fixture
def labelled(tmp_path):
    values = boxes((2, 41), side=80)
    write_labels(tmp_path / "scans" / "a_labels.nii.gz", Volume(values, np.eye(4)))
    grey = (values * 3.0 + 5.0 * (values > 0)).astype(np.float32)
    write_volume(tmp_path / "scans" / "a_t1.nii.gz", Volume(grey, np.eye(4)))
    return tmp_path / "scans"


def test_single_kinds_change_one_thing_and_together_everything() -> None:
    assert {name for names in bench.PARTS.values() for name in names} == set(bench.STILL)
    found = bench.kinds()
    assert found["all at once"] is bench.NEAR
    assert found["noise"].values["noise_std"] == bench.NEAR.values["noise_std"]
    assert found["noise"].values["bias_std"] == (0.0, 0.0)


def test_runs_are_compared_on_the_same_images(tmp_path, labelled, monkeypatch, capsys) -> None:
    first, second = a_run(tmp_path / "first", 0, True), a_run(tmp_path / "second", 0, False)
    monkeypatch.setattr(bench, "PARTS", {"noise": ("noise_std",)})
    command = [str(first), str(second), "--labelled", str(labelled), "--draws", "1", "--out", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", ["denoisers.py", *command])
    assert bench.main() == 0
    rows = json.loads((tmp_path / "r.json").read_text())
    assert [(row["kind"], row["images"]) for row in rows] == [("none", 1), ("noise", 1), ("all at once", 1)]
    for row in rows:
        assert row[str(first)][0] == row[str(second)][0]  # one S1, the same images
        assert row[str(second)][1] == 0.0  # background alone
    assert "| noise | 1 |" in capsys.readouterr().out


def test_what_is_no_run_is_told_in_one_sentence(tmp_path, labelled, monkeypatch, capsys) -> None:
    folder = a_run(tmp_path / "run", 0, True)
    checkpoint(folder, "d").unlink()
    for given, said in ((folder, "no checkpoint d.pt"), (tmp_path, "no run of train robust")):
        monkeypatch.setattr(sys, "argv", ["denoisers.py", str(given), "--labelled", str(labelled)])
        assert bench.main() == 2
        assert said in capsys.readouterr().err
