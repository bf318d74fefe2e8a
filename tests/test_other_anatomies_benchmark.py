"""Phantoms of hearts, and what the network of the images sees in `benchmarks/other_anatomies.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.scans import labelled_scans
from napari_synthseg.generator.subregions import split
from napari_synthseg.inference.postprocess import largest_component
from napari_synthseg.io import read_labels, read_volume
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.objectives.crops import organ_priors
from tests.generator.builders import PAPER, STILL
from tests.test_benchmarks import script

bench = script("heart_phantom")
FAT, LUNG, STRUCTURES, contrasts = bench.FAT, bench.LUNG, bench.STRUCTURES, bench.contrasts
heart_image, heart_phantom, write_heart_pairs = bench.heart_image, bench.heart_phantom, bench.write_heart_pairs
SMALL = ((32, 32, 32), 5.0)


@pytest.mark.parametrize("seed", range(4))
def test_every_heart_has_its_seven_structures(seed) -> None:
    labels, tissues = heart_phantom(*SMALL, seed=seed)
    sizes = np.bincount(labels.data.ravel(), minlength=8)[1:8] * labels.voxel_mm3 / 1000
    assert len(sizes) == len(STRUCTURES) and (sizes > 8).all() and (sizes < 200).all()  # ml
    assert {LUNG, FAT} <= set(np.unique(tissues.data))
    assert np.array_equal(labels.data, np.where(tissues.data <= 7, tissues.data, 0))
    myocardium = labels.data == 5
    assert largest_component(myocardium).sum() > 0.98 * myocardium.sum()


def test_a_seed_is_one_anatomy_at_every_spacing() -> None:
    fine, coarse = heart_phantom((64, 64, 64), 2.5, 3)[0], heart_phantom((32, 32, 32), 5.0, 3)[0]
    sizes = [np.bincount(v.data.ravel(), minlength=8)[1:] * v.voxel_mm3 for v in (fine, coarse)]
    assert np.allclose(sizes[0], sizes[1], rtol=0.12)
    assert not np.array_equal(coarse.data, heart_phantom(*SMALL, seed=4)[0].data)


def test_contrasts_order_tissues_differently() -> None:
    tissues = heart_phantom(*SMALL, seed=1)[1]
    means = {}
    for name in contrasts():
        image = heart_image(tissues, name, 1)
        assert np.array_equal(image.data, heart_image(tissues, name, 1).data)
        means[name] = {t: float(image.data[tissues.data == t].mean()) for t in (1, 5, FAT, LUNG)}
    assert means["ct"][1] > means["ct"][5] > means["ct"][FAT] > means["ct"][LUNG]
    assert means["mr"][FAT] > means["mr"][5] and means["mr"][1] > means["mr"][5]
    assert means["black-blood"][1] < means["black-blood"][5]
    with pytest.raises(InputError, match="ct, mr"):
        heart_image(tissues, "ultrasound")


def test_pairs_are_found_again(tmp_path) -> None:
    write_heart_pairs(tmp_path, 2, "mr", *SMALL, seed=7)
    pairs = labelled_scans(tmp_path)
    assert [(a.name, b.name) for a, b in pairs] == [
        (f"heart00{i}_mr.nii.gz", f"heart00{i}_labels.nii.gz") for i in (7, 8)
    ]
    labels = read_labels(pairs[0][1])
    assert set(np.unique(labels.data)) == set(range(8)) and read_volume(pairs[0][0]).shape == labels.shape
    assert "myocardium" in (tmp_path / "heart007_labels.tsv").read_text()


def test_the_network_of_the_images_sees_the_images(tmp_path):
    benchmark = script("other_anatomies")
    labels, tissues = heart_phantom((32, 32, 32), 5.0, 1)
    scan = split(heart_image(tissues, "ct", 1).data, labels.data, parts=1, backgrounds=(1,))
    zero = organ_priors(PAPER, 32, 5.0, False)["contrast"].background_zero
    priors = STILL.with_values(background_zero=zero)
    recipe = benchmark.Pictures(
        UNet3d(tuple(range(8)), features=2), [scan], priors, seed=1, batch=2, crop=32, around_labels=0.0, device="cpu",
        bfloat16=False, validation=lambda m: {},
    )  # fmt: skip
    images, targets = recipe.sample(step_generator(1, 0))
    assert images.shape == (2, 1, 32, 32, 32) and np.array_equal(targets[0].numpy(), labels.data)
    blood, muscle, lung = (images[0, 0][torch.from_numpy(tissues.data) == t].mean() for t in (1, 5, 11))
    assert blood > muscle > lung  # as on CT, whatever is drawn
    assert not torch.equal(images[0], images[1])
