"""`train lesions` end to end with small heads: crops, voxels, weights that load, a run that is resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import prepare, save
from napari_synthseg.generator.lesion_confounders import with_perivascular_spaces, with_texture
from napari_synthseg.generator.record import draw
from napari_synthseg.jobs import run
from napari_synthseg.networks.lesion_features import FEATURES
from napari_synthseg.networks.lesion_finder import LesionFinder
from napari_synthseg.networks.lesion_inputs import CHANNELS, GROUPS
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.fast import step_generator
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.lesion_stage.recipe import (
    EDGE,
    SPARED,
    THRESHOLDS,
    Heads,
    LesionRecipe,
    Voxels,
    best_threshold,
    some_voxels,
)
from napari_synthseg.training.lesion_stage.sampler import VISIBLE, Sampler, visible, wrong_tissues
from napari_synthseg.training.lesion_stage.train import export, priors_of, train
from napari_synthseg.training.options.lesions import TrainLesionsOptions
from napari_synthseg.weights import load_model
from tests.generator.builders import boxes

VALUES = (2, 41, 3, 42, 4)


@pytest.fixture(autouse=True)
def small_heads(monkeypatch):
    monkeypatch.setattr(Sampler, "shape", (48, 24, 24))
    monkeypatch.setattr("napari_synthseg.training.lesion_stage.train.CASES", 2)


@pytest.fixture
def maps(tmp_path) -> Path:
    path = tmp_path / "maps.npz"
    save(path, [prepare(boxes(VALUES, side=24), name=f"map{i}") for i in range(3)])
    return path


def options(maps: Path, out: Path, **changes) -> TrainLesionsOptions:
    small = {"steps": 4, "crops": 2, "crop": 32, "batch": 64, "reuse": 2, "hidden": (4,), "validate_every": 4}
    small |= {"segmented": 0.0, "hold_out": ("map2",), "device": "cpu", "load_ml": (2.0, 4.0), "free": 0.0}
    return TrainLesionsOptions(maps, out, **{**small, **changes})


@pytest.fixture(scope="module")
def label_map():
    return prepare(boxes(VALUES, side=24), name="boxes")


def sampler(label_map, **changes) -> Sampler:
    given = options(Path("maps"), Path("out"))
    return Sampler([label_map], replace(priors_of(given), velocity_std=(0.0, 0.0)), crop=32, **changes)


def test_crops_lie_around_lesions_and_the_same_seed_draws_the_same(label_map) -> None:
    first, again = (sampler(label_map, free=0.0, around=1.0).crops(step_generator(1, 0), 3) for _ in range(2))
    assert first.inputs.shape == (3, CHANNELS, 32, 32, 32) and first.lesions.flatten(1).any(1).all()
    torch.testing.assert_close(first.inputs, again.inputs)
    assert not sampler(label_map, free=1.0).crops(step_generator(1, 0), 2).lesions.any()


def test_a_network_s_own_segmentation_is_learned_from(label_map, monkeypatch) -> None:
    torch.manual_seed(0)
    network = LocateRefine((0, *VALUES), (2, 2, 2, 2), (2, 2, 2)).eval()
    monkeypatch.setattr(Sampler, "shape", network.head_shape)
    made = sampler(label_map, segmenter=network, segmented=1.0).crops(step_generator(1, 0), 1)
    tissues = made.inputs[0, -len(GROUPS) :]
    assert 0 < tissues.sum(0).max() <= 1.001 and torch.isfinite(made.inputs).all()


def test_lesions_can_be_seen(label_map) -> None:
    record = draw(priors_of(options(Path("m"), Path("o"))), label_map, step_generator(3, 0))
    white = label_map.values.index(2)
    hidden = replace(record, drawn_lesions=replace(record.drawn_lesions, mean=record.means[white] + 0.1))
    seen = visible(hidden, label_map)
    away = abs(seen.drawn_lesions.mean - np.mean([record.means[label_map.values.index(v)] for v in (2, 41)]))
    assert away >= VISIBLE * record.stds[white] - 1e-6
    assert visible(seen, label_map) == seen


def test_lesions_are_taken_for_other_tissues_now_and_then() -> None:
    values = torch.full((24, 24, 24), 2, dtype=torch.int32)
    values[8:16, 8:16, 8:16] = 77
    inside = [wrong_tissues(values, step_generator(0, i))[0, 10:14, 10:14, 10:14].mean().item() for i in range(24)]
    assert max(inside) > 0.95 and min(inside) < 0.6


def test_confounders_stay_in_white_matter(label_map) -> None:
    white = torch.zeros(24, 24, 24, dtype=torch.bool)
    white[4:20, 4:20, 4:20] = True
    labels = torch.full(white.shape, label_map.values.index(2), dtype=torch.uint8)
    drawn = [with_perivascular_spaces(labels, label_map, white, 1.0, step_generator(0, i)) for i in range(3)]
    changed = sum(one != labels for one in drawn).bool()
    assert changed.any() and not (changed & ~white).any()
    assert set(drawn[0][drawn[0] != labels].tolist()) <= {label_map.values.index(4)}
    image = torch.full(white.shape, 0.5)
    textured = with_texture(image, white, step_generator(0, 1))
    assert (textured != image)[white].any() and (textured == image)[:3].all()


def test_a_batch_holds_what_a_head_has_and_heads_are_used_again(label_map, tmp_path) -> None:
    made = sampler(label_map, free=0.0, around=1.0)
    heads = Heads(made, 1, 2, tmp_path)
    recipe = LesionRecipe(LesionFinder((4,)), heads, batch=500, reuse=2)
    head = heads[0]
    assert head.features.shape[1] == FEATURES and 0 < head.truth.mean() < 1
    crops = heads.made(0)
    inner = (slice(None), *[slice(EDGE, -EDGE)] * 3)
    assert float((head.weight * head.truth).sum()) == pytest.approx(float(crops.lesions[inner].sum()), rel=0.01)
    assert some_voxels(crops, step_generator(3, 0)).features.shape == head.features.shape
    loss, figures = recipe.loss(1)
    loss.backward()
    assert heads[0] is head and 0 <= figures["soft_dice"] <= 1
    assert set(recipe.picture(0)) == {"image", "truth", "prediction"}
    kept = Heads(made, 1, 2, tmp_path)[0]
    assert all(torch.equal(getattr(kept, name), getattr(head, name)) for name in vars(head))


def test_heads_that_choose_the_threshold_are_not_learned_from(label_map) -> None:
    heads = Heads(sampler(label_map), 1, 1)
    recipe = LesionRecipe(LesionFinder((4,)), heads, batch=50, reuse=1)
    asked = []
    one = Voxels(torch.zeros(5, FEATURES), torch.ones(5), torch.ones(5))
    heads._drawn = lambda number: asked.append(number) or one
    recipe.loss(SPARED)
    assert asked == [n for n in range(SPARED + 1) if n != SPARED - 1]


def test_the_threshold_keeps_what_is_false_low_and_the_dice_high() -> None:
    class Told(torch.nn.Module):
        def voxels(self, features: torch.Tensor) -> torch.Tensor:
            return features[:, 0]

    def head(probabilities: list[float], truth: list[float]) -> Voxels:
        features = torch.zeros(len(truth), FEATURES)
        features[:, 0] = torch.logit(torch.tensor(probabilities))
        return Voxels(features, torch.tensor(truth), torch.ones(len(truth)))

    sick = head([0.9, 0.66, 0.55, 0.1], [1.0, 1.0, 0.0, 0.0])
    assert best_threshold(Told(), [sick]) == 0.6
    assert best_threshold(Told(), [sick, head([0.82, 0.1], [0.0, 0.0])]) == 0.85
    assert best_threshold(Told(), [sick, head([0.99, 0.1], [0.0, 0.0])]) == THRESHOLDS[-1]


def test_training_writes_weights_that_load_and_is_resumed_exactly(maps, tmp_path) -> None:
    whole = run(train(options(maps, tmp_path / "whole")))
    model = load_model(whole)
    assert model.card["network"] == "lesions" and model.labels == (0, 77) and model.card["hidden"] == [4]
    assert "2 label maps (held out: map2)" in model.card["data"] and model.card["steps"] == 4
    assert 0 < model.card["threshold"] < 1
    job = train(options(maps, tmp_path / "parts"))
    while not checkpoint(tmp_path / "parts", "lesions").exists():
        progress = next(job)
        if progress.stage == "lesions" and progress.done == 2:
            job.close()
    parts = load_model(run(train(options(maps, tmp_path / "parts", resume=True))))
    for a, b in zip(model.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    best = export(tmp_path / "whole", tmp_path / "best.safetensors", best=True)
    assert load_model(best).card["name"] == "best"


def test_another_network_is_no_start_and_no_segmenter(maps, tmp_path) -> None:
    first = run(train(options(maps, tmp_path / "a", steps=1)))
    with pytest.raises(InputError, match="not of a fast network"):
        run(train(options(maps, tmp_path / "b", segmenter=str(first), segmented=0.5)))
    with pytest.raises(InputError, match="its layers are"):
        run(train(options(maps, tmp_path / "c", start_from=str(first), hidden=(8,))))
    assert run(train(options(maps, tmp_path / "d", start_from=str(first), steps=1))).exists()


@pytest.mark.parametrize("wrong", [{"crop": 30}, {"load_ml": (5.0, 1.0)}, {"free": 1.5}, {"batch": 0}])
def test_options_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(InputError):
        options(Path("maps"), Path("out"), **wrong)
