"""`train learn2synth` with tiny networks: from label maps and labelled scans to weights, resumed exactly, refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import prepare, save
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.labelled import LabelledCrops
from napari_synthseg.training.data.validation import Case, Scores
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.learn2synth import TrainLearn2SynthOptions
from napari_synthseg.volume import Volume
from napari_synthseg.weights.catalogue import read_card
from napari_synthseg.weights.store import load_model
from tests.generator.builders import boxes

RECIPE = recipes()["learn2synth"]
train, export, is_run = RECIPE.train, RECIPE.export, RECIPE.is_run


@pytest.fixture(autouse=True)
def nothing_is_scored(monkeypatch):
    monkeypatch.setattr("napari_synthseg.training.data.validation.score_unet", lambda *_: Scores(0.5, {}))
    monkeypatch.setattr("napari_synthseg.training.data.label_maps.synthetic_cases", lambda *_: [])


@pytest.fixture
def options(tmp_path) -> TrainLearn2SynthOptions:
    save(tmp_path / "maps.npz", [prepare(boxes((2, 41), side=24), name=f"map{i}") for i in range(2)])
    folder = tmp_path / "labelled"
    folder.mkdir()
    values = boxes((2, 41), side=40)
    write_labels(folder / "a_labels.nii.gz", Volume(values, np.eye(4)))
    write_volume(folder / "a_t1.nii.gz", Volume(values.astype(np.float32), np.eye(4)))
    return TrainLearn2SynthOptions(
        label_maps=tmp_path / "maps.npz",
        out=tmp_path / "run",
        labelled=folder,
        features=2,
        crop=32,
        steps=4,
        device="cpu",
        sigma=0.1,
        augmenter_warmup=0,
    )


def test_from_label_maps_and_scans_to_weights(options) -> None:
    reports = []
    path = run(train(replace(options, augmenter="bias", validate_every=2)), reports.append)
    model = load_model(path)
    assert isinstance(model, UNet3d) and model.features == 2 and len(model.labels) == 33
    card = read_card(path)
    assert card["licence"] == "that of the scans in labelled"
    assert card["data"].endswith("learned from 1 labelled scans of labelled")
    words = "train learn2synth, augmenter bias, seed 1, sigma 0.1, steps 4, crop 32, features 2, augmenter_warmup 0"
    assert card["recipe"] == words
    assert card["augmenter"]["kind"] == "bias" and card["augmenter"]["sigma"] != pytest.approx(0.1, abs=1e-6)
    assert card["steps"] == 4
    figures = [r.figures for r in reports if r.stage == "learn2synth"]
    assert len(figures) == 4 and all({"loss", "real", "sigma", "bias"} <= set(f) for f in figures)
    assert "score" in figures[1]


@pytest.mark.parametrize("inner", ["adam", "sgd"])
def test_a_resumed_run_ends_at_the_same_numbers(options, tmp_path, inner) -> None:
    options = replace(options, augmenter="bias", varying=True, inner=inner, augmenter_warmup=1)
    run(train(options))

    parts, reports = replace(options, out=tmp_path / "parts"), []
    with pytest.raises(Stopped):
        run(train(parts), reports.append, lambda: sum(r.stage == "learn2synth" for r in reports) == 2)
    assert 0 < load_checkpoint(checkpoint(parts.out, "learn2synth"))["step"] < 4
    run(train(replace(parts, resume=True)))
    whole, resumed = (load_checkpoint(checkpoint(o.out, "learn2synth")) for o in (options, parts))
    assert whole["step"] == resumed["step"] == 4
    assert len(whole["optimizer"]["parts"]) == 2 and whole["card"] == resumed["card"]
    for k, v in whole["model"].items():
        assert torch.equal(v, resumed["model"][k]), k


def test_the_augmenter_waits_until_it_is_to_learn(options) -> None:
    run(train(replace(options, augmenter_warmup=2, steps=3)))
    lines = [json.loads(line) for line in (options.out / "events.jsonl").read_text().splitlines()]
    assert ["real" in line for line in lines] == [False, False, True]
    assert [line["sigma"] == pytest.approx(0.1) for line in lines] == [True] * 3
    assert load_checkpoint(checkpoint(options.out, "learn2synth"))["card"]["augmenter"]["sigma"] != pytest.approx(0.1)


def test_without_an_augmenter_it_is_synthseg_and_needs_no_scans(options) -> None:
    path = run(train(replace(options, augmenter="none", labelled=None, steps=2, augmenter_warmup=500)))
    card = read_card(path)
    assert card["licence"] == "Apache-2.0" and card["data"].endswith("synthetic images only")
    lines = [json.loads(line) for line in (options.out / "events.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and "real" not in lines[0]


def test_the_segmenter_learns_from_synthetic_images_alone(options, tmp_path) -> None:
    """With other real images the hypergradient is another, and the segmenter's first step the same."""
    other = tmp_path / "others"
    other.mkdir()
    values = boxes((41, 2), side=40)
    write_labels(other / "a_labels.nii.gz", Volume(values, np.eye(4)))
    write_volume(other / "a_t1.nii.gz", Volume((values == 2).astype(np.float32), np.eye(4)))
    made = []
    for folder, out in ((options.labelled, "a"), (other, "b")):
        run(train(replace(options, labelled=folder, out=tmp_path / out, steps=1, inner="sgd")))
        made.append(load_checkpoint(checkpoint(tmp_path / out, "learn2synth")))
    one, two = (m["model"] for m in made)
    assert all(torch.equal(one[k], two[k]) for k in one if k.startswith("segmenter."))
    one, two = (m["optimizer"]["parts"][1]["state"][0]["exp_avg"] for m in made)
    assert one.abs().max() > 0 and not torch.equal(one, two)


def test_export_tells_its_runs_from_others(options, tmp_path) -> None:
    run(train(replace(options, steps=1)))
    assert is_run(options.out) and not is_run(tmp_path)
    assert export(options.out, tmp_path / "mine.safetensors").exists()
    with pytest.raises(InputError, match="not a `train learn2synth` run"):
        export(tmp_path, tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match="must end in"):
        export(options.out, tmp_path / "mine.pt")


def test_what_cannot_be_is_refused(options) -> None:
    with pytest.raises(InputError, match="labelled scans: give"):
        replace(options, labelled=None)
    with pytest.raises(InputError, match="between 1 and 192"):
        replace(options, crop=208)
    with pytest.raises(InputError, match="at least 0"):
        replace(options, sigma=-0.1)
    with pytest.raises(InputError, match="would never learn"):
        replace(options, augmenter_warmup=4)
    with pytest.raises(InputError, match="augmenter_warmup must be at least 0"):
        replace(options, augmenter_warmup=-1)
    with pytest.raises(InputError, match="above 0"):
        replace(options, augmenter_rate=0.0)
    with pytest.raises(InputError, match="multiple of 16, and at least 32"):
        run(train(replace(options, crop=20)))
    run(train(replace(options, steps=1)))
    with pytest.raises(InputError, match="contains a run already"):
        run(train(options))
    with pytest.raises(InputError, match="another inner step"):
        run(train(replace(options, resume=True, inner="sgd")))


def test_crops_hold_what_they_are_centred_on() -> None:
    channels = torch.zeros(32, 40, 32, dtype=torch.uint8)
    channels[0, 39, 16] = 1
    case = Case("a", torch.rand(32, 40, 32).half(), channels)
    image, target = LabelledCrops([case], 16, 2, "cpu")(torch.Generator().manual_seed(0))
    assert image.shape == (2, 1, 16, 16, 16) and image.dtype == torch.float32
    assert target[0, 0, 15, 8] == 1
    assert torch.equal(image[0, 0, 0, 15], case.image[0, 39, 8:24].float())
