"""SynthSeg's own networks on a prepared scan: the whole head at 1 mm, smoothing, flip averaging (section 3.3).

At once if memory allows: exactly what the reference implementation computes, streamed in slabs (`streaming`). Else in
overlapping patches.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.anatomy import DENOISED, S1, TISSUE_MAPS
from napari_synthseg.devices import free_memory
from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import OWN, InferenceConfig
from napari_synthseg.inference.patches import blend_steps, crop_with_padding, patch_grid
from napari_synthseg.inference.postprocess import best_channel, foreground, largest_component
from napari_synthseg.inference.preprocess import pad_to, rescale
from napari_synthseg.inference.state import Prediction, TissueMaps, WholeHead, values_of
from napari_synthseg.inference.streaming import SLAB_BYTES, Sink, in_float32, slab_steps
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.networks.hierarchy import as_channels
from napari_synthseg.networks.unet import EncoderDecoder
from napari_synthseg.volume import bounding_box

NO_BRAIN = "No brain was found in the image; check that it shows a head and that its header is right."
BRAIN_MARGIN_MM = 20
BRAIN_THRESHOLD = 0.25
SMOOTHING_SIGMA = 0.5
"""Of the posteriors, in voxels; the reference implementation cuts the kernel at 3 voxels."""
SPARE = 0.8
"""How much of the free memory may be used."""
MULTIPLE = 32
"""The reference pads to multiples of this, although five levels need 16 only."""


def whole_volume_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, max_voxels: int | None, config: InferenceConfig = OWN
) -> Generator[Progress, None, Prediction]:
    """Predict the whole head at 1 mm; arguments as for `predict_steps`, `max_voxels` None to predict all at once."""
    if max_voxels is None:
        return (yield from at_once_steps(model, image, device, config))
    grid = patch_grid(image.shape, max_voxels=max_voxels, overlap=32, multiple=MULTIPLE, minimum=64)
    source = torch.from_numpy(rescale(image, *config.percentiles))

    def one(first: Sequence[int]) -> torch.Tensor:
        part = crop_with_padding(source, first, grid.size)[None, None].to(device)
        return unet_posteriors(model, part, flip=config.flip, smooth=config.smooth)[0].half()

    posteriors = yield from blend_steps("Segmenting", one, grid, len(model.labels))  # type: ignore[arg-type]
    head = WholeHead(source, torch.from_numpy(best_channel(posteriors)), (0, 0, 0))
    if not config.keep_brain:
        return Prediction(posteriors, values_of(model), (0, 0, 0), None, str(device), whole_head=head)
    return around_brain(posteriors, model, head, (0, 0, 0), str(device), BRAIN_MARGIN_MM)


def at_once_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, config: InferenceConfig
) -> Generator[Progress, None, Prediction]:
    """Predict the whole head at once, padded as the reference pads it; float32 posteriors of the brain's box.

    The box is that of the largest component of the foreground. Beyond it the reference's clean-up leaves background
    alone, so nothing is lost. Components are looked for in the padded volume, so the box may reach into the padding
    (`Prediction.within` cuts that off after the clean-up); where the reference looks for no components of single
    structures, it cuts off the padding first.
    """
    size, first = pad_to(image.shape, MULTIPLE, config.minimum)
    padded = torch.zeros(size)
    inner = tuple(slice(a, a + n) for a, n in zip(first, image.shape, strict=True))
    padded[inner] = torch.from_numpy(rescale(image, *config.percentiles))
    posteriors, classes = yield from streamed_steps(
        model, padded, device, config.flip, torch.bfloat16 if config.bfloat16 else torch.float32
    )
    if config.smooth:
        for channel in posteriors:
            channel.copy_(smooth_posteriors(channel[None, None])[0, 0])
    start: tuple[int, ...] = tuple(-a for a in first)
    head = WholeHead(padded, torch.from_numpy(best_channel(posteriors)), start)  # type: ignore[arg-type]
    kept = TissueMaps(classes, start) if classes else None  # type: ignore[arg-type]
    if not config.topology:
        posteriors, start = posteriors[(slice(None), *inner)], (0, 0, 0)
    if not config.keep_brain:
        return Prediction(posteriors, values_of(model), start, None, str(device), whole_head=head, tissues=kept)  # type: ignore[arg-type]
    margin = BRAIN_MARGIN_MM if config.dilation else 0  # soft edges beyond the component
    return replace(around_brain(posteriors, model, head, start, str(device), margin), tissues=kept)


def around_brain(
    posteriors: torch.Tensor, model: nn.Module, head: WholeHead, start: Sequence[int], device: str, margin: int
) -> Prediction:
    """Return the part of posteriors that holds the largest component of the foreground."""
    mask = (foreground(posteriors) > BRAIN_THRESHOLD).numpy()
    box = bounding_box(largest_component(mask), margin)
    if box is None:
        raise InputError(NO_BRAIN)
    first = tuple(a + side.start for a, side in zip(start, box, strict=True))
    inner = posteriors[(slice(None), *box)].clone()
    return Prediction(inner, values_of(model), first, None, device, whole_head=head)  # type: ignore[arg-type]


def unet_posteriors(model: nn.Module, image: torch.Tensor, *, flip: bool = True, smooth: bool = True) -> torch.Tensor:
    """Run SynthSeg's test-time procedure: network, smoothing, mean over the scan and its mirror image.

    Takes (B, 1, X, Y, Z), axis X from left to right, multiples of 32; gives (B, K, X, Y, Z) float32 posteriors.
    """
    with torch.inference_mode():
        out = model(image).float()
        if flip:
            order = list(anatomy.flip_channels(model.labels))  # type: ignore[arg-type]
            out = (out + model(image.flip(2)).float().flip(2)[:, order]) / 2
        return smooth_posteriors(out) if smooth else out


def smooth_posteriors(posteriors: torch.Tensor) -> torch.Tensor:
    """Smooth (B, K, X, Y, Z) by a Gaussian of sigma 0.5 cut at 3 voxels an axis, zeros beyond the edge."""
    for axis in (2, 3, 4):
        checkpoint()
        posteriors = smoothed_along(posteriors, axis)
    return posteriors


def smoothed_along(x: torch.Tensor, axis: int) -> torch.Tensor:
    side, middle = smoothing_taps()
    n = x.shape[axis]
    out = x * middle
    out.narrow(axis, 1, n - 1).add_(x.narrow(axis, 0, n - 1), alpha=side)
    out.narrow(axis, 0, n - 1).add_(x.narrow(axis, 1, n - 1), alpha=side)
    return out


def smoothing_taps() -> tuple[float, float]:
    """Return the weights of a voxel's neighbors and of the voxel."""
    side = float(np.exp(-0.5 / SMOOTHING_SIGMA**2))
    return side / (1 + 2 * side), 1 / (1 + 2 * side)


def can_run(model: nn.Module) -> bool:
    """Return whether a network, or every part of a hierarchy, can be computed in slabs."""
    return bool(_parts(model))


def fits(model: nn.Module, shape: Sequence[int], device: torch.device) -> bool:
    """Return whether memory suffices for a volume of this shape; true if that is unknown."""
    network, result = memory_needed(model, shape)
    cpu = free_memory(torch.device("cpu"))
    if device.type == "cpu":
        return cpu is None or network + result < SPARE * cpu
    own = free_memory(device)
    return (cpu is None or result < SPARE * cpu) and (own is None or network < SPARE * own)


def memory_needed(model: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """Return the bytes that the network takes on its device, and its result on the CPU, at most.

    The skip connection of the top level is kept whole; of the second level (an eighth of the voxels), up to five
    tensors are there at once; slabs take several tensors of `SLAB_BYTES`.
    """
    voxels = int(torch.Size(shape).numel())
    top = max(4 * part.widths[0] + 5 * 4 * part.widths[1] // 8 for part in _parts(model))
    return voxels * top + 14 * SLAB_BYTES, voxels * (4 * len(model.labels) + 24)  # type: ignore[arg-type]


def streamed_steps(
    model: nn.Module, image: torch.Tensor, device: torch.device, flip: bool, dtype: torch.dtype = torch.float32
) -> Generator[Progress, None, tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Compute posteriors of a volume, or the mean of those of it and of its mirror image, in float32 or bfloat16.

    The image (X, Y, Z) is in [0, 1], axis X from left to right, sizes multiples of `model.multiple`.

    Returns:
        (K, X, Y, Z) float32 on the CPU; and of a hierarchy the tissue classes (X, Y, Z) uint8 of its first two
        networks, by name.
    """
    out = torch.zeros((len(model.labels), *image.shape))  # type: ignore[arg-type]
    order = list(anatomy.flip_channels(model.labels)) if flip else []  # type: ignore[arg-type]
    share = 0.5 if flip else 1.0

    def keep(start: int, part: torch.Tensor) -> None:
        out[:, start : start + len(part)].add_(_channels_first(part), alpha=share)

    def keep_mirrored(start: int, part: torch.Tensor) -> None:
        stop = image.shape[0] - start
        place = out[:, stop - len(part) : stop]
        block = _channels_first(part)
        for channel, partner in enumerate(order):
            place[channel].add_(block[partner].flip(0), alpha=share)

    with torch.inference_mode(), in_float32():
        tissues = yield from _pass_steps(model, image, device, keep, "Segmenting", dtype)
        if flip:
            yield from _pass_steps(model, image.flip(0), device, keep_mirrored, "Segmenting the mirror image", dtype)
    return out, tissues


def _pass_steps(
    model: nn.Module, image: torch.Tensor, device: torch.device, sink: Sink, stage: str, dtype: torch.dtype
) -> Generator[Progress, None, dict[str, torch.Tensor]]:
    shape: tuple[int, int, int] = tuple(image.shape)  # type: ignore[assignment]

    def scan(start: int, stop: int) -> torch.Tensor:
        return image[start:stop, ..., None].to(device)

    *inner, last = _parts(model)
    if not inner:
        yield from slab_steps(last, scan, shape, sink, stage, dtype=dtype)
        return {}
    s1, denoiser = inner
    count = len(denoiser.labels)
    tissues = {name: torch.empty(shape, dtype=torch.uint8) for name in TISSUE_MAPS}

    def classes_to(name: str) -> Sink:
        def take(start: int, part: torch.Tensor) -> None:
            tissues[name][start : start + len(part)] = part.argmax(-1).cpu()

        return take

    def channels_of(name: str, start: int, stop: int) -> torch.Tensor:
        return as_channels(tissues[name][None, start:stop].to(device), count)[0].movedim(0, -1)

    def both(start: int, stop: int) -> torch.Tensor:
        return torch.cat([scan(start, stop), channels_of(DENOISED, start, stop)], -1)

    yield from slab_steps(s1, scan, shape, classes_to(S1), f"{stage}: tissues", dtype=dtype)
    found = partial(channels_of, S1)
    yield from slab_steps(denoiser, found, shape, classes_to(DENOISED), f"{stage}: denoising", dtype=dtype)
    yield from slab_steps(last, both, shape, sink, f"{stage}: structures", dtype=dtype)
    return tissues


def _channels_first(part: torch.Tensor) -> torch.Tensor:
    """Return (X, Y, Z, K) as (K, X, Y, Z) in one run of memory on the CPU: adding it up as it came is much slower."""
    return part.view(-1, part.shape[-1]).T.contiguous().view(-1, *part.shape[:3]).cpu()


def _parts(model: nn.Module) -> tuple[EncoderDecoder, ...]:
    return getattr(model, "streamable", ())  # type: ignore[return-value]
