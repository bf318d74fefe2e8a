"""The image of a prompt job: a scan, or a picture as a volume of one slice; positions and masks given in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from napari_synthseg.errors import InputError
from napari_synthseg.io import FileHeader, read_labels, read_with_header
from napari_synthseg.prompting.options import PromptOptions
from napari_synthseg.prompting.prompts import Prompts, with_lasso, with_scribble
from napari_synthseg.volume import Volume, resample_to, same_grid, to_canonical

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
ISOTROPY = 1.05
"""Spacings that differ by less than this factor count as equal."""


@dataclass(frozen=True, eq=False)
class PromptTarget:
    """A scan, or a picture as a volume of one slice."""

    path: Path
    array: np.ndarray
    """(X, Y, Z) of a scan; (1, rows, columns) of a picture, with 3 or 4 channels if it is in color."""
    scan: Volume | None = None
    """None for a picture."""
    header: FileHeader | None = None
    """Of the scan's file."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances between voxels, mm; 1 for pictures."""
        if self.scan is None:
            return 1.0, 1.0, 1.0
        x, y, z = (float(length) for length in self.scan.spacing)
        return x, y, z

    def axis(self, plane: str) -> int:
        """Return the axis across which the slices of a plane lie (sagittal, coronal, axial or auto)."""
        if self.scan is None:
            return 0
        if plane == "auto":
            thick = [axis for axis in range(3) if self.spacing[axis] * ISOTROPY >= max(self.spacing)]
            if len(thick) == 1:
                return thick[0]
            plane = "axial"
        letters = {"sagittal": "RL", "coronal": "AP", "axial": "SI"}[plane]
        return next(axis for axis, code in enumerate(self.scan.axcodes) if code in letters)

    def voxel(self, position: tuple[float, ...], options: PromptOptions) -> np.ndarray:
        """Convert a position to voxels of the array, (3,) float64; InputError if it does not fit, or lies outside."""
        given = " ".join(f"{value:g}" for value in position)
        if len(position) != (2 if self.scan is None else 3):
            form = "x y, from the left and from the top" if self.scan is None else "x y z"
            raise InputError(f"The position {given} does not fit {self.path}: give {form}.")
        if self.scan is None:
            voxel = np.array([0.0, position[1], position[0]])
        elif options.coordinates == "mm":
            voxel = np.linalg.solve(self.scan.affine, np.array([*position, 1.0]))[:3]
        else:
            voxel = np.array(position, np.float64)
        shape = np.array(self.array.shape[:3])
        if not ((voxel >= -0.5) & (voxel < shape - 0.5)).all():
            size = " x ".join(map(str, shape if self.scan is not None else shape[:0:-1]))
            unit = "voxels" if self.scan is not None else "pixels"
            raise InputError(f"The position {given} lies outside of {self.path}, which has {size} {unit}: check it.")
        return voxel

    def prompts(self, options: PromptOptions) -> tuple[int, dict[int, Prompts]]:
        """Return the axis across which the slices lie, and the prompts of each slice.

        Raises:
            InputError: a position does not fit, a box or a stroke spans several slices, or a slice has two boxes.
        """
        axis = self.axis(options.axis)
        found: dict[int, Prompts] = {}
        for points, positive in ((options.inside, True), (options.outside, False)):
            for point in points:
                index, position = _on_slice(self.voxel(point, options), axis)
                found[index] = found.get(index, Prompts()).with_points([position], positive)
        for box in options.box:
            half = len(box) // 2
            index, ends = self._one_slice([box[:half], box[half:]], "box", options, axis)
            if index in found and found[index].box is not None:
                raise InputError(f"There are two boxes on slice {index}: give one.")
            found[index] = replace(found.get(index, Prompts()), box=(*ends[0], *ends[1]))
        rows, columns = (length for other, length in enumerate(self.array.shape[:3]) if other != axis)
        for noun, drawings, positive in (
            ("scribble", options.scribble, True),
            ("scribble", options.scribble_outside, False),
            ("lasso", options.lasso, True),
            ("lasso", options.lasso_outside, False),
        ):
            for drawing in drawings:
                step = 2 if self.scan is None else 3
                corners = [drawing[start : start + step] for start in range(0, len(drawing), step)]
                index, path = self._one_slice(corners, noun, options, axis)
                prompts = found.get(index, Prompts())
                if noun == "lasso" and len(path) < 3:
                    raise InputError("A lasso has fewer than three corners: give three or more.")
                found[index] = (
                    with_scribble(prompts, path, positive) if noun == "scribble"
                    else with_lasso(prompts, path, positive, (rows, columns))
                )  # fmt: skip
        return axis, found

    def _one_slice(
        self, positions: list[tuple[float, ...]], noun: str, options: PromptOptions, axis: int
    ) -> tuple[int, list[tuple[float, float]]]:
        """Return the slice that positions share, and their (row, column)."""
        placed = [_on_slice(self.voxel(position, options), axis) for position in positions]
        first, last = placed[0][0], max(placed, key=lambda at: abs(at[0] - placed[0][0]))[0]
        if first != last:
            raise InputError(f"A {noun} lies on the slices {first} to {last}: give all of it on one slice.")
        return first, [position for _, position in placed]


def read_target(path: Path, index: int | None = None) -> PromptTarget:
    """Read a scan or a picture."""
    if path.suffix.lower() in PICTURES:
        return PromptTarget(path, read_picture(path, index)[None])
    scan, header = read_with_header(path, index=index)
    return PromptTarget(path, scan.data, scan, header)


def read_picture(
    path: Path, index: int | None = None, remedy: str = "", *, palette: bool = True, noun: str = "picture"
) -> np.ndarray:
    """Read a picture (rows, columns), or (rows, columns, 3 or 4) in color, turned as its file says.

    Args:
        path: the picture.
        index: page of a file that holds several, from 0.
        remedy: if a page cannot be chosen.
        palette: replace numbers of colors by these.
        noun: how messages call it.

    Raises:
        InputError: it cannot be read, or holds several pages and no index is given.
    """
    try:
        picture = Image.open(path)
    except FileNotFoundError:
        raise InputError(f"The {noun} {path} does not exist: check the path.") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture: copy or export it again.") from error
    with picture:
        pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)  # MPO: a photo and its preview
        if index is None and pages > 1:
            choose = remedy or f"choose one by its index, 0 to {pages - 1} (--index)"
            raise InputError(f"{path} holds {pages} pages: {choose}.")
        if index is not None and not 0 <= index < pages:
            raise InputError(f"{path} has no page {index}: it holds {pages}, counted from 0.")
        try:
            picture.seek(index or 0)
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
            upright = ImageOps.exif_transpose(picture) if turned else picture
            colors = {"CMYK", "YCbCr", "LAB", "HSV", "PA"} | ({"P"} if palette else set())
            array = np.array(upright.convert("RGB") if upright.mode in colors else upright)
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path} is damaged: copy or export it again.") from error
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 2 else array  # gray and opacity


def read_mask(target: PromptTarget, options: PromptOptions) -> np.ndarray:
    """Read the mask that the options name: bool, of the target's shape without channels; empty if they name none."""
    path, shape = options.mask, target.array.shape[:3]
    if path is None:
        return np.zeros(shape, bool)
    if target.scan is None:
        values = read_picture(path, remedy="save the page of the mask as a file of its own")
        values = (values[..., :3].max(-1) if values.ndim == 3 else values)[None]
        fits = values.shape == shape
    else:
        labels = read_labels(path)
        fits = same_grid(to_canonical(labels), to_canonical(target.scan))
        values = resample_to(labels, target.scan.shape, target.scan.affine, order=0).data if fits else labels.data
    if not fits:
        raise InputError(f"{path} does not lie on the grid of {target.path}: give a mask of its own size and place.")
    drawn = values != 0 if options.mask_label is None else values == options.mask_label
    if not drawn.any():
        missing = "nothing" if options.mask_label is None else f"no label {options.mask_label}"
        raise InputError(f"There is {missing} in {path}: choose another mask.")
    return drawn


def _on_slice(voxel: np.ndarray, axis: int) -> tuple[int, tuple[float, float]]:
    """Return the slice on which a voxel lies, and its (row, column) there."""
    row, column = (float(voxel[other]) for other in range(3) if other != axis)
    return int(np.floor(voxel[axis] + 0.5)), (row, column)
