"""SynthSeg+'s degradation model (section 2.3 there): a real scan made as bad as a segmentation network can meet it.

The generative model without its Gaussian mixture. A record is drawn first and applied then, to volumes of any spacing
or to batches of tensors on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.acquisition import along, back_matrix, stack_matrix
from napari_synthseg.generator.appearance import bias_field, rescale_and_gamma
from napari_synthseg.generator.deformation import affine_matrix, displacement_field, interpolation_matrix, separable
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.record import Plain, Triple
from napari_synthseg.jobs import checkpoint
from napari_synthseg.volume import Volume, same_grid, to_canonical

__all__ = ["Degraded", "DegradationPriors", "DegradationRecord", "degrade", "degrade_batch", "degraded",
           "draw_degradation"]  # fmt: skip


SLAB = 32
"""Planes deformed at once: coordinates take three times the memory of the image."""


@dataclass(frozen=True)
class DegradationRecord(Plain):
    """Parameters of one degradation; lengths in mm, angles in degrees, intensities in [0, 255]."""

    rotation_deg: Triple
    scaling: Triple
    shearing: Triple
    translation_mm: Triple
    velocity_std: float
    velocity_grid: int
    velocity_seed: int
    bias_std: float
    bias_grid: int
    bias_seed: int
    gamma: float
    """The exponent itself."""
    direction: int
    """Slice direction: 0 sagittal, 1 coronal, 2 axial."""
    slice_spacing_mm: float
    slice_blur_mm: float
    """Standard deviation of the slice profile."""
    noise_std: float
    noise_seed: int


@dataclass(frozen=True)
class Degraded:
    """A degraded scan.

    Attributes:
        image: (X, Y, Z) float32 in [0, 1], on the grid of the scan.
        labels: its labels, moved along; None where none were given.
        record: the parameters it was made with.
    """

    image: Volume
    labels: Volume | None
    record: DegradationRecord


def draw_degradation(priors: DegradationPriors, generator: torch.Generator) -> DegradationRecord:
    """Draw one record; the number of random values taken does not depend on the priors.

    Args:
        priors: the hyperparameters.
        generator: a CPU generator; its state moves on.
    """
    take = iter(torch.rand(32, generator=generator, dtype=torch.float64).tolist())
    seeds = torch.randint(0, 2**62, (4,), generator=generator).tolist()

    def uniform(bounds: tuple[float, float]) -> float:
        return bounds[0] + (bounds[1] - bounds[0]) * next(take)

    def triple(bounds: tuple[float, float]) -> Triple:
        return (uniform(bounds), uniform(bounds), uniform(bounds))

    direction = min(int(3 * next(take)), 2)
    return DegradationRecord(
        rotation_deg=triple(priors.rotation_deg),
        scaling=triple(priors.scaling),
        shearing=triple(priors.shearing),
        translation_mm=triple(priors.translation_mm),
        velocity_std=uniform(priors.velocity_std),
        velocity_grid=priors.velocity_grid,
        velocity_seed=seeds[0],
        bias_std=uniform(priors.bias_std),
        bias_grid=priors.bias_grid,
        bias_seed=seeds[1],
        gamma=uniform(priors.gamma_exponent),
        direction=direction if priors.slice_direction is None else priors.slice_direction,
        slice_spacing_mm=uniform(priors.slice_spacing_mm),
        slice_blur_mm=uniform(priors.slice_blur_mm),
        noise_std=uniform(priors.noise_std),
        noise_seed=seeds[2],
    )


def degraded(
    volume: Volume,
    priors: DegradationPriors | None = None,
    seed: int = 0,
    labels: Volume | None = None,
    device: str = "cpu",
) -> Degraded:
    """Draw and apply in one call; see `degrade`."""
    record = draw_degradation(priors or DegradationPriors(), torch.Generator().manual_seed(seed))
    return degrade(volume, record, labels, device)


def degrade(
    volume: Volume, record: DegradationRecord, labels: Volume | None = None, device: str | torch.device = "cpu"
) -> Degraded:
    """Degrade a scan.

    Args:
        volume: a real scan; its intensities are rescaled first, from their 0.5 and 99.5 percentiles to 0 and 255.
        record: drawn by `draw_degradation`.
        labels: whole numbers on the scan's grid, moved along by nearest neighbour.
        device: where to compute.

    Returns:
        A scan, and labels, on the grid of `volume`. Directions are those of the anatomy, whatever the array's order.

    Raises:
        InputError: the labels lie on another grid, the scan holds no finite number, or the device is not there.
    """
    if labels is not None and not same_grid(volume, labels, tolerance=0.01):
        raise InputError("The labels lie on another grid than the scan: resample them to it first.")
    where = resolve_device(device) if isinstance(device, str) else device
    scan = to_canonical(volume)
    image = torch.from_numpy(normalised(scan.data)).to(where)
    index = None
    if labels is not None:
        values, inverse = np.unique(to_canonical(labels).data, return_inverse=True)
        index = torch.from_numpy(inverse.reshape(scan.shape).astype(np.int32) + 1).to(where)
    spacing = tuple(float(s) for s in scan.spacing)
    made, moved = _degrade(image, record, spacing, index)  # type: ignore[arg-type]
    placed_labels = None
    if labels is not None and moved is not None:
        table = np.concatenate([np.zeros(1, values.dtype), values])  # outside the scan there is background
        placed_labels = _as_laid_out(table[moved.cpu().numpy()], labels)
    return Degraded(_as_laid_out(made.cpu().numpy(), volume), placed_labels, record)


def degrade_batch(
    images: torch.Tensor,
    records: Sequence[DegradationRecord],
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
    made, moved = [], []
    for i, record in enumerate(records):
        image, index = _degrade(images[i, 0].float(), record, spacing, None if labels is None else labels[i])
        made.append(image)
        moved.append(index)
    return torch.stack(made)[:, None], None if labels is None else torch.stack(moved)  # type: ignore[arg-type]


def normalised(data: np.ndarray) -> np.ndarray:
    """(X, Y, Z) float32 with the 0.5 and 99.5 percentiles of the finite values at 0 and 255, clipped."""
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


def _degrade(
    image: torch.Tensor, record: DegradationRecord, spacing: Triple, labels: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Deformation, bias field, exponent, slices, noise, and back (section 2.3)."""
    made, moved = _deform(image, record, spacing, labels)
    device, shape = image.device, image.shape
    if record.bias_std > 0:
        n = record.bias_grid
        matrices = [interpolation_matrix((torch.arange(size) + 0.5) / size * (n - 1), n).to(device) for size in shape]
        made *= bias_field(record.bias_std, n, record.bias_seed, matrices)
    checkpoint()
    made = rescale_and_gamma(made, record.gamma)
    checkpoint()
    axis = record.direction
    step, size = spacing[axis], shape[axis]
    made = along(made, axis, stack_matrix(size, step, record.slice_spacing_mm, record.slice_blur_mm, device))
    if record.noise_std > 0:
        g = torch.Generator(device=device).manual_seed(record.noise_seed)
        noise = torch.empty(made.shape, device=device).normal_(generator=g)
        made = (made + record.noise_std / 255.0 * noise).clamp_(0, 1)
    back = back_matrix(size, step, record.slice_spacing_mm, device)
    return (made if back is None else along(made, axis, back)).contiguous(), moved


def _deform(
    image: torch.Tensor, record: DegradationRecord, spacing: Triple, labels: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Image by linear, labels by nearest interpolation at the transformed positions; 0 outside (eq. 1-10)."""
    device, shape = image.device, image.shape
    small = _positions(record, shape, spacing, device)
    n = small.shape[-1]
    # Knots lie on the outer faces of the field of view, so voxel centres lie half a voxel inside.
    x, y, z = (interpolation_matrix((torch.arange(m) + 0.5) / m * (n - 1), n).to(device) for m in shape)
    made = torch.empty(shape, dtype=torch.float32, device=device)
    moved = None if labels is None else torch.empty(shape, dtype=labels.dtype, device=device)
    source = None if labels is None else labels[None, None].float()
    for start in range(0, shape[0], SLAB):
        checkpoint()
        part = slice(start, start + SLAB)
        where = separable(small, (x[part], y, z)).permute(1, 2, 3, 0)[None]
        made[part] = F.grid_sample(image[None, None], where, mode="bilinear", align_corners=True)[0, 0]
        if source is not None and moved is not None:
            near = F.grid_sample(source, where, mode="nearest", align_corners=True)[0, 0]
            moved[part] = near.to(moved.dtype)
    return made, moved


def _positions(record: DegradationRecord, shape: Sequence[int], spacing: Triple, device: torch.device) -> torch.Tensor:
    """Where the knots of a small grid over the field of view come from: affine after non-linear transform (eq. 10).

    Returns:
        (3, n, n, n) float32 in the order and units of `grid_sample`: z, y, x; -1 and 1 are the first and last voxel.
    """
    field_mm: Triple = tuple(float(n * s) for n, s in zip(shape, spacing, strict=True))  # type: ignore[assignment]
    u = torch.zeros(3, 2, 2, 2, device=device)
    if record.velocity_std > 0:
        u = displacement_field(record.velocity_std, record.velocity_grid, record.velocity_seed, field_mm, device)
    n = u.shape[-1]
    at = torch.stack(torch.meshgrid(*(torch.linspace(-0.5, 0.5, n) * f for f in field_mm), indexing="ij")).to(device)
    matrix = affine_matrix(record.rotation_deg, record.scaling, record.shearing)
    scale = torch.tensor([2.0 / max((m - 1) * s, 1e-6) for m, s in zip(shape, spacing, strict=True)])
    matrix = (scale[:, None] * matrix).float().to(device)
    shift = (scale * torch.tensor(record.translation_mm)).to(device)
    return (torch.einsum("ij,jxyz->ixyz", matrix, at + u) + shift[:, None, None, None]).flip(0)


def _as_laid_out(canonical: np.ndarray, original: Volume) -> Volume:
    """A canonical array, as a volume whose array is laid out like the original's."""
    out = original.with_data(np.empty(original.shape, canonical.dtype))
    to_canonical(out).data[...] = canonical  # a view
    return out
