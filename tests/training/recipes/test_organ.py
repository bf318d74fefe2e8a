"""`train organ` end to end: pairs of any labels and spacing, weights whose card says it all, and scans segmented."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_synthseg import cli
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.generator.presets import preset
from napari_synthseg.generator.subregions import split
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.io import read_labels, read_volume, write_labels, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data import labelled_scans
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.objectives.crops import OrganCase, OrganCrops, organ_priors, score
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.organ import TrainOrganOptions, of_one_piece
from napari_synthseg.volume import Volume
from napari_synthseg.weights import store
from napari_synthseg.weights.store import load_model
from tests.training.builders import assert_same_ends, events, interrupted

ORGAN = recipes()["organ"]
EDGE, BALL, TWINS = 28, 41, 3
"""Voxels of a scan; the labels: a ball, and two blocks that are one structure. FreeSurfer means others by them."""


def kidney_scan(seed: int, spacing=(2.0, 2.0, 4.0)) -> tuple[Volume, Volume]:
    """A scan of 56 mm with a bright ball and two dark blocks, and its labels; axes point left, posterior, superior."""
    rng = np.random.default_rng(seed)
    shape = tuple(round(2 * EDGE / s) for s in spacing)
    x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    at = 28 + rng.uniform(-4, 4, 3)
    labels = np.zeros(shape, np.int32)
    for side in (10, 46):
        labels[(abs(x - side) < 7) & (abs(y - at[1]) < 9) & (abs(z - at[2]) < 12)] = TWINS
    labels[(x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2 < 11**2] = BALL
    image = np.select([labels == BALL, labels == TWINS], [900.0, 150.0], 500.0) + rng.normal(0, 20, shape)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    return Volume(image.astype(np.float32), affine), Volume(labels, affine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three labelled scans, named as MMWHS names them, and what their labels are called."""
    folder = tmp_path_factory.mktemp("pairs")
    for seed in range(3):
        image, labels = kidney_scan(seed)
        write_volume(folder / f"mr_train_100{seed}_image.nii.gz", image)
        write_labels(folder / f"mr_train_100{seed}_label.nii.gz", labels)
    (folder / "names.txt").write_text("41 tumour\n3 kidneys\n")
    return folder


def tiny(folder: Path, out: Path, **changes) -> TrainOrganOptions:
    return TrainOrganOptions(
        pairs=folder, out=out, spacing=2.0, crop=32, features=2, device="cpu", hold_out=("mr_train_1002",), **changes
    )


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Path:
    """Weights of a run of few steps."""
    out = tmp_path_factory.mktemp("runs") / "run"
    options = tiny(folder, out, steps=3, validate_every=3, label_names=folder / "names.txt", organ="kidney")
    return run(ORGAN.train(replace(options, name="kidneys")))


def test_the_card_says_what_the_network_is_for(trained) -> None:
    model = load_model(trained)
    assert isinstance(model, UNet3d) and model.labels == (0, TWINS, BALL)
    card = model.card
    assert card["names"] == {"3": "kidneys", "41": "tumour"} and card["organ"] == "kidney"
    assert card["spacing_mm"] == 2.0 and card["one_piece"] == [BALL] and card["steps"] == 3
    assert "held out: mr_train_1002_image" in card["data"] and "features 2" in card["recipe"]
    assert str(trained.parent.parent) not in json.dumps({k: v for k, v in card.items() if k != "path"})


def test_the_run_tells_its_scores_and_exports_again(trained, tmp_path) -> None:
    out = trained.parent
    last = [line for line in events(out) if line.get("step") == 3 and "score" in line][-1]
    assert set(last["dice"]) == {"kidneys", "tumour"} and {"real", "synthetic"} <= set(last)
    assert checkpoint(out, "organ").exists()
    again = ORGAN.export(out, tmp_path / "again.safetensors")
    assert load_model(again).card["names"] == load_model(trained).card["names"]


def test_its_weights_segment_scans_with_their_own_names(trained, folder, tmp_path) -> None:
    scan = folder / "mr_train_1002_image.nii.gz"
    out, table = tmp_path / "out_dseg.nii.gz", tmp_path / "volumes.csv"
    words = ["segment", str(scan), "-o", str(out), "--weights", str(trained), "--device", "cpu"]
    assert cli.main([*words, "--volumes", str(table), "--qc", str(tmp_path / "qc.csv"), "--preview"]) == 0
    labels = read_labels(out)
    assert labels.shape == read_volume(scan).shape and set(np.unique(labels.data)) <= {0, TWINS, BALL}
    record = json.loads((tmp_path / "out_dseg.json").read_text())
    assert set(record["volumes_mm3"]) == {"kidneys", "tumour"} and record["intracranial_mm3"] is None
    assert record["organ"] == "kidney" and not any("brain" in w or "adult" in w for w in record["warnings"])
    assert table.read_text().splitlines()[0] == "scan,intracranial,kidneys,tumour"
    assert "Cortex" not in (tmp_path / "out_dseg.tsv").read_text()
    header, row = ((tmp_path / "qc.csv").read_text().splitlines()[i].split(",") for i in (0, 1))
    assert header[-2:] == ["kidneys", "tumour"] and row[header.index("general grey matter")] == ""


@pytest.mark.parametrize("option", ["ct", "fix_orientation"])
def test_what_is_made_for_brains_is_refused(option, trained, monkeypatch) -> None:
    monkeypatch.setattr(LocateRefine, "head_shape", (96, 112, 96))  # that of the shipped network
    with pytest.raises(InputError, match="kidney"):
        segment(kidney_scan(5)[0], weights=trained, device="cpu", **{option: True})


def test_a_resumed_run_ends_at_the_same_weights(folder, tmp_path) -> None:
    whole = run(ORGAN.train(tiny(folder, tmp_path / "whole", steps=4)))
    assert_same_ends(whole, interrupted(ORGAN, tiny(folder, tmp_path / "parts", steps=4), "organ", 2), "organ")


def test_names_default_to_numbers_and_must_fit(folder, tmp_path) -> None:
    model = load_model(run(ORGAN.train(tiny(folder, tmp_path / "run", steps=1, subregions=False))))
    assert model.card["names"] == {"3": "label 3", "41": "label 41"} and "subregions False" in model.card["recipe"]
    (tmp_path / "names.txt").write_text("1 liver\n")
    with pytest.raises(InputError, match="names none of the labels 3, 41"):
        run(ORGAN.train(tiny(folder, tmp_path / "other", steps=1, label_names=tmp_path / "names.txt")))


def test_large_variances_survive_the_export(tmp_path) -> None:
    network = UNet3d((0, 1), features=2)
    network.down[0].norm.running_var.fill_(2.8e6)  # beyond float16
    card = {"name": "a", "network": "unet", "labels": [0, 1], "features": 2, "levels": 5}
    store.save(tmp_path / "a.safetensors", network.state_dict(), card)
    assert load_model(tmp_path / "a.safetensors").down[0].norm.running_var.tolist() == [2.8e6, 2.8e6]


# Scans


def test_scans_come_on_the_working_voxels(folder) -> None:
    pair = labelled_scans.read(labelled_scans.find(folder)[0], 2.0)
    assert pair.image.shape == pair.values.shape == (28, 28, 28)
    assert dice(pair.image > 700, pair.values == BALL) > 0.95 and dice(pair.image < 300, pair.values == TWINS) > 0.9


def test_fine_scans_are_worked_on_coarser() -> None:
    spacing, crop = labelled_scans.usual_spacing, labelled_scans.usual_crop
    assert spacing([((28, 28, 14), (2.0, 2.0, 4.0))]) == pytest.approx(2.5)
    assert spacing([((512, 512, 300), (0.4, 0.4, 0.6))]) == pytest.approx(1.0, abs=0.06)
    assert spacing([((150, 100, 100), (0.1, 0.1, 0.1))]) == 0.1
    assert crop([(200, 190, 230)]) == 160 and crop([(40, 50, 60)]) == 64 and crop([(110, 120, 130)]) == 96


def test_a_crop_is_a_multiple_of_16(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        replace(tiny(folder, tmp_path, steps=1), crop=40)


def test_a_label_of_two_parts_is_not_of_one_piece() -> None:
    image, labels = kidney_scan(0, (2.0, 2.0, 2.0))
    pair = labelled_scans.RawScan("a", "a", image.data, labels.data)
    assert of_one_piece([pair], (0, TWINS, BALL)) == [BALL]


# Recipe


def recipe(around: float = 1.0, **changes) -> OrganCrops:
    image, labels = kidney_scan(0, (1.0, 1.0, 1.0))
    few = np.where((labels.data == BALL), BALL, 0)
    few[: EDGE + 8] = 0  # a label that fills a corner of a large scan
    scan = split(np.pad(image.data, 20), np.pad(few, 20))
    priors = organ_priors(preset("no-deformation"), 96, 2.0, False).with_values(**changes)
    options = {"seed": 1, "crop": 32, "device": "cpu", "bfloat16": False}
    return OrganCrops(UNet3d((0, BALL), features=2), [scan], priors, around_labels=around, **options)


def test_crops_lie_around_labels() -> None:
    def share(one: OrganCrops) -> float:
        return float(np.mean([bool(one.sample(step_generator(1, i))[1].any()) for i in range(25)]))

    assert share(recipe(1.0)) == 1.0 and share(recipe(0.0)) < 0.7


def test_steps_repeat_and_vary() -> None:
    one = recipe()
    first, again, other = (one.sample(step_generator(1, i))[0] for i in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    picture = one.picture(0)
    assert picture["image"].shape == picture["truth"].shape == picture["prediction"].shape == (32, 32, 32)
    assert set(np.unique(picture["truth"])) <= {0, BALL}


def test_priors_leave_out_what_is_special_to_heads() -> None:
    heads = preset("synthseg")
    priors = organ_priors(heads, 80, 3.0, True).values
    assert priors["skull_strip"] == priors["lesions"] == 0 and priors["flip"] == 0.5
    assert priors["translation_mm"] == (-10, 10) and priors["velocity_std"] == (0, 1.5)
    assert priors["slice_spacing_mm"] == (1.0, 3.0)  # voxels: slices of 9 mm
    assert organ_priors(heads, 300, 0.1, False).values["slice_spacing_mm"] == (1.0, 9.0)


def test_scores_are_by_structure_and_by_kind() -> None:
    image, labels = kidney_scan(0, (2.0, 2.0, 2.0))

    class Perfect(torch.nn.Module):
        labels = (0, TWINS, BALL)

        def forward(self, image):
            return torch.cat([(image > 0.2) & (image < 0.8), image <= 0.2, image >= 0.8], 1).float()

    case = OrganCase((image.data.clip(150, 900) - 150) / 750, labels.data)
    found = score(Perfect(), [case], {TWINS: "kidneys", BALL: "tumour"}, torch.device("cpu"))
    assert found["real"] == found["score"] > 0.95 and set(found["dice"]) == {"kidneys", "tumour"}
