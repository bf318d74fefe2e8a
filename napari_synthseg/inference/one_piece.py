"""SynthSeg's own networks on a whole volume at once, as far as memory goes: what is run, and how much it takes."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.anatomy import DENOISED, S1, TISSUE_MAPS
from napari_synthseg.devices import free_memory
from napari_synthseg.inference.slabs import SLAB_BYTES, Sink, in_float32, slab_steps
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.hierarchy import as_channels
from napari_synthseg.networks.unet import EncoderDecoder

SPARE = 0.8
"""How much of the free memory may be used."""


def can_run(model: nn.Module) -> bool:
    """Whether a network, or every part of a hierarchy, can be computed in slabs."""
    return bool(_parts(model))


def fits(model: nn.Module, shape: Sequence[int], device: torch.device) -> bool:
    """Whether memory suffices for a volume of this shape; true where nobody knows how much there is."""
    network, result = memory_needed(model, shape)
    cpu = free_memory(torch.device("cpu"))
    if device.type == "cpu":
        return cpu is None or network + result < SPARE * cpu
    own = free_memory(device)
    return (cpu is None or result < SPARE * cpu) and (own is None or network < SPARE * own)


def memory_needed(model: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """Bytes that the network takes on its device, and its result on the CPU, at most.

    The skip connection of the top level is kept whole; of the second level (an eighth of the voxels), up to five
    tensors are there at once; slabs take several tensors of `SLAB_BYTES`.
    """
    voxels = int(torch.Size(shape).numel())
    top = max(4 * part.widths[0] + 5 * 4 * part.widths[1] // 8 for part in _parts(model))
    return voxels * top + 14 * SLAB_BYTES, voxels * (4 * len(model.labels) + 24)  # type: ignore[arg-type]


def posteriors_steps(
    model: nn.Module,
    image: torch.Tensor,
    device: torch.device,
    flip: bool,
    dtype: torch.dtype = torch.float32,
) -> Generator[Progress, None, tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Posteriors of a volume, or the mean of those of it and of its mirror image.

    Args:
        model: what `can_run` accepts, on its device.
        image: (X, Y, Z) in [0, 1], axis X from left to right, sizes multiples of `model.multiple`.
        device: where the network is.
        flip: average with the mirrored volume.
        dtype: what to compute in, float32 or bfloat16.

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
    x, y, z = image.shape
    shape = (int(x), int(y), int(z))

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

    yield from slab_steps(
        s1,
        scan,
        shape,
        classes_to(S1),
        f"{stage}: tissues",
        dtype=dtype,
    )
    yield from slab_steps(
        denoiser,
        lambda a, b: channels_of(S1, a, b),
        shape,
        classes_to(DENOISED),
        f"{stage}: denoising",
        dtype=dtype,
    )
    yield from slab_steps(
        last,
        lambda a, b: torch.cat([scan(a, b), channels_of(DENOISED, a, b)], -1),
        shape,
        sink,
        f"{stage}: structures",
        dtype=dtype,
    )
    return tissues


def _channels_first(part: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z, K) as (K, X, Y, Z) in one run of memory on the CPU: adding it up as it came is much slower."""
    return part.view(-1, part.shape[-1]).T.contiguous().view(-1, *part.shape[:3]).cpu()


def _parts(model: nn.Module) -> tuple[EncoderDecoder, ...]:
    return getattr(model, "streamable", ())  # type: ignore[return-value]
