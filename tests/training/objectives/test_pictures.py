"""Every recipe shows what it learns from: an image, the truth on its grid, and what the network makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.anatomy import TISSUES, predicted_values
from napari_synthseg.generator.labelmap import prepare
from napari_synthseg.generator.presets import preset
from napari_synthseg.networks.augmenter import build_augmenter
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import Denoiser, UNet3d
from napari_synthseg.training.data.synthetic import Heads, random_crops
from napari_synthseg.training.engine.loop import Objective, labelled_picture
from napari_synthseg.training.objectives import tissues
from napari_synthseg.training.objectives.crops import UNetCrops
from napari_synthseg.training.objectives.learn2synth import Bilevel
from napari_synthseg.training.objectives.locate_refine import Locate, Refine
from tests.generator.builders import boxes

LABELS = predicted_values(2)
SMALL = ((4, 4, 4, 4), (4, 4, 4))
HEAD = (48, 64, 48)


@pytest.fixture(scope="module")
def maps():
    return [prepare(boxes(side=24), name="map")]


COMMON = {"seed": 1, "device": "cpu", "validation": lambda m: {}}


def heads(maps) -> Heads:
    return Heads(maps, preset("fast"), LABELS, device="cpu")


def crops(maps) -> random_crops:
    return random_crops(maps, preset("fast"), LABELS, batch=2, crop=32, device="cpu")


def shown(recipe) -> dict[str, np.ndarray]:
    assert isinstance(recipe, Objective)
    recipe.model.eval()
    with torch.no_grad():
        return recipe.picture(3)


def check(picture, shape, values) -> None:
    assert {name: array.shape for name, array in picture.items()} == dict.fromkeys(
        ("image", "truth", "prediction"), shape
    )
    assert np.isfinite(picture["image"]).all() and picture["image"].std() > 0
    assert set(np.unique(picture["truth"])) <= set(values) and len(np.unique(picture["truth"])) > 1
    assert set(np.unique(picture["prediction"])) <= set(values)


@pytest.mark.parametrize(("kind", "shape"), [(Locate, HEAD), (Refine, (48, 48, 48))], ids=["locate", "refine"])
def test_the_fast_recipe(maps, kind, shape) -> None:
    check(shown(kind(LocateRefine(LABELS, *SMALL), heads(maps), batch=2, **COMMON)), shape, LABELS)


def test_the_fast_plan_for_low_quality(maps) -> None:
    model = RobustLocateRefine(LABELS, *SMALL, (4, 4, 4, 4), 2)
    classes, inputs = tissues.tissue_classes(LABELS), tissues.seen_with_tissues(model, "cpu", 0.0)
    s1 = Locate(model, heads(maps), net=model.locator.s1, classes=classes, batch=2, **COMMON)
    check(shown(s1), HEAD, range(len(TISSUES)))
    check(shown(tissues.Denoise(model, heads(maps), batch=2, **COMMON)), HEAD, range(len(TISSUES)))
    s2 = Locate(model, heads(maps), net=model.locator.s2, inputs=inputs, batch=2, **COMMON)
    check(shown(s2), HEAD, LABELS)


def test_the_papers_objectives(maps) -> None:
    count = len(TISSUES)
    cases = [
        (UNet3d(LABELS, 2), LABELS, {}),
        (UNet3d(count, 2), range(count), {"view": tissues.tissues_of(LABELS, "cpu")}),
        (Denoiser(count, 2), range(count), {"view": tissues.tissues_found(UNet3d(count, 2), LABELS, "cpu")}),
        (UNet3d(LABELS, 2, in_channels=1 + count), LABELS, {"view": tissues.beside_tissues(LABELS, "cpu")}),
    ]
    for model, values, view in cases:
        check(shown(UNetCrops(model, crops(maps), values, **view, **COMMON)), (32, 32, 32), values)


def test_learn2synth_shows_the_augmented_image(maps) -> None:
    model = UNet3d(LABELS, 2)
    pictures = []
    for sigma in (0.0, 0.5):
        recipe = Bilevel(model, build_augmenter("noise", 3, sigma, False), crops(maps), None, **COMMON)
        pictures.append(shown(recipe))
        check(pictures[-1], (32, 32, 32), LABELS)
    assert np.array_equal(pictures[0]["truth"], pictures[1]["truth"])
    assert np.abs(pictures[0]["image"] - pictures[1]["image"]).mean() > 0.1


def test_a_picture_changes_nothing_that_is_random(maps) -> None:
    recipe = Locate(LocateRefine(LABELS, *SMALL), heads(maps), batch=2, **COMMON)
    before = float(recipe.loss(5)[0].detach())
    shown(recipe)
    recipe.model.train()
    assert float(recipe.loss(5)[0].detach()) == before


def test_arrays_of_other_sizes_are_brought_onto_the_truths_grid() -> None:
    truth = torch.tensor([[0, 1], [1, 0]])
    fine = torch.arange(16.0).reshape(4, 4)
    picture = labelled_picture(fine, truth, truth.repeat_interleave(2, 0).repeat_interleave(2, 1), (7, 9))
    assert picture["truth"].tolist() == [[7, 9], [9, 7]] == picture["prediction"].tolist()
    assert picture["image"].shape == (2, 2)
