"""Standardised scans (pre-train once, fine-tune many: section IV-A): RAS, 1 mm, a box of 192^3, intensities in [0, 1].

Scans are resampled, padded or cropped to one size, and rescaled. The paper does not say around what it crops, nor what
becomes 0 and 1; here the box lies around the middle of the brain as the outline of the head tells it, and the limits
are the percentiles that the program's U-Nets use. `segment` does the same before it predicts in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from napari_synthseg.inference.patches import crop_with_padding
from napari_synthseg.inference.preprocess import brain_centre, prepare, rescale
from napari_synthseg.inference.sliding_window import field_start, pooled
from napari_synthseg.volume import Volume, resample_labels_to, resample_to

FIELD = 192
"""Voxels along each side of a standardised volume (section IV-A)."""
PERCENTILES = (0.5, 99.5)
"""Of the head's intensities; they become 0 and 1."""


@dataclass(frozen=True)
class Standardised:
    """A scan as section IV-A has it.

    Attributes:
        image: (field, field, field) float32 in [0, 1], axes pointing right, anterior, superior; 0 beyond the scan.
        affine: (4, 4) voxel index of `image` -> RAS mm.
        source_shape: voxels of the scan as it was given.
        source_affine: (4, 4) of the scan as it was given.
    """

    image: np.ndarray
    affine: np.ndarray
    source_shape: tuple[int, int, int]
    source_affine: np.ndarray

    def labels_of(self, labels: Volume) -> Volume:
        """A label map of the same scan (on any grid), on the standardised voxels; 0 beyond it."""
        return resample_labels_to(labels, self.image.shape, self.affine)

    def labels_back(self, labels: np.ndarray) -> Volume:
        """Labels (field, field, field) of the standardised voxels on the scan's own grid; 0 beyond the box."""
        return resample_labels_to(Volume(labels, self.affine), self.source_shape, self.source_affine)

    def image_back(self, image: np.ndarray) -> Volume:
        """Any image (field, field, field) on the scan's own grid, by linear interpolation; 0 beyond the box."""
        return resample_to(Volume(image, self.affine), self.source_shape, self.source_affine)


def standardise(volume: Volume, *, field: int = FIELD, spacing: int = 1, name: str = "The image") -> Standardised:
    """Standardise a scan.

    Args:
        volume: the scan, of any orientation and spacing.
        field: voxels along each side of the result.
        spacing: of its voxels, mm; a whole number. The paper's is 1.
        name: how messages call the scan.

    Raises:
        InputError: the scan is empty, constant or not 3D.
    """
    prepared = prepare(volume, name=name)
    image = pooled(torch.from_numpy(rescale(prepared.image, *PERCENTILES)), spacing)
    start = field_start(brain_centre(prepared.image), spacing, field)
    affine = prepared.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (spacing * np.array(start) + (spacing - 1) / 2)
    affine[:3, :3] *= spacing
    boxed = crop_with_padding(image, start, (field,) * 3).clone().numpy()
    return Standardised(boxed, affine, volume.shape, np.array(volume.affine))
