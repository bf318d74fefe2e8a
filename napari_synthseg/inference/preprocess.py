"""From any scan to what the networks take: head crop, 1 mm, RAS, intensities in [0, 1] (SynthSeg, section 3.3).

The order is the reference implementation's (resample where an axis is off 1 mm, CT window, RAS by axis swaps and flips,
then percentiles), except that a crop around the head comes first, which is what keeps time and memory bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from napari_synthseg import resampling
from napari_synthseg.errors import InputError
from napari_synthseg.inference.grid import OutputGrid, Reorientation
from napari_synthseg.inference.postprocess import largest_component
from napari_synthseg.volume import Volume, bounding_box, check_extent, crop, resample_image, to_canonical

SPACING_TOLERANCE_MM = 0.05
SPACING_MM = (0.05, 20.0)
"""Distances between voxels that a scan to segment can have."""
CT_WINDOW_HU = (0.0, 80.0)
HEAD_MARGIN_MM = 12.0
COARSE_MM = 4.0
CENTER_BELOW_TOP_MM = 85.0
"""The middle of the brain below the top of the head in adults (about 15 mm of scalp and bone, 70 mm of brain)."""


@dataclass(frozen=True)
class Prepared:
    """A scan as the networks see it."""

    image: np.ndarray
    """(X, Y, Z) float32, about 1 mm (or what else its network works at), axes pointing right, anterior, superior; the
    smallest intensity is 0, the scale still the scan's (`rescale` is left to the network's own rule)."""
    affine: np.ndarray
    """(4, 4) voxel index of `image` -> RAS mm of the scan's header."""
    source: OutputGrid
    """The grid the scan came on."""

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def reoriented(self, rotation: Reorientation) -> Prepared:
        """Return the scan with its axes re-read, for headers that do not match the anatomy."""
        if rotation.is_identity:
            return self
        shape = self.image.shape
        image, affine = np.ascontiguousarray(rotation.apply(self.image)), rotation.affine(self.affine, shape)
        return Prepared(image, affine, self.source.reoriented(rotation, shape))

    def working_grid(self) -> OutputGrid:
        """Return the working grid, extended by whole voxels to the scan's whole field of view: the 1 mm output."""
        low, high = [], []
        for axis in range(3):
            ends = self.source.coordinates(axis)[[0, -1]]
            half = abs(self.source.scale[axis]) / 2
            low.append(min(0, int(np.round(ends.min() - half + 0.5))))
            high.append(max(self.image.shape[axis], int(np.round(ends.max() + half + 0.5))))
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        shape = tuple(b - a for a, b in zip(low, high, strict=True))
        return OutputGrid(shape, affine, (0, 1, 2), (1.0, 1.0, 1.0), tuple(float(a) for a in low))  # type: ignore[arg-type]


def prepare(
    volume: Volume,
    *,
    ct: bool = False,
    crop_to_head: bool = True,
    reference_grid: bool = False,
    spacing_mm: float = 1.0,
    name: str = "The image",
) -> Prepared:
    """Prepare a scan for a network that works at a voxel size; see `InferenceConfig` for the choices.

    Raises:
        InputError: the scan is empty, constant or not 3D.
    """
    check_scan(volume, name)
    part = volume
    if crop_to_head:
        low = resample_coarse(np.clip(volume.data, *CT_WINDOW_HU) if ct else volume.data, volume.spacing)
        start, stop = head_box(*low, shape=volume.data.shape, spacing=volume.spacing)
        part = crop(volume, start, stop)
    part = Volume(np.nan_to_num(np.asarray(part.data, np.float32), posinf=0, neginf=0), part.affine)
    if np.any(np.abs(part.spacing / spacing_mm - 1) > SPACING_TOLERANCE_MM):
        part = resample_as_reference(part) if reference_grid else resample_image(part, spacing_mm)
    image = np.clip(part.data, *CT_WINDOW_HU) if ct else part.data
    part = to_canonical(Volume(image, part.affine))
    source = OutputGrid.between(part.affine, volume.affine, volume.data.shape)
    return Prepared(part.data - part.data.min(), part.affine, source)


def resample_as_reference(volume: Volume) -> Volume:
    """Resample to voxels of 1 mm, voxel for voxel as the reference implementation does.

    It differs from `volume.resample_image` where a spacing is off by rounding alone: such an axis is blurred by a
    quarter of a voxel, and may gain a voxel at its end, where the edge is held.
    """
    factor = volume.spacing
    sigma = np.where(factor > 1, 0.0, 0.25 / factor)
    data = ndimage.gaussian_filter(np.asarray(volume.data, np.float64), sigma)
    coordinates = []
    for n, f in zip(volume.shape, factor, strict=True):
        first, step = -(f - 1) / (2 * f), 1.0 / f
        coordinates.append(np.clip(np.arange(first, first + step * np.ceil(n * f), step), 0, n - 1))
    affine = volume.affine.copy()
    affine[:3, :3] /= factor
    affine[:3, 3] -= affine[:3, :3] @ (0.5 * (factor - 1))
    return Volume(resampling.linear_axes(data, coordinates, fill=0.0).astype(np.float32), affine)


def check_scan(volume: Volume, name: str = "The image") -> None:
    """Refuse what cannot be a scan of a whole head or organ; prompts and evaluation take more.

    Raises:
        InputError: not 3D, empty, a single slice, constant, nothing finite in it, or its spacing or extent is absurd.
    """
    data = volume.data
    if data.ndim != 3:
        raise InputError(f"{name} has {data.ndim} dimensions where 3 are needed; choose one volume of it.")
    if 0 in data.shape:
        raise InputError(f"{name} has no voxels (its shape is {data.shape}).")
    if 1 in data.shape:
        shape = " x ".join(map(str, data.shape))
        raise InputError(f"{name} is a single slice ({shape}), too little to segment: give a 3D scan.")
    least, most = SPACING_MM
    if (volume.spacing < least).any() or (volume.spacing > most).any():
        text = " x ".join(f"{s:.4g}" for s in volume.spacing)
        raise InputError(
            f"{name} has an absurd spacing of {text} mm (expected {least:g} to {most:g} mm): check its units or scale."
        )
    check_extent(volume, name=name)
    low, high = np.nanmin(data), np.nanmax(data)
    if not low < high:
        raise InputError(f"{name} has the same value everywhere, so there is nothing to segment.")


def rescale(image: np.ndarray, low: float = 1.0, high: float = 99.0) -> np.ndarray:
    """Clip to two percentiles and map them to 0 and 1; float32. A constant image becomes 0.

    The paper's percentiles are 1 and 99, the reference implementation's 0.5 and 99.5.
    """
    return between_limits(image, limits(image, low, high))


def limits(image: np.ndarray, low: float = 1.0, high: float = 99.0) -> tuple[float, float]:
    """Return two percentiles of an image; its smallest and largest value where the percentiles coincide."""
    first, last = np.percentile(image, (low, high))
    return (float(first), float(last)) if last > first else (float(image.min()), float(image.max()))


def between_limits(image: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Clip an image to its limits, which become 0 and 1."""
    first, last = ends
    if not last > first:
        return np.zeros(image.shape, np.float32)
    out = np.clip(image, first, last).astype(np.float32)
    out -= np.float32(first)
    out /= np.float32(last - first)
    return out


def pad_to(shape: Sequence[int], multiple: int = 32, minimum: int = 128) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the size that a network takes (multiples, at least a minimum), and the first voxel in it of a volume."""
    size = tuple(max(minimum, -(-n // multiple) * multiple) for n in shape)
    return size, tuple((big - n) // 2 for big, n in zip(size, shape, strict=True))


def resample_coarse(
    image: np.ndarray, spacing: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Average over blocks of about 4 mm: the (x, y, z) array and the voxels of a block along each axis."""
    step = tuple(max(1, min(n, round(COARSE_MM / s))) for n, s in zip(image.shape, spacing, strict=True))
    block = tuple(slice(0, (n // s) * s) for n, s in zip(image.shape, step, strict=True))
    data = torch.from_numpy(np.ascontiguousarray(image[block], dtype=np.float32))[None, None]
    pooled = F.avg_pool3d(torch.nan_to_num(data, posinf=0, neginf=0), step)
    return pooled[0, 0].numpy(), step  # type: ignore[return-value]


def foreground(coarse: np.ndarray) -> np.ndarray:
    """Return the head in a coarse image: the largest component above half of Otsu's threshold."""
    low, high = np.percentile(coarse, (0.5, 99.5))
    clipped = np.clip(coarse, low, high)
    return largest_component(clipped > low + 0.5 * (otsu(clipped) - low))


def otsu(values: np.ndarray) -> float:
    """Return Otsu's threshold: the split of the histogram that separates two classes best."""
    counts, edges = np.histogram(values, bins=256)
    centers = (edges[:-1] + edges[1:]) / 2
    below, weighted = np.cumsum(counts), np.cumsum(counts * centers)
    above = below[-1] - below
    valid = (below > 0) & (above > 0)
    if not valid.any():
        return float(centers[0])
    mean_below = weighted / np.maximum(below, 1)
    mean_above = (weighted[-1] - weighted) / np.maximum(above, 1)
    between = np.where(valid, below * above * (mean_below - mean_above) ** 2.0, -1.0)
    return float(centers[between.argmax()])


def head_box(
    coarse: np.ndarray, step: Sequence[int], *, shape: Sequence[int], spacing: Sequence[float] | np.ndarray
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first and one-past-last voxel of the head with a margin; the whole image if no head is found."""
    box = bounding_box(foreground(coarse))
    whole = (0, 0, 0), tuple(shape)
    if box is None:
        return whole
    start, stop = [], []
    for side, n, s, mm in zip(box, shape, step, spacing, strict=True):
        margin = int(np.ceil(HEAD_MARGIN_MM / mm))
        start.append(max(0, side.start * s - margin))
        stop.append(min(n, side.stop * s + margin))
        if (side.stop - side.start) * s * mm < min(40.0, 0.5 * n * mm):
            return whole
    return tuple(start), tuple(stop)


def brain_center(image: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Guess the middle of the brain, (3,) voxel index, from the outline of the head in an image in RAS.

    In z it lies a fixed distance below the top of the head (or in the middle, where less of it was scanned); in x and y
    in the middle of what lies within reach of the top, so that neck and shoulders do not count.
    """
    coarse, step = resample_coarse(image, spacing)
    mask = foreground(coarse)
    box = bounding_box(mask)
    if box is None:
        return (np.array(image.shape) - 1) / 2
    mm = np.array(step) * np.array(spacing)
    area = mask.sum((0, 1)) * mm[0] * mm[1]
    levels = np.flatnonzero(area > 500.0)
    top, bottom = (levels[-1] + 1, levels[0]) if len(levels) else (box[2].stop, box[2].start)
    z = max(top - CENTER_BELOW_TOP_MM / mm[2], (top + bottom) / 2)
    near = bounding_box(mask[:, :, max(0, int(top - 150 / mm[2])) : top])
    box = near or box
    middle = np.array([(box[0].start + box[0].stop) / 2, (box[1].start + box[1].stop) / 2, z])
    return middle * np.array(step) - 0.5
