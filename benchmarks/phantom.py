"""An analytic head: a label map with every FreeSurfer value of the label table, made of formulas alone.

Ellipsoids, tubes and superquadrics in millimetres (RAS, origin near the anterior commissure, as in MNI space) are
painted from the outside in; the cortical ribbon follows sulci that are the zero sheets of a sum of plane waves. The
head is defined in space, not on a grid: one seed is the same head at every spacing. It stands in for a real label map
in tests and benchmarks; it is no atlas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_synthseg.volume import Volume

# The field of view in mm that `shape=None` covers, and the point at its center.
FIELD_OF_VIEW_MM = (192.0, 240.0, 240.0)
CENTER_MM = (0.0, -8.0, -22.0)

Point = tuple[float, float, float]

# Paired structures as (left, right): tubes of (points in mm, radius in mm) for the right side (x > 0), as painted.
# fmt: off
_TUBES: tuple[tuple[tuple[int, int], tuple[tuple[Point, float], ...]], ...] = (
    ((28, 60), (((8, -6, -9), 6.5), ((12, -15, -10), 8.0), ((15, -23, -9), 7.0))),  # ventral DC
    ((10, 49), (((8, -8, 6), 6.5), ((11, -18, 7), 9.5), ((15, -27, 6), 8.0))),  # thalamus
    ((12, 51), (((23, 12, -3), 7.0), ((27, 0, 1), 8.0), ((29, -13, 3), 4.5))),  # putamen
    ((13, 52), (((17, 4, -2), 4.5), ((20, -4, -1), 5.5), ((22, -9, 0), 3.5))),  # pallidum
    ((11, 50), (((11, 15, 0), 6.5), ((13, 10, 9), 6.5), ((15, -4, 18), 4.0), ((18, -18, 22), 2.5))),  # caudate
    ((26, 58), (((9, 12, -7), 4.0), ((9, 7, -8), 4.0))),  # accumbens
    ((18, 54), (((22, -3, -20), 7.0), ((24, -6, -18), 6.5))),  # amygdala
    # Temporal horn, hippocampus; further down the lateral ventricle.
    ((5, 44), (((31, -8, -22), 3.2), ((36, -20, -17), 2.8), ((34, -34, -6), 2.8), ((29, -42, 4), 3.5))),
    ((17, 53), (((23, -12, -20), 6.5), ((29, -22, -15), 6.0), ((29, -31, -8), 5.0), ((22, -38, -1), 4.0))),
    ((137, 164), (((36, -26, -12), 1.6), ((34, -34, -6), 1.7))),  # choroid plexus of the temporal horn
    ((4, 43), (((11, 28, 5), 4.5), ((8, 12, 16), 6.0), ((11, -12, 22), 5.5), ((24, -40, 12), 7), ((24, -60, 7), 3.5))),
    ((136, 163), (((10, -8, 21), 1.8), ((21, -36, 14), 3.5), ((24, -42, 10), 3.0))),  # choroid plexus
    ((30, 62), (((25, 2, -9), 1.6), ((27, -4, -8), 1.6))),  # vessel below the putamen
)
# Structures on the midline, in the same form.
_MIDLINE: tuple[tuple[int, tuple[tuple[Point, float], ...]], ...] = (
    (16, (((0, -24, -8), 12), ((0, -26, -20), 14), ((0, -27, -30), 15.5), ((0, -36, -46), 9.5), ((0, -42, -62), 7))),
    (14, (((0, -2, -9), 3.4), ((0, -6, 2), 3.6), ((0, -16, 0), 3.6), ((0, -24, 4), 3.2))),
    (15, (((0, -38, -22), 2.5), ((0, -46, -32), 6.0), ((0, -47, -44), 2.5))),
    (72, (((0, 8, 13), 1.4), ((0, 2, 15), 1.2))),
    (85, (((-6, 4, -17), 2.0), ((0, 1, -16), 2.2), ((6, 4, -17), 2.0))),
)
# fmt: on
# Center and radii of the right half (of the whole for the cerebrum, whose radius downwards differs), in mm.
_CEREBRUM: tuple[Point, Point, float] = ((0.0, -16.0, 18.0), (66.0, 85.0, 55.0), 38.0)
_TEMPORAL: tuple[Point, Point] = ((41.0, -16.0, -18.0), (27.0, 43.0, 25.0))
_CEREBELLUM: tuple[Point, Point] = ((22.0, -63.0, -37.0), (31.0, 27.0, 23.0))
_RIBBON_MM = 2.9
_SULCUS_MM = 0.55

_T1_MEANS = {
    **dict.fromkeys((2, 41, 7, 46), 155), **dict.fromkeys((3, 42, 8, 47), 105), **dict.fromkeys((16, 28, 60), 140),
    **dict.fromkeys((10, 49, 13, 52), 132), **dict.fromkeys((11, 12, 26, 50, 51, 58), 112),
    **dict.fromkeys((17, 18, 53, 54), 104), **dict.fromkeys((4, 5, 14, 15, 24, 43, 44, 72), 35),
    **dict.fromkeys((25, 57), 95), **dict.fromkeys((30, 62, 514), 60), **dict.fromkeys((136, 137, 163, 164), 70),
    85: 130, 502: 50, 506: 40, 507: 100, 508: 95, 509: 90, 511: 150, 512: 140, 515: 15, 516: 130, 530: 125,
}  # fmt: skip


@dataclass
class _Canvas:
    """Labels being painted, with the (warped) coordinates in mm of every voxel."""

    labels: np.ndarray  # (X, Y, Z) int16
    axes: tuple[np.ndarray, np.ndarray, np.ndarray]  # unwarped coordinates along each axis
    xyz: np.ndarray  # (3, X, Y, Z) float32
    rng: np.random.Generator

    def box(self, low: ArrayLike, high: ArrayLike) -> tuple[slice, slice, slice]:
        """Slices of the voxels between two corners in mm, with a margin for the warp."""
        limits = [
            np.searchsorted(axis, (lo - 8, hi + 8))
            for axis, lo, hi in zip(self.axes, np.asarray(low), np.asarray(high), strict=True)
        ]
        return tuple(slice(int(start), int(stop)) for start, stop in limits)  # type: ignore[return-value]

    def ball(self, value: int, center: Point, radii: Point, only: Sequence[int] = ()) -> None:
        """Paints an ellipsoid, if asked only over some values."""
        where = self.box(np.subtract(center, radii), np.add(center, radii))
        self.paint(value, where, _distance(self.xyz[(slice(None), *where)], center, radii) < 0, only)

    def tube(self, value: int, points: Sequence[Point], radii: Sequence[float], only: Sequence[int] = ()) -> None:
        """Paints a chain of cones through points (mm) of given radii (mm)."""
        for a, b, ra, rb in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
            widest = max(ra, rb)
            where = self.box(np.minimum(a, b) - widest, np.maximum(a, b) + widest)
            x, y, z = self.xyz[(slice(None), *where)]
            d = np.subtract(b, a).astype(np.float32)
            along = ((x - a[0]) * d[0] + (y - a[1]) * d[1] + (z - a[2]) * d[2]) / float(d @ d)
            t = np.clip(along, 0, 1)
            squared = (x - a[0] - t * d[0]) ** 2 + (y - a[1] - t * d[1]) ** 2 + (z - a[2] - t * d[2]) ** 2
            self.paint(value, where, squared < (ra + t * (rb - ra)) ** 2, only)

    def unite(self, distance: np.ndarray, center: Point, radii: Point, margin: float = 0) -> None:
        """Takes the minimum of a distance (in place) and that to an ellipsoid, near the ellipsoid."""
        where = self.box(np.subtract(center, radii) - margin, np.add(center, radii) + margin)
        nearer = _distance(self.xyz[(slice(None), *where)], center, radii)
        np.minimum(distance[where], nearer, out=distance[where])

    def paint(self, value: int, where: tuple[slice, ...], mask: np.ndarray, only: Sequence[int] = ()) -> None:
        """Writes a value into the part of a box that the mask names."""
        if only:
            mask = mask & np.isin(self.labels[where], only)
        self.labels[where][mask] = value


def head_phantom(
    shape: tuple[int, int, int] | None = None,
    spacing: float | tuple[float, float, float] = 1.0,
    seed: int = 0,
    *,
    lesions: bool = True,
    deform: bool = True,
) -> Volume:
    """Makes an analytic head label map.

    Args:
        shape: Voxels along R, A, S, centered on the head; without it, the whole field of view (192 x 240 x 240 mm).
        spacing: Voxel size in mm, one number or one an axis.
        seed: Draws sizes, a smooth warp and the pattern of the sulci; the same head at every shape and spacing.
        lesions: Whether the white matter holds a few lesions (values 25 and 57).
        deform: Whether sizes and shape are varied; without it the brain fits MNI152 (the sulci still follow the seed).

    Returns:
        A `Volume` of int16 FreeSurfer values in RAS. At 1 mm it holds every value of the label table; structures
        smaller than a voxel may be missing at coarser spacings.

    Raises:
        ValueError: A spacing or a shape that is not positive.
    """
    step = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
    if not np.all(step > 0) or (shape is not None and min(shape) < 1):
        raise ValueError(f"A phantom needs a positive shape and spacing, not {shape} and {spacing}.")
    size = np.array(shape if shape is not None else np.round(np.divide(FIELD_OF_VIEW_MM, step)), dtype=int)
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = np.subtract(CENTER_MM, (size - 1) / 2 * step)
    canvas = _canvas(size, affine, np.random.default_rng(seed), deform)
    inner = _inside_skull(canvas)
    _head(canvas, inner)
    _cerebellum(canvas, inner)
    _cerebrum(canvas)
    _deep(canvas, np.random.default_rng((seed, 1)), deform, lesions)
    return Volume(canvas.labels, affine)


def dress(brain: Volume, inner_mm: np.ndarray, seed: int = 0) -> Volume:
    """Puts the phantom's skull, scalp, face and neck around a brain in MNI space.

    Args:
        brain: Label map (X, Y, Z), RAS with a diagonal affine; its labels are kept, and what of the skull's inside it
            leaves open becomes CSF.
        inner_mm: (X, Y, Z) distance of every voxel to the inside of the skull in mm, negative within.
        seed: Draws the pattern of the nasal cavity.

    Returns:
        The label map of a head on the same grid, int16.
    """
    canvas = _canvas(np.array(brain.shape), brain.affine, np.random.default_rng(seed), deform=False)
    _head(canvas, inner_mm)
    canvas.labels[brain.data > 0] = brain.data[brain.data > 0]
    return brain.with_data(canvas.labels)


def phantom_image(labels: Volume, seed: int = 0, noise: float = 4.0) -> Volume:
    """Paints a label map with T1-like mean intensities (0-160) and white noise (deviation `noise`) inside the head."""
    table = np.zeros(int(labels.data.max()) + 1, np.float32)
    for value, mean in _T1_MEANS.items():
        if value < table.size:
            table[value] = mean
    image = table[labels.data.astype(np.intp)]
    rng = np.random.default_rng(seed)
    image += noise * rng.standard_normal(image.shape, dtype=np.float32) * (image > 0)
    return Volume(np.maximum(image, 0, out=image), labels.affine.copy())


def _canvas(size: np.ndarray, affine: np.ndarray, rng: np.random.Generator, deform: bool) -> _Canvas:
    """An empty canvas; a few separable cosines of 70-140 mm and up to 2 mm bend its coordinates."""
    axes = [(affine[k, 3] + affine[k, k] * np.arange(size[k])).astype(np.float32) for k in range(3)]
    open_axes = np.meshgrid(*axes, indexing="ij", sparse=True)
    scale = np.clip(rng.normal(0.97, 0.025, 3), 0.9, 1.03) if deform else np.ones(3)
    xyz = np.empty((3, *size), np.float32)
    for k in range(3):
        xyz[k] = open_axes[k] / np.float32(scale[k])
        for _ in range(2 if deform else 0):
            waves = [
                np.cos(a * np.float32(2 * np.pi / rng.uniform(70, 140)) + np.float32(rng.uniform(0, 6.3)))
                for a in open_axes
            ]
            xyz[k] += np.float32(rng.uniform(-1.5, 1.5)) * waves[0] * waves[1] * waves[2]
    return _Canvas(np.zeros(tuple(size), np.int16), (axes[0], axes[1], axes[2]), xyz, rng)


def _distance(
    xyz: np.ndarray, center: Point, radii: Point, *, lower: float | None = None, boxy: bool = False
) -> np.ndarray:
    """First-order distance in mm to an ellipsoid, negative inside; `boxy`: a superquadric of exponent 2.5.

    `lower` is the radius along -z where it differs from the one along +z.
    """
    t = [np.abs(xyz[k] - center[k]) / np.float32(radii[k]) for k in range(3)]
    inverse = [np.float32(1 / r) for r in radii]
    if lower is not None:
        below = xyz[2] < center[2]
        t[2] *= np.where(below, np.float32(radii[2] / lower), np.float32(1))
    root = [np.sqrt(a) for a in t] if boxy else [np.float32(1)] * 3
    level = sum(a * a * r for a, r in zip(t, root, strict=True))
    slope = np.sqrt(sum((a * r * i) ** 2 for a, r, i in zip(t, root, inverse, strict=True))) + np.float32(1e-6)
    if not boxy:
        return (level - np.sqrt(level)) / slope
    return (level - level ** np.float32(0.6)) / slope


def _waves(
    xyz: np.ndarray, rng: np.random.Generator, wavelength: float, count: int = 9
) -> tuple[np.ndarray, np.ndarray]:
    """A sum of plane waves at (3, N) points, and the length of its gradient per mm."""
    value = np.zeros(xyz.shape[1:], np.float32)
    gradient = np.zeros(xyz.shape, np.float32)
    for _ in range(count):
        k = rng.standard_normal(3)
        k *= 2 * np.pi / (wavelength * rng.uniform(0.75, 1.35)) / np.linalg.norm(k)
        phase = np.tensordot(k.astype(np.float32), xyz, 1) + np.float32(rng.uniform(0, 6.3))
        value += np.sin(phase)
        slope = np.cos(phase)
        for axis in range(3):
            gradient[axis] += np.float32(k[axis]) * slope
    return value, np.sqrt((gradient**2).sum(0))


def _grown(radii: Point, by: float) -> Point:
    return (radii[0] + by, radii[1] + by, radii[2] + by)


def _mirror(point: Point, side: int) -> Point:
    return (side * point[0], point[1], point[2])


def _inside_skull(c: _Canvas) -> np.ndarray:
    """Distance (mm) of every voxel to the inside of the skull, negative within."""
    inner = _distance(c.xyz, _CEREBRUM[0], _grown(_CEREBRUM[1], 3), lower=_CEREBRUM[2] + 3, boxy=True)
    for (x, y, z), radii in (_TEMPORAL, _CEREBELLUM):
        for side in (-1, 1):
            c.unite(inner, (side * x, y, z), _grown(radii, 3), margin=22)
    return inner


def _head(c: _Canvas, inner: np.ndarray) -> None:
    """Everything outside the brain, around the inside of the skull."""
    xyz = c.xyz
    outer = inner - 14
    c.unite(outer, (0, 34, -58), (61, 66, 66))
    c.unite(outer, (0, 98, -48), (13, 15, 19))
    below = c.box((-80, -120, -300), (80, 80, -58))
    neck = _distance(xyz[(slice(None), *below)], (0, -22, -60), (58, 60, 400))
    np.minimum(outer[below], neck, out=outer[below])
    c.labels[outer < 0] = 511
    c.labels[outer < -4] = 507
    del outer
    _face_and_neck(c)
    for value, depth in ((515, 7.5), (516, 5.2), (515, 2.8), (24, 0.0)):
        c.labels[inner < depth] = value
    # The superior sagittal sinus runs along the midline under the vault.
    sinus = (np.abs(xyz[0]) < 3) & (inner < 1.5) & (inner > -3) & ((xyz[2] > 25) | (xyz[1] < -85))
    c.labels[sinus] = 514


def _face_and_neck(c: _Canvas) -> None:
    """Orbits, nose, sinuses, jaw, spine and vessels: rough, but each value where it belongs."""
    c.ball(515, (0, 52, -50), (30, 38, 30), (507,))
    c.ball(509, (0, 60, -52), (22, 34, 27), (507, 515))
    where = c.box((-20, 26, -78), (20, 96, -26))
    ripple, _ = _waves(c.xyz[(slice(None), *where)], c.rng, 16, 4)
    c.paint(
        0, where, (ripple > 0.3) & (_distance(c.xyz[(slice(None), *where)], (0, 60, -52), (20, 32, 25)) < 0), (509,)
    )
    c.ball(0, (0, 24, -32), (9, 8, 7))
    throat = [(0.0, 22.0, -62.0), (0.0, 2.0, -92.0), (0.0, 0.0, -170.0)]
    c.tube(509, throat, [9.5] * 3, (507,))
    c.tube(0, throat, [7.0] * 3)
    spine = [(0.0, -34.0, -64.0), (0.0, -28.0, -100.0), (0.0, -34.0, -170.0)]
    c.tube(515, spine, [14, 15, 15], (507,))
    c.tube(516, spine, [11, 12, 12], (515,))
    canal = [(0.0, -42.0, -60.0), (0.0, -52.0, -100.0), (0.0, -58.0, -170.0)]
    for value, radius in ((515, 12), (24, 9), (512, 5.5)):
        c.tube(value, canal, [radius] * 3)
    for side in (-1, 1):
        c.ball(0, _mirror((30, 50, -58), side), (11, 14, 14))
        jaw = [
            _mirror(p, side)
            for p in ((50.0, 6.0, -62.0), (46.0, 16.0, -96.0), (26.0, 62.0, -108.0), (0.0, 76.0, -106.0))
        ]
        c.tube(515, jaw, [6, 7, 7, 7], (507,))
        c.tube(516, jaw, [3, 4, 4, 4], (515,))
        c.ball(515, _mirror((31, 46, -33), side), (20, 28, 20), (507, 509))
        c.ball(507, _mirror((31, 54, -33), side), (18, 34, 18), (515, 509))
        apex, back = _mirror((16, 16, -24), side), _mirror((31, 52, -34), side)
        c.tube(508, [apex, back], [4, 11])
        c.tube(507, [apex, back], [2.6, 9])
        c.ball(506, _mirror((32, 61, -34), side), (12, 12, 12))
        for value, x, radius in ((502, 23.0, 3.0), (514, 33.0, 4.5)):
            vessel = [_mirror(p, side) for p in ((x, -8.0, -56.0), (x, -6.0, -100.0), (x, -10.0, -170.0))]
            c.tube(value, vessel, [radius] * 3, (507,))


def _cerebellum(c: _Canvas, inner: np.ndarray) -> None:
    """Cerebellar cortex and white matter; folia make the border between them uneven."""
    (cx, cy, cz), radii = _CEREBELLUM
    where = c.box((-cx - radii[0], cy - radii[1], cz - radii[2]), (cx + radii[0], cy + radii[1], cz + radii[2]))
    xyz = c.xyz[(slice(None), *where)]
    folded = np.concatenate([np.abs(xyz[:1]), xyz[1:]])
    depth = np.minimum(-_distance(folded, (cx, cy, cz), radii), -inner[where])
    ripple, _ = _waves(xyz, c.rng, 13, 6)
    white = (depth + 2.2 * ripple > 11) & (depth > 3) & (np.abs(xyz[0]) > 5)
    for side, cortex, matter in ((-1, 8, 7), (1, 47, 46)):
        half = xyz[0] * side >= 0
        c.paint(cortex, where, (depth > 0) & half)
        c.paint(matter, where, white & half)


def _cerebrum(c: _Canvas) -> None:
    """White matter, and a ribbon of cortex along the hull, the midline, the lateral fissure and the sulci."""
    (_, cy, cz), radii, lower = _CEREBRUM
    where = c.box((-radii[0], cy - radii[1], -45), (radii[0], cy + radii[1], cz + radii[2]))
    xyz = c.xyz[(slice(None), *where)]
    across = np.abs(xyz[0])
    folded = np.concatenate([across[None], xyz[1:]])
    hull = -_distance(xyz, _CEREBRUM[0], radii, lower=lower, boxy=True)
    np.maximum(hull, -_distance(folded, *_TEMPORAL), out=hull)
    # No cortex lines the midline inside this core (corpus callosum, thalami, third ventricle).
    core = -_distance(xyz, (0, -10, 6), (30, 38, 22))
    midline = np.maximum(across - np.float32(0.6), core)
    tilt = np.float32(np.tan(np.radians(18)))
    fissure = np.abs(xyz[2] - (xyz[1] + 10) * -tilt * 0.6 - 1) * np.float32(0.97)
    fissure += np.maximum(0, 37 - across) + np.maximum(0, np.abs(xyz[1] + 6) - 32)
    inside = hull > 0
    shell = inside & (np.minimum(hull, midline) < 26)
    depth = np.minimum(np.minimum(hull, midline), fissure)
    depth[shell] = np.minimum(depth[shell], _sulci(xyz[:, shell], hull[shell], midline[shell], c.rng))
    fluid = (np.minimum(fissure, midline) < _SULCUS_MM) | (depth < _SULCUS_MM)
    for side, cortex, white in ((-1, 3, 2), (1, 42, 41)):
        half = inside & (xyz[0] * side >= 0)
        c.paint(white, where, half & (depth >= _RIBBON_MM))
        c.paint(cortex, where, half & (depth < _RIBBON_MM) & ~fluid)
        c.paint(24, where, half & fluid)


def _sulci(xyz: np.ndarray, hull: np.ndarray, midline: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Distance in mm to the nearest sulcal sheet of (3, N) points.

    The waves are evaluated where the ray from the hemisphere's center meets the hull, so that sheets run inwards.
    """
    center = np.array((0, *_CEREBRUM[0][1:]), np.float32)
    offset = xyz - center[:, None]
    offset[0] -= np.sign(xyz[0]) * np.float32(26)
    length = np.sqrt((offset**2).sum(0)) + np.float32(1)
    outward = 1 + np.clip(np.minimum(hull, midline), 0, None) / length
    # Adding the side to the phase gives the two hemispheres different folds.
    projected = offset * outward + np.sign(xyz[0]) * np.float32(300)
    value, slope = _waves(projected, rng, 22)
    sheet = np.abs(value) / np.sqrt((slope * outward) ** 2 + np.float32(0.02))
    bottom = 17 + 3 * np.sin(projected[1] / 9) * np.cos(projected[2] / 11)
    return sheet + np.maximum(0, np.minimum(hull, midline) - bottom)


def _deep(c: _Canvas, rng: np.random.Generator, deform: bool, lesions: bool) -> None:
    """Deep gray matter, ventricles, brain stem, optic pathway, and lesions in the white matter."""
    spread = 1.0 if deform else 0.0
    ventricles = float(np.exp(spread * rng.normal(0, 0.12)))
    for value, chain in _MIDLINE[:1]:
        c.tube(value, [p for p, _ in chain], [r for _, r in chain])
    for pair, chain in _TUBES:
        for side, value in zip((-1, 1), pair, strict=True):
            size = float(np.exp(spread * rng.normal(0, 0.03))) * (ventricles if pair[0] in (4, 5) else 1.0)
            c.tube(value, [_mirror(p, side) for p, _ in chain], [r * size for _, r in chain])
    for value, chain in _MIDLINE[1:]:
        c.tube(value, [p for p, _ in chain], [r for _, r in chain])
    for side in (-1, 1):
        c.tube(
            530,
            [_mirror(p, side) for p in ((32.0, 50.0, -34.0), (16.0, 16.0, -24.0), (6.0, 5.0, -17.0))],
            [2.2, 2.0, 2.0],
        )
    if not lesions:
        return
    for side, value, white in ((-1, 25, 2), (1, 57, 41)):
        for center in ((24.0, 22.0, 22.0), (28.0, -30.0, 28.0), (26.0, -8.0, 30.0), (33.0, -50.0, 16.0)):
            jitter = spread * rng.uniform(-2, 2, 3)
            c.ball(value, _mirror(tuple(np.add(center, jitter)), side), tuple(rng.uniform(2.5, 4.5, 3)), (white,))
