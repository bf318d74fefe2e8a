"""Structures as shapes: corrections of their voxels, and smooth surfaces that other programs read. No Qt here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_synthseg.atomic_io import placed
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.widgets.layers.labels_layer import nearest_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMOOTHING_MM = 1.0
"""Standard deviation of the Gaussian that smooths a structure."""
MARGIN = 6
"""Voxels around a structure that a correction may reach."""
PASS_BAND = (0.5, -0.53)
"""Steps of Taubin's smoothing (1995): one that shrinks, one that grows again, so that the volume stays."""
ROUNDS = 10
LIGHT = np.array([0.8, 0.5, -0.33])
"""Unit vector (S, A, R) towards the light: above, in front and a little to the left."""

Spacing = Sequence[float]


def smoothed(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Return a mask with a smooth border: a Gaussian of `SMOOTHING_MM`, cut at a half."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(mask.astype(np.float32), [SMOOTHING_MM / size for size in spacing]) > 0.5


def filled(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(mask)


def largest(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    from scipy.ndimage import label

    pieces, count = label(mask)
    return mask if count < 2 else pieces == np.argmax(np.bincount(pieces.ravel())[1:]) + 1


def grown(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Return a mask with a margin as wide as its smallest voxel side."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~mask, sampling=spacing) <= min(spacing) * 1.001


def shrunk(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Return a mask without a margin as wide as its smallest voxel side."""
    return ~grown(~mask, spacing)


CORRECTIONS: dict[str, Callable[[np.ndarray, Spacing], np.ndarray]] = {
    "Smooth": smoothed,
    "Fill holes": filled,
    "Keep the largest piece": largest,
    "Grow by a voxel": grown,
    "Shrink by a voxel": shrunk,
}
"""By the name that a menu shows."""


@dataclass(frozen=True)
class Correction:
    """Voxels that a correction changes: their indices, and the labels they get."""

    indices: tuple[NDArray[np.intp], ...]
    values: np.ndarray


def corrected(
    labels: np.ndarray, values: Sequence[int], name: str, spacing: Spacing
) -> Generator[Progress, None, Correction]:
    """Correct structures of labels (S, A, R) one after another; `name` is of `CORRECTIONS`, spacing in mm.

    Their neighbors are protected; lost voxels get the nearest label.
    """
    after = labels.copy()
    for done, value in enumerate(values):
        yield Progress(name, done, len(values))
        box = _box(after == value)
        if box is None:
            continue
        part = after[box]
        before = part == value
        now = CORRECTIONS[name](before, spacing) & (before | (part == 0))
        lost = before & ~now
        part[now] = value
        if lost.any():
            part[lost] = nearest_labels(np.where(lost | now, value, part), np.nonzero(lost), np.asarray(spacing))
    indices = np.nonzero(after != labels)
    return Correction(indices, after[indices])


@dataclass(frozen=True)
class Surface:
    """A closed surface.

    Attributes:
        points: (N, 3) vertices in voxel indices of the label array.
        faces: (M, 3) indices of vertices.
    """

    points: np.ndarray
    faces: np.ndarray

    def moved(self, matrix: np.ndarray) -> Surface:
        """Return the surface after an affine (4, 4); a reflection turns the faces, so that they still look outward."""
        faces = self.faces[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else self.faces
        return Surface(self.points @ matrix[:3, :3].T + matrix[:3, 3], faces)

    def brightness(self) -> np.ndarray:
        """Return the (N,) brightness of vertices in (S, A, R) under `LIGHT`, 0 to 1."""
        a, b, c = (self.points[self.faces[:, corner]] for corner in range(3))
        normals = np.zeros_like(self.points)
        for corner in range(3):
            np.add.at(normals, self.faces[:, corner], np.cross(b - a, c - a))
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return (1 + normals @ LIGHT) / 2


def surface_of(labels: np.ndarray, values: Sequence[int]) -> Generator[Progress, None, Surface]:
    """Make the smooth surface of structures of labels (S, A, R), taken as one: marching cubes and Taubin's smoothing.

    Raises:
        InputError: no voxel has these labels.
    """
    from skimage.measure import marching_cubes

    yield Progress("Surface")
    mask = np.isin(labels, list(values))
    box = _box(mask)
    if box is None:
        raise InputError("No voxel has this label: there is no surface to make.")
    inside = np.pad(mask[box], 1).astype(np.float32)
    checkpoint()
    points, faces, _, _ = marching_cubes(inside, 0.5, gradient_direction="ascent")
    points = _taubin(points, faces) + [part.start - 1 for part in box]
    return Surface(points, faces)


def write_surface(path: Path, surface: Surface) -> None:
    """Write a surface in RAS mm as STL, OBJ or GIfTI, by the ending of the file.

    Raises:
        InputError: the ending is another one, or the file cannot be written.
    """
    writers = {".stl": _write_stl, ".obj": _write_obj, ".gii": _write_gifti}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise InputError(f"{path.name} has no ending of a surface: use .stl, .obj or .surf.gii.")
    with placed(path) as part:
        writer(part, surface)


def _box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The part of an array that holds a mask and `MARGIN` voxels around it."""
    box = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(axis=tuple(one for one in range(mask.ndim) if one != axis)))
        if not len(found):
            return None
        box.append(slice(max(int(found[0]) - MARGIN, 0), int(found[-1]) + 1 + MARGIN))
    return tuple(box)


def _taubin(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Smooth vertices by their neighbors' mean, there and back."""
    from scipy.sparse import coo_matrix, diags

    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    beside = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(points),) * 2).tocsr()
    mean = diags(1 / np.maximum(np.asarray(beside.sum(axis=1)).ravel(), 1)) @ beside
    for _ in range(ROUNDS):
        checkpoint()
        for step in PASS_BAND:
            points = points + step * (mean @ points - points)
    return points


def _write_stl(path: Path, surface: Surface) -> None:
    corners = surface.points[surface.faces].astype("<f4")
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    records = np.zeros(len(corners), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    records["normal"], records["corners"] = normals, corners
    path.write_bytes(b"napari-synthseg, RAS mm".ljust(80) + struct.pack("<I", len(corners)) + records.tobytes())


def _write_obj(path: Path, surface: Surface) -> None:
    with path.open("w", encoding="ascii") as file:
        np.savetxt(file, surface.points, fmt="v %.4f %.4f %.4f", header="RAS mm")
        np.savetxt(file, surface.faces + 1, fmt="f %d %d %d")


def _write_gifti(path: Path, surface: Surface) -> None:
    import nibabel as nib

    scanner = nib.gifti.GiftiCoordSystem("NIFTI_XFORM_SCANNER_ANAT", "NIFTI_XFORM_SCANNER_ANAT", np.eye(4))
    points = nib.gifti.GiftiDataArray(
        surface.points.astype(np.float32), intent="NIFTI_INTENT_POINTSET", coordsys=scanner, datatype="float32"
    )
    faces = nib.gifti.GiftiDataArray(
        np.ascontiguousarray(surface.faces, dtype=np.int32), intent="NIFTI_INTENT_TRIANGLE", datatype="int32"
    )
    nib.save(nib.gifti.GiftiImage(darrays=[points, faces]), path)
