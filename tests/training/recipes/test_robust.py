"""`train robust` with tiny networks: three networks in a row, resumed exactly, exported, loaded and run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import prepare, save
from napari_synthseg.generator.presets import STILL, degradation, preset
from napari_synthseg.jobs import run
from napari_synthseg.networks.hierarchy import Hierarchy, RobustLocateRefine
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.cases import NEAR, degraded_case, degraded_scans, labelled_cases, worse
from napari_synthseg.training.data.synthetic import Heads, random_crops
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.objectives.crops import UNetCrops
from napari_synthseg.training.objectives.locate_refine import Locate
from napari_synthseg.training.objectives.tissues import (
    Denoise,
    beside_tissues,
    seen_with_tissues,
    tissue_classes,
    tissue_dice,
    warm_start,
)
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.robust import TrainRobustOptions
from napari_synthseg.weights.store import load_model
from tests.generator.builders import boxes
from tests.training.builders import write_scan

LABELS = (0, 2, 24, 41)
SMALL = {"locator_features": (4, 4, 4, 4), "refiner_features": (4, 4, 4), "s1_features": (2, 2, 2, 2),
         "denoiser_features": 2, "features": 2, "crop": 32}  # fmt: skip

ROBUST = recipes()["robust"]
train, export = ROBUST.train, ROBUST.export


@pytest.fixture(scope="module")
def whole(maps, tmp_path_factory) -> Path:
    """A finished run of the fast plan."""
    return run(train(tiny(maps, tmp_path_factory.mktemp("robust") / "run"))).parent


@pytest.fixture
def label_maps():
    return [prepare(boxes(side=24), name="boxes")]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder, values = tmp_path_factory.mktemp("data") / "labelled", boxes((2, 41), side=80)
    write_scan(folder, "a", values * 3.0 + 5.0 * (values > 0), values)
    return folder


def tiny(maps, out, **changes) -> TrainRobustOptions:
    settings = {"steps_s1": 1, "steps_d": 1, "steps_s2": 2, "refine_fraction": 0.5, "batch": 1, "start_from": "none"}
    return TrainRobustOptions(label_maps=maps, out=out, device="cpu", **{**SMALL, **settings, **changes})


def network(seed: int = 0) -> RobustLocateRefine:
    torch.manual_seed(seed)
    return RobustLocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4), (2, 2, 2, 2), 2)


COMMON = {"seed": 1, "batch": 1, "device": "cpu", "validation": lambda m: {}}


def heads_of(label_maps, priors=None) -> Heads:
    return Heads(label_maps, priors or preset("fast"), LABELS, device="cpu")


def objective_of(part: str, model: RobustLocateRefine, label_maps):
    """What trains a part of the fast plan's network."""
    if part == "locator.s1":
        return Locate(model, heads_of(label_maps), net=model.locator.s1, classes=tissue_classes(LABELS), **COMMON)
    if part == "locator.denoiser":
        return Denoise(model, heads_of(label_maps), **COMMON)
    inputs = seen_with_tissues(model, "cpu", 0.0)
    return Locate(model, heads_of(label_maps), net=model.locator.s2, inputs=inputs, **COMMON)


def test_the_fast_plan_from_label_maps_to_weights_that_segment(whole, tmp_path) -> None:
    model = load_model(whole / "robust.safetensors")
    assert isinstance(model, RobustLocateRefine) and model.card["network"] == "robust"
    assert model.card["steps"] == {"s1": 1, "d": 1, "s2": 1, "s2-refine": 1}
    trained = load_checkpoint(checkpoint(whole, "d"))["average"]["likelihood.weight"]
    torch.testing.assert_close(model.locator.denoiser.likelihood.weight.data, trained, atol=1e-3, rtol=1e-2)
    with torch.no_grad():
        s1, denoised = model.locator.tissues(torch.rand(1, 1, *model.head_shape))
    assert s1.shape == denoised.shape == (1, 5, *model.head_shape)
    again = load_model(export(whole, tmp_path / "again.safetensors", confident_score=0.4))
    assert again.card["name"] == "again" and again.card["confident_score"] == 0.4


def test_an_interrupted_run_has_no_weights_and_ends_at_the_same_ones(whole, maps, tmp_path) -> None:
    out, stages = tmp_path / "run", []
    job = train(tiny(maps, out))
    for report in job:  # stopped where D has just begun
        stages.append(report.stage)
        if report.stage == "d":
            break
    job.close()
    assert list(dict.fromkeys(stages))[2:] == ["s1", "d"] and not checkpoint(out, "s2").exists()
    with pytest.raises(InputError, match=r"s2\.pt"):
        export(out, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="already"):
        run(train(tiny(maps, out)))
    parts = load_model(run(train(tiny(maps, out, resume=True)))).state_dict()
    assert all(torch.equal(v, parts[k]) for k, v in load_model(whole / "robust.safetensors").state_dict().items())


def test_the_papers_plan(maps, tmp_path, labelled) -> None:
    options = tiny(maps, tmp_path / "run", plan="paper", steps_s2=1, labelled=labelled, hold_out=("map1",))
    model = load_model(run(train(options)))
    assert isinstance(model, Hierarchy)
    assert model.s2.in_channels == 6 and model.denoiser.widths == (2,) * 5 and len(model.s1.labels) == 5
    assert "1 labelled scans of labelled" in model.card["data"] and "labelled" in model.card["licence"]
    with torch.no_grad():
        assert [len(one[0]) for one in model.stages(torch.rand(1, 1, 32, 32, 32))] == [5, 5, 33]


def test_label_maps_without_tissues_are_refused(tmp_path) -> None:
    save(tmp_path / "maps.npz", [prepare(boxes((2, 900), side=16), name="x")])
    with pytest.raises(InputError, match="900"):
        run(train(tiny(tmp_path / "maps.npz", tmp_path / "run")))


def test_a_warm_start_is_the_plain_network(tmp_path) -> None:
    torch.manual_seed(3)
    plain, model = LocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4)).eval(), network().eval()
    torch.nn.init.normal_(plain.locator.position)
    warm_start(model, plain)
    image = torch.rand(1, 1, *model.head_shape)
    with torch.no_grad():
        torch.testing.assert_close(model.locate(image), plain.locate(image))


def test_a_warm_s1_groups_the_labels(label_maps) -> None:
    torch.manual_seed(3)
    plain = LocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4)).eval()
    model = RobustLocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4), (4, 4, 4, 4), 2).eval()
    torch.nn.init.normal_(plain.locator.position)
    torch.nn.init.zeros_(plain.locator.head.weight)  # the positional term alone speaks
    warm_start(model, plain)
    image = torch.rand(1, 1, *model.head_shape)
    with torch.no_grad():
        tissues, labels = model.locator.s1(image).softmax(1), plain.locator.position.softmax(1)
    assert tissue_classes(LABELS).tolist() == [0, 1, 0, 1]
    cell = tissues[:, :, 0, 0, 0]  # the corner voxel shows the corner cell
    torch.testing.assert_close(cell[0, 1], labels[0, [1, 3], 0, 0, 0].sum())
    assert (tissues[:, 2:] < 1e-4).all()  # no label is grey matter, fluid or cerebellum


@pytest.mark.parametrize("part", ["locator.s1", "locator.denoiser", "locator.s2"])
def test_each_stage_trains_its_network_alone(part, label_maps, tmp_path) -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    made = objective_of(part, model, label_maps)
    run(fit(made, LoopOptions(steps=1, learning_rate=1e-2, optimizer="adamw"), tmp_path))
    changed = {k.rsplit(".", 1)[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(k.startswith(part) for k in changed)


def test_d_learns_from_what_s1_says(label_maps) -> None:
    """Of an S1 that names no tissue anywhere, D hears so; it is to find the true classes."""
    model = network()
    recipe = Denoise(model, heads_of(label_maps, worse(preset("fast"), degradation())), **COMMON)
    torch.nn.init.zeros_(model.locator.s1.head.weight)
    _, figures = recipe.loss(0)
    assert figures["s1_dice"] == 0.0
    image, classes = recipe.degraded(torch.Generator().manual_seed(0))
    assert image.shape == (1, 1, *model.head_shape) and set(classes.unique().tolist()) == {0, 1}


def test_d_learns_from_labelled_scans(label_maps, labelled) -> None:
    cases = labelled_cases(labelled, LABELS)
    scans = degraded_scans(cases, NEAR, batch=1, spacing=2.0, device="cpu")
    model = network()
    recipe = Denoise(model, heads_of(label_maps), scans=scans, **COMMON)
    image, classes = recipe.degraded(torch.Generator().manual_seed(0))
    assert image.shape == (1, 1, *model.head_shape) and classes.shape == (1, *model.head_shape) and classes.any()
    assert np.isfinite(recipe.loss(0)[1]["cross_entropy"])


def test_s2_sees_true_tissues_made_wrong_or_predicted_ones() -> None:
    model, g = network(), torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, *model.head_shape)
    channels = torch.zeros(1, *model.head_shape, dtype=torch.uint8)
    channels[:, 10:30, 10:30, 10:30] = 1
    seen = seen_with_tissues(model, "cpu", 0.0)(image, channels, g)
    assert seen.shape[1] == 6 and torch.equal(seen[:, :1], image)
    assert seen[0, 2, 20, 20, 20] > 0.9 and seen[0, 1, 45, 45, 45] > 0.9
    always = seen_with_tissues(model, "cpu", 1.0)
    with torch.no_grad():
        expected = model.locator.tissues(image)[1]
    assert (always(image, channels, g)[:, 1:] - expected).abs().mean() < 0.01  # bfloat16


def test_s2_of_the_papers_plan_sees_hard_classes(label_maps) -> None:
    model, seen = UNet3d(LABELS, 2, 2, 6), []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    crops = random_crops(label_maps, preset("synthseg-plus"), LABELS, batch=1, crop=16, device="cpu")
    view = beside_tissues(LABELS, "cpu")
    recipe = UNetCrops(model, crops, LABELS, view=view, seed=1, device="cpu", validation=lambda m: {})
    assert np.isfinite(recipe.loss(0)[1]["soft_dice"])
    assert seen[0].shape == (1, 6, 16, 16, 16)
    assert set(seen[0][:, 1:].unique().tolist()) <= {0.0, 1.0} and (seen[0][:, 1:].sum(1) == 1).all()


def priors_of(options):
    return run(ROBUST.prepare(options, torch.device("cpu"))).priors


def test_the_papers_plan_has_the_papers_priors(maps, tmp_path) -> None:
    options = tiny(maps, tmp_path / "run", plan="paper")
    assert priors_of(options) == preset("synthseg-plus")
    assert priors_of(replace(options, plan="fast"))["acquisition"].noise_std == (0.0, 50.0)
    assert priors_of(replace(options, plan="fast", priors="no-bias")) == preset("no-bias")


def test_a_degraded_scan_keeps_its_labels_on_it(labelled) -> None:
    case = labelled_cases(labelled, LABELS)[0]
    still = degradation().with_values(**STILL, bias_std=(0, 0), gamma_exponent=(1, 1), slice_spacing_mm=(1, 1),
                                      slice_blur_mm=(0, 0), noise_std=(0, 0))  # fmt: skip
    for seed in range(4):  # mirrored or not
        image, channels = degraded_case(case, still, torch.Generator().manual_seed(seed), "cpu", 1.0)
        assert image[0][channels == 3].min() > image[0][channels == 1].max() > image[0][channels == 0].max()


def test_tissue_dice() -> None:
    true = torch.tensor([0, 1, 1, 2])
    assert tissue_dice(torch.tensor([0, 1, 0, 0]), true) == pytest.approx((2 / 3 + 0) / 2)
    assert tissue_dice(true, true) == 1.0


def test_one_network_alone_starts_from_those_of_another_run(whole, maps, tmp_path, labelled) -> None:
    alone, again = tmp_path / "alone", tmp_path / "again"
    with pytest.raises(InputError, match=r"s1\.pt"):
        run(train(tiny(maps, alone, only="d")))
    for folder in (alone, again):
        checkpoint(folder, "s1").parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkpoint(whole, "s1"), checkpoint(folder, "s1"))
    path = run(train(tiny(maps, alone, only="d", labelled=labelled)))
    assert path == checkpoint(alone, "d") and {one.name for one in path.parent.iterdir()} == {"d.pt", "s1.pt"}
    run(train(tiny(maps, again, only="d")))
    first, other, same = (load_checkpoint(checkpoint(one, "d"))["average"] for one in (whole, alone, again))
    assert not all(torch.equal(first[k], other[k]) for k in first)  # learned from other images
    assert all(torch.equal(first[k], same[k]) for k in first)  # S1 is that of the whole run
    with pytest.raises(InputError, match="already"):
        run(train(tiny(maps, again, only="d")))
    weights = load_model(run(train(tiny(maps, again, only="s2")))).state_dict()  # S2 alone makes the weights of all
    assert all(torch.equal(v, weights[k]) for k, v in load_model(whole / "robust.safetensors").state_dict().items())
