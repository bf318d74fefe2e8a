"""Running the networks on a prepared scan: flip averaging, blocks, devices, and what to do when memory runs out.

Two kinds of network: the fast one locates at 2 mm in a fixed field of view and refines at 1 mm in blocks around the
brain; SynthSeg's own U-Net takes the whole head at 1 mm (section 3.3). Jobs are generators of `Progress`; every yield
is a place where they may be stopped, at most one block apart.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.progress import Progress
from napari_synthseg.segmentation import flip_average
from napari_synthseg.segmentation.blocks import plan, window
from napari_synthseg.segmentation.postprocess import bounding_box, largest_component
from napari_synthseg.segmentation.preprocess import between_limits, brain_centre, limits, rescale

BRAIN_MARGIN_MM = 20
CSF_MARGIN_MM = 4
CSF = 24
RECENTRE_MM = 6.0
SMOOTHING_SIGMA = 0.5
"""Of the posteriors of SynthSeg's U-Net, in voxels; the reference implementation cuts the kernel at 3 voxels."""


@dataclass(frozen=True)
class Prediction:
    """Posteriors of the part of a prepared scan that holds the brain.

    Attributes:
        posteriors: (K, X, Y, Z) float16 on the CPU.
        values: FreeSurfer value of each channel, background first.
        start: voxel of the prepared image where they begin.
        coarse: (K, ...) the locator's posteriors at 2 mm, where the network has a locator.
        device: where the network ran.
        notes: sentences on what had to be done differently.
    """

    posteriors: torch.Tensor
    values: tuple[int, ...]
    start: tuple[int, int, int]
    coarse: torch.Tensor | None
    device: str
    notes: tuple[str, ...] = ()


def resolve_device(name: str) -> torch.device:
    """`auto` is the first of cuda, mps and cpu that this machine has.

    Raises:
        InputError: an unknown device, or one that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if _has("cuda") else "mps" if _has("mps") else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"There is no device called {name!r}; choose auto, cpu, cuda or mps.") from None
    if not _has(device.type) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"This machine has no usable device {name!r}; choose --device cpu or auto.")
    return device


def _has(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu"


def kind_of(model: nn.Module) -> str:
    """`locate-refine` or `unet`: by the model's card, else by what it can do."""
    card = getattr(model, "card", None) or {}
    return str(card.get("network") or ("locate-refine" if hasattr(model, "refine") else "unet"))


def half_precision(device: torch.device, kind: str):
    """The autocast to run under: bfloat16 where it is faster and the network was trained for it."""
    if kind != "locate-refine" or device.type == "mps":
        return nullcontext()
    if device.type == "cpu":
        fast = any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
        return torch.autocast("cpu", torch.bfloat16) if fast else nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)


def predict_steps(
    model: nn.Module, image: np.ndarray, *, device: str = "auto", flip: bool = True, max_voxels: int = 128**3
) -> Generator[Progress, None, Prediction]:
    """Predict a prepared scan; where memory runs out, again in smaller blocks, and at last on the CPU.

    Args:
        model: network of either kind, with `labels`.
        image: (X, Y, Z) float32, RAS, 1 mm, smallest intensity 0 (`Prepared.image`).
        device: see `resolve_device`.
        flip: average with the prediction of the mirrored scan.
        max_voxels: voxels of the largest block.
    """
    first = resolve_device(device)
    attempts = [(first, max_voxels), (first, max_voxels // 4), (first, max_voxels // 12)]
    if first.type != "cpu":
        attempts += [(torch.device("cpu"), max_voxels), (torch.device("cpu"), max_voxels // 8)]
    notes: tuple[str, ...] = ()
    for number, (where, voxels) in enumerate(attempts):
        try:
            result = yield from _attempt(model, image, where, flip, voxels)
            return replace(result, notes=notes)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or number == len(attempts) - 1:
                raise
        after, smaller = attempts[number + 1]
        notes = (f"Memory ran out on {where}; finished on {after} in blocks of {smaller} voxels.",)
        _free(where)
        yield Progress("Out of memory, trying again in smaller blocks" if after == where else "Continuing on the CPU")
    raise AssertionError("unreachable")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out (CUDA, MPS and CPU say it differently)."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return any(words in text for words in ("out of memory", "not enough memory", "can't allocate memory"))


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _attempt(
    model: nn.Module, image: np.ndarray, device: torch.device, flip: bool, max_voxels: int
) -> Generator[Progress, None, Prediction]:
    model = model.to(device).eval()
    if kind_of(model) == "unet":
        return (yield from _whole_head(model, image, device, flip, max_voxels))
    located = yield from locate_steps(model, image, device, flip=flip)
    return (yield from _refine(model, image, located, device, flip, max_voxels))


# --- locate -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Located:
    """What the locator found.

    Attributes:
        posteriors: (K, 96, 112, 96) float16 at 2 mm, on the device.
        image: (1, 1, 96, 112, 96) in [0, 1], what was located, on the device.
        start: (3,) voxel of the prepared image where their grid starts; may lie outside of it.
        limits: intensities of the prepared image that became 0 and 1.
        spacing: mm.
    """

    posteriors: torch.Tensor
    image: torch.Tensor
    start: np.ndarray
    limits: tuple[float, float]
    spacing: int = 2

    def middle(self, values: Sequence[int]) -> np.ndarray | None:
        """(3,) voxel of the prepared image in the middle of the brain; None where no brain was found."""
        box = brain_box(self.posteriors, values)
        if box is None:
            return None
        return self.start + np.array([side.start + side.stop for side in box]) * self.spacing / 2


def locate_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, *, flip: bool = True
) -> Generator[Progress, None, Located]:
    """Find the structures at 2 mm: once around a guess, and once more around what was found if that is far off."""
    yield Progress("Finding the brain", 0, 2)
    guess = brain_centre(image)
    first = locate(model, image, guess, device, flip=False)
    yield Progress("Finding the brain", 1, 2)
    middle = first.middle(model.labels)  # type: ignore[arg-type]
    if middle is None or np.linalg.norm(middle - guess) <= RECENTRE_MM:
        middle = guess
    found = first if middle is guess and not flip else locate(model, image, middle, device, flip)
    yield Progress("Finding the brain", 2, 2)
    return found


def locate(model: nn.Module, image: np.ndarray, centre: np.ndarray, device: torch.device, flip: bool) -> Located:
    """The locator's posteriors in its fixed field of view around a voxel of the image."""
    field, start, ends = field_of_view(model, image, centre)
    order = anatomy.flip_channels(model.labels) if flip else None  # type: ignore[arg-type]
    field = field.to(device)
    with torch.inference_mode(), half_precision(device, "locate-refine"):
        return Located(_locate(model, field, order), field, start, ends)


def glance(model: nn.Module, image: np.ndarray, centre: np.ndarray, device: torch.device) -> Located:
    """As `locate`, without flips and at 4 mm where the network can: for a look at many orientations."""
    field, start, ends = field_of_view(model, image, centre)
    with torch.inference_mode(), half_precision(device, "locate-refine"):
        if isinstance(model, LocateRefine):
            return Located(flip_average.glance(model, field.to(device)), field, start, ends, 4)
        return Located(_locate(model, field.to(device), None), field, start, ends)


def field_of_view(
    model: nn.Module, image: np.ndarray, centre: np.ndarray
) -> tuple[torch.Tensor, np.ndarray, tuple[float, float]]:
    """The locator's input (1, 1, X, Y, Z) around a voxel, the voxel where it starts, and its limits of intensity.

    Intensities are rescaled by the percentiles of that field of view at 2 mm, as in training.
    """
    shape = np.array(_head_shape(model))
    start = np.round(np.asarray(centre, float)).astype(int) - shape
    field = window(torch.from_numpy(image), start.tolist(), (2 * shape).tolist())
    field = F.avg_pool3d(field[None, None], 2)
    ends = limits(field.numpy(), 1.0, 99.0)
    return torch.from_numpy(between_limits(field.numpy(), ends)), start, ends


def _locate(model: nn.Module, field: torch.Tensor, order: Sequence[int] | None) -> torch.Tensor:
    if isinstance(model, LocateRefine):
        return flip_average.located(model, field, order)
    direct = model.locate(field)[0]  # type: ignore[operator]
    return direct.half() if order is None else _average(direct, model.locate(field.flip(2))[0], order)  # type: ignore[operator]


def _head_shape(model: nn.Module) -> tuple[int, int, int]:
    return tuple(getattr(model, "head_shape", (96, 112, 96)))  # type: ignore[return-value]


def brain_box(coarse: torch.Tensor, values: Sequence[int], margin: int = 0) -> tuple[slice, slice, slice] | None:
    """Box of the brain without CSF (which follows the spine) in posteriors (K, X, Y, Z); None where there is none."""
    outside = coarse[0] + coarse[list(values).index(CSF)] if CSF in values else coarse[0]
    return bounding_box(largest_component((outside < 0.5).cpu().numpy()), margin)


def refine_box(coarse: torch.Tensor, values: Sequence[int]) -> tuple[slice, slice, slice] | None:
    """What to refine: brain and CSF with a small margin, but not CSF far from the brain."""
    brain = brain_box(coarse, values, BRAIN_MARGIN_MM // 2)
    whole = bounding_box(largest_component((coarse[0] < 0.5).cpu().numpy()), CSF_MARGIN_MM // 2)
    if brain is None or whole is None:
        return None
    x, y, z = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(brain, whole, strict=True))
    return x, y, z


# --- refine -----------------------------------------------------------------------------------------------------------


def _refine(
    model: nn.Module,
    image: np.ndarray,
    located: Located,
    device: torch.device,
    flip: bool,
    max_voxels: int,
) -> Generator[Progress, None, Prediction]:
    """Refine the located brain at 1 mm, block after block."""
    coarse, start = located.posteriors, located.start
    box = refine_box(coarse, model.labels)  # type: ignore[arg-type]
    if box is None:
        raise InputError("No brain was found in the image; check that it shows a head and that its header is right.")
    low = np.maximum(start + [2 * side.start for side in box], 0)
    low += (low - start) % 2
    high = np.minimum(start + [2 * side.stop for side in box], image.shape)
    blocks = plan((high - low).tolist(), max_voxels=max_voxels, multiple=int(getattr(model, "multiple", 16)))
    source = torch.from_numpy(image)
    order = anatomy.flip_channels(model.labels) if flip else None  # type: ignore[arg-type]

    with torch.inference_mode():
        appearance = model.appearance(located.image, coarse[None])  # type: ignore[operator]

    def one(first: Sequence[int]) -> torch.Tensor:
        at = low + first
        raw = window(source, at.tolist(), blocks.size).numpy()
        part = torch.from_numpy(between_limits(raw, located.limits))[None, None].to(device)
        half = ((at - start) // 2).tolist()
        prior = _certain_outside(window(coarse, half, [n // 2 for n in blocks.size])[None].float())
        with torch.inference_mode(), half_precision(device, "locate-refine"):
            return _refine_block(model, part, prior, appearance, order)

    posteriors = yield from _blend("Refining", one, blocks, len(model.labels))  # type: ignore[arg-type]
    return Prediction(posteriors, _values(model), tuple(low.tolist()), coarse.cpu(), str(device))


def _refine_block(
    model: nn.Module,
    image: torch.Tensor,
    prior: torch.Tensor,
    appearance: torch.Tensor,
    order: Sequence[int] | None,
) -> torch.Tensor:
    if isinstance(model, LocateRefine):
        return flip_average.refined(model, image, prior, appearance, order)
    direct = model.refine(image, prior, appearance)[0]  # type: ignore[operator]
    if order is None:
        return direct.half()
    rows = list(order)
    mirrored = model.refine(image.flip(2), prior[:, rows].flip(2), appearance[:, rows])[0]  # type: ignore[operator]
    return _average(direct, mirrored, order)


def _values(model: nn.Module) -> tuple[int, ...]:
    return tuple(int(value) for value in model.labels)  # type: ignore[union-attr, arg-type]


def _certain_outside(prior: torch.Tensor) -> torch.Tensor:
    """Where the locator did not look, the prior is background."""
    missing = prior.sum(1) == 0
    if missing.any():
        prior = prior.clone()
        prior[:, 0][missing] = 1
    return prior


def _average(direct: torch.Tensor, mirrored: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
    """Mean of two posteriors (K, X, Y, Z), the second of the mirrored scan; float16, one channel after the other."""
    out = torch.empty(direct.shape, dtype=torch.float16, device=direct.device)
    for k, partner in enumerate(order):
        out[k] = (direct[k] + mirrored[partner].flip(0)).mul_(0.5)
    return out


def _blend(stage: str, predict, blocks, channels: int) -> Generator[Progress, None, torch.Tensor]:
    """Run `predict(start)` -> (K, *blocks.size) float16 on every block and blend the results on the CPU."""
    out = torch.zeros((channels, *blocks.shape), dtype=torch.float16)
    yield Progress(stage, 0, len(blocks))
    for number, (start, weights) in enumerate(blocks, 1):
        part = predict(start).cpu()
        inner: list[Any] = []
        place: list[Any] = []
        for first, size, n in zip(start, blocks.size, blocks.shape, strict=True):
            low, high = max(0, first), min(n, first + size)
            inner.append(slice(low - first, high - first))
            place.append(slice(low, high))
        if len(blocks) == 1:
            out.copy_(part[(slice(None), *inner)])
        else:
            wx, wy, wz = (torch.from_numpy(w[side]) for w, side in zip(weights, place, strict=True))
            factor = (wx[:, None, None] * wy[:, None] * wz).half()
            for k in range(channels):
                out[(k, *place)] += part[(k, *inner)] * factor
        yield Progress(stage, number, len(blocks))
    return out


# --- SynthSeg's own U-Net ---------------------------------------------------------------------------------------------


def _whole_head(
    model: nn.Module, image: np.ndarray, device: torch.device, flip: bool, max_voxels: int
) -> Generator[Progress, None, Prediction]:
    """The whole head at 1 mm, in one piece where it fits into a block, else in blocks."""
    blocks = plan(image.shape, max_voxels=max_voxels, overlap=32, multiple=32, minimum=64)
    source = torch.from_numpy(rescale(image, 0.5, 99.5))

    def one(first: Sequence[int]) -> torch.Tensor:
        part = window(source, first, blocks.size)[None, None].to(device)
        return unet_posteriors(model, part, flip=flip)[0].half()

    posteriors = yield from _blend("Segmenting", one, blocks, len(model.labels))  # type: ignore[arg-type]
    mask = (1 - posteriors[0].float() > 0.25).numpy()
    box = bounding_box(largest_component(mask), BRAIN_MARGIN_MM)
    if box is None:
        raise InputError("No brain was found in the image; check that it shows a head and that its header is right.")
    start = tuple(side.start for side in box)
    inner = posteriors[(slice(None), *box)].contiguous()
    return Prediction(inner, _values(model), start, None, str(device))  # type: ignore[arg-type]


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
        n = posteriors.shape[axis]
        blurred = posteriors * taps[1]
        blurred.narrow(axis, 1, n - 1).add_(posteriors.narrow(axis, 0, n - 1), alpha=taps[0])
        blurred.narrow(axis, 0, n - 1).add_(posteriors.narrow(axis, 1, n - 1), alpha=taps[2])
        posteriors = blurred
    return posteriors
