"""Atrophy: ventricles and sulci widened or narrowed, so that young and old brains occur (ours; off by default).

Every voxel looks its label up nearer to the ventricles, or nearer to the outside of the brain, or farther away: along
the gradient of the distance to them, by an amount that fades out. Distances are mapped by an increasing function, so
that nothing folds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import numpy as np

from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState
    from napari_synthseg.generator.labelmap import LabelMap

VENTRICLES = (4, 5, 14, 43, 44, 136, 137, 163, 164)
"""Lateral ventricles with their choroid plexus, and the third ventricle."""
FADE_MM = 20.0
"""Distance from the ventricles at which nothing moves any more."""
RIM_MM = 5.0
"""The same on both sides of the surface of the brain."""
SMOOTH_MM = 1.5
"""Standard deviation of the blur of distances, whose gradient is the direction of movement."""
TRIALS = 7
"""Borders of the ventricles that are tried for a volume."""
COARSE_MM = 2.0
"""Voxels that displacements are computed on, at least."""


@dataclass(frozen=True)
class Atrophy(Step, name="atrophy", title="Atrophy", place=5):
    """Widen or narrow ventricles and sulci."""

    columns: ClassVar[Columns] = {
        "ventricles": ("Volume of the lateral and third ventricles, relative to those of the map.", cell("factor", 2)),
        "sulci (mm)": ("Retreat of the surface of the brain.", cell("sulci_mm", 2)),
    }

    atrophy: Annotated[Probability, Info(equation="ours; 0 in the paper")] = 0.0
    """How often ventricles and sulci are widened or narrowed."""
    ventricle_factor: Annotated[
        Range, Info(label="Ventricles", unit="times their volume", low=0.2, high=5, slider=(0.2, 5), step=0.1)
    ] = (0.4, 3.0)  # fmt: skip
    """Volume of the lateral and third ventricles relative to those of the map, log-uniform."""
    sulci_mm: Annotated[Range, Info(label="Sulci", low=-1, high=2, slider=(-1, 2), step=0.1)] = (-0.4, 0.8)
    """Retreat of the surface of the brain from the skull; below 0, sulci become narrower."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params | None:
        happens, factor, sulci = rng.chance(self.atrophy), rng.log(*self.ventricle_factor), rng(*self.sulci_mm)
        return {"factor": factor, "sulci_mm": sulci} if happens else None

    def milder(self, strength: float) -> Self:
        return replace(self, atrophy=strength * self.atrophy)

    @staticmethod
    def apply(head: HeadState, *, factor: float, sulci_mm: float) -> None:
        """Replace the labels of the map."""
        head.label_map = atrophied(head.label_map, factor, sulci_mm)


@lru_cache(maxsize=2)
def atrophied(label_map: LabelMap, factor: float, sulci_mm: float) -> LabelMap:
    """Return the map with ventricles of `factor` times their volume and a surface of the brain farther inside.

    The last ones are cached, since one head is made on several grids.
    """
    import torch

    box, ventricle, outside = _distances(label_map)
    spacing = label_map.spacing * _stride(label_map.spacing)
    moved = _movement(outside, sulci_mm, -RIM_MM, RIM_MM, spacing)
    whole = label_map.index.cpu().numpy()
    if np.isfinite(ventricle).all() and factor != 1:
        moved += _towards_volume(label_map, whole[box], ventricle, factor)
    index = whole.copy()
    index[box] = _looked_up(whole[box], moved, label_map.spacing)
    return replace(label_map, index=torch.from_numpy(index).to(label_map.index.device))


def _towards_volume(label_map: LabelMap, part: np.ndarray, distance: np.ndarray, factor: float) -> np.ndarray:
    """Return the movement that gives the ventricles another volume; voxels are counted, since distances come in steps.

    `part` of the map is the box of the brain; `distance` to the ventricles lies on every n-th voxel of it.
    """
    from napari_synthseg.volume import bounding_box  # here: slow to import, not needed to open a widget

    step = _stride(label_map.spacing)
    coarse = bounding_box(distance < FADE_MM)
    assert coarse is not None
    fine = tuple(slice(side.start * step, (side.stop - 1) * step + 1) for side in coarse)
    own, mask = distance[coarse], label_map.is_one_of(VENTRICLES)[part[fine]]
    wanted = factor * mask.sum()
    low, high = float(own.min()), 0.7 * FADE_MM
    deepest, moved = low - 1, np.zeros((3, *own.shape), np.float32)
    for _ in range(TRIALS):
        border = (low + high) / 2
        moved = _movement(own, border, deepest, FADE_MM, label_map.spacing * step)
        fewer = _looked_up(mask, moved, label_map.spacing).sum() < wanted
        low, high = (border, high) if fewer else (low, border)
    whole = np.zeros((3, *distance.shape), np.float32)
    whole[(slice(None), *coarse)] = moved
    return whole


def _looked_up(part: np.ndarray, moved: np.ndarray, spacing: float) -> np.ndarray:
    """Return an array (X, Y, Z) whose voxels come from elsewhere, by nearest neighbor.

    `moved` (3, x, y, z) says where from, mm, on every n-th voxel.
    """
    import torch
    from torch.nn import functional as F

    step = _stride(spacing)
    size = tuple(step * (n - 1) + 1 for n in moved.shape[1:])
    fine = F.interpolate(torch.from_numpy(moved)[None], size=size, mode="trilinear", align_corners=True)[0].numpy()
    inside = tuple(slice(0, n) for n in part.shape)
    at = []
    for i, n in enumerate(part.shape):
        axis = np.arange(n, dtype=np.float32).reshape([-1 if j == i else 1 for j in range(3)])
        at.append(np.clip(np.rint(axis + fine[i][inside] / spacing), 0, n - 1).astype(np.intp))
    return part[tuple(at)]


def _stride(spacing: float) -> int:
    return max(1, round(COARSE_MM / spacing))


@lru_cache(maxsize=20)
def _distances(label_map: LabelMap) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray]:
    """Return the part of the map that holds the brain, and signed distances (mm, negative inside) on every n-th voxel.

    They are those to the ventricles, infinite if there are none, and to the outside of the brain.
    """
    from napari_synthseg.volume import bounding_box

    index, step = label_map.index.cpu().numpy(), _stride(label_map.spacing)
    brain = np.array([t > 0 and t != 24 for t in label_map.targets] + [False] * (256 - len(label_map.targets)))[index]
    box = bounding_box(brain, round((RIM_MM + 3) / label_map.spacing)) or (slice(0, 1),) * 3
    ventricles = label_map.is_one_of(VENTRICLES)[index[box]]
    found = (_signed(mask, label_map.spacing, step) for mask in (ventricles, ~brain[box]))
    return box, *found  # type: ignore[return-value]


def _signed(mask: np.ndarray, spacing: float, step: int) -> np.ndarray:
    """Return the distance to the surface of a mask, mm, negative inside, on every n-th voxel, one of them beyond."""
    from edt import edt

    if not mask.any():
        distance = np.full(mask.shape, np.inf, np.float32)
    else:
        outside, inside = (edt(m, anisotropy=(spacing,) * 3) for m in (~mask, mask))
        distance = np.where(mask, 0.5 * spacing - inside, outside - 0.5 * spacing).astype(np.float32)
    distance = np.pad(distance, [(0, -(n - 1) % step) for n in mask.shape], mode="edge")
    return distance[::step, ::step, ::step]


def _movement(distance: np.ndarray, border: float, low: float, high: float, spacing: float) -> np.ndarray:
    """Return the (3, X, Y, Z) shifts (mm) to where labels come from, which carry the surface to another distance.

    The signed distance to it becomes 0 at `border`; beyond `low` and `high` nothing moves.
    """
    from scipy.ndimage import gaussian_filter

    shift = np.interp(distance, [low, border, high], [low, 0.0, high]).astype(np.float32) - np.clip(distance, low, high)
    smooth = gaussian_filter(np.clip(distance, low - 3, high + 3), SMOOTH_MM / spacing)
    gradient = np.stack(np.gradient(smooth, spacing)) if min(distance.shape) > 1 else np.zeros((3, *distance.shape))
    return shift * (gradient / np.maximum(np.linalg.norm(gradient, axis=0), 0.2)).astype(np.float32)
