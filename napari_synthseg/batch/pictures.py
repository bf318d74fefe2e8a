"""A small picture of each scan with its labels, for the report of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from napari_synthseg.io import stem

if TYPE_CHECKING:
    from napari_synthseg.volume import Volume

COLUMNS = 3
"""Slices of each plane."""
WIDTH = 480
"""Pixels."""


def thumbnail_path(target: Path) -> Path:
    """Where the small picture of a label file stands."""
    return target.with_name(f"{stem(target)}.jpg")


def write_thumbnail(path: Path, scan: Volume, labels: Volume) -> None:
    """Write a JPEG of slices in three planes, left on the left.

    Args:
        path: the file.
        scan: what was segmented.
        labels: on the scan's grid, or another.
    """
    from napari_synthseg.inference.outputs import resampled
    from napari_synthseg.inference.preview import mosaic
    from napari_synthseg.volume import same_grid

    shown = scan if same_grid(scan, labels) else resampled(scan, labels)
    picture, _ = mosaic(shown, labels, COLUMNS)
    image = Image.fromarray(picture)
    if image.width > WIDTH:
        image = image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))), Image.Resampling.LANCZOS)
    image.save(path, format="JPEG", quality=80, optimize=True)
