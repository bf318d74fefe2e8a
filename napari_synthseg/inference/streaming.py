"""A U-Net on a whole head in little memory and without seams: its top level is computed slab after slab.

Nearly all the memory of a U-Net lies in its top level. Here only one tensor of that level is kept whole, the skip
connection; everything else of it streams through in slabs along the first axis. Convolutions keep the last planes of
what they saw (and see zeros before the first and after the last), so every voxel comes out as if the whole had been
computed at once, and none is computed twice. The levels below take an eighth of the memory and are computed whole.

Tensors of the top level are (X, Y, Z, C) here, so that slabs are runs of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.jobs import Progress
from napari_synthseg.networks.layers import convolve_upsampled, folded
from napari_synthseg.networks.unet import EncoderDecoder, Level

SLAB_BYTES = 48 << 20
"""What one tensor of a slab may take."""

Source = Callable[[int, int], torch.Tensor]
"""Gives planes `start` to `stop` of the network's input, (X, Y, Z, C) float32 on the network's device."""
Sink = Callable[[int, torch.Tensor], None]
"""Takes the first plane's number and posteriors (X, Y, Z, K) float32 of some planes, in order."""


def slab_steps(
    model: EncoderDecoder,
    source: Source,
    shape: tuple[int, int, int],
    sink: Sink,
    stage: str = "Segmenting",
    *,
    dtype: torch.dtype = torch.float32,
) -> Generator[Progress, None, None]:
    """Compute posteriors of a whole volume, handed on slab after slab; a report after each of them.

    The shape (X, Y, Z) is in multiples of `model.multiple`; `dtype` is float32 or bfloat16, but the last layer and the
    softmax are float32 in any case.
    """
    height = slab_height(shape, model.widths[0])
    bounds = [(a, min(a + height, shape[0])) for a in range(0, shape[0], height)]
    total = 2 * len(bounds) + 1
    down, up = model.down[0], model.up[-1]
    with torch.inference_mode():
        device = model.likelihood.weight.device
        skip = torch.empty((*shape, model.widths[0]), dtype=dtype, device=device)
    done = 0
    yield Progress(stage, done, total)
    rows = Rows(down, dtype)  # type: ignore[arg-type]
    at = 0
    for start, stop in [*bounds, (shape[0], shape[0])]:
        with torch.inference_mode():
            part = rows.add(source(start, stop).to(dtype)) if stop > start else rows.end()
            skip[at : at + len(part)] = part
        at += len(part)
        done += stop > start
        yield Progress(stage, done, total)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        half = torch.cat([F.max_pool3d(down.norm(_planes_first(skip[a:b])), 2) for a, b in bounds], 2)  # type: ignore[operator]
        deep = _planes_last(model.deep(half)).to(dtype)
        del half
    done += 1
    yield Progress(stage, done, total)
    if 0 not in model.connected:
        del skip
    joined = JoinedRows(up, 0 in model.connected, dtype)  # type: ignore[arg-type]
    last, bias = _last_layer(model)
    at = 0
    for start, stop in [*bounds, (shape[0], shape[0])]:
        with torch.inference_mode():
            if stop > start:
                part = joined.add(skip[start:stop] if 0 in model.connected else None, deep[start // 2 : stop // 2])
            else:
                part = joined.end()
            if len(part):
                flat = torch.addmm(bias, part.view(-1, part.shape[-1]).float(), last).softmax(1)
                sink(at, flat.view(*part.shape[:3], len(bias)))
        at += len(part)
        done += stop > start
        yield Progress(stage, min(done, total), total)


def slab_height(shape: tuple[int, int, int], width: int, budget: int = SLAB_BYTES) -> int:
    """Return the planes of a slab: an even number, four or more (a convolution's edges must be inside one)."""
    return min(shape[0], max(4, budget // (4 * width * shape[1] * shape[2]) // 2 * 2))


@contextmanager
def in_float32() -> Iterator[None]:
    """Inside, CUDA computes convolutions in float32 and not in TF32, which has ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class Convolution:
    """A 'same' convolution (F, C, k, k, k) of planes that come slab after slab."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype = torch.float32) -> None:
        self.weight = weight.to(dtype).contiguous(memory_format=torch.channels_last_3d)
        self.bias = None if bias is None else bias.to(dtype)
        self.reach = weight.shape[-1] // 2
        self._kept: torch.Tensor | None = None

    def add(self, planes: torch.Tensor) -> torch.Tensor:
        """The planes (X', Y, Z, F) that are finished once these (X, Y, Z, C) are known."""
        before = planes.new_zeros((self.reach, *planes.shape[1:])) if self._kept is None else self._kept
        planes = torch.cat([before, planes])
        self._kept = planes[-2 * self.reach :].clone()
        if len(planes) <= 2 * self.reach:
            return planes.new_empty((0, *planes.shape[1:3], self.weight.shape[0]))
        out = F.conv3d(_planes_first(planes), self.weight, self.bias, padding=(0, self.reach, self.reach))
        return _planes_last(out)

    def end(self) -> torch.Tensor:
        """Return the last planes: zeros follow."""
        assert self._kept is not None
        return self.add(self._kept.new_zeros((self.reach, *self._kept.shape[1:])))


class UpsampledConvolution:
    """A 'same' convolution of planes upsampled by two, which come slab after slab at half the size."""

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.kernels = folded(weight).to(dtype)
        self.taps = self.kernels.shape[-1]
        self._kept: torch.Tensor | None = None

    def add(self, planes: torch.Tensor) -> torch.Tensor:
        """The planes (X', 2 Y, 2 Z, F) that are finished once these (X, Y, Z, C) are known."""
        first = self._kept is None
        before = planes.new_zeros((1, *planes.shape[1:])) if self._kept is None else self._kept
        planes = torch.cat([before, planes])
        self._kept = planes[1 - self.taps :].clone()
        if len(planes) < self.taps:
            return planes.new_empty((0, 2 * planes.shape[1], 2 * planes.shape[2], self.kernels.shape[0] // 8))
        out = _planes_last(convolve_upsampled(_planes_first(planes), self.kernels, padded=True))
        return out[1:] if first and self.taps == 2 else out  # the first position lies before the first plane

    def end(self) -> torch.Tensor:
        assert self._kept is not None
        out = self.add(self._kept.new_zeros((1, *self._kept.shape[1:])))
        return out[:-1] if self.taps == 2 else out


class Rows:
    """A level's convolutions and ELUs, slab after slab."""

    def __init__(self, level: Level, dtype: torch.dtype, first: int = 0) -> None:
        self.convolutions = [Convolution(conv.weight, conv.bias, dtype) for conv in level.convolutions[first:]]

    def add(self, planes: torch.Tensor) -> torch.Tensor:
        for convolution in self.convolutions:
            planes = F.elu(convolution.add(planes), inplace=True)
        return planes

    def end(self) -> torch.Tensor:
        return self.flush(None)

    def flush(self, planes: torch.Tensor | None) -> torch.Tensor:
        """Return the last planes, after some more from the layer before (None: nothing comes before)."""
        for convolution in self.convolutions:
            late = convolution.end() if planes is None else torch.cat([convolution.add(planes), convolution.end()])
            planes = F.elu(late, inplace=True)
        assert planes is not None
        return planes


class JoinedRows:
    """A level on the way up: its first convolution of (skip, upsampled), then the others."""

    def __init__(self, level: Level, connected: bool, dtype: torch.dtype) -> None:
        weight, bias = level.conv0.weight, level.conv0.bias
        own = level.conv0.out_channels if connected else 0
        self.own = Convolution(weight[:, :own], bias, dtype) if connected else None
        self.other = UpsampledConvolution(weight[:, own:], dtype)
        self.bias = bias.to(dtype)  # type: ignore[union-attr]
        self.rest = Rows(level, dtype, first=1)

    def add(self, skip: torch.Tensor | None, half: torch.Tensor) -> torch.Tensor:
        """See `Convolution.add`; `skip` (X, Y, Z, C), `half` (X/2, Y/2, Z/2, C)."""
        own = None if self.own is None or skip is None else self.own.add(skip)
        return self.rest.add(self._joined(own, self.other.add(half)))

    def end(self) -> torch.Tensor:
        own = None if self.own is None else self.own.end()
        joined = self._joined(own, self.other.end())
        return self.rest.flush(joined) if self.rest.convolutions else joined

    def _joined(self, own: torch.Tensor | None, other: torch.Tensor) -> torch.Tensor:
        out = other + self.bias if own is None else own.add_(other)
        return F.elu(out, inplace=True)


def _last_layer(model: EncoderDecoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Fold the last batch norm into the 1^3 convolution behind it: (F, K) and (K,)."""
    norm: nn.BatchNorm3d = model.up[-1].norm  # type: ignore[assignment]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator, union-attr]
    shift = norm.bias - norm.running_mean * scale  # type: ignore[operator]
    weight = model.likelihood.weight.flatten(1)
    bias = model.likelihood.bias + weight @ shift  # type: ignore[operator]
    return (weight * scale).T.contiguous().detach(), bias.detach()


def _planes_first(planes: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z, C) as (1, C, X, Y, Z), the same memory."""
    return planes.permute(3, 0, 1, 2)[None]


def _planes_last(x: torch.Tensor) -> torch.Tensor:
    """(1, C, X, Y, Z) as (X, Y, Z, C), in one run of memory."""
    return x[0].permute(1, 2, 3, 0).contiguous()
