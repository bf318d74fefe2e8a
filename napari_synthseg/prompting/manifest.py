"""A list of images and masks to measure promptable models on: a CSV table, checked before any work is done."""

from __future__ import annotations

import csv
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress

COLUMNS = ("modality", "dataset", "image", "mask")
"""What the table must have; other columns are left alone."""
_AS_THEY_ARE = {"1", "L", "I", "F", "RGB", "RGBA"}
"""Pillow's modes whose pixels a session takes; there are also those of 16 bits, which begin with "I;"."""


@dataclass(frozen=True)
class Case:
    """A structure to segment: a line of a manifest."""

    modality: str
    dataset: str
    image: str
    """As the manifest says: a path relative to it."""
    mask: str
    """The same; what is above 0 is the structure."""
    folder: Path
    where: str
    """The line, in words fit for a message."""

    @property
    def image_path(self) -> Path:
        return self.folder / self.image

    @property
    def mask_path(self) -> Path:
        return self.folder / self.mask


def read_manifest(path: Path | str) -> list[Case]:
    """The cases of a manifest, in its order; the files that it names are not looked at.

    Args:
        path: a CSV file with the columns modality, dataset, image and mask.

    Raises:
        InputError: it cannot be read, a column is missing, a cell is empty, or it has no lines.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}: give a CSV table with the columns {', '.join(COLUMNS)}.")
    cases = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or [])]
            if missing:
                raise InputError(
                    f"{path.name} has no column {missing[0]!r}: its first line must name {', '.join(COLUMNS)}."
                )
            for line in table:
                where = f"line {table.line_num} of {path.name}"
                cells = {name: (line[name] or "").strip() for name in COLUMNS}
                empty = next((name for name in COLUMNS if not cells[name]), None)
                if empty is not None:
                    raise InputError(f"The column {empty!r} is empty in {where}: fill it in.")
                cases.append(Case(**cells, folder=path.parent, where=where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV table ({error}): save it as CSV in UTF-8.") from error
    if not cases:
        raise InputError(f"{path.name} lists no images: give each mask a line below the columns' names.")
    return cases


def check(cases: list[Case]) -> Generator[Progress, None, None]:
    """Look at all files of a manifest, so that a bad line is known before the work and not after hours of it.

    Raises:
        InputError: a file is missing or is no image, a mask is empty, or has another shape than its image.
    """
    for done, case in enumerate(cases):
        yield Progress("checking", done, len(cases))
        with _open(case.image_path, "image", case) as image:
            columns, rows = image.size
        mask = read_mask(case)
        if mask.shape != (rows, columns):
            raise InputError(
                f"The mask {case.mask} has {mask.shape[0]} x {mask.shape[1]} pixels and its image {rows} x {columns} "
                f"({case.where}): give a mask of the image's shape."
            )
        if not mask.any():
            raise InputError(f"The mask {case.mask} is empty ({case.where}): remove the line.")
    yield Progress("checking", len(cases), len(cases))


def read_image(case: Case) -> np.ndarray:
    """The image of a case: (rows, columns) or (rows, columns, 3 or 4), as a session takes it.

    Raises:
        InputError: it is missing or is no image.
    """
    image = _open(case.image_path, "image", case)
    plain = image.mode in _AS_THEY_ARE or image.mode.startswith("I;")
    return _pixels(image if plain else image.convert("RGB"), case.image, case)


def read_mask(case: Case) -> np.ndarray:
    """The mask of a case: (rows, columns), bool; of a mask in colour any channel counts, opacity does not.

    Raises:
        InputError: it is missing or is no image.
    """
    mask = _open(case.mask_path, "mask", case)
    values: np.ndarray = _pixels(mask, case.mask, case) > 0
    if values.ndim == 2:
        return values
    colours = values[..., :-1] if mask.mode in {"LA", "PA", "RGBA"} else values
    return np.any(colours, axis=-1)


def _open(path: Path, what: str, case: Case) -> Image.Image:
    if not path.is_file():
        raise InputError(f"The {what} {path} does not exist ({case.where}): paths are relative to the manifest.")
    try:
        return Image.open(path)
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"The {what} {path.name} cannot be read as a picture ({case.where}): {error}.") from error


def _pixels(image: Image.Image, name: str, case: Case) -> np.ndarray:
    try:
        return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{name} is damaged ({case.where}): copy it again.") from error
