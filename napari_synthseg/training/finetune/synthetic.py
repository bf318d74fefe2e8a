"""Synthetic images beside the scans: from label maps, or from the scans' own labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.brains import apply
from napari_synthseg.generator.head import crop_grid
from napari_synthseg.generator.labelmap import LabelMap, prepare
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.training.data.synthetic import percentile_limits, rescaled
from napari_synthseg.training.finetune.scans import RawScan

LESION_SIDES = (25, 57)
"""Left and right lesions of white matter in label maps."""
COMPLETE = 0.5
"""Share of a network's labels that maps must hold: what they lack is taught as background."""


def maps_of_scans(scans: Sequence[RawScan], labels: Sequence[int]) -> list[LabelMap]:
    """Label maps for synthetic images from the labels of scans.

    Raises:
        InputError: they are too coarse, or lack most of what the network predicts.
    """
    found = [replace(prepare(single_structures(scan.values, labels), name=scan.name)) for scan in scans]
    held = {t for m in found for t in m.targets} & set(labels)
    if len(held) < COMPLETE * len(labels):
        raise _too_coarse()
    return found


def single_structures(values: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Label values as a label map has them: no parcels, and lesions with a side.

    Raises:
        InputError: a value stands for several structures.
    """
    out = np.zeros(values.shape, np.int32)
    for value in map(int, np.unique(values)):
        here = values == value
        if value in labels or value == 0:
            out[here] = value
        elif value == anatomy.LESION:
            left = np.indices(values.shape)[0] < np.argwhere(values > 0)[:, 0].mean()  # the first axis points right
            out[here] = np.where(left, *LESION_SIDES)[here]
        elif value in anatomy.parcels():
            out[here] = anatomy.in_task(value, "all")
        elif anatomy.known(value) and value not in {g.value for g in (anatomy.BRAIN, *anatomy.COARSE)}:
            out[here] = value
        elif anatomy.known(value):
            raise _too_coarse()
    return out


def _too_coarse() -> InputError:
    return InputError(
        "The scans' labels are too few to make synthetic images from: give label maps of the whole brain with "
        "--label-maps, or add --synthetic 0 (and expect other contrasts to be forgotten)."
    )


class SyntheticCrops:
    """Crops of synthetic heads for networks that look at the whole scan.

    Args:
        maps: label maps.
        priors: of the generative model.
        labels: the network's.
        task: one of `anatomy.TASKS`, where the labels are those of a task.
        side: voxels along each side.
        spacing: of the voxels, mm.
        device: where they are made.
    """

    def __init__(
        self,
        maps: Sequence[LabelMap],
        priors: GenerativeModel,
        labels: Sequence[int],
        task: str,
        side: int,
        spacing: float,
        device: torch.device | str,
    ) -> None:
        self.maps, self.priors = [m.to(device) for m in maps], priors
        self.side, self.spacing = side, spacing
        own = task == "all" or tuple(labels) != anatomy.task_values(task)
        self.values = tuple(labels) if own else anatomy.predicted_values(2)
        channel = {v: i for i, v in enumerate(labels)}
        counted = self.values if own else tuple(anatomy.in_task(v, task) for v in self.values)
        self.channels = torch.tensor([channel.get(v, 0) for v in counted], dtype=torch.uint8, device=device)

    def __call__(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A (1, 1, X, Y, Z) image in [0, 1] and its (1, X, Y, Z) channels."""
        label_map = self.maps[int(torch.randint(len(self.maps), (1,), generator=generator))]
        record = self.priors.sample(label_map, generator)
        grid = crop_grid(label_map, (self.side,) * 3, record["crop"]["at"], self.spacing)
        sample = apply(record, label_map, grid)
        image = rescaled(sample.image, percentile_limits(sample.image, 0.005, 0.995))
        truth = self.channels[sample.target(self.values).long()]
        return image[None, None], truth[None]
