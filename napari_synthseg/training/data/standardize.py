"""Standardized scans (pre-train once, fine-tune many: section IV-A): RAS, 1 mm, a box of 192^3, intensities in [0, 1].

Scans are resampled, padded or cropped to one size, and rescaled. The paper does not say around what it crops, nor what
becomes 0 and 1; here the box lies around the middle of the brain as the outline of the head tells it, and the limits
are the percentiles that the program's U-Nets use. `segment` does the same before it predicts in blocks.
"""

from __future__ import annotations

import numpy as np
import torch

from napari_synthseg.inference.patches import crop_with_padding
from napari_synthseg.inference.preprocess import brain_center, prepare, rescale
from napari_synthseg.inference.sliding_window import field_start, pooled
from napari_synthseg.volume import Volume

FIELD = 192
"""Voxels along each side of a standardized volume (section IV-A)."""
PERCENTILES = (0.5, 99.5)
"""Of the head's intensities; they become 0 and 1."""


def standardize(volume: Volume, *, field: int = FIELD, spacing: int = 1, name: str = "The image") -> Volume:
    """Return a scan as (field, field, field) float32 in [0, 1], axes pointing right, anterior, superior; 0 beyond it.

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
    start = field_start(brain_center(prepared.image), spacing, field)
    affine = prepared.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (spacing * np.array(start) + (spacing - 1) / 2)
    affine[:3, :3] *= spacing
    boxed = crop_with_padding(image, start, (field,) * 3).clone().numpy()
    return Volume(boxed, affine)
