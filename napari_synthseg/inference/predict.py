"""Running the networks on a prepared scan: devices, blocks, and what to do when memory runs out.

Three kinds of network: the fast one locates at 2 mm in a fixed field of view and refines at 1 mm in blocks around the
brain; SynthSeg's own U-Net takes the whole head at 1 mm (section 3.3); those of transformers take a box around the
brain in windows of one size. Jobs are generators of `Progress`; every yield
is a place where they may be stopped, at most one block apart.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.inference import one_piece
from napari_synthseg.inference.blocks import plan, window
from napari_synthseg.inference.locate import Located, locate_steps, refine_box
from napari_synthseg.inference.prediction import (
    Prediction,
    Tissues,
    blend,
    half_precision,
    interruptible,
    spec_of,
    values_of,
)
from napari_synthseg.inference.preprocess import between_limits, pad_to
from napari_synthseg.inference.presets import OWN, Procedure
from napari_synthseg.inference.whole_head import MULTIPLE, NO_BRAIN, whole_head_steps
from napari_synthseg.inference.windows import windowed_steps
from napari_synthseg.jobs import Progress


def predict_steps(
    model: nn.Module,
    image: np.ndarray,
    *,
    device: str = "auto",
    flip: bool = True,
    max_voxels: int = 128**3,
    how: Procedure | None = None,
) -> Generator[Progress, None, Prediction]:
    """Predict a prepared scan; where memory runs out, again in smaller blocks, and at last on the CPU.

    Args:
        model: network of either kind, with `labels`.
        image: (X, Y, Z) float32, RAS, 1 mm, smallest intensity 0 (`Prepared.image`).
        device: see `resolve_device`.
        flip: average with the prediction of the mirrored scan.
        max_voxels: voxels of the largest block, where the scan is not predicted in one piece.
        how: what the presets make differently; our own by default, with `flip` as given.
    """
    how = how or (OWN if flip else replace(OWN, flip=False))
    first = resolve_device(device)
    notes: tuple[str, ...] = ()
    attempts = _attempts(model, first, max_voxels)
    if how.whole and one_piece.can_run(model):
        size, _ = pad_to(image.shape, MULTIPLE, how.minimum)
        if one_piece.fits(model, size, first):
            attempts = [(first, None), *attempts]
        else:
            notes = (f"There is too little memory to predict {size} voxels in one piece; blocks were used.",)
    for number, (where, voxels) in enumerate(attempts):
        try:
            with interruptible(model):
                result = yield from _attempt(model, image, where, how, voxels)
            return replace(result, notes=notes)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or number == len(attempts) - 1:
                raise
        after, smaller = attempts[number + 1]
        notes = (f"Memory ran out on {where}; finished on {after} in blocks of {smaller} voxels.",)
        _free(where)
        yield Progress("Out of memory, trying again in smaller blocks" if after == where else "Continuing on the CPU")
    raise AssertionError("unreachable")


def _attempts(model: nn.Module, first: torch.device, max_voxels: int) -> list[tuple[torch.device, int | None]]:
    """Devices and voxels of a block, in the order in which they are tried."""
    cpu = torch.device("cpu")
    if spec_of(model).fixed_window:
        return [(one, int(model.edge) ** 3) for one in dict.fromkeys((first, cpu))]  # type: ignore[arg-type]
    on_cpu = [] if first.type == "cpu" else [(cpu, max_voxels), (cpu, max_voxels // 8)]
    return [(first, max_voxels), (first, max_voxels // 4), (first, max_voxels // 12), *on_cpu]


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
    model: nn.Module, image: np.ndarray, device: torch.device, how: Procedure, max_voxels: int | None
) -> Generator[Progress, None, Prediction]:
    return (yield from PREDICTORS[spec_of(model).predictor](model.to(device).eval(), image, device, max_voxels, how))


def locate_refine_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, max_voxels: int | None, how: Procedure
) -> Generator[Progress, None, Prediction]:
    """Locate at 2 mm, then refine at 1 mm in blocks."""
    assert max_voxels is not None
    if device.type != "mps":
        model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    located = yield from locate_steps(model, image, device, flip=how.flip)
    return (yield from _refine(model, image, located, device, how.flip, max_voxels))


PREDICTORS: dict[str, Callable[..., Generator[Progress, None, Prediction]]] = {
    "locate_refine": locate_refine_steps,
    "whole_volume": whole_head_steps,
    "sliding_window": windowed_steps,
}


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
        raise InputError(NO_BRAIN)
    low = np.maximum(start + [2 * side.start for side in box], 0)
    low += (low - start) % 2
    high = np.minimum(start + [2 * side.stop for side in box], image.shape)
    if (high <= low).any():  # what was taken for a brain lies beyond the scan
        raise InputError(NO_BRAIN)
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
        with torch.inference_mode(), half_precision(device):
            return model.refine_averaged(part, prior, appearance, order)  # type: ignore[operator]

    posteriors = yield from blend("Refining", one, blocks, len(model.labels))  # type: ignore[arg-type]
    tissues = Tissues({k: _doubled(v) for k, v in located.tissues.items()}, tuple(start.tolist()))
    return Prediction(
        posteriors,
        values_of(model),
        tuple(low.tolist()),
        coarse.cpu(),
        str(device),
        tissues=tissues if tissues.classes else None,
        coarse_start=tuple(start.tolist()),
    )


def _doubled(classes: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z) classes at 2 mm -> (2X, 2Y, 2Z) at 1 mm, as the voxels of 2 mm lie."""
    for axis in range(3):
        classes = classes.repeat_interleave(2, axis)
    return classes


def _certain_outside(prior: torch.Tensor) -> torch.Tensor:
    """Where the locator did not look, the prior is background."""
    missing = prior.sum(1) == 0
    if missing.any():
        prior = prior.clone()
        prior[:, 0][missing] = 1
    return prior
