"""The cortex divided into the parts of the Desikan-Killiany atlas by SynthSeg's second network (SynthSeg+, S3).

That network sees the scan and where the first one put the cortex. As in the reference implementation, its word counts
inside the cleaned-up cortex only, and the volumes of the parts are scaled to add up to the cortex'.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.inference.posteriors import Posteriors
from napari_synthseg.inference.preprocess import rescale
from napari_synthseg.inference.state import Prediction, WholeHead
from napari_synthseg.inference.streaming import Sink, in_float32, slab_steps
from napari_synthseg.inference.whole_volume import MULTIPLE, smoothed_along, smoothing_taps
from napari_synthseg.jobs import Progress
from napari_synthseg.volume import Volume


@dataclass(frozen=True)
class Parcels:
    """The parts of the cortex."""

    data: np.ndarray
    """(X, Y, Z) int16 on the voxels of the prediction: the part, 0 where there is no cortex."""
    shares: dict[int, float]
    """Fraction of the cortex' volume, by FreeSurfer value; they add up to 1 (or are all 0)."""

    def volumes(self, cortex_mm3: float) -> dict[int, float]:
        """Return mm^3 by FreeSurfer value, given the volume of the cortex of both sides."""
        return {value: share * cortex_mm3 for value, share in self.shares.items()}


def whole_head_around(
    prediction: Prediction, image: np.ndarray, hard: np.ndarray, percentiles: tuple[float, float]
) -> WholeHead:
    """Return what a network of the whole head would have seen, for a prediction of another kind of network.

    `hard` are FreeSurfer values on the voxels of the prediction; the percentiles of the prepared image become 0 and 1.
    """
    channel = np.zeros(max(prediction.values) + 1, np.int16)
    channel[list(prediction.values)] = np.arange(len(prediction.values))
    winners = np.zeros(image.shape, np.int16)
    winners[_box(prediction.start, hard.shape)] = channel[hard]
    return WholeHead(torch.from_numpy(rescale(image, *percentiles)), torch.from_numpy(winners), (0, 0, 0))


def parcellate_steps(
    model: nn.Module,
    head: WholeHead,
    prediction: Prediction,
    hard: np.ndarray,
    shape: Sequence[int],
    device: torch.device,
) -> Generator[Progress, None, Parcels]:
    """Divide the cortex.

    Args:
        model: the parcellation network: (B, 3, X, Y, Z) scan, one-hot of (no cortex, cortex) -> posteriors.
        head: the first network's input and raw labels.
        prediction: the first network's, inside the prepared image.
        hard: FreeSurfer values on its voxels, after the clean-up.
        shape: of the prepared image.
        device: where to run.
    """
    model = model.to(device).eval()
    values = np.asarray(model.labels, np.int16)  # type: ignore[arg-type]
    channels = [k for k, value in enumerate(prediction.values) if value in anatomy.CORTEX]
    guess = torch.isin(head.winners.long(), torch.tensor(channels))
    image, guess = _padded(head.image), _padded(guess)
    cortex = np.zeros(image.shape, bool)
    first = tuple(a - b for a, b in zip(prediction.start, head.start, strict=True))
    cortex[_box(first, hard.shape)] = np.isin(hard, anatomy.CORTEX)
    seen = _box(tuple(-a for a in head.start), shape)
    found, sums = np.zeros(image.shape, np.int16), np.zeros(len(values) - 1)

    def source(start: int, stop: int) -> torch.Tensor:
        inside = guess[start:stop].float()
        return torch.stack([image[start:stop], 1 - inside, inside], -1).to(device)

    def take(start: int, part: torch.Tensor) -> None:
        mask = torch.from_numpy(cortex[start : start + len(part)]).to(part.device)
        part[..., 0] = (~mask).float()
        part /= part.sum(-1, keepdim=True).clamp_min(1e-30)
        best = values[part.argmax(-1).cpu().numpy()]
        found[start : start + len(part)] = np.where(mask.cpu().numpy(), best, 0)
        planes = slice(max(0, seen[0].start - start), max(0, seen[0].stop - start))
        inner = part[planes, seen[1], seen[2], 1:]
        sums[:] += inner.sum((0, 1, 2), dtype=torch.float64).cpu().numpy()

    smooth = SmoothedSink(take)
    with torch.inference_mode(), in_float32():
        yield from slab_steps(model, source, image.shape, smooth.add, "Dividing the cortex")  # type: ignore[arg-type]
        smooth.end()
    shares = sums / sums.sum() if sums.sum() > 0 and cortex.any() else sums * 0
    by_value = {int(value): float(share) for value, share in zip(values[1:], shares, strict=True)}
    return Parcels(found[_box(first, hard.shape)].copy(), by_value)


class SmoothedSink:
    """Smooths posteriors (sigma 0.5, three taps an axis, zeros beyond the edges) on their way to a sink."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._kept: torch.Tensor | None = None
        self._next = 0

    def add(self, start: int, planes: torch.Tensor) -> None:
        """Take planes (X, Y, Z, K)."""
        side, middle = smoothing_taps()
        planes = smoothed_along(smoothed_along(planes, 1), 2)
        before = planes.new_zeros((1, *planes.shape[1:])) if self._kept is None else self._kept
        planes = torch.cat([before, planes])
        self._kept = planes[-2:].clone()
        if len(planes) > 2:
            out = planes[1:-1] * middle
            out.add_(planes[:-2], alpha=side).add_(planes[2:], alpha=side)
            self.sink(self._next, out)
            self._next += len(out)

    def end(self) -> None:
        """Hand on the last plane."""
        assert self._kept is not None
        side, middle = smoothing_taps()
        out = self._kept[-1:] * middle
        if len(self._kept) > 1:
            out.add_(self._kept[-2:-1], alpha=side)
        self.sink(self._next, out)


def divide(labels: Volume, parcels: Parcels, soft: Posteriors) -> Volume:
    """Replace the cortex in labels on the grid of `soft` by its parts; voxels of cortex take the nearest part."""
    cortex = np.isin(labels.data, anatomy.CORTEX)
    if not cortex.any() or not parcels.data.any():
        return labels
    data = labels.data.copy()
    data[cortex] = soft.nearest(parcels.data)[cortex]
    missing = cortex & (data == 0)
    if missing.any():
        where = distance_transform_edt(parcels.data == 0, return_distances=False, return_indices=True)
        data[missing] = soft.nearest(parcels.data[tuple(where)])[missing]
    still = cortex & (data == 0)
    data[still] = labels.data[still]
    return labels.with_data(data)


def _padded(array: torch.Tensor) -> torch.Tensor:
    """Pad with zeros at the ends, so that the network takes the size."""
    after = [(-n) % MULTIPLE for n in reversed(array.shape)]
    return F.pad(array, [width for n in after for width in (0, n)]) if any(after) else array


def _box(start: Sequence[int], shape: Sequence[int]) -> tuple[slice, slice, slice]:
    x, y, z = (slice(a, a + n) for a, n in zip(start, shape, strict=True))
    return x, y, z
