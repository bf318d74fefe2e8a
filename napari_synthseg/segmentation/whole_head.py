"""SynthSeg's own U-Net on a prepared scan: the whole head at 1 mm, smoothing, flip averaging (section 3.3)."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.progress import Progress, checkpoint
from napari_synthseg.segmentation.blocks import plan, window
from napari_synthseg.segmentation.postprocess import bounding_box, largest_component
from napari_synthseg.segmentation.prediction import Prediction, blend, values_of
from napari_synthseg.segmentation.preprocess import rescale

NO_BRAIN = "No brain was found in the image; check that it shows a head and that its header is right."
BRAIN_MARGIN_MM = 20
SMOOTHING_SIGMA = 0.5
"""Of the posteriors, in voxels; the reference implementation cuts the kernel at 3 voxels."""


def whole_head_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, flip: bool, max_voxels: int
) -> Generator[Progress, None, Prediction]:
    """The whole head at 1 mm, in one piece where it fits into a block, else in blocks."""
    blocks = plan(image.shape, max_voxels=max_voxels, overlap=32, multiple=32, minimum=64)
    source = torch.from_numpy(rescale(image, 0.5, 99.5))

    def one(first: Sequence[int]) -> torch.Tensor:
        part = window(source, first, blocks.size)[None, None].to(device)
        return unet_posteriors(model, part, flip=flip)[0].half()

    posteriors = yield from blend("Segmenting", one, blocks, len(model.labels))  # type: ignore[arg-type]
    mask = (1 - posteriors[0].float() > 0.25).numpy()
    box = bounding_box(largest_component(mask), BRAIN_MARGIN_MM)
    if box is None:
        raise InputError(NO_BRAIN)
    start = tuple(side.start for side in box)
    inner = posteriors[(slice(None), *box)].contiguous()
    return Prediction(inner, values_of(model), start, None, str(device))  # type: ignore[arg-type]


def unet_posteriors(model: nn.Module, image: torch.Tensor, *, flip: bool = True, smooth: bool = True) -> torch.Tensor:
    """SynthSeg's test-time procedure: network, smoothing, mean over the scan and its mirror image.

    Args:
        model: a U-Net with `labels`.
        image: (B, 1, X, Y, Z), axis X from left to right; sizes are multiples of 32.
        flip: average with the mirrored scan.
        smooth: smooth the posteriors as the reference implementation does.

    Returns:
        (B, K, X, Y, Z) float32 posteriors.
    """
    with torch.inference_mode():
        out = model(image).float()
        if flip:
            order = list(anatomy.flip_channels(model.labels))  # type: ignore[arg-type]
            out = (out + model(image.flip(2)).float().flip(2)[:, order]) / 2
        return smooth_posteriors(out) if smooth else out


def smooth_posteriors(posteriors: torch.Tensor) -> torch.Tensor:
    """Gaussian of sigma 0.5 cut at 3 voxels an axis, zeros beyond the edge; (B, K, X, Y, Z)."""
    side = float(np.exp(-0.5 / SMOOTHING_SIGMA**2))
    taps = np.array([side, 1.0, side]) / (1 + 2 * side)
    for axis in (2, 3, 4):
        checkpoint()
        n = posteriors.shape[axis]
        blurred = posteriors * taps[1]
        blurred.narrow(axis, 1, n - 1).add_(posteriors.narrow(axis, 0, n - 1), alpha=taps[0])
        blurred.narrow(axis, 0, n - 1).add_(posteriors.narrow(axis, 1, n - 1), alpha=taps[2])
        posteriors = blurred
    return posteriors
