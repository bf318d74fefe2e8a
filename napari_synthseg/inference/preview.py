"""A picture of a segmentation: slices in three planes with colored outlines, to see at a glance whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import placed
from napari_synthseg.volume import Volume, bounding_box, to_canonical

MARGIN_MM = 15.0
PIXELS_PER_MM = 1.5
FILL = 0.35
PLANES = (("axial", 2, 0, 1, "R"), ("coronal", 1, 0, 2, "R"), ("sagittal", 0, 1, 2, "A"))
"""Name, axis across, axes shown from left to right and from bottom to top, and what the right edge is."""


def write_preview(path: Path | str, image: Volume, labels: Volume, *, columns: int = 6, title: str = "") -> None:
    """Write a PNG mosaic: one row a plane, left on the left.

    Args:
        path: the PNG to write; it appears complete or not at all.
        image: the scan.
        labels: FreeSurfer values on the same grid as the scan.
        columns: slices a plane.
        title: written above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture, places = mosaic(image, labels, columns)
    height, width = picture.shape[:2]
    head = 26
    figure = Figure(figsize=(width / 100, (height + head) / 100), dpi=100, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    figure.figimage(picture, 0, 0)
    style: dict[str, Any] = {"color": "white", "fontsize": 9, "va": "center"}
    figure.text(0.005, 1 - head / 2 / (height + head), title, ha="left", **style)
    for letter, x, y in places:
        figure.text(x / width, (height - y) / (height + head), letter, ha="center", **style)
    with placed(path) as part, part.open("wb") as file:
        canvas.print_png(file)


def mosaic(image: Volume, labels: Volume, columns: int = 6) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Make the picture (rows, columns, 3) uint8, and its letters, (letter, x, y) in pixels from the top left."""
    image, labels = to_canonical(image), to_canonical(labels)
    mask = labels.data > 0
    box = bounding_box(mask) or tuple(slice(0, n) for n in mask.shape)
    spacing = image.spacing
    view = []
    for side, n, mm in zip(box, mask.shape, spacing, strict=True):
        margin = int(np.ceil(MARGIN_MM / mm))
        view.append(slice(max(0, side.start - margin), min(n, side.stop + margin)))
    inner = image.data[tuple(view)]
    low, high = _window(inner, mask[tuple(view)])
    rows, places, top = [], [], 0
    for _, across, right, up, letter in PLANES:
        tiles = [
            _tile(image.data, labels.data, index, (across, right, up), view, spacing, (low, high))
            for index in _slices(box[across], columns)
        ]
        row = np.concatenate(tiles, 1)
        tile = tiles[0].shape[1]
        middle = top + row.shape[0] / 2
        places += [(letter, tile - 8, middle), ({"R": "L", "A": "P"}[letter], 8, middle)]
        rows.append(row)
        top += row.shape[0]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]), places


def _window(image: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Return the intensities shown as black and white: those of the labels (on CT, the skull has a far wider range)."""
    low, high = np.percentile(image[mask] if mask.any() else image, (1, 99.5))
    spare = 0.1 * (high - low)
    return float(low - spare), float(high + spare)


def _slices(side: slice, count: int) -> np.ndarray:
    """Return evenly spaced indices through a box, away from its ends."""
    places = (np.arange(count) + 0.75) / (count + 0.5)
    return np.unique(np.clip((side.start + places * (side.stop - side.start)).astype(int), side.start, side.stop - 1))


def _tile(
    image: np.ndarray,
    labels: np.ndarray,
    index: int,
    axes: tuple[int, int, int],
    view: Sequence[slice],
    spacing: np.ndarray,
    window: tuple[float, float],
) -> np.ndarray:
    """Draw one slice in color, (rows from the top, columns, 3) uint8."""
    across, right, up = axes
    where = list(view)
    where[across] = slice(index, index + 1)
    order = (up, right, across)
    gray = image[tuple(where)].transpose(order)[::-1, :, 0].astype(np.float32)
    label = labels[tuple(where)].transpose(order)[::-1, :, 0]
    rows, columns = (
        np.minimum((np.arange(max(1, round(n * mm * PIXELS_PER_MM))) / (mm * PIXELS_PER_MM)).astype(int), n - 1)
        for n, mm in zip(gray.shape, (spacing[up], spacing[right]), strict=True)
    )
    gray, label = gray[np.ix_(rows, columns)], label[np.ix_(rows, columns)]
    gray = np.clip((gray - window[0]) / max(window[1] - window[0], 1e-12), 0, 1) * 255
    out = np.repeat(gray[..., None], 3, axis=2)
    edge = np.zeros(label.shape, bool)
    edge[:-1] |= label[:-1] != label[1:]
    edge[:, :-1] |= label[:, :-1] != label[:, 1:]
    for value in np.unique(label[label != 0]):
        color = np.array(anatomy.color(int(value)), np.float32)
        here = label == value
        inner = here & ~edge
        out[inner] = (1 - FILL) * out[inner] + FILL * color
        out[here & edge] = color
    return out.astype(np.uint8)
