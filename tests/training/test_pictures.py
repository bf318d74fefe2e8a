"""Every recipe shows what it learns from: an image, the truth on its grid, and what the network makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.anatomy import TISSUES, predicted_values
from napari_synthseg.generator.labelmap import prepare
from napari_synthseg.generator.priors import preset
from napari_synthseg.networks.augmenter import build_augmenter
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.engine.loop import Objective
from napari_synthseg.training.engine.pictures import labelled_picture
from napari_synthseg.training.learn2synth.recipe import Learn2SynthRecipe
from napari_synthseg.training.objectives.locate_refine import LocateRecipe, RefineRecipe
from napari_synthseg.training.objectives.unet_crops import PaperRecipe
from napari_synthseg.training.robust.recipes_fast import DenoiseRecipe, GuidedLocateRecipe, TissueRecipe
from napari_synthseg.training.robust.recipes_paper import DenoisePaperRecipe, GuidedPaperRecipe, TissuePaperRecipe
from tests.generator.builders import boxes

LABELS = predicted_values(2)
SMALL = ((4, 4, 4, 4), (4, 4, 4))
HEAD = (96, 112, 96)


@pytest.fixture(scope="module")
def maps():
    return [prepare(boxes(side=24), name="map")]


def common(maps) -> dict:
    return {"maps": maps, "priors": preset("fast"), "seed": 1, "batch": 2, "device": "cpu", "validation": lambda m: {}}


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


@pytest.mark.parametrize(
    ("kind", "shape"), [(LocateRecipe, HEAD), (RefineRecipe, (96, 96, 96))], ids=["locate", "refine"]
)
def test_the_fast_recipe(maps, kind, shape) -> None:
    check(shown(kind(LocateRefine(LABELS, *SMALL), **common(maps))), shape, LABELS)


@pytest.mark.parametrize("kind", [TissueRecipe, DenoiseRecipe, GuidedLocateRecipe])
def test_the_fast_plan_for_low_quality(maps, kind) -> None:
    recipe = kind(RobustLocateRefine(LABELS, *SMALL, (4, 4, 4, 4), 2), **common(maps))
    check(shown(recipe), HEAD, LABELS if kind is GuidedLocateRecipe else range(len(TISSUES)))


@pytest.mark.parametrize("kind", [PaperRecipe, TissuePaperRecipe, DenoisePaperRecipe, GuidedPaperRecipe])
def test_the_papers_recipes(maps, kind) -> None:
    count, more = len(TISSUES), {"crop": 32}
    if kind is TissuePaperRecipe:
        model, more["labels"], values = UNet3d(count, 2), LABELS, range(count)
    elif kind is DenoisePaperRecipe:
        from napari_synthseg.networks.unet import Denoiser

        model, values = Denoiser(count, 2), range(count)
        more |= {"labels": LABELS, "s1": UNet3d(count, 2)}
    else:
        model = UNet3d(LABELS, 2, in_channels=1 + count if kind is GuidedPaperRecipe else 1)
        values = LABELS
    check(shown(kind(model, **common(maps), **more)), (32, 32, 32), values)


def test_learn2synth_shows_the_augmented_image(maps) -> None:
    model = UNet3d(LABELS, 2)
    synthetic = PaperRecipe(model, crop=32, **common(maps))
    pictures = []
    for sigma in (0.0, 0.5):
        recipe = Learn2SynthRecipe(
            model, build_augmenter("noise", 3, sigma, False), synthetic.sample, None, seed=1, device="cpu",
            validation=lambda m: {},
        )  # fmt: skip
        pictures.append(shown(recipe))
        check(pictures[-1], (32, 32, 32), LABELS)
    assert np.array_equal(pictures[0]["truth"], pictures[1]["truth"])
    assert np.abs(pictures[0]["image"] - pictures[1]["image"]).mean() > 0.1


def test_a_picture_changes_nothing_that_is_random(maps) -> None:
    recipe = LocateRecipe(LocateRefine(LABELS, *SMALL), **common(maps))
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
