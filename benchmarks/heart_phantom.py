"""Analytic hearts in a chest: label maps of seven structures, as in MMWHS, and images of them in several contrasts.

Ellipsoids and tubes in millimetres (RAS, origin in the left ventricle) are painted from the outside in. A chest is
defined in space, not on a grid: one seed is the same anatomy at every spacing. These phantoms stand in for scans of
another organ than the brain (SynthSeg, section 5.4) in tests, benchmarks and tutorials; they are no atlas.

    python benchmarks/heart_phantom.py OUT [--count N] [--contrast ct|mr|black-blood] [--seed N]
                                       [--shape X Y Z] [--spacing MM ...]

writes `heart<seed>_<contrast>.nii.gz` and `heart<seed>_labels.nii.gz` for each seed from --seed on, as `train organ
--pairs` takes them. They are what docs/other-anatomies.md can be tried on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import arguments, command
from scipy.ndimage import gaussian_filter

from napari_synthseg.errors import InputError
from napari_synthseg.volume import Volume

STRUCTURES = {
    1: "left ventricle blood",
    2: "right ventricle blood",
    3: "left atrium",
    4: "right atrium",
    5: "myocardium",
    6: "ascending aorta",
    7: "pulmonary artery",
}
"""The labels, in the words of MMWHS; all else in the chest is background."""

LUNG, MUSCLE, FAT, BONE, LIVER, STOMACH, AIR, MARROW, VENOUS, ARTERIAL = range(11, 21)
"""Tissues of the background; the last two are vessels that nobody labels, filled with the same blood as the heart."""

# Mean intensity of each tissue and how much it varies between subjects. "left" and "right" are the blood of the two
# halves of the heart: on CT they differ with the time since the contrast agent was given.
_CONTRASTS: dict[str, dict[str | int, tuple[float, float]]] = {
    "ct": {
        "left": (380, 40), "right": (260, 60), 5: (105, 15), LUNG: (-820, 30), MUSCLE: (55, 8), FAT: (-95, 10),
        BONE: (600, 80), LIVER: (90, 15), STOMACH: (30, 40), AIR: (-990, 5), MARROW: (200, 40),
    },
    "mr": {  # balanced steady-state free precession: blood and fat are bright
        "left": (700, 60), "right": (680, 60), 5: (260, 30), LUNG: (40, 15), MUSCLE: (210, 25), FAT: (800, 90),
        BONE: (60, 20), LIVER: (330, 60), STOMACH: (450, 150), AIR: (10, 5), MARROW: (420, 60),
    },
    "black-blood": {  # spin echo: flowing blood gives no signal
        "left": (60, 20), "right": (70, 20), 5: (430, 40), LUNG: (30, 10), MUSCLE: (400, 40), FAT: (850, 80),
        BONE: (90, 25), LIVER: (480, 60), STOMACH: (350, 120), AIR: (10, 5), MARROW: (600, 70),
    },
}  # fmt: skip
_NOISE = {"ct": 25.0, "mr": 35.0, "black-blood": 35.0}
_BLOOD: dict[str | int, tuple[str | int, ...]] = {"left": (1, 3, 6, ARTERIAL), "right": (2, 4, 7, VENOUS)}

Point = tuple[float, float, float]


def contrasts() -> tuple[str, ...]:
    return tuple(_CONTRASTS)


@dataclass
class _Chest:
    """Tissues being painted.

    Attributes:
        tissues: (X, Y, Z) uint8, labels and tissues.
        body: (3, X, Y, Z) float32, warped coordinates in mm along the body's axes (right, anterior, superior).
        heart: (3, X, Y, Z) float32, the same along the heart's: to its apex, to its right side, and across these.
        frame: (3, 3) rows are the heart's axes in those of the body.
        rng: of all that varies between subjects.
    """

    tissues: np.ndarray
    body: np.ndarray
    heart: np.ndarray
    frame: np.ndarray
    rng: np.random.Generator

    def near(self, value: float, share: float = 0.1) -> float:
        """A length that varies by a share between subjects."""
        return float(value * self.rng.uniform(1 - share, 1 + share))

    def paint(self, tissue: int, mask: np.ndarray) -> None:
        self.tissues[mask] = tissue

    def in_body(self, point: Sequence[float]) -> Point:
        x, y, z = np.asarray(point) @ self.frame
        return float(x), float(y), float(z)


def heart_phantom(
    shape: tuple[int, int, int] = (64, 64, 64), spacing: float | Sequence[float] = 2.5, seed: int = 0
) -> tuple[Volume, Volume]:
    """An analytic chest around the heart.

    Args:
        shape: voxels along R, A, S; the middle of the left ventricle lies near the middle.
        spacing: voxel size in mm, one number or one an axis.
        seed: draws sizes, places, the heart's pose and a smooth warp; the same anatomy at every shape and spacing.

    Returns:
        Labels, uint8 (`STRUCTURES`, 0 for the rest), and tissues, uint8 (labels and `LUNG` to `ARTERIAL`).

    Raises:
        ValueError: a spacing or a shape that is not positive.
    """
    step = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
    if not np.all(step > 0) or min(shape) < 1:
        raise ValueError(f"A phantom needs a positive shape and spacing, not {shape} and {spacing}.")
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * step
    chest = _canvas(shape, affine, np.random.default_rng(seed))
    _background(chest)
    _heart(chest)
    labels = np.where(chest.tissues <= max(STRUCTURES), chest.tissues, 0).astype(np.uint8)
    return Volume(labels, affine), Volume(chest.tissues, affine.copy())


def heart_image(tissues: Volume, contrast: str = "ct", seed: int = 0) -> Volume:
    """An image of a chest: a mean and a texture for each tissue, partial volumes, a bias field on MR, noise.

    Args:
        tissues: of `heart_phantom`.
        contrast: one of `contrasts`.
        seed: of what varies between scans.

    Returns:
        (X, Y, Z) float32; Hounsfield units for "ct", arbitrary and not negative otherwise.

    Raises:
        InputError: there is no such contrast.
    """
    if contrast not in _CONTRASTS:
        raise InputError(f"There is no contrast {contrast!r}: choose one of {', '.join(_CONTRASTS)}.")
    rng = np.random.default_rng((seed, len(contrast)))
    table = np.zeros(256, np.float32)
    for tissue, (mean, spread) in _CONTRASTS[contrast].items():
        table[[*_BLOOD.get(tissue, (tissue,))]] = rng.normal(mean, spread)
    image = gaussian_filter(table[tissues.data], 0.5)
    noise = _NOISE[contrast] * rng.uniform(0.6, 1.4)
    texture = gaussian_filter(rng.standard_normal(tissues.shape, dtype=np.float32), 1.5)
    image += noise * texture / max(float(texture.std()), 1e-6)
    if contrast == "ct":
        return Volume(image + noise * rng.standard_normal(image.shape, dtype=np.float32), tissues.affine.copy())
    image *= np.exp(_waves(_grid(tissues.shape, tissues.affine), rng, (150, 400), 0.12))
    parts = noise * rng.standard_normal((2, *image.shape), dtype=np.float32)
    return Volume(np.hypot(image + parts[0], parts[1]).astype(np.float32), tissues.affine.copy())  # Rician


def write_heart_pairs(
    folder: Path,
    count: int,
    contrast: str = "ct",
    shape: tuple[int, int, int] = (64, 64, 64),
    spacing: float | Sequence[float] = 2.5,
    seed: int = 0,
) -> list[Path]:
    """Write phantoms as `heart<seed>_<contrast>.nii.gz` with `heart<seed>_labels.nii.gz`; makes the folder.

    Returns:
        The images' paths.
    """
    from napari_synthseg.io import LabelName, write_labels, write_volume

    folder.mkdir(parents=True, exist_ok=True)
    names = {value: LabelName(name) for value, name in STRUCTURES.items()}
    written = []
    for one in range(seed, seed + count):
        labels, tissues = heart_phantom(shape, spacing, one)
        written.append(folder / f"heart{one:03d}_{contrast}.nii.gz")
        write_volume(written[-1], heart_image(tissues, contrast, one))
        write_labels(folder / f"heart{one:03d}_labels.nii.gz", labels, names=names)
    return written


# Space


def _grid(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """(3, X, Y, Z) float32 coordinates in mm of a diagonal affine."""
    axes = [(affine[k, 3] + affine[k, k] * np.arange(shape[k])).astype(np.float32) for k in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def _waves(xyz: np.ndarray, rng: np.random.Generator, length_mm: tuple[float, float], height: float) -> np.ndarray:
    """A smooth random function: four plane waves, of a standard deviation of `height`."""
    value = np.zeros(xyz.shape[1:], np.float32)
    for _ in range(4):
        k = rng.standard_normal(3)
        k *= 2 * np.pi / rng.uniform(*length_mm) / np.linalg.norm(k)
        value += np.sin(np.tensordot(k.astype(np.float32), xyz, 1) + np.float32(rng.uniform(0, 6.3)))
    return np.float32(height / np.sqrt(2)) * value


def _canvas(shape: Sequence[int], affine: np.ndarray, rng: np.random.Generator) -> _Chest:
    """An empty chest: a few waves bend it, it is scaled and tilted, and its heart is turned."""
    body = _grid(shape, affine) + rng.normal(0, 4, 3).astype(np.float32)[:, None, None, None]
    body = np.tensordot(_rotation(rng, 8.0).astype(np.float32), body, 1) / np.float32(rng.uniform(0.9, 1.1))
    body = body + np.stack([_waves(body, rng, (70, 150), 2.5) for _ in range(3)])
    apex = np.array([-0.62, 0.58, -0.53])  # to the left, to the front and down
    right = np.array([0.62, 0.75, 0.10])
    first = apex / np.linalg.norm(apex)
    second = right - (right @ first) * first
    second /= np.linalg.norm(second)
    frame = np.stack([first, second, np.cross(first, second)]) @ _rotation(rng, 15.0)
    heart = np.tensordot(frame.astype(np.float32), body, 1)
    return _Chest(np.full(tuple(shape), MUSCLE, np.uint8), body, heart, frame, rng)


def _rotation(rng: np.random.Generator, degrees: float) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-degrees, degrees, 3))):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _ball(xyz: np.ndarray, centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    return sum(((xyz[k] - centre[k]) / np.float32(radii[k])) ** 2 for k in range(3)) < 1  # type: ignore[return-value]


def _tube(xyz: np.ndarray, points: Sequence[Sequence[float]], radius: float) -> np.ndarray:
    mask = np.zeros(xyz.shape[1:], bool)
    for a, b in zip(points[:-1], points[1:], strict=True):
        d = np.subtract(b, a).astype(np.float32)
        offset = [xyz[k] - np.float32(a[k]) for k in range(3)]
        t = np.clip(sum(o * s for o, s in zip(offset, d, strict=True)) / float(d @ d), 0, 1)
        mask |= sum((o - t * s) ** 2 for o, s in zip(offset, d, strict=True)) < radius**2
    return mask


# Anatomy


def _background(c: _Chest) -> None:
    """Chest wall, lungs, what lies below the diaphragm, spine, and the vessels and tubes of the mediastinum."""
    x, y, z = c.body
    wide, deep = c.near(112), c.near(72)
    depth = np.sqrt((x / wide) ** 2 + ((y + 6) / deep) ** 2)
    c.paint(FAT, depth > 1.28)
    ribs = (depth > 1.03) & (depth < 1.14) & (np.sin(0.26 * (z + 0.4 * y) + c.rng.uniform(0, 6.3)) > 0.45)
    c.paint(BONE, ribs)
    c.paint(LUNG, depth < 1)
    c.paint(VENOUS, (depth < 0.97) & (np.abs(_waves(c.body, c.rng, (18, 34), 1.0)) < 0.035))  # vessels of the lungs
    c.paint(FAT, _ball(c.body, (4, -2, 4), (c.near(62), c.near(48), c.near(82))))
    c.paint(LIVER, _ball(c.body, (48, -4, -112), (c.near(95), c.near(78), c.near(62))))
    c.paint(STOMACH, _ball(c.body, (-58, -6, -104), (c.near(48), c.near(44), c.near(48))))
    c.paint(BONE, _ball(c.body, (4, deep + 2, 10), (19, 8, 62)))  # sternum
    c.paint(MARROW, _ball(c.body, (4, deep + 2, 10), (13, 4, 56)))
    spine = [(4.0, -64.0, -200.0), (4.0, -58.0, 0.0), (4.0, -68.0, 200.0)]
    c.paint(BONE, _tube(c.body, spine, c.near(19)))
    c.paint(MARROW, _tube(c.body, spine, 15))
    c.paint(MUSCLE, _tube(c.body, spine, 17) & (np.sin(z / 4.5 + c.rng.uniform(0, 6.3)) > 0.8))  # discs
    c.paint(ARTERIAL, _tube(c.body, [(-19.0, -46.0, -200.0), (-17.0, -44.0, 60.0), (0.0, -18.0, 82.0)], c.near(11)))
    c.paint(MUSCLE, _tube(c.body, [(-2.0, -42.0, -200.0), (-1.0, -40.0, 200.0)], c.near(8)))  # oesophagus
    c.paint(AIR, _tube(c.body, [(2.0, -24.0, 38.0), (2.0, -30.0, 200.0)], c.near(8)))
    c.paint(AIR, _tube(c.body, [(-34.0, -26.0, 22.0), (2.0, -24.0, 38.0), (34.0, -26.0, 24.0)], 5.5))
    c.paint(VENOUS, _tube(c.body, [(30.0, 2.0, 10.0), (28.0, 0.0, 200.0)], c.near(9.5)))  # superior vena cava
    c.paint(VENOUS, _tube(c.body, [(27.0, -6.0, -20.0), (25.0, -12.0, -200.0)], c.near(11)))


def _heart(c: _Chest) -> None:
    """The seven structures, in the heart's own coordinates (to the apex, to the right side, across)."""

    def moved(*centre: float) -> Point:
        x, y, z = (p + float(c.rng.normal(0, 2)) for p in centre)
        return x, y, z

    h, base = c.heart, -20.0 + float(c.rng.normal(0, 2))
    length, width, wall = c.near(38, 0.15), c.near(20, 0.2), c.near(10, 0.25)
    inside = _ball(h, (0, 0, 0), (length, width, width))
    outside = _ball(h, (0, 0, 0), (length + wall, width + wall, width + wall)) & (h[0] > base)
    c.paint(4, _ball(h, moved(-38, 34, -8), (c.near(20), c.near(21), c.near(23))))
    c.paint(3, _ball(h, moved(-40, -8, -8), (c.near(17), c.near(22), c.near(25))))
    right = _ball(h, moved(-6, 26, 6), (c.near(36), c.near(25, 0.15), c.near(30))) & (h[0] > base - 3)
    c.paint(2, right)
    c.paint(5, outside)
    c.paint(1, inside & (h[0] > base))
    root = c.in_body(moved(-22, 8, 8))
    top = (root[0] + 10, root[1] - 6, c.near(74))
    c.paint(
        6, _tube(c.body, [root, ((root[0] + top[0]) / 2 + 6, root[1] + 2, (root[2] + top[2]) / 2), top], c.near(14))
    )
    outflow = c.in_body(moved(-20, 26, 26))
    fork = (outflow[0] - 16, outflow[1] - 30, outflow[2] + c.near(22))
    c.paint(7, _tube(c.body, [outflow, fork], c.near(12.5)))
    c.paint(7, _tube(c.body, [fork, (fork[0] - 26, fork[1] - 16, fork[2] + 2)], c.near(9)))
    c.paint(7, _tube(c.body, [fork, (fork[0] + 44, fork[1] - 14, fork[2] - 4)], c.near(9)) & (c.tissues != 6))


@command
def main() -> int:
    args = arguments(
        __doc__, "out", "--seed", seed={"default": 0}, count={"type": int, "default": 10},
        contrast={"choices": contrasts(), "default": "ct"},
        shape={"type": int, "nargs": 3, "default": [64, 64, 64]},
        spacing={"type": float, "nargs": "+", "default": [2.5], "help": "mm, one number or one an axis"},
    )  # fmt: skip
    spacing = args.spacing * 3 if len(args.spacing) == 1 else args.spacing
    if len(spacing) != 3 or min(spacing) <= 0 or min(args.shape) < 1:
        raise InputError("A shape is three whole numbers above 0, a spacing one or three numbers above 0.")
    for path in write_heart_pairs(args.out, args.count, args.contrast, tuple(args.shape), spacing, args.seed):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
