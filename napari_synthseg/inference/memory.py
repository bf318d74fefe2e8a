"""Run a network in bounded memory: predictor, device, size of the patches, and what to try next.

Jobs are generators of `Progress`; every yield is a place where they may be stopped, at most one patch apart.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from napari_synthseg.devices import resolve_device
from napari_synthseg.inference import whole_volume
from napari_synthseg.inference.locate_refine import locate_refine_steps
from napari_synthseg.inference.options import OWN, InferenceConfig
from napari_synthseg.inference.preprocess import pad_to
from napari_synthseg.inference.sliding_window import sliding_window_steps
from napari_synthseg.inference.state import Prediction
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.networks import registry
from napari_synthseg.networks.registry import InferenceSpec

Attempt = tuple[torch.device, int | None]
"""A device and the voxels of a patch; None for the whole volume at once."""
Predictor = Callable[
    [nn.Module, np.ndarray, torch.device, int | None, InferenceConfig], Generator[Progress, None, Prediction]
]
PREDICTORS: dict[str, Predictor] = {
    "locate_refine": locate_refine_steps,
    "whole_volume": whole_volume.whole_volume_steps,
    "sliding_window": sliding_window_steps,
}
"""By the name in a network's `InferenceSpec`."""


def predict_steps(
    model: nn.Module,
    image: np.ndarray,
    *,
    device: str = "auto",
    max_voxels: int = 128**3,
    config: InferenceConfig = OWN,
) -> Generator[Progress, None, Prediction]:
    """Predict a prepared scan; if memory runs out, again in smaller patches, and at last on the CPU.

    Args:
        model: any segmenter, with `labels`.
        image: (X, Y, Z) float32, RAS, 1 mm, smallest intensity 0 (`Prepared.image`).
        device: see `resolve_device`.
        max_voxels: voxels of the largest patch, if the volume is not predicted at once.
        config: see `InferenceConfig`.
    """
    attempts, note = _attempts(model, image.shape, resolve_device(device), max_voxels, config)
    predictor = PREDICTORS[spec_of(model).predictor]
    for number, (where, voxels) in enumerate(attempts, 1):
        try:
            with interruptible(model):
                result = yield from predictor(model.to(where).eval(), image, where, voxels, config)
            return replace(result, notes=(note,) if note else ())
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or number == len(attempts):
                raise
        after, smaller = attempts[number]
        note = f"Memory ran out on {where}; finished on {after} in patches of {smaller} voxels."
        _free(where)
        yield Progress("Out of memory, trying again in smaller patches" if after == where else "Continuing on the CPU")
    raise RuntimeError("no attempt was made")


def spec_of(model: nn.Module) -> InferenceSpec:
    """Return how a network is run, as its class or its card says."""
    return getattr(model, "spec", None) or registry.spec_of(getattr(model, "card", None) or {})  # type: ignore[return-value]


def _attempts(
    model: nn.Module, shape: tuple[int, ...], first: torch.device, max_voxels: int, config: InferenceConfig
) -> tuple[list[Attempt], str]:
    """Return the attempts in their order, and a sentence if the volume is too large to predict at once."""
    cpu = torch.device("cpu")
    if spec_of(model).fixed_window:
        return [(one, int(model.edge) ** 3) for one in dict.fromkeys((first, cpu))], ""  # type: ignore[arg-type]
    on_cpu: list[Attempt] = [] if first.type == "cpu" else [(cpu, max_voxels), (cpu, max_voxels // 8)]
    patches: list[Attempt] = [(first, max_voxels), (first, max_voxels // 4), (first, max_voxels // 12), *on_cpu]
    if not config.whole or not whole_volume.can_run(model):
        return patches, ""
    size, _ = pad_to(shape, whole_volume.MULTIPLE, config.minimum)
    if whole_volume.fits(model, size, first):
        return [(first, None), *patches], ""
    return patches, f"There is too little memory to predict {size} voxels at once; patches were used."


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out (CUDA, MPS and CPU say it differently)."""
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


@contextmanager
def interruptible(model: nn.Module) -> Iterator[None]:
    """Inside, a request to stop ends the network before its next layer, and not only after the patch."""
    leaves = [one for one in model.modules() if not any(True for _ in one.children())]
    hooks = [one.register_forward_pre_hook(lambda *_: checkpoint()) for one in leaves]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
