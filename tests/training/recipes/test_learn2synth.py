"""`train learn2synth` with tiny networks: from label maps and labelled scans to weights, resumed exactly, refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import prepare, save
from napari_synthseg.jobs import run
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.cases import Scores, ValidationCase, labelled_crops
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.learn2synth import TrainLearn2SynthOptions
from napari_synthseg.weights.catalogue import read_card
from napari_synthseg.weights.store import load_model
from tests.generator.builders import boxes
from tests.training.builders import assert_same_ends, events, interrupted, write_scan

RECIPE = recipes()["learn2synth"]
train = RECIPE.train


@pytest.fixture(autouse=True)
def nothing_is_scored(monkeypatch):
    monkeypatch.setattr("napari_synthseg.training.data.cases.score_whole", lambda *_: Scores(0.5, {}))
    monkeypatch.setattr("napari_synthseg.training.data.label_maps.synthetic_cases", lambda *_: [])


@pytest.fixture
def options(tmp_path) -> TrainLearn2SynthOptions:
    save(tmp_path / "maps.npz", [prepare(boxes((2, 41), side=24), name=f"map{i}") for i in range(2)])
    values, folder = boxes((2, 41), side=40), tmp_path / "labelled"
    write_scan(folder, "a", values, values)
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
    whole = run(train(options))
    parts = interrupted(RECIPE, replace(options, out=tmp_path / "parts"), "learn2synth", 2)
    assert_same_ends(whole, parts, "learn2synth")
    assert len(load_checkpoint(checkpoint(options.out, "learn2synth"))["optimizer"]["parts"]) == 2


def test_the_augmenter_waits_until_it_is_to_learn(options) -> None:
    run(train(replace(options, augmenter_warmup=2, steps=3)))
    lines = events(options.out)
    assert ["real" in line for line in lines] == [False, False, True]
    assert [line["sigma"] == pytest.approx(0.1) for line in lines] == [True] * 3
    assert load_checkpoint(checkpoint(options.out, "learn2synth"))["card"]["augmenter"]["sigma"] != pytest.approx(0.1)


def test_without_an_augmenter_it_is_synthseg_and_needs_no_scans(options) -> None:
    path = run(train(replace(options, augmenter="none", labelled=None, steps=2, augmenter_warmup=500)))
    card = read_card(path)
    assert card["licence"] == "Apache-2.0" and card["data"].endswith("synthetic images only")
    lines = events(options.out)
    assert len(lines) == 2 and "real" not in lines[0]


def test_the_segmenter_learns_from_synthetic_images_alone(options, tmp_path) -> None:
    """With other real images the hypergradient is another, and the segmenter's first step the same."""
    other, values = tmp_path / "others", boxes((41, 2), side=40)
    write_scan(other, "a", values == 2, values)
    made = []
    for folder, out in ((options.labelled, "a"), (other, "b")):
        run(train(replace(options, labelled=folder, out=tmp_path / out, steps=1, inner="sgd")))
        made.append(load_checkpoint(checkpoint(tmp_path / out, "learn2synth")))
    one, two = (m["model"] for m in made)
    assert all(torch.equal(one[k], two[k]) for k in one if k.startswith("segmenter."))
    one, two = (m["optimizer"]["parts"][1]["state"][0]["exp_avg"] for m in made)
    assert one.abs().max() > 0 and not torch.equal(one, two)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labelled": None}, "labelled scans: give"),
        ({"crop": 208}, "between 1 and 192"),
        ({"sigma": -0.1}, "at least 0"),
        ({"augmenter_warmup": 4}, "would never learn"),
        ({"augmenter_rate": 0.0}, "above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, changes, message) -> None:
    with pytest.raises(InputError, match=message):
        replace(options, **changes)


def test_a_run_is_neither_cut_too_small_nor_resumed_with_another_step(options) -> None:
    with pytest.raises(InputError, match="multiple of 16, and at least 32"):
        run(train(replace(options, crop=20)))
    run(train(replace(options, steps=1)))
    with pytest.raises(InputError, match="another inner step"):
        run(train(replace(options, resume=True, inner="sgd")))


def test_crops_hold_what_they_are_centred_on() -> None:
    channels = torch.zeros(32, 40, 32, dtype=torch.uint8)
    channels[0, 39, 16] = 1
    case = ValidationCase("a", torch.rand(32, 40, 32).half(), channels)
    image, target = labelled_crops([case], crop=16, batch=2, device="cpu")(torch.Generator().manual_seed(0))
    assert image.shape == (2, 1, 16, 16, 16) and image.dtype == torch.float32
    assert target[0, 0, 15, 8] == 1
    assert torch.equal(image[0, 0, 0, 15], case.image[0, 39, 8:24].float())
