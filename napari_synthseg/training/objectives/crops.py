"""Objectives on crops of generated images: SynthSeg's own at 1 mm (section 3.2), and that of `train organ` (5.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.generator.head import crop_grid, full_grid
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.sample import apply, apply_batch
from napari_synthseg.generator.subregions import Split, drawn
from napari_synthseg.inference.options import OWN
from napari_synthseg.inference.patches import blend_steps, crop_with_padding, patch_grid
from napari_synthseg.inference.preprocess import rescale
from napari_synthseg.jobs import run
from napari_synthseg.training.data.synthetic import Batch, Sampler, random_index, step_generator
from napari_synthseg.training.engine.events import each
from napari_synthseg.training.engine.loop import Objective, labelled_picture, to_device
from napari_synthseg.training.engine.losses import dice_and_cross_entropy, figures_of, soft_dice_loss

CropView = Callable[[torch.Tensor, torch.Tensor, torch.Generator], Batch]
"""Images, channels of labels and randomness -> the network's input (B, C, X, Y, Z) and its targets (B, X, Y, Z)."""


@dataclass(eq=False, repr=False)
class UNetCrops(Objective):
    """Average soft Dice over all channels (eq. 27) of a network that gives (B, K, X, Y, Z) float32 posteriors."""

    sample: Sampler
    """Draws the crops of a step."""
    shown: Sequence[int]
    """Label that each channel stands for."""
    _: KW_ONLY
    shared: bool = True
    view: CropView = lambda images, channels, generator: (images, channels)
    """Returns the network's input and targets; by default images and labels."""
    figures: Callable[[torch.Tensor, torch.Tensor], dict[str, float]] = lambda seen, truth: {}
    """More numbers for the log, of the network's input and targets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.device.type != "mps":
            to_device(self.model, self.device)

    def picture(self, step: int) -> dict[str, np.ndarray]:
        g = step_generator(self.seed, step)
        images, channels = self.sample(g)
        seen, truth = self.view(images, channels, g)
        return labelled_picture(images[0, 0], truth[0], self.model(seen[:1])[0].argmax(0), self.shown)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        seen, truth = self.view(*self.sample(g), g)
        with bfloat16_where_quick(self.device, min(seen.shape[2:]) // getattr(self.model, "multiple", 1)):
            posteriors = self.model(to_memory(seen))
        loss = soft_dice_loss(posteriors, truth)
        return loss, {"soft_dice": 1.0 - float(loss.detach()), **self.figures(seen, truth)}


# Any organ. Lengths count in voxels of the working grid, as if these had 1 mm: a mouse's brain at 0.1 mm and a chest at
# 2 mm are deformed in proportion to their size.

USUAL_SIDE = 160
"""Side in voxels for which the lengths of the priors are made."""
THICKEST_MM = 9.0
"""Thickest slices, unless the priors have thinner ones in voxels."""
PLACES = 4096
"""Number of labelled voxels of a scan that crops are placed around."""
BLOCK = 128**3
"""Voxels of a block of validation at most."""


def organ_priors(priors: GenerativeModel, side: float, spacing: float, flip: bool) -> GenerativeModel:
    """Adapt the priors of heads to an organ: no skull stripping, lesions, tissues or sides, a mostly dark outside.

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


@dataclass(eq=False, repr=False)
class OrganCrops(Objective):
    """Crops of images generated from random scans; the background has a random number of classes at every step."""

    scans: Sequence[Split]
    """Split into sub-regions, to generate images from."""
    priors: GenerativeModel
    _: KW_ONLY
    crop: int
    """Voxels along each side of a crop, a multiple of the network's."""
    around_labels: float
    """Fraction of the crops that lie around a labelled voxel."""
    bfloat16: bool
    """Whether to compute in bfloat16."""
    channels_last = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.places = [labelled_places(scan, self.seed) for scan in self.scans]
        self.scans = [scan.to(self.device) for scan in self.scans]
        self.bfloat16 &= self.crop // self.model.multiple > 2 or self.device.type != "cpu"  # see `devices`
        self.values: Sequence[int] = self.model.labels

    def record(self, which: int, label_map: Any, g: torch.Generator) -> Record:
        """Draw a record for one of the scans and place its crop."""
        record = self.priors.sample(label_map, g)
        around = float(torch.rand(1, generator=g)) < self.around_labels
        at = random_index(len(self.places[which]), g)
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

    def sample(self, g: torch.Generator) -> Batch:
        """Draw images, and channels of `values`."""
        chosen = [random_index(len(self.scans), g) for _ in range(self.batch)]
        maps = [drawn(self.scans[i], g) for i in chosen]
        records = [self.record(i, m, g) for i, m in zip(chosen, maps, strict=True)]
        grids = [crop_grid(m, (self.crop,) * 3, r["crop"]["at"]) for m, r in zip(maps, records, strict=True)]
        return apply_batch(records, maps, grids, self.values)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        images, targets = self.sample(step_generator(self.seed, step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model.logits(images)
        entropy, overlap = dice_and_cross_entropy(logits, targets)
        return entropy + overlap, figures_of(entropy, overlap)

    def picture(self, step: int) -> dict[str, np.ndarray]:
        images, targets = self.sample(step_generator(self.seed, step))
        return labelled_picture(images[0, 0], targets[0], self.model.logits(images[:1])[0].argmax(0), self.values)


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


@dataclass(frozen=True)
class OrganCase:
    """A validation image: real, or generated from a labelled scan."""

    image: np.ndarray
    """(X, Y, Z) float32 in [0, 1]."""
    labels: np.ndarray
    """(X, Y, Z) true values."""
    kind: str = "real"

    @classmethod
    def synthetic(cls, scan: Split, priors: GenerativeModel, labels: Sequence[int], seed: int) -> OrganCase:
        """Generate an image from a labelled scan; the same for the same seed."""
        g = step_generator(seed, 0)
        label_map = drawn(scan, g)
        sample = apply(priors.sample(label_map, g), label_map, full_grid(label_map))
        image = rescale(sample.image.numpy(), *OWN.percentiles)
        return cls(image, np.asarray(labels)[sample.target(labels).numpy()], "synthetic")


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
    """Return the mean Dice of the real and of the synthetic cases, their mean as "score", and the Dice by structure."""
    by_kind: dict[str, list[float]] = {}
    by_name: dict[str, list[float]] = {}
    for case in each("validating", cases):
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
