"""Objective and validation of `train organ`: crops of images generated from the sub-regions of labelled scans.

The method is that of SynthSeg, section 5.4. Lengths count in voxels of the working grid, as if these had 1 mm: a
mouse's brain at 0.1 mm and a chest at 2 mm are deformed in proportion to their size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.generator.brains import apply, apply_batch
from napari_synthseg.generator.head import crop_grid, full_grid
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.subregions import Split, drawn
from napari_synthseg.inference.options import OWN
from napari_synthseg.inference.patches import blend_steps, crop_with_padding, patch_grid
from napari_synthseg.inference.preprocess import rescale
from napari_synthseg.jobs import run
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.pairs import OrganScan
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.engine.loop import Objective, Validation
from napari_synthseg.training.engine.losses import dice_and_cross_entropy
from napari_synthseg.training.engine.watching import doing

USUAL_SIDE = 160
"""Side in voxels for which the lengths of the priors are made."""
THICKEST_MM = 9.0
"""Thickest slices, unless the priors have thinner ones in voxels."""
PLACES = 4096
"""Number of labelled voxels of a scan that crops are placed around."""


def organ_priors(priors: GenerativeModel, side: float, spacing: float, flip: bool) -> GenerativeModel:
    """Adapt the priors of heads to an organ.

    Skull stripping, lesions, tissues and sides of heads are left out. The outside of the scan is mostly dark.

    Args:
        priors: for heads.
        side: mean side of the scans, voxels.
        spacing: of the working voxels, mm.
        flip: whether to mirror half of the images.

    """
    scale = min(1.0, side / USUAL_SIDE)
    usual = priors.values
    thinnest, thickest = usual["slice_spacing_mm"]
    thickest = max(1.0, min(thickest, THICKEST_MM / spacing))
    return priors.with_values(
        translation_mm=tuple(scale * x for x in usual["translation_mm"]),
        velocity_std=tuple(scale * x for x in usual["velocity_std"]),
        slice_spacing_mm=(min(thinnest, thickest), thickest),
        flip=0.5 if flip else 0.0,
        skull_strip=0.0,
        lesions=0.0,
        lesion_load_ml=(0.0, 0.0),
        tissue_contrast=0.0,
        background_zero=0.4,
        background_low=0.3,
    )


class OrganCrops(Objective):
    """Crops of images generated from random scans; the background has a random number of classes at every step.

    Args:
        model: SynthSeg's U-Net.
        scans: to generate images from.
        priors: of the generative model.
        seed: of everything random.
        batch: samples a step.
        crop: voxels along each side of a crop, a multiple of the network's.
        around_labels: fraction of the crops that lie around a labelled voxel.
        device: to generate and train on.
        bfloat16: compute in bfloat16.
        validation: scores the model.
    """

    def __init__(
        self,
        model: UNet3d,
        scans: Sequence[Split],
        priors: GenerativeModel,
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
        self.around_labels, self.device = around_labels, torch.device(device)
        self.bfloat16 = bfloat16 and (crop // model.multiple > 2 or self.device.type != "cpu")  # see `devices`
        self.validation = validation
        self.values: Sequence[int] = model.labels

    def record(self, which: int, label_map: Any, g: torch.Generator) -> Record:
        """Draw a record for one of the scans and place its crop."""
        record = self.priors.sample(label_map, g)
        around = float(torch.rand(1, generator=g)) < self.around_labels
        at = int(torch.randint(len(self.places[which]), (1,), generator=g))
        where = torch.rand(3, generator=g).tolist()
        if not around:
            return record
        voxel = self.places[which][at].tolist()
        at_room = tuple(self._crop(*one) for one in zip(voxel, label_map.shape, where, strict=True))
        return record.changed("crop", at=at_room)

    def _crop(self, voxel: int, size: int, where: float) -> float:
        """Return the position of a crop along an axis, 0 to 1 of its room, with a voxel in its middle half."""
        room = size - self.crop
        if room <= 0:
            return 0.5
        low = voxel - self.crop * (0.25 + 0.5 * where)
        return min(max(round(low), 0), room) / room

    def sample(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw (B, 1, X, Y, Z) images and (B, X, Y, Z) channels of `values`."""
        chosen = [int(torch.randint(len(self.scans), (1,), generator=g)) for _ in range(self.batch)]
        maps = [drawn(self.scans[i], g) for i in chosen]
        records = [self.record(i, m, g) for i, m in zip(chosen, maps, strict=True)]
        grids = [crop_grid(m, (self.crop,) * 3, r["crop"]["at"]) for m, r in zip(maps, records, strict=True)]
        return apply_batch(records, maps, grids, self.values)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        images, targets = self.sample(step_generator(self.seed, step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model.logits(images)
        entropy, overlap = dice_and_cross_entropy(logits, targets)
        return entropy + overlap, {"cross_entropy": float(entropy.detach()), "soft_dice": 1.0 - float(overlap.detach())}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a training sample: image, truth and prediction."""
        images, targets = self.sample(step_generator(self.seed, step))
        values = np.asarray(self.values)
        predicted = self.model.logits(images[:1])[0].argmax(0)
        return {
            "image": images[0, 0].cpu().numpy(),
            "truth": values[targets[0].long().cpu().numpy()],
            "prediction": values[predicted.cpu().numpy()],
        }


def labelled_places(scan: Split, seed: int) -> torch.Tensor:
    """Draw (N, 3) labelled voxels of a scan, equally many of each label."""
    index, offset = scan.label_map.index.cpu(), torch.tensor(scan.label_map.offset)
    labelled = [k for k, value in enumerate(scan.values) if value != 0]
    g = torch.Generator().manual_seed(seed)
    found = []
    for k in labelled:
        at = (index == k).nonzero()
        found.append(at[torch.randint(len(at), (max(1, PLACES // len(labelled)),), generator=g)])
    return torch.cat(found) + offset


# Validation

BLOCK = 128**3
"""Voxels of a block at most."""


@dataclass(frozen=True)
class OrganCase:
    """A validation image.

    Attributes:
        image: (X, Y, Z) float32 in [0, 1].
        labels: (X, Y, Z) true values.
        kind: "real" or "synthetic".
    """

    image: np.ndarray
    labels: np.ndarray
    kind: str


def real_case(scan: OrganScan) -> OrganCase:
    """Return a labelled scan with intensities as the network gets them."""
    return OrganCase(rescale(scan.image, *OWN.percentiles), scan.labels, "real")


def synthetic_case(scan: Split, priors: GenerativeModel, labels: Sequence[int], seed: int) -> OrganCase:
    """Generate an image from a labelled scan; the same for the same seed."""
    g = step_generator(seed, 0)
    label_map = drawn(scan, g)
    record = priors.sample(label_map, g)
    sample = apply(record, label_map, full_grid(label_map))
    channels = sample.target(labels).numpy()
    return OrganCase(rescale(sample.image.numpy(), *OWN.percentiles), np.asarray(labels)[channels], "synthetic")


@torch.no_grad()
def predicted(model: nn.Module, image: np.ndarray, device: torch.device) -> np.ndarray:
    """Predict the (X, Y, Z) labels of an image in [0, 1] block by block, without post-processing."""
    blocks = patch_grid(image.shape, max_voxels=BLOCK, overlap=32, multiple=32, minimum=64)
    source = torch.from_numpy(image)

    def one(first: Sequence[int]) -> torch.Tensor:
        return model(crop_with_padding(source, first, blocks.size)[None, None].to(device))[0].half()

    posteriors = run(blend_steps("Segmenting", one, blocks, len(model.labels)))  # type: ignore[arg-type]
    return np.asarray(model.labels)[posteriors.argmax(0).numpy()]  # type: ignore[arg-type]


def score(model: nn.Module, cases: Sequence[OrganCase], names: Mapping[int, str], device: torch.device) -> dict:
    """Return the mean Dice of the real and of the synthetic cases, their mean as "score", and the Dice by structure.

    A structure that is missing in a case is not scored on it.
    """
    by_kind: dict[str, list[float]] = {}
    by_name: dict[str, list[float]] = {}
    for number, case in enumerate(cases):
        doing("validating", number + 1, len(cases))
        found = predicted(model, case.image, device)
        for value in model.labels[1:]:  # type: ignore[index]
            truth = case.labels == value
            if truth.any():
                one = dice(found == value, truth)
                by_kind.setdefault(case.kind, []).append(one)
                by_name.setdefault(names[value], []).append(one)
    means: dict = {kind: float(np.mean(all_)) for kind, all_ in by_kind.items()}
    if means:
        means["score"] = float(np.mean(list(means.values())))
        means["dice"] = {name: float(np.mean(all_)) for name, all_ in by_name.items()}
    return means
