"""What both plans of `train robust` need: tissue classes of labels, labelled images made worse, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.anatomy import TISSUES
from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation import degrade_batch, draw_degradation
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.priors import Priors
from napari_synthseg.training.data.validation import Case
from napari_synthseg.training.objectives.locate_refine import step_generator

NEAR = DegradationPriors(scaling=(0.8, 1.2), translation_mm=(-20.0, 20.0))
"""Table S1's degradations of heads that were found and have human sizes: what the fast field of view can show."""


def tissue_classes(labels: Sequence[int]) -> torch.Tensor:
    """(K,) uint8 tissue class (`anatomy.TISSUES`) of each of a network's labels.

    Raises:
        InputError: a label is no structure of the brain.
    """
    for value in labels:
        if not anatomy.known(value):
            raise InputError(
                f"The label {value} has no tissue class: a robust network needs label maps of the brain with "
                "FreeSurfer's values."
            )
    return torch.tensor([TISSUES.index(anatomy.structure(v).tissue) for v in labels], dtype=torch.uint8)


def worse(priors: Priors, degradation: DegradationPriors) -> Priors:
    """Priors of synthetic images as bad as degraded real ones: the same contrasts, the degradation's ranges.

    The degradation model is the generative one without its mixture (section 2.3), so a synthetic image is degraded by
    drawing it so, and labels are deformed once instead of twice.
    """
    return replace(priors, one_millimetre=0.0, **{f.name: getattr(degradation, f.name) for f in fields(degradation)})


def degraded_case(
    case: Case, priors: DegradationPriors, generator: torch.Generator, device: torch.device | str, spacing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A labelled image made worse, mirrored in half of all cases.

    Args:
        case: at 1 mm.
        priors: of the degradation.
        generator: of the draw.
        device: where to compute.
        spacing: of the result, 1 or 2 mm.

    Returns:
        (1, X, Y, Z) image in [0, 1] and (X, Y, Z) channels; those mirrored keep their sides' names, so that only
        classes without sides may be made of them.
    """
    record = draw_degradation(priors, generator)
    flip = bool(torch.rand(1, generator=generator) < 0.5)
    image, channels = case.image.float().to(device)[None, None], case.channels.to(device)[None]
    if spacing > 1.0:  # a voxel averages eight, and their noise
        image, channels = F.avg_pool3d(image, 2), channels[:, ::2, ::2, ::2]
        record = replace(record, noise_std=record.noise_std * spacing**-1.5)
    made, moved = degrade_batch(image, [record], (spacing,) * 3, channels)
    assert moved is not None
    return (made[0].flip(1), moved[0].flip(0)) if flip else (made[0], moved[0])


def worse_cases(
    cases: Sequence[Case], priors: DegradationPriors, seed: int, spacing: float
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two fixed degradations of each of some cases, for validation: images (1, X, Y, Z) and channels."""
    return [
        degraded_case(case, priors, step_generator(seed, 10 * i + j), "cpu", spacing)
        for i, case in enumerate(cases)
        for j in range(2)
    ]


def tissue_dice(found: torch.Tensor, true: torch.Tensor) -> float:
    """Mean Dice of the tissue classes that are there, background left out; class numbers of one shape."""
    scores = []
    for c in range(1, len(TISSUES)):
        a, b = found == c, true == c
        if b.any():
            scores.append(2.0 * (a & b).sum().item() / (a.sum() + b.sum()).item())
    return sum(scores) / len(scores) if scores else 0.0
