"""Random crops of images made from the sub-regions of labelled scans (SynthSeg, section 5.4).

Lengths count in voxels of the working grid, as if these had 1 mm: so a mouse's brain at 0.1 mm and a chest at 2 mm are
deformed alike, in proportion to their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from napari_synthseg.generator.brains import apply_batch, crop_grid
from napari_synthseg.generator.priors import Priors, preset
from napari_synthseg.generator.record import Record, draw
from napari_synthseg.generator.subregions import Split, drawn
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.engine.loop import Objective, Validation
from napari_synthseg.training.engine.losses import dice_and_cross_entropy
from napari_synthseg.training.objectives.locate_refine import step_generator

USUAL_SIDE = 160
"""Voxels of a side that the priors' lengths are made for."""
THICKEST_MM = 9.0
"""Slices are not thicker than this, nor than the priors' in voxels."""
PLACES = 4096
"""Labelled voxels of a scan that crops are placed around."""


def organ_priors(name: str, side: float, spacing: float, flip: bool) -> Priors:
    """A preset of the generative model for an organ.

    What is special to heads is left out: skull stripping, lesions, tissues, sides. Beyond the scan it is mostly dark.

    Args:
        name: of the preset.
        side: usual voxels of a side of the scans.
        spacing: of the working voxels, mm.
        flip: whether to mirror half of the images.

    Raises:
        InputError: there is no such preset.
    """
    priors = preset(name)
    scale = min(1.0, side / USUAL_SIDE)
    thickest = max(1.0, min(priors.slice_spacing_mm[1], THICKEST_MM / spacing))
    return replace(
        priors,
        translation_mm=(scale * priors.translation_mm[0], scale * priors.translation_mm[1]),
        velocity_std=(scale * priors.velocity_std[0], scale * priors.velocity_std[1]),
        slice_spacing_mm=(min(priors.slice_spacing_mm[0], thickest), thickest),
        flip=0.5 if flip else 0.0,
        skull_strip=0.0,
        lesions=0.0,
        lesion_load_ml=(0.0, 0.0),
        tissue_contrast=0.0,
        background_zero=0.4,
        background_low=0.3,
    )


class OrganRecipe(Objective):
    """Crops of random scans; the background has a random number of classes at every step.

    Args:
        model: SynthSeg's U-Net.
        scans: what images are made from.
        priors: of the generative model.
        seed: of everything random.
        batch: samples a step.
        crop: voxels along each side of a crop, a multiple of the network's.
        around_labels: share of the crops that lie around a labelled voxel.
        device: to generate and train on.
        bfloat16: compute in bfloat16.
        validation: scores the model.
    """

    def __init__(
        self,
        model: UNet3d,
        scans: Sequence[Split],
        priors: Priors,
        *,
        seed: int,
        batch: int,
        crop: int,
        around_labels: float,
        device: torch.device | str,
        bfloat16: bool,
        validation: Validation,
    ) -> None:
        self.model = self.trained = model.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.scans = [scan.to(device) for scan in scans]
        self.places = [labelled_places(scan, seed) for scan in scans]
        self.priors, self.seed, self.batch, self.crop = priors, seed, batch, crop
        self.around_labels, self.device, self.bfloat16 = around_labels, torch.device(device), bfloat16
        self.validation = validation
        self.values: Sequence[int] = model.labels

    def record(self, which: int, label_map: Any, g: torch.Generator) -> Record:
        """A record of one of the scans, its crop placed."""
        record = draw(self.priors, label_map, g)
        around = float(torch.rand(1, generator=g)) < self.around_labels
        at = int(torch.randint(len(self.places[which]), (1,), generator=g))
        where = torch.rand(3, generator=g).tolist()
        if not around:
            return record
        voxel = self.places[which][at].tolist()
        return replace(record, crop=tuple(self._crop(*one) for one in zip(voxel, label_map.shape, where, strict=True)))  # type: ignore[arg-type]

    def _crop(self, voxel: int, size: int, where: float) -> float:
        """Where a crop lies along an axis, 0 to 1 of its room, so that a voxel lies in the middle half of it."""
        room = size - self.crop
        if room <= 0:
            return 0.5
        low = voxel - self.crop * (0.25 + 0.5 * where)
        return min(max(round(low), 0), room) / room

    def sample(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, X, Y, Z) images and (B, X, Y, Z) channels of `values`."""
        chosen = [int(torch.randint(len(self.scans), (1,), generator=g)) for _ in range(self.batch)]
        maps = [drawn(self.scans[i], g) for i in chosen]
        records = [self.record(i, m, g) for i, m in zip(chosen, maps, strict=True)]
        grids = [crop_grid(m, (self.crop,) * 3, r.crop) for m, r in zip(maps, records, strict=True)]
        return apply_batch(records, maps, grids, self.values)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        images, targets = self.sample(step_generator(self.seed, step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model.logits(images)
        entropy, dice = dice_and_cross_entropy(logits, targets)
        return entropy + dice, {"cross_entropy": float(entropy.detach()), "soft_dice": 1.0 - float(dice.detach())}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """One training sample: image, truth and prediction."""
        images, targets = self.sample(step_generator(self.seed, step))
        values = np.asarray(self.values)
        predicted = self.model.logits(images[:1])[0].argmax(0)
        return {
            "image": images[0, 0].cpu().numpy(),
            "truth": values[targets[0].long().cpu().numpy()],
            "prediction": values[predicted.cpu().numpy()],
        }


def labelled_places(scan: Split, seed: int) -> torch.Tensor:
    """(N, 3) voxels of the scan's array that have a label, some of them; each label has as many as any other."""
    index, offset = scan.label_map.index.cpu(), torch.tensor(scan.label_map.offset)
    labelled = [k for k, value in enumerate(scan.values) if value != 0]
    g = torch.Generator().manual_seed(seed)
    found = []
    for k in labelled:
        at = (index == k).nonzero()
        found.append(at[torch.randint(len(at), (max(1, PLACES // len(labelled)),), generator=g)])
    return torch.cat(found) + offset
