"""Labelled scans to learn from: crops of them as they are, and scans made worse by SynthSeg+'s degradation model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from napari_synthseg.generator.degradation import degrade_batch
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import DEGRADATION, degradation
from napari_synthseg.training.data.synthetic import Batch, random_index, step_generator
from napari_synthseg.training.data.validation import ValidationCase

NEAR = degradation().with_values(scaling=(0.8, 1.2), translation_mm=(-20.0, 20.0))
"""Table S1's degradations of heads that were found and have human sizes, as the fast field of view can show them."""
WORSE = (*(name for name in DEGRADATION if name not in ("flip", "in_plane_blur")), "slice_direction")
"""Priors of a synthetic image that are those of the degradation model."""


@dataclass
class LabelledCrops:
    """Random crops around random labelled voxels of random scans, as they are."""

    cases: Sequence[ValidationCase]
    """The scans."""
    crop: int
    """Voxels along each side, at most those of the scans."""
    batch: int
    """Crops a step."""
    device: torch.device | str

    def __call__(self, generator: torch.Generator) -> Batch:
        """Draw the images and channels of a step."""
        images, targets = [], []
        for _ in range(self.batch):
            case = self.cases[random_index(len(self.cases), generator)]
            where = self._place(case.channels, generator)
            images.append(case.image[where].float())
            targets.append(case.channels[where])
        return torch.stack(images)[:, None].to(self.device), torch.stack(targets).to(self.device)

    def _place(self, channels: torch.Tensor, generator: torch.Generator) -> tuple[slice, ...]:
        """Return a crop as near as the scan's edges allow to a random voxel of the foreground."""
        inside = channels.reshape(-1).nonzero()[:, 0]
        flat = int(inside[random_index(len(inside), generator)]) if len(inside) else 0
        middle = torch.unravel_index(torch.tensor(flat), channels.shape)
        lows = [
            min(max(int(c) - self.crop // 2, 0), n - self.crop) for c, n in zip(middle, channels.shape, strict=True)
        ]
        return tuple(slice(low, low + self.crop) for low in lows)


def worse(priors: GenerativeModel, model: GenerativeModel) -> GenerativeModel:
    """Return priors of synthetic images as bad as degraded real ones: the same contrasts, the degradation's ranges.

    The degradation model is the generative one without its mixture (section 2.3), so a synthetic image is degraded by
    drawing it so, and labels are deformed once instead of twice.
    """
    values = {name: value for name, value in model.values.items() if name in WORSE}
    return priors.with_values(p_isotropic_1mm=0.0, **values)


def degraded_case(
    case: ValidationCase,
    priors: GenerativeModel,
    generator: torch.Generator,
    device: torch.device | str,
    spacing: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a labelled image at 1 mm worse, and mirror half of all.

    Returns:
        (1, X, Y, Z) image in [0, 1] and (X, Y, Z) channels, at a spacing of 1 or 2 mm; mirrored ones keep their sides'
        names, so that only classes without sides may be made of them.
    """
    record = priors.sample(seed=generator)
    flip = bool(torch.rand(1, generator=generator) < 0.5)
    image, channels = case.image.float().to(device)[None, None], case.channels.to(device)[None]
    if spacing > 1.0:  # a voxel averages eight, and their noise
        image, channels = F.avg_pool3d(image, 2), channels[:, ::2, ::2, ::2]
        record = record.changed("acquisition", noise_std=record["acquisition"]["noise_std"] * spacing**-1.5)
    made, moved = degrade_batch(image, [record], (spacing,) * 3, channels)
    assert moved is not None
    return (made[0].flip(1), moved[0].flip(0)) if flip else (made[0], moved[0])


def degraded_scans(
    cases: Sequence[ValidationCase],
    priors: GenerativeModel,
    *,
    batch: int,
    spacing: float,
    device: torch.device | str,
    crop: int | None = None,
) -> Callable[[torch.Generator], Batch]:
    """Return a sampler of random scans made worse.

    Args:
        cases: the scans.
        priors: of the degradation.
        batch: scans a step.
        spacing: 1 or 2 mm.
        device: where to compute.
        crop: voxels along each side of a random crop; whole scans if None.
    """

    def sample(generator: torch.Generator) -> Batch:
        images, targets = [], []
        for _ in range(batch):
            case = cases[random_index(len(cases), generator)]
            image, channels = degraded_case(case, priors, generator, device, spacing)
            if crop is not None:
                lows = [random_index(n - crop + 1, generator) for n in channels.shape]
                where = tuple(slice(low, low + crop) for low in lows)
                image, channels = image[(slice(None), *where)], channels[where]
            images.append(image)
            targets.append(channels)
        return torch.stack(images), torch.stack(targets)

    return sample


def worse_cases(
    cases: Sequence[ValidationCase], priors: GenerativeModel, seed: int, spacing: float
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return two fixed degradations of each case, for validation: images (1, X, Y, Z) and channels."""
    return [
        degraded_case(case, priors, step_generator(seed, 10 * i + j), "cpu", spacing)
        for i, case in enumerate(cases)
        for j in range(2)
    ]
