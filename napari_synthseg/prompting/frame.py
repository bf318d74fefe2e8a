"""An image as a promptable model sees it, exactly as SAM prepares it, and the way of positions and masks to and fro.

SAM resizes the image so that its longer side has 1024 pixels, normalises it and pads it to a square; prompts follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from napari_synthseg.errors import InputError
from napari_synthseg.prompting.window import percentiles

IMAGE_SIZE = 1024
"""Pixels of the longer side after resizing, if the model has no other."""


@dataclass(frozen=True)
class Frame:
    """How an image lies in the square that the model sees: resized, at the top left.

    Positions of images are (row, column) with pixel centres at whole numbers; those of the model are (x, y), which SAM
    gets by scaling alone.
    """

    shape: tuple[int, int]
    """Rows and columns of the image."""
    size: int = IMAGE_SIZE
    """Pixels a side of the square."""
    pixel: tuple[float, float] = (1.0, 1.0)
    """Height and width of a pixel of the image, in any unit: things are seen in their true proportions."""

    @property
    def resized(self) -> tuple[int, int]:
        """Rows and columns that the image has in the square."""
        lengths = [count * side / max(self.pixel) for count, side in zip(self.shape, self.pixel, strict=True)]
        scale = self.size / max(lengths)
        rows, columns = (max(1, int(length * scale + 0.5)) for length in lengths)
        return rows, columns

    def to_model(self, positions: np.ndarray) -> np.ndarray:
        """Positions (..., 2) as (row, column) of the image -> (..., 2) as (x, y) of the square, float32."""
        scale = np.array(self.resized) / np.array(self.shape)
        return (np.asarray(positions, dtype=np.float64) * scale)[..., ::-1].astype(np.float32)

    def box_to_model(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """(row0, column0, row1, column1), in either order of the corners -> (x0, y0, x1, y1), float32."""
        corners = np.sort(np.reshape(np.asarray(box, dtype=np.float64), (2, 2)), axis=0)
        return self.to_model(corners).reshape(4)

    def to_image(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (B, M, h, w) of the decoder -> (B, M, rows, columns) of the image, bilinear; above 0 is inside."""
        full = F.interpolate(logits, (self.size, self.size), mode="bilinear", align_corners=False)
        rows, columns = self.resized
        return F.interpolate(full[..., :rows, :columns], self.shape, mode="bilinear", align_corners=False)

    def mask_to_model(self, mask: np.ndarray, logit: float = 10.0) -> torch.Tensor:
        """A mask (rows, columns) of the image -> (1, 1, size / 4, size / 4), what the prompt encoder takes.

        Args:
            mask: bool, or how probable inside is, 0-1.
            logit: how sure inside is; outside is as sure of the contrary.
        """
        covered = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
        inside = F.interpolate(covered, self.resized, mode="bilinear", align_corners=False)
        padded = F.pad(inside, (0, self.size - self.resized[1], 0, self.size - self.resized[0]))
        return (F.avg_pool2d(padded, 4) * 2 - 1) * logit


def to_rgb(image: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """An image of any kind of numbers as red, green and blue in 0-255.

    Bytes are taken as they are. Other numbers are windowed: from the 0.5th to the 99.5th percentile of those that are
    finite; what is not finite becomes black.

    Args:
        image: (rows, columns), or (rows, columns, 3 or 4); a fourth channel, opacity, is left out.
        window: values that become black and white, if they are known.

    Returns:
        (rows, columns, 3), uint8.

    Raises:
        InputError: it has another shape, or no pixels.
    """
    array = np.asarray(image)
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {3, 4}) or array.size == 0:
        raise InputError(
            f"An image of the shape {array.shape} cannot be prompted: give one slice (rows, columns), grey or RGB."
        )
    if np.iscomplexobj(array):
        raise InputError("An image of complex numbers cannot be prompted: give their magnitude.")
    if array.ndim == 3:
        array = array[..., :3]
    if array.dtype != np.uint8 or window is not None:
        array = _windowed(array, window)
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array


def to_tensor(rgb: np.ndarray, frame: Frame) -> torch.Tensor:
    """(rows, columns, 3) in 0-255 -> (1, 3, H, W) for `Promptable.encode`: resized as SAM does, by Pillow, bilinear."""
    rows, columns = frame.resized
    resized = Image.fromarray(np.ascontiguousarray(rgb)).resize((columns, rows), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float()


def _windowed(array: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    values = array.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(array.shape, np.uint8)
    low, high = window if window is not None else percentiles(values[finite])
    scaled = (np.where(finite, values, low) - low) / max(high - low, float(np.finfo(np.float32).tiny))
    return (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)
