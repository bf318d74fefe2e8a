"""Manifests of small pictures, written for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SHAPE = (32, 48)


def square(row: int = 8, column: int = 10, size: int = 12) -> np.ndarray:
    """A mask."""
    mask = np.zeros(SHAPE, bool)
    mask[row : row + size, column : column + size] = True
    return mask


def write_picture(path: Path, values: np.ndarray) -> None:
    """Numbers, or a mask, as PNG."""
    Image.fromarray(values.astype(np.uint8) * (255 if values.dtype == bool else 1)).save(path)


def write_manifest(
    folder: Path, images: int = 1, masks: int = 1, modality: str = "CT", dataset: str = "A", append: bool = False
) -> Path:
    """`images` pictures of noise with `masks` squares each: N.png and N_M.png, in lines of manifest.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.csv"
    lines = path.read_text().splitlines() if append else ["modality,dataset,image,mask"]
    first = len({line.split(",")[2] for line in lines[1:]})
    for number in range(first, first + images):
        values = np.random.default_rng(number).integers(0, 255, SHAPE, np.uint8)
        write_picture(folder / f"{number}.png", values)
        for other in range(masks):
            write_picture(folder / f"{number}_{other}.png", square(column=10 + 4 * other))
            lines.append(f"{modality},{dataset},{number}.png,{number}_{other}.png")
    path.write_text("\n".join(lines) + "\n")
    return path
