"""White matter lesions put into a label map, before its deformation (ours).

Caps and bands around the lateral ventricles, and deep lesions from punctate to confluent, with a tendency to symmetry.
They are painted on the label map's own voxels, in millimetres, so that they deform along with it and are the same on
every grid and device: painting is done on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from edt import edt
from scipy.ndimage import map_coordinates

from napari_synthseg.anatomy import CORTEX, LESION, LESIONS_OF_THE_MAP, WHITE_MATTER
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.volume import bounding_box

VENTRICLES = (4, 43, 136, 163)
"""Lateral ventricles with their choroid plexus."""
SPARED_MM = 2.0
"""White matter this near to the cortex stays free (its U fibres are spared)."""
MIDLINE_MM = 6.0
"""White matter this near to the middle stays free: callosum, fornix and septum."""
NEAR_MM = 25.0
"""Farther from the ventricles no band reaches."""
DEEP_MM, REACH_MM = 4.0, 15.0
"""Least distance of deep lesions from the ventricles; they become rarer by a factor e with every `REACH_MM` of it."""
MOVED_MM = 3.0
"""How far, as a standard deviation along each axis, a deep lesion lies from where the other side's is."""
CAP = 1.5
"""How much farther bands reach at the ends of the horns than in the middle of the ventricles."""
ROUGH_MM, ROUGH = 2.0, 0.35
"""How far noise moves the edge of a band, and of a deep lesion as a fraction of its radius."""
COARSE_MM, FINE_MM = 10.0, 4.0
"""Distance between the control points of the two layers of that noise."""
MOST, FULL = 150, 0.4
"""Deep lesions in a head (the rest of the load joins the bands), and the most covered of what they may cover."""


@dataclass(frozen=True)
class Painting:
    """Lesions of one sample, as drawn by the step of that name."""

    load_ml: float
    """Volume of all of them on the label map, before the deformation."""
    periventricular: float
    """Fraction of the load in caps and bands around the ventricles."""
    size_mm3: tuple[float, float]
    """Volumes of deep lesions: log-uniform between these."""
    symmetry: float
    """Similarity of both sides, 0-1."""
    seed: int
    """Of places, sizes and shapes."""


def with_lesions(label_map: LabelMap, lesions: Painting) -> LabelMap:
    """Return the map with its lesions painted, and its table with two more rows of value and target 77: left and right.

    Raises:
        InputError: the table has no room for them.
    """
    k, m = len(label_map.values), label_map
    if k + 2 > 256:
        raise InputError(f"{m.name or 'The label map'} holds {k} labels: lesions need one with at most 254.")
    free = max(m.classes) + 1
    return replace(
        m,
        index=painted(label_map, lesions),
        values=(*m.values, LESION, LESION), classes=(*m.classes, free, free), targets=(*m.targets, LESION, LESION),
        partners=(*m.partners, k + 1, k), removed=(*m.removed, False, False),
    )  # fmt: skip


@lru_cache(maxsize=2)
def painted(label_map: LabelMap, lesions: Painting) -> torch.Tensor:
    """Return (X, Y, Z) uint8 on the map's device: its indices with those of its lesions.

    The last ones are cached, since one head is made on several grids: do not change the result in place.
    """
    places = _places(label_map)
    room = 0 if places is None else int(FULL * len(places.horns))
    count = min(round(lesions.load_ml * 1000 / label_map.spacing**3), room)
    if places is None or not count:
        return label_map.index
    chosen = _chosen(lesions, places, count)
    k = len(label_map.values)
    index = label_map.index.cpu().numpy().copy()
    index[tuple(places.at[:, chosen].astype(np.intp))] = np.where(places.right[chosen], k + 1, k)
    return torch.from_numpy(index).to(label_map.index.device)


@dataclass(frozen=True)
class Places:
    """White matter of a map that lesions may cover."""

    at: np.ndarray
    """(3, N) voxel coordinates in the map's array, float32, in the array's order."""
    shape: tuple[int, int, int]
    right: np.ndarray
    """(N,) whether on the right side."""
    ventricle: np.ndarray
    """(N,) distance to the lateral ventricles, mm; infinite without any."""
    horns: np.ndarray
    """(N,) 0 in the middle of the ventricles along the second axis, 1 at their ends and beyond."""
    middle: float
    """Voxel coordinate of the plane between both sides along the first axis."""
    spacing: float


@lru_cache(maxsize=20)
def _places(label_map: LabelMap) -> Places | None:
    """Return where lesions may lie in a map; None if nowhere."""
    whole, spacing = label_map.index.cpu().numpy(), label_map.spacing
    left, right = (
        label_map.is_one_of([value, *(lesion for lesion, tissue in LESIONS_OF_THE_MAP.items() if tissue == value)])
        for value in WHITE_MATTER
    )
    box = bounding_box((left | right)[whole], int(NEAR_MM / spacing))
    if box is None:
        return None
    index = np.ascontiguousarray(whole[box])
    inside = (left | right)[index]
    inside &= _distance(label_map.is_one_of(CORTEX)[index], spacing) >= SPARED_MM
    x = np.nonzero(inside)[0]
    on_right = right[index[inside]]
    sides = [x[side].mean() for side in (on_right, ~on_right) if side.any()]
    middle = float(np.mean(sides)) if sides else 0.0
    if len(sides) == 2:
        inside &= (np.abs(np.arange(len(inside)) - middle) * spacing >= MIDLINE_MM)[:, None, None]
    where = np.nonzero(inside)
    if not len(where[0]):
        return None
    ventricles = label_map.is_one_of(VENTRICLES)[index]
    horns = np.zeros(len(where[0]), np.float32)
    if ventricles.any():
        low, high = np.flatnonzero(ventricles.any(axis=(0, 2)))[[0, -1]]
        horns = np.clip(np.abs(where[1] - (low + high) / 2) / max((high - low) / 2, 1), 0, 1).astype(np.float32)
    at = np.stack([axis + side.start for axis, side in zip(where, box, strict=True)]).astype(np.float32)
    distance = _distance(ventricles, spacing)[where]
    return Places(at, whole.shape, right[index[where]], distance, horns, middle + box[0].start, spacing)


def _distance(mask: np.ndarray, spacing: float) -> np.ndarray:
    """Return the distance of each voxel to a mask, mm, float32; infinite if the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return edt(~mask, anisotropy=(spacing,) * 3)


def _chosen(lesions: Painting, places: Places, count: int) -> np.ndarray:
    """Return (N,) bool: which places lesions cover, `count` of them if there is room."""
    g = torch.Generator().manual_seed(lesions.seed)
    mirrored = places.at.copy()
    mirrored[0] = np.abs(mirrored[0] - places.middle)
    own = (1 - lesions.symmetry**2) ** 0.5  # noise of unit variance, as alike on both sides as the symmetry says
    rough = lesions.symmetry * _noise(mirrored, places, g) + own * _noise(places.at, places, g)
    near = bool(np.isfinite(places.ventricle).any())
    deep = round(count * (1 - lesions.periventricular)) if near else count
    sizes = _sizes(lesions.size_mm3, deep, places.spacing, g)
    chosen = np.zeros(len(places.horns), bool)
    if near:
        reached = places.ventricle / (1 + CAP * places.horns**2) + ROUGH_MM * rough
        free = np.flatnonzero(places.ventricle < NEAR_MM)
        chosen[_least(reached[free], free, count - sum(sizes))] = True
    for size, center, shape in _deep_lesions(sizes, places, lesions.symmetry, g):
        radius = (3 * size / (4 * math.pi)) ** (1 / 3)
        around = _around(places, center, 2.5 * radius + 2)
        free = around[~chosen[around]]
        offset = shape @ (places.at[:, free] - center[:, None]) / radius
        away = np.sqrt(np.einsum("in,in->n", offset, offset)) + ROUGH * rough[free]
        chosen[_least(away, free, size)] = True
    return chosen


def _around(places: Places, center: np.ndarray, reach: float) -> np.ndarray:
    low, high = np.searchsorted(places.at[0], (center[0] - reach, center[0] + reach))
    part = places.at[1:, low:high] - center[1:, None]
    return low + np.flatnonzero((np.abs(part[0]) <= reach) & (np.abs(part[1]) <= reach))


def _least(score: np.ndarray, positions: np.ndarray, count: int) -> np.ndarray:
    if count >= len(positions):
        return positions
    return positions[np.argpartition(score, count)[:count]] if count > 0 else positions[:0]


def _sizes(bounds: tuple[float, float], total: int, spacing: float, g: torch.Generator) -> list[int]:
    """Return the voxels of each deep lesion: log-uniform, the last one what is left of `total`, at most `MOST`."""
    low, high = (math.log(b / spacing**3) for b in bounds)
    sizes: list[int] = []
    for u in torch.rand(MOST, generator=g, dtype=torch.float64).tolist():
        if total > 0:
            sizes.append(min(max(1, round(math.exp(low + (high - low) * u))), total))
            total -= sizes[-1]
    return sizes


def _deep_lesions(
    sizes: Sequence[int], places: Places, symmetry: float, g: torch.Generator
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield size (voxels), center (voxel) and shape (3, 3) of each deep lesion.

    A center is drawn near the ventricles rather than far away; or, for symmetry, it is that of the lesion before on the
    other side, moved a little.
    """
    draws = torch.rand(len(sizes), 3, generator=g, dtype=torch.float64).numpy()
    moves = torch.randn(len(sizes), 3, generator=g).numpy() * MOVED_MM / places.spacing
    turns = torch.randn(len(sizes), 3, 3, generator=g, dtype=torch.float64).numpy()
    weight = np.where(places.ventricle >= DEEP_MM, np.exp(-places.ventricle.astype(np.float64) / REACH_MM), 0.0)
    if not weight.any():  # no ventricles, or nothing but their surroundings
        weight = np.ones(len(weight))
    sums = np.cumsum(weight)
    before: np.ndarray | None = None
    for size, u, move, turn in zip(sizes, draws, moves, turns, strict=True):
        if before is not None and u[0] < symmetry:
            center = _nearest(places, np.array([2 * places.middle - before[0], *before[1:]], np.float32) + move)
            before = None
        else:
            center = before = places.at[:, min(int(np.searchsorted(sums, u[1] * sums[-1])), len(sums) - 1)]
        axes, _ = np.linalg.qr(turn)
        longer = 1 + u[2]  # once to twice as long as wide
        stretch = np.array([longer ** (-2 / 3), longer ** (1 / 3), longer ** (1 / 3)])
        yield size, center, (stretch[:, None] * axes).astype(np.float32)


def _nearest(places: Places, voxel: np.ndarray) -> np.ndarray:
    """Return (3,) the place nearest to a voxel, looked for near it first."""
    around = _around(places, voxel, 10.0)
    at = places.at[:, around] if len(around) else places.at
    offset = at - voxel[:, None]
    return at[:, np.einsum("in,in->n", offset, offset).argmin()]


def _noise(at: np.ndarray, places: Places, g: torch.Generator) -> np.ndarray:
    """Return (N,) noise at voxels (3, N) in two layers of control points, linear between them."""
    total = np.zeros(at.shape[1], np.float32)
    for step, share in ((COARSE_MM, 0.8), (FINE_MM, 0.6)):
        points = [int(n * places.spacing / step) + 2 for n in places.shape]
        grid = torch.randn(*points, generator=g).numpy()
        layer = map_coordinates(grid, at * np.float32(places.spacing / step), order=1, output=np.float32)
        total += share * layer / max(float(layer.std()), 1e-6)
    return total
