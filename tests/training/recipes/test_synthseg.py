"""Training end to end with tiny networks: events, checkpoints, exported weights that load and predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import load, prepare
from napari_synthseg.generator.presets import changed, preset, write_priors
from napari_synthseg.jobs import run
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.label_maps import predicted_labels, with_lesions
from napari_synthseg.training.data.synthetic import Heads, class_weights, percentile_limits, rescaled
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.objectives.locate_refine import Locate, Refine
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.synthseg import TrainSynthSegOptions
from napari_synthseg.weights.store import load_model
from tests.generator.builders import STILL

SYNTHSEG = recipes()["synthseg"]
train, export = SYNTHSEG.train, SYNTHSEG.export


REPORTS: list[str] = []


@pytest.fixture(scope="module")
def first(maps, tmp_path_factory) -> Path:
    """Weights of a finished run of the fast recipe; its stages are in REPORTS."""
    out = tmp_path_factory.mktemp("synthseg") / "run"
    options = tiny(maps, out, steps=4, locate_fraction=0.5, validate_every=2)
    return run(train(options), lambda p: REPORTS.append(p.stage))


def tiny(maps, out, **changes) -> TrainSynthSegOptions:
    small = {"locator_features": (4, 4, 4, 4), "refiner_features": (4, 4, 4), "features": 2, "crop": 32}
    return TrainSynthSegOptions(label_maps=maps, out=out, device="cpu", hold_out=("map2",), **small, **changes)


def test_fast_recipe_from_label_maps_to_weights(first) -> None:
    assert first.name == "synthseg-fast.safetensors"
    assert list(dict.fromkeys(REPORTS)) == ["reading label maps", "drawing heads for validation", "locate", "refine"]
    model = load_model(first)
    assert isinstance(model, LocateRefine)
    assert model.card["steps"] == {"locate": 2, "refine": 2}
    with torch.no_grad():
        prior = model.locate(torch.rand(1, 1, *model.head_shape))
        appearance = model.appearance(torch.rand(1, 1, *model.head_shape), prior)
        image = torch.rand(1, 1, 32, 48, 32)
        logits = model.refine_averaged(image, prior[:, :, :16, :24, :16], appearance, None)
        fine = model.posteriors(logits, image, appearance)
    assert fine.shape == (33, 32, 48, 32)
    assert torch.allclose(fine.float().sum(0), torch.ones(32, 48, 32), atol=2e-3)


def test_painted_lesions_are_white_matter_to_the_network(maps, tmp_path) -> None:
    data = run(SYNTHSEG.prepare(tiny(maps, tmp_path, lesions=True), torch.device("cpu")))
    assert data.labels == anatomy.predicted_values() and data.priors["lesions"].lesion_load_ml[1] > 0
    plain = preset("synthseg")
    assert with_lesions(plain, False) == plain and with_lesions(plain, True)["lesions"].lesion_load_ml[1] > 0
    mine = plain.with_values(lesion_load_ml=(3.0, 4.0))
    assert with_lesions(mine, True) == mine


@pytest.mark.parametrize("stage", [Locate, Refine])
def test_a_resumed_stage_ends_at_the_same_weights(stage, maps, tmp_path) -> None:
    def go(out, steps: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = LocateRefine((0, 2, 24, 41), (4, 4, 4, 4), (4, 4, 4))
        heads = Heads(load(maps), preset("fast"), model.labels, device="cpu")
        recipe = stage(model, heads, seed=1, batch=1, device="cpu", validation=lambda m: {})
        options = LoopOptions(steps=steps, learning_rate=1e-3, optimizer="adamw", ema_decay=0.9, clip=2.0)
        return {k: v.clone() for k, v in run(fit(recipe, options, out, resume=True)).state_dict().items()}

    whole = go(tmp_path / "a", 3)
    go(tmp_path / "b", 1)
    parts = go(tmp_path / "b", 3)
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_weights_of_a_paper_run_finished_or_not(maps, tmp_path) -> None:
    options = tiny(maps, tmp_path / "run", preset="paper", steps=3, validate_every=100, name="mine")
    job = train(options)
    while next(job).done < 2:
        pass
    job.close()
    early = load_model(export(tmp_path / "run", tmp_path / "early.safetensors"))
    assert isinstance(early, UNet3d) and early.features == 2 and len(early.labels) == 33
    assert early.card["steps"] == 2 and "label maps" in early.card["data"]
    assert load_model(run(train(replace(options, resume=True)))).card["steps"] == 3
    assert checkpoint(tmp_path / "run", "unet").exists()


def test_a_crop_s_prior_lies_on_its_image(maps) -> None:
    model = LocateRefine((0, 2, 24, 41), (4, 4, 4, 4), (4, 4, 4))
    heads = Heads(load(maps), STILL, model.labels, device="cpu")
    recipe = Refine(model, heads, seed=1, batch=2, device="cpu", validation=lambda m: {})
    truth = {}

    def locate(image: torch.Tensor) -> torch.Tensor:  # a locator that is always right
        return truth["posteriors"]

    draw = heads.head

    def remember(g, strength):
        head = draw(g, strength)
        truth["posteriors"] = torch.nn.functional.one_hot(head.channels().long(), 4).movedim(-1, 0)[None].float()
        return head

    heads.head = remember
    model.locate = locate
    crops = recipe.crops(torch.Generator().manual_seed(0), 0)
    targets = crops.targets
    assert crops.image.shape == (2, 1, 48, 48, 48) and targets.shape == (2, 48, 48, 48)
    fine = crops.prior.argmax(1).repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    agree = (fine == targets)[targets > 0].float().mean()
    assert agree > 0.9


def test_the_positional_term_starts_where_labels_lie(maps) -> None:
    model = LocateRefine((0, 2, 24, 41), (4, 4, 4, 4), (4, 4, 4))
    heads = Heads(load(maps), STILL, model.labels, device="cpu")
    recipe = Locate(model, heads, seed=1, batch=1, device="cpu", validation=lambda m: {})
    recipe.set_position()
    likely = model.locator.position[0].argmax(0)
    assert likely[0, 0, 0] == 0
    head = heads.head(torch.Generator().manual_seed(0))
    white = (head.sample.labels == head.label_map.values.index(2)).nonzero().float().mean(0)
    cell = tuple((white // 8).long().tolist())
    assert model.locator.position[0, 1][cell] > model.locator.position[0, 1, 0, 0, 0] + 2


def test_rare_labels_weigh_more(maps) -> None:
    w = class_weights(load(maps), (0, 2, 24, 41), 0.25)
    assert w[0] == 1 and (w[1:] > 1).all()


def test_rescaling_clips_at_percentiles() -> None:
    x = torch.linspace(0, 100, 130_001)
    low, high = percentile_limits(x)
    assert low == pytest.approx(1, abs=0.1) and high == pytest.approx(99, abs=0.1)
    y = rescaled(x, (low, high))
    assert y.min() == 0 and y.max() == 1
    assert np.isclose(y[65000].item(), 0.5, atol=0.01)


def test_csf_may_be_left_out_as_in_the_paper() -> None:
    labels = np.zeros((8, 8, 8), np.int16)
    labels[1:3, 2:6, 2:6], labels[3:5, 2:6, 2:6], labels[5:7, 2:6, 2:6] = 2, 41, 24
    maps = [prepare(labels)]
    assert predicted_labels(maps) == anatomy.predicted_values(2)
    assert predicted_labels(maps, csf=False) == anatomy.predicted_values(1)


@pytest.mark.parametrize("deeper", [(), (8,)], ids=["same", "one-more-level"])
def test_training_starts_from_given_weights(first, maps, tmp_path, deeper) -> None:
    before = load_model(first)
    sizes = before.refiner.features
    options = tiny(maps, tmp_path / "run", steps=2, locate_fraction=0.5, learning_rate=1e-12, start_from=str(first))
    after = load_model(run(train(replace(options, refiner_features=(*sizes, *deeper)))))
    old, new = before.state_dict(), after.state_dict()
    assert all(torch.allclose(old[k], new[k], atol=1e-3) for k in old)
    assert not deeper or new[f"refiner.ups.{len(sizes) - 1}.weight"].abs().max() < 1e-6


def test_weights_of_other_sizes_are_no_start(first, maps, tmp_path) -> None:
    wider = replace(tiny(maps, tmp_path / "wider", start_from=str(first)), refiner_features=(4, 4, 8))
    with pytest.raises(InputError, match="sizes differ"):
        run(train(wider))


def test_priors_of_a_file_and_settings_are_trained_with_and_recorded(maps, tmp_path) -> None:
    mine = preset("synthseg").with_values(noise_std=(0.0, 7.0))
    write_priors(tmp_path / "my.json", "synthseg", mine)
    options = tiny(maps, tmp_path / "run", priors=str(tmp_path / "my.json"), set=("skull_strip=1",))
    data = run(SYNTHSEG.prepare(options, torch.device("cpu")))
    assert data.priors == mine.with_values(skull_strip=1.0)
    card = SYNTHSEG.card(options, data)
    assert card["priors"] == ["skull_strip=1", "noise_std=0,7"]
    assert changed(preset("synthseg"), card["priors"]) == data.priors


def test_settings_change_the_recipes_own_priors(maps, tmp_path) -> None:
    data = run(SYNTHSEG.prepare(tiny(maps, tmp_path, set=("noise_std=0,3",)), torch.device("cpu")))
    assert data.priors == preset("fast").with_values(noise_std=(0.0, 3.0))
    with pytest.raises(InputError, match="sets no prior"):
        run(SYNTHSEG.prepare(tiny(maps, tmp_path, set=("cats=3",)), torch.device("cpu")))
