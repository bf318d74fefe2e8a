"""`benchmarks/other_anatomies.py`: what the network of the images sees, what is printed; and the script of phantoms."""

from __future__ import annotations

import numpy as np
import torch

from napari_synthseg.generator.subregions import split
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.objectives.crops import organ_priors
from tests.generator.builders import PAPER, STILL
from tests.test_benchmarks import script

hearts = script("heart_phantom")
STRUCTURES, contrasts, heart_image, heart_phantom = (
    hearts.STRUCTURES, hearts.contrasts, hearts.heart_image, hearts.heart_phantom
)  # fmt: skip


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
