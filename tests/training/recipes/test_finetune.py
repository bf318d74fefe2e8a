"""`train finetune` with tiny networks: from scans and weights to weights; resumed exactly; stopped early; refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.inference.state import Prediction
from napari_synthseg.jobs import run
from napari_synthseg.networks.hierarchy import Hierarchy
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data import finetune_data
from napari_synthseg.training.data.finetune_data import input_spec, starting_network
from napari_synthseg.training.data.labelled_scans import make_targets
from napari_synthseg.training.engine.losses import IGNORED
from napari_synthseg.training.folder import checkpoint, read_config
from napari_synthseg.training.objectives.finetune import EarlyStopping, ScanCropsObjective
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.finetune import TrainFinetuneOptions
from napari_synthseg.weights import catalogue, store
from tests.training.builders import (
    LABELS,
    assert_same_ends,
    events,
    fast_weights,
    interrupted,
    unet_weights,
    write_scans,
)

RECIPE = recipes()["finetune"]


@pytest.fixture
def few_scores(monkeypatch):
    """Scoring takes most of the time of these runs; here it counts."""
    told = iter([0.5 + 0.01 * i for i in range(99)])
    monkeypatch.setattr(finetune_data, "score", lambda *_: {"score": next(told), "dice": {"Left-Hippocampus": 0.5}})


@pytest.fixture
def options(tmp_path) -> TrainFinetuneOptions:
    start = unet_weights(tmp_path / "start.safetensors")
    scans = write_scans(tmp_path / "scans", 2)
    return TrainFinetuneOptions(scans=scans, out=tmp_path / "run", start_from=start, steps=4, crop=16, validate_every=2,
                                device="cpu")  # fmt: skip


def test_a_unet_from_scans_to_weights(options) -> None:
    path = run(RECIPE.train(options))
    model = store.load_model(path)
    assert isinstance(model, UNet3d) and model.labels == LABELS
    card = model.card
    assert card["licence"] == "that of the scans in scans, and of the weights start it started from"
    assert card["recipe"].startswith("train finetune, start_from start, task all, seed 1, steps 4, crop 16")
    assert (
        card["data"] == "1 labelled scans of scans (held out: 1); synthetic images from the scans' labels, 50% of all"
    )
    assert card["steps"] in (2, 4) and set(card["scores"]) == {"dice"} and 0 <= card["before"]["dice"] <= 1
    assert read_config(options.out)["stages"] == {"finetune": 4}
    last = [line for line in events(options.out) if "score" in line][-1]
    assert {"Left-Cerebral-White-Matter", "Right-Cerebral-Cortex"} <= set(last["dice"])


def test_it_learns_what_scans_look_like(options, few_scores) -> None:
    run(
        RECIPE.train(replace(options, steps=40, learning_rate=3e-3, synthetic=0.0, validate_every=40, augmentation=0.0))
    )
    losses = [line["loss"] for line in events(options.out) if "loss" in line]
    assert len(losses) == 40 and sum(losses[-8:]) / 8 < sum(losses[:8]) / 8 - 0.25


def test_a_resumed_run_ends_at_the_same_numbers(options, tmp_path, few_scores, monkeypatch) -> None:
    monkeypatch.setattr(
        finetune_data, "score", lambda model, *_: {"score": float(next(model.parameters()).sum()), "dice": {}}
    )
    whole = run(RECIPE.train(options))
    parts = interrupted(RECIPE, replace(options, out=tmp_path / "parts"), "finetune", 3)
    assert_same_ends(whole, parts, "finetune")


def test_a_fast_network_learns_in_two_stages_and_resumes(options, tmp_path, few_scores, monkeypatch) -> None:
    monkeypatch.setattr(
        finetune_data, "score", lambda model, *_: {"score": float(next(model.parameters()).sum()), "dice": {}}
    )
    options = replace(options, start_from=fast_weights(tmp_path / "fast.safetensors"), steps=4, locate_fraction=0.5)
    before, path = store.load_model(options.start_from), run(RECIPE.train(options))
    model = store.load_model(path)
    assert isinstance(model, LocateRefine) and model.card["steps"] == {"locate": 2, "refine": 2}
    for part in ("locator.stem.weight", "refiner.stem.weight"):
        assert not torch.equal(model.state_dict()[part], before.state_dict()[part])
    assert {line["stage"] for line in events(options.out) if "stage" in line} == {"locate", "refine"}
    parts = interrupted(RECIPE, replace(options, out=tmp_path / "parts"), "refine", 1)
    assert_same_ends(path, parts, "locate", "refine")
    checkpoint(options.out, "refine").unlink()
    checkpoint(options.out, "refine", "best").unlink()
    early = store.load_model(RECIPE.export(options.out, tmp_path / "early.safetensors"))  # the run may still be active
    assert torch.equal(early.state_dict()["refiner.stem.weight"], before.state_dict()["refiner.stem.weight"])


def test_of_a_hierarchy_the_last_network_learns(options, tmp_path, few_scores) -> None:
    tissues = list(range(5))
    unet = {"network": "unet", "features": 2, "levels": 2}
    parts = {"s1": {**unet, "labels": tissues}, "s2": {**unet, "labels": list(LABELS), "in_channels": 6},
             "denoiser": {"network": "denoiser", "labels": tissues, "features": 2, "levels": 2}}  # fmt: skip
    card = {"name": "h", "network": "robust", "labels": list(LABELS), "parts": parts}
    start = store.build(card)
    assert isinstance(start, Hierarchy)
    store.save(tmp_path / "h.safetensors", start.state_dict(), card)
    options = replace(options, start_from=str(tmp_path / "h.safetensors"), steps=2)
    before = store.load_model(options.start_from).state_dict()
    after = store.load_model(run(RECIPE.train(options))).state_dict()
    changed = {k.split(".")[0] for k in after if not torch.equal(after[k], before[k])}
    assert changed == {"s2"}
    norms = [k for k in after if "running" in k]
    assert norms and all(torch.equal(after[k], before[k]) for k in norms)  # a crop has no statistics to norm by


@pytest.mark.parametrize(("name", "task"), [("unetr", "four"), ("swin-unetr", "brain")])
def test_transformers_from_random_weights(options, monkeypatch, few_scores, name, task) -> None:
    pytest.importorskip("monai")
    tiny = {"unetr": {"edge": 32, "field": 48, "spacing": 2, "hidden": 12, "mlp": 12, "heads": 2, "layers": 4,
                      "features": 2},
            "swin-unetr": {"edge": 64, "field": 64, "spacing": 1, "features": 12, "depths": [1, 1, 1, 1]}}  # fmt: skip
    monkeypatch.setattr("napari_synthseg.training.data.finetune_data.SMALL", tiny)
    options = replace(options, start_from=name, task=task, size="small", crop=None, steps=1)
    model = store.load_model(run(RECIPE.train(options)))
    assert model.labels == anatomy.task_values(task) and model.edge == tiny[name]["edge"]
    assert model.card["licence"] == "that of the scans in scans" and "random weights" in model.card["summary"]
    assert "before" not in model.card


def test_the_encoder_learns_at_a_rate_of_its_own() -> None:
    model = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Conv3d(2, 2, 1))
    encoder = {"encoder": list(model[0].parameters()), "encoder_lr_scale": 0.1}
    first, second = ScanCropsObjective(model, None, seed=1, crop=8, device="cpu", **encoder).groups()
    assert first["lr_scale"] == 0.1 and [p.shape for p in first["params"]] == [(2, 1, 1, 1, 1), (2,)]
    assert len(second["params"]) == 2 and "lr_scale" not in second


def test_it_ends_when_nothing_improves(options, monkeypatch, caplog) -> None:
    told = iter([0.7, 0.5, 0.6, 0.4, 0.6, 0.9, 0.9])
    monkeypatch.setattr(finetune_data, "score", lambda *_: {"score": next(told), "dice": {}})
    run(RECIPE.train(replace(options, steps=8, validate_every=1, patience=2)))
    assert max(line.get("step", 0) for line in events(options.out)) == 4
    assert catalogue.read_card(options.out / "finetuned.safetensors")["scores"] == {"dice": 0.6}
    assert catalogue.read_card(options.out / "finetuned.safetensors")["steps"] == 2
    assert (
        "does worse on the validation scans than the weights it started from (Dice 0.600, before 0.700)" in caplog.text
    )


def test_patience_counts_on_after_an_interruption(tmp_path) -> None:
    scores_told = iter([0.5, 0.4, 0.3, 0.6])
    patience = EarlyStopping(lambda _: {"score": next(scores_told)}, 2)
    for over in (False, False, True, False):
        patience(torch.nn.Identity())
        assert patience.over() is over
    assert patience.facts() == {"stale": 0, "best_score": 0.6}


def test_scores_join_what_belongs_together(options, monkeypatch) -> None:
    targets = make_targets((0, 2, 3, 41, 42), "four", {0, 471, 473})
    posteriors = torch.zeros(5, 2, 1, 1)
    posteriors[:, 0, 0, 0] = torch.tensor([0.4, 0.3, 0.0, 0.3, 0.0])  # white matter on two sides
    posteriors[:, 1, 0, 0] = torch.tensor([0.0, 0.3, 0.4, 0.3, 0.0])

    def steps(*_, **__):
        yield from ()
        return Prediction(posteriors, (0, 2, 3, 41, 42), (1, 0, 0), None, "cpu")

    monkeypatch.setattr(finetune_data, "predict_steps", steps)
    spec, scan = input_spec(UNet3d(2, 2, 2), {}), np.zeros((4, 1, 1))
    found = finetune_data.found_targets(torch.nn.Identity(), scan, targets, spec, torch.device("cpu"))
    assert [targets.names[i] for i in found.ravel()] == ["Unknown", "White-Matter", "White-Matter", "Unknown"]
    true = np.array([0, 1, IGNORED, 2], np.uint8)
    assert finetune_data.dice_of(found.ravel(), true, targets) == {1: 1.0, 2: 0.0}


def test_what_cannot_be_done_is_said(options, tmp_path) -> None:
    with pytest.raises(InputError, match="multiple of 4"):
        run(RECIPE.train(replace(options, crop=18)))
    with pytest.raises(InputError, match="no weights named"):
        RECIPE.stages(replace(options, start_from="nothing-of-that-name"))
    with pytest.raises(InputError, match="--synthetic 0"):
        run(RECIPE.train(replace(options, scans=write_scans(tmp_path / "mask", 1, (461,)), task="brain")))
    heart = unet_weights(tmp_path / "heart.safetensors", organ="heart")
    with pytest.raises(InputError, match="train organ"):
        run(RECIPE.train(replace(options, start_from=heart)))
    for wrong in ({"steps": 0}, {"synthetic": 1.5}, {"patience": -1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            replace(options, **wrong)


def test_a_picture_shows_label_values(options) -> None:
    device = torch.device("cpu")
    model, card = starting_network(options.start_from, "all")
    material = finetune_data.gather(options, model, card, device)
    recipe = ScanCropsObjective(model.eval(), material.sampler, seed=1, crop=16, device=device)
    with torch.no_grad():
        shown = recipe.picture(3)
    assert shown["image"].shape == shown["truth"].shape == shown["prediction"].shape == (16, 16, 16)
    assert set(shown["truth"].ravel().tolist()) <= {*LABELS}
