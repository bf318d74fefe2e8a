"""What a prompt job looks at: a scan or a picture as a volume, and where the positions that are given lie in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from napari_synthseg.errors import InputError
from napari_synthseg.io import FileHeader, read_labels, read_with_header
from napari_synthseg.prompting.options import PromptOptions
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.volume import Volume, resample_to, same_grid, to_canonical

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
CLOSE = 1.05
"""Spacings that differ by less than this factor count as alike."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan, or a picture as a volume of one slice."""

    path: Path
    array: np.ndarray
    """(X, Y, Z), or (1, rows, columns) and perhaps 3 or 4 colours of a picture."""
    scan: Volume | None
    """None for a picture."""
    header: FileHeader | None = None
    """Of the scan's file."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances between voxels, mm; 1 for pictures."""
        if self.scan is None:
            return 1.0, 1.0, 1.0
        x, y, z = (float(one) for one in self.scan.spacing)
        return x, y, z

    def axis(self, name: str) -> int:
        """Which axis the slices of that name lie across."""
        if self.scan is None:
            return 0
        if name == "auto":
            thickest = max(self.spacing)
            thick = [axis for axis in range(3) if self.spacing[axis] * CLOSE >= thickest]
            name = "axial"
            if len(thick) == 1:
                return thick[0]
        letters = {"sagittal": "RL", "coronal": "AP", "axial": "SI"}[name]
        return next(axis for axis, code in enumerate(self.scan.axcodes) if code in letters)

    def voxel(self, position: tuple[float, ...], options: PromptOptions) -> np.ndarray:
        """Where a position lies in the array: (3,) float64, in voxels.

        Raises:
            InputError: it has not as many numbers as there are axes, or lies elsewhere.
        """
        given = " ".join(f"{one:g}" for one in position)
        if len(position) != (2 if self.scan is None else 3):
            raise InputError(f"The position {given} does not fit {self.path}: give {self._asked()}.")
        if self.scan is None:
            voxel = np.array([0.0, position[1], position[0]])
        elif options.coordinates == "mm":
            voxel = np.linalg.solve(self.scan.affine, np.array([*position, 1.0]))[:3]
        else:
            voxel = np.array(position, np.float64)
        shape = np.array(self.array.shape[:3])
        if not ((voxel >= -0.5) & (voxel < shape - 0.5)).all():
            size = " x ".join(map(str, shape if self.scan is not None else shape[:0:-1]))
            what = "voxels" if self.scan is not None else "pixels"
            raise InputError(f"The position {given} lies outside of {self.path}, which has {size} {what}: check it.")
        return voxel

    def prompts(self, options: PromptOptions) -> tuple[int, dict[int, Prompts]]:
        """The axis that the slices lie across, and what is pointed at on each of them.

        Raises:
            InputError: a position does not fit, a box spans several slices, or there are two on one.
        """
        axis = self.axis(options.axis)
        found: dict[int, Prompts] = {}
        for positions, positive in ((options.inside, True), (options.outside, False)):
            for position in positions:
                index, at = _on_slice(self.voxel(position, options), axis)
                now = found.get(index, Prompts())
                found[index] = replace(now, points=(*now.points, at), positive=(*now.positive, positive))
        for corners in options.box:
            half = len(corners) // 2
            ends = [_on_slice(self.voxel(end, options), axis) for end in (corners[:half], corners[half:])]
            index = ends[0][0]
            if ends[1][0] != index:
                raise InputError(f"A box lies on the slices {index} to {ends[1][0]}: give both corners on one slice.")
            if index in found and found[index].box is not None:
                raise InputError(f"There are two boxes on slice {index}: give one.")
            found[index] = replace(found.get(index, Prompts()), box=(*ends[0][1], *ends[1][1]))
        return axis, found

    def _asked(self) -> str:
        return "x y, from the left and from the top" if self.scan is None else "x y z"


def read_scene(path: Path, index: int | None = None) -> Scene:
    """A scan or a picture.

    Raises:
        InputError: it cannot be read; one sentence that names it.
    """
    if path.suffix.lower() in PICTURES:
        return Scene(path, read_picture(path, index)[None], None)
    scan, header = read_with_header(path, index=index)
    return Scene(path, scan.data, scan, header)


def read_picture(path: Path, index: int | None = None) -> np.ndarray:
    """Read a picture (rows, columns), or (rows, columns, 3 or 4) in color, the way up that its file says.

    Args:
        path: the picture.
        index: which page of a file of several, from 0; needed there.

    Raises:
        InputError: it cannot be read, or has several pages and none was chosen.
    """
    try:
        with Image.open(path) as picture:
            pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)  # MPO: a photo and its preview
            if index is None and pages > 1:
                raise InputError(f"{path} holds {pages} pages: choose one by its index, 0 to {pages - 1} (--index).")
            if index is not None and index >= pages:
                raise InputError(f"{path} has no page {index}: it holds {pages}, counted from 0.")
            picture.seek(index or 0)
            upright = ImageOps.exif_transpose(picture)
            plain = upright.convert("RGB") if upright.mode in {"P", "CMYK", "YCbCr", "LAB", "HSV"} else upright
            array = np.array(plain)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the path.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read as a picture: copy or export it again.") from error
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 2 else array  # grey and opacity


def read_mask(scene: Scene, options: PromptOptions) -> np.ndarray:
    """Where the object is drawn: bool, as the scene's array without colours.

    Raises:
        InputError: the file cannot be read, lies on another grid, or has nothing in it.
    """
    path = options.mask
    if path is None:
        return np.zeros(scene.array.shape[:3], bool)
    if scene.scan is None:
        values = read_picture(path)
        values = (values[..., :3].max(-1) if values.ndim == 3 else values)[None]
        fits = values.shape == scene.array.shape[:3]
    else:
        labels = read_labels(path)
        fits = same_grid(to_canonical(labels), to_canonical(scene.scan))
        values = resample_to(labels, scene.scan.shape, scene.scan.affine, order=0).data if fits else labels.data
    if not fits:
        raise InputError(f"{path} does not lie on the grid of {scene.path}: give a mask of its own size and place.")
    drawn = values != 0 if options.mask_label is None else values == options.mask_label
    if not drawn.any():
        what = "nothing" if options.mask_label is None else f"no label {options.mask_label}"
        raise InputError(f"There is {what} in {path}: choose another mask.")
    return drawn


def _on_slice(voxel: np.ndarray, axis: int) -> tuple[int, tuple[float, float]]:
    """The slice that a position lies on, and (row, column) there."""
    row, column = (float(voxel[other]) for other in range(3) if other != axis)
    return int(np.floor(voxel[axis] + 0.5)), (row, column)
