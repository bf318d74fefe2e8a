"""SynthSeg+'s degradation model (section 2.3 there): a real scan made as bad as a segmentation network can meet it.

The generative model without its Gaussian mixture, and made of the same steps. A record is drawn first and applied then,
to volumes of any spacing or to batches of tensors on any device. And tissue maps as imperfect as a denoiser's, bent,
grown, shrunk and smooth, for training S2 of SynthSeg+ (section 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.deformation import interpolation_matrix, separable, velocity_field
from napari_synthseg.generator.head import HeadState, ScanArray, blur_matrix
from napari_synthseg.generator.model import GenerativeModel, Record, run
from napari_synthseg.generator.step import Triple
from napari_synthseg.volume import Volume, bounding_box, check_extent, same_grid, to_canonical

TISSUE_ERRORS = GenerativeModel.standard("tissues")
"""The errors of tissue maps that S2 is trained with."""


@dataclass(frozen=True)
class Degraded:
    """A degraded scan."""

    image: Volume
    """(X, Y, Z) float32 in [0, 1], on the grid of the scan."""
    labels: Volume | None
    """Its labels, moved along; None if none were given."""
    record: Record


def degrade(
    volume: Volume, record: Record, labels: Volume | None = None, device: str | torch.device = "cpu"
) -> Degraded:
    """Degrade a real scan on its own grid; directions are those of the anatomy, whatever the array's order.

    Args:
        volume: its intensities are rescaled first, from their 0.5 and 99.5 percentiles to 0 and 255.
        record: drawn by a generator such as `presets.degradation`.
        labels: whole numbers on the scan's grid, moved along by nearest neighbor.
        device: where to compute.

    Raises:
        InputError: the labels lie on another grid, the scan holds no finite number or extends too far, or the device is
            not there.
    """
    if labels is not None and not same_grid(volume, labels, tolerance=0.01):
        raise InputError("The labels lie on another grid than the scan: resample them to it first.")
    check_extent(volume)  # slices and fields are drawn in mm
    where = resolve_device(device) if isinstance(device, str) else device
    scan = to_canonical(volume)
    image = torch.from_numpy(normalized(scan.data)).to(where)
    index, partners = None, [0]
    if labels is not None:
        values, partners = _with_partners(np.unique(to_canonical(labels).data))
        found = np.searchsorted(values, to_canonical(labels).data)
        index = torch.from_numpy(found.astype(np.int32) + 1).to(where)
    spacing = tuple(float(s) for s in scan.spacing)
    made, moved = _degrade(image, record, spacing, index, partners)  # type: ignore[arg-type]
    if labels is not None and moved is not None:
        table = np.concatenate([np.zeros(1, values.dtype), values])  # outside the scan there is background
        labels = _as_laid_out(table[moved.cpu().numpy()], labels)
    return Degraded(_as_laid_out(made.cpu().numpy(), volume), labels, record)


def degrade_batch(
    images: torch.Tensor,
    records: Sequence[Record],
    spacing: Triple = (1.0, 1.0, 1.0),
    labels: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Degrade a batch on the device it lies on.

    Args:
        images: (B, 1, X, Y, Z) float, right-anterior-superior, any intensities with 0 for what is empty.
        records: B of them.
        spacing: voxel size, mm.
        labels: (B, X, Y, Z) whole numbers below 2^24; 0 is what lies outside.

    Returns:
        (B, 1, X, Y, Z) float32 in [0, 1], and labels as they came, or None.
    """
    own = [None] * len(records) if labels is None else labels
    pairs = [_degrade(x[0].float(), r, spacing, y) for x, r, y in zip(images, records, own, strict=True)]
    made, moved = zip(*pairs, strict=True)
    return torch.stack(made)[:, None], None if labels is None else torch.stack(moved)


def tissue_errors(classes: torch.Tensor, record: Record, spacing: float = 1.0) -> torch.Tensor:
    """Return imperfect tissue maps, (T, X, Y, Z) float32 that add up to 1, of (X, Y, Z) true classes (section 2.2)."""
    head = _head(classes.shape, (spacing,) * 3)
    head.labels = classes
    return run(record, head).soft


def normalized(data: np.ndarray) -> np.ndarray:
    """Return (X, Y, Z) float32 with the 0.5 and 99.5 percentiles of the finite values at 0 and 255, clipped."""
    data = np.array(data, np.float32, order="C")
    finite = np.isfinite(data)
    if not finite.any():
        raise InputError("The scan holds no finite number: choose another one.")
    sample = data[finite][:: max(1, data.size // 1_000_000)]
    low, high = np.percentile(sample, [0.5, 99.5])
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    data[~finite] = low
    data = (data - np.float32(low)) * np.float32(255.0 / max(high - low, 1e-12))
    return np.clip(data, 0, 255, out=data)


def _with_partners(values: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return sorted labels with those of the other side, and for a table with background first the partner of each."""
    other = {int(v): anatomy.structure(int(v)).contralateral if anatomy.known(int(v)) else int(v) for v in values}
    values = np.unique([*values, *other.values()]).astype(values.dtype)
    back = {b: a for a, b in other.items()} | other
    return values, [0, *(int(np.searchsorted(values, back[int(v)])) + 1 for v in values)]


def _degrade(
    image: torch.Tensor, record: Record, spacing: Triple, labels: torch.Tensor | None, partners: Sequence[int] = ()
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Deform, bias, raise to a power, slice, add noise, and interpolate back (section 2.3)."""
    head = _head(image.shape, spacing)
    center: Triple = tuple((n - 1) / 2 for n in image.shape)  # type: ignore[assignment]
    head.scan = ScanArray(image, spacing, center)
    head.partners = partners
    head.scan_labels = None if labels is None else ScanArray(labels, spacing, center)
    run(record, head)
    return head.image.contiguous(), None if labels is None else head.labels


def _head(shape: Sequence[int], spacing: Triple) -> HeadState:
    x, y, z = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True))
    field: Triple = tuple(float(n * s) for n, s in zip(shape, spacing, strict=True))  # type: ignore[assignment]
    return HeadState(axes=(x, y, z), spacing=spacing, field_mm=field)


def _as_laid_out(canonical: np.ndarray, original: Volume) -> Volume:
    out = original.with_data(np.empty(original.shape, canonical.dtype))
    to_canonical(out).data[...] = canonical  # a view
    return out


# Errors of tissue maps

POINTS = 12
"""Control points of the deformation along each axis: one in about 15 mm of a brain."""
MARGIN = 12.0
"""Around the brain, mm: voxels that may become brain by error."""


def with_errors(
    classes: torch.Tensor,
    displacement_std: float,
    seed: int,
    growth: Sequence[tuple[int, float]],
    blur: float,
    count: int,
    spacing: float = 1.0,
) -> torch.Tensor:
    """Return (count, X, Y, Z) tissue probabilities, float32, of true classes with the errors of a step; lengths in mm.

    `growth` lists classes in the order in which they are changed, with the movement of their border (below 0 inward).
    """
    maps = torch.zeros(count, *classes.shape, device=classes.device)
    maps[0] = 1.0
    box = bounding_box((classes > 0).cpu().numpy(), round(MARGIN / spacing))
    if box is None:
        return maps
    moved = _bent(classes[box], displacement_std, seed, spacing)
    for c, mm in growth:
        steps = round(abs(mm) / spacing)
        if steps:
            moved = _shrunk(moved, c, steps, count) if mm < 0 else moved.masked_fill(_near(moved == c, steps), c)
    inner = torch.stack([moved == c for c in range(count)]).float()
    matrices = [blur_matrix(n, blur / spacing, maps.device) for n in moved.shape]
    maps[(slice(None), *box)] = separable(inner, matrices)
    return maps


def _bent(classes: torch.Tensor, std: float, seed: int, spacing: float) -> torch.Tensor:
    if std <= 0:
        return classes
    device, shape = classes.device, classes.shape
    small = velocity_field(std / spacing, POINTS, seed).to(device)
    knots = [interpolation_matrix(torch.linspace(0, POINTS - 1, n), POINTS).to(device) for n in shape]
    index: torch.Tensor | None = None
    for i, u in enumerate(separable(small, knots)):
        steps = torch.arange(shape[i], device=device, dtype=torch.float32)
        at = (u + steps.reshape([-1 if j == i else 1 for j in range(3)])).round_().clamp_(0, shape[i] - 1).long()
        index = at if index is None else index * shape[i] + at
    assert index is not None
    return classes.reshape(-1)[index.reshape(-1)].reshape(shape)


def _shrunk(classes: torch.Tensor, one: int, steps: int, count: int) -> torch.Tensor:
    own = classes == one
    lost = own & _near(~own, steps)
    around = torch.zeros(count, int(lost.sum()), device=classes.device)
    for c in range(count):
        if c != one:
            there = (classes == c)[None, None].float()
            around[c] = F.avg_pool3d(there, 2 * steps + 1, stride=1, padding=steps)[0, 0][lost]
    after = classes.clone()
    after[lost] = around.argmax(0).to(classes.dtype)
    return after


def _near(mask: torch.Tensor, steps: int) -> torch.Tensor:
    """Dilate a mask by some steps, alternately over the six and the 26 neighbors."""
    near = mask[None, None].float()
    for i in range(steps):
        sizes = ((3, 3, 3),) if i % 2 else ((3, 1, 1), (1, 3, 1), (1, 1, 3))
        near = torch.stack([F.max_pool3d(near, size, 1, tuple(n // 2 for n in size)) for size in sizes]).amax(0)
    return near[0, 0] > 0.5
