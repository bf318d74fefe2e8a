"""SynthSeg's own networks on a prepared scan: the whole head at 1 mm, smoothing, flip averaging (section 3.3).

In one piece where memory allows: exactly what the reference implementation computes, slab after slab (`one_piece`).
Else in overlapping blocks.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.inference import one_piece
from napari_synthseg.inference.blocks import plan, window
from napari_synthseg.inference.postprocess import best_channel, bounding_box, foreground, largest_component
from napari_synthseg.inference.prediction import Prediction, Scene, Tissues, blend, values_of
from napari_synthseg.inference.preprocess import pad_to, rescale
from napari_synthseg.inference.presets import OWN, Procedure
from napari_synthseg.jobs import Progress, checkpoint

NO_BRAIN = "No brain was found in the image; check that it shows a head and that its header is right."
BRAIN_MARGIN_MM = 20
BRAIN_THRESHOLD = 0.25
SMOOTHING_SIGMA = 0.5
"""Of the posteriors, in voxels; the reference implementation cuts the kernel at 3 voxels."""
MULTIPLE = 32
"""The reference pads to multiples of this, although five levels need 16 only."""


def whole_head_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, max_voxels: int | None, how: Procedure = OWN
) -> Generator[Progress, None, Prediction]:
    """The whole head at 1 mm.

    Args:
        model: a U-Net or a hierarchy, with `labels`.
        image: (X, Y, Z) float32 (`Prepared.image`).
        device: where to run.
        max_voxels: of a block; None for one piece.
        how: which percentiles, flips and smoothing.
    """
    if max_voxels is None:
        return (yield from whole_steps(model, image, device, how))
    blocks = plan(image.shape, max_voxels=max_voxels, overlap=32, multiple=MULTIPLE, minimum=64)
    source = torch.from_numpy(rescale(image, *how.percentiles))

    def one(first: Sequence[int]) -> torch.Tensor:
        part = window(source, first, blocks.size)[None, None].to(device)
        return unet_posteriors(model, part, flip=how.flip, smooth=how.smooth)[0].half()

    posteriors = yield from blend("Segmenting", one, blocks, len(model.labels))  # type: ignore[arg-type]
    scene = Scene(source, torch.from_numpy(best_channel(posteriors)), (0, 0, 0))
    if not how.keep_brain:
        return Prediction(posteriors, values_of(model), (0, 0, 0), None, str(device), scene=scene)
    return around_brain(posteriors, model, scene, (0, 0, 0), str(device), BRAIN_MARGIN_MM)


def whole_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, how: Procedure
) -> Generator[Progress, None, Prediction]:
    """The whole head in one piece, padded as the reference pads it; float32 posteriors of the brain's box.

    The box is that of the largest component of the foreground. Beyond it the reference's clean-up leaves background
    alone, so nothing is lost. Components are looked for in the padded volume, so the box may reach into the padding
    (`Prediction.within` cuts that off after the clean-up); where the reference looks for no components of single
    structures, it cuts off the padding first.
    """
    size, first = pad_to(image.shape, MULTIPLE, how.minimum)
    padded = torch.zeros(size)
    inner = tuple(slice(a, a + n) for a, n in zip(first, image.shape, strict=True))
    padded[inner] = torch.from_numpy(rescale(image, *how.percentiles))
    posteriors, classes = yield from one_piece.posteriors_steps(
        model, padded, device, how.flip, torch.bfloat16 if how.bfloat16 else torch.float32
    )
    if how.smooth:
        for channel in posteriors:
            channel.copy_(smooth_posteriors(channel[None, None])[0, 0])
    start: tuple[int, ...] = tuple(-a for a in first)
    scene = Scene(padded, torch.from_numpy(best_channel(posteriors)), start)  # type: ignore[arg-type]
    kept = Tissues(classes, start) if classes else None  # type: ignore[arg-type]
    if not how.topology:
        posteriors, start = posteriors[(slice(None), *inner)], (0, 0, 0)
    if not how.keep_brain:
        return Prediction(posteriors, values_of(model), start, None, str(device), scene=scene, tissues=kept)  # type: ignore[arg-type]
    margin = BRAIN_MARGIN_MM if how.reach else 0  # soft edges beyond the component
    return replace(around_brain(posteriors, model, scene, start, str(device), margin), tissues=kept)


def around_brain(
    posteriors: torch.Tensor, model: nn.Module, scene: Scene, start: Sequence[int], device: str, margin: int
) -> Prediction:
    """The part of posteriors that holds the largest component of the foreground."""
    mask = (foreground(posteriors) > BRAIN_THRESHOLD).numpy()
    box = bounding_box(largest_component(mask), margin)
    if box is None:
        raise InputError(NO_BRAIN)
    first = tuple(a + side.start for a, side in zip(start, box, strict=True))
    inner = posteriors[(slice(None), *box)].clone()
    return Prediction(inner, values_of(model), first, None, device, scene=scene)  # type: ignore[arg-type]


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
    taps = smoothing_taps()
    for axis in (2, 3, 4):
        checkpoint()
        n = posteriors.shape[axis]
        blurred = posteriors * taps[1]
        blurred.narrow(axis, 1, n - 1).add_(posteriors.narrow(axis, 0, n - 1), alpha=taps[0])
        blurred.narrow(axis, 0, n - 1).add_(posteriors.narrow(axis, 1, n - 1), alpha=taps[2])
        posteriors = blurred
    return posteriors


def smoothing_taps() -> tuple[float, float, float]:
    """Weights of a voxel's neighbour, of the voxel, and of its other neighbour."""
    side = float(np.exp(-0.5 / SMOOTHING_SIGMA**2))
    return side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)
