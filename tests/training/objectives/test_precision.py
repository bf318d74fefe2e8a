"""Recipes compute in bfloat16 where the processor has it, and in float32 where that would be imitated."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg import devices
from napari_synthseg.generator.labelmap import prepare
from napari_synthseg.generator.presets import preset
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import Denoiser, UNet3d
from napari_synthseg.training.data.cases import ValidationCase, score_locator, score_refiner
from napari_synthseg.training.data.synthetic import Heads, random_crops
from napari_synthseg.training.objectives.crops import UNetCrops
from napari_synthseg.training.objectives.locate_refine import Locate, Refine
from napari_synthseg.training.objectives.tissues import tissues_found
from tests.generator.builders import boxes

LABELS = (0, 2, 17, 41, 53)
CPU = torch.device("cpu")


def watched(network) -> set[torch.dtype]:
    """A set that the convolutions of a network put what they give into."""
    seen = set()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    return seen


def kinds_of_convolutions(recipe) -> set[torch.dtype]:
    """What the convolutions of a step give."""
    seen = watched(recipe.trained)
    loss, _ = recipe.loss(1)
    loss.backward()
    assert torch.isfinite(loss)
    return seen


def recipe_of(kind: str, crop: int = 48):
    maps = [prepare(boxes(side=24), name="map")]
    common = {"seed": 1, "device": "cpu", "validation": lambda m: {}}
    torch.manual_seed(0)
    if kind in ("locate", "refine"):
        model = LocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4))
        heads = Heads(maps, preset("fast"), LABELS, device="cpu")
        return (Locate if kind == "locate" else Refine)(model, heads, batch=1, **common)
    crops = random_crops(maps, preset("synthseg"), LABELS, batch=1, crop=crop, device="cpu")
    if kind == "paper":
        return UNetCrops(UNet3d(LABELS, features=2), crops, LABELS, **common)
    view = tissues_found(UNet3d(5, features=2), LABELS, "cpu")
    return UNetCrops(Denoiser(5, features=2), crops, range(5), view=view, **common)


@pytest.mark.parametrize("kind", ["locate", "refine", "paper", "denoise"])
@pytest.mark.parametrize("quick", [True, False])
def test_convolutions_compute_in_what_the_processor_is_quick_at(kind, quick, monkeypatch) -> None:
    monkeypatch.setattr(devices, "quick_in_bfloat16", lambda device: quick)
    assert kinds_of_convolutions(recipe_of(kind)) == {torch.bfloat16 if quick else torch.float32}


@pytest.mark.parametrize("flip", [False, True])
def test_validation_computes_in_float32_where_bfloat16_would_be_imitated(flip, monkeypatch) -> None:
    monkeypatch.setattr(devices, "quick_in_bfloat16", lambda device: False)
    model = LocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4)).eval()
    shape = tuple(2 * n for n in model.head_shape)
    torch.nn.init.zeros_(model.refiner.head.weight)  # what it says is the prior's, times the intensities'
    channels = torch.zeros(shape, dtype=torch.uint8)
    channels[40:120, 40:120, 40:120] = 1
    case = ValidationCase("head", torch.rand(shape).half(), channels)
    prior = torch.zeros(1, len(LABELS), *model.head_shape)
    prior[:, 0] = 1.0
    prior[:, :2, 20:60, 20:60, 20:60] = torch.tensor([0.1, 0.9])[:, None, None, None]
    seen = watched(model)
    score_locator(model, [case], CPU)
    assert score_refiner(model, [case], CPU, lambda _: prior, flip=flip).mean > 0.95  # corners are smoothed
    assert seen == {torch.float32}


@pytest.mark.parametrize(("flags", "quick"), [((), False), (("amx_tile",), True), (("avx512_bf16",), True)])
def test_a_processor_is_quick_if_it_says_so(flags, quick, monkeypatch) -> None:
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name in flags, raising=False)
    assert devices.quick_in_bfloat16(CPU) is quick
    assert devices.quick_kind(CPU) == (torch.bfloat16 if quick else torch.float32)
    assert devices.bfloat16_where_quick(CPU)._enabled is quick


@pytest.mark.parametrize(("coarsest", "quick"), [(None, True), (1, False), (2, False), (3, True)])
def test_features_of_two_voxels_are_not_trained_in_bfloat16(monkeypatch, coarsest, quick) -> None:
    monkeypatch.setattr(devices, "quick_in_bfloat16", lambda device: True)
    assert devices.bfloat16_where_quick(CPU, coarsest)._enabled is quick


def test_gradients_do_not_depend_on_what_stood_in_memory() -> None:
    gradients = []
    for _ in range(4):
        garbage = [torch.full((size,), 1e30) for size in (4096, 13_824, 27_648)]
        del garbage
        recipe = recipe_of("paper", crop=32)
        recipe.loss(0)[0].backward()
        gradients.append([p.grad for p in recipe.trained.parameters()])
    assert all(torch.equal(a, b) for other in gradients[1:] for a, b in zip(gradients[0], other, strict=True))
