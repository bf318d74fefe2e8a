"""Crops without labels: of standardized scans, and of images generated from label maps.

Standardized scans (pre-train once, fine-tune many: section IV-A) are RAS at 1 mm in a box of 192^3, with intensities in
[0, 1]. The paper does not give the box's center and the limits of intensities; here the box lies around the middle of
the brain as estimated from the outline of the head, and the limits are the percentiles of the program's U-Nets.
`segment` does the same before it predicts in blocks.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from napari_synthseg.atomic_io import placed
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.scans import is_label_name
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.sample import apply
from napari_synthseg.inference.patches import crop_with_padding
from napari_synthseg.inference.preprocess import brain_center, prepare, rescale
from napari_synthseg.inference.sliding_window import field_start, pooled
from napari_synthseg.io import read_volume, stem
from napari_synthseg.io.finding import find_scans
from napari_synthseg.jobs import Progress
from napari_synthseg.training.data.synthetic import percentile_limits, random_index, rescaled
from napari_synthseg.volume import Volume

logger = logging.getLogger(__name__)

FOLDER = "standardised"
"""Folder in a run's for standardized scans, which are made once."""
FIELD = 192
"""Voxels along each side of a standardized volume (section IV-A)."""
PERCENTILES = (0.5, 99.5)
"""Of the head's intensities; they become 0 and 1."""


def standardize(volume: Volume, *, field: int = FIELD, spacing: int = 1, name: str = "The image") -> Volume:
    """Return a scan as (field, field, field) float32 in [0, 1], axes pointing right, anterior, superior; 0 beyond it.

    Args:
        volume: the scan, of any orientation and spacing.
        field: voxels along each side of the result.
        spacing: of its voxels, mm; a whole number. The paper's is 1.
        name: how messages call the scan.

    Raises:
        InputError: the scan is empty, constant or not 3D.
    """
    prepared = prepare(volume, name=name)
    image = pooled(torch.from_numpy(rescale(prepared.image, *PERCENTILES)), spacing)
    start = field_start(brain_center(prepared.image), spacing, field)
    affine = prepared.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (spacing * np.array(start) + (spacing - 1) / 2)
    affine[:3, :3] *= spacing
    return Volume(crop_with_padding(image, start, (field,) * 3).clone().numpy(), affine)


class StandardizedFile(NamedTuple):
    """A standardized scan: its name, and a file with an array of float16."""

    name: str
    path: Path


def standardized_steps(
    scans: Sequence[Path], folder: Path, field: int, spacing: int
) -> Generator[Progress, None, list[StandardizedFile]]:
    """Standardize scans once, into files of a folder that crops are read from; unreadable ones are skipped.

    Raises:
        InputError: none of them can be read.
    """
    done: list[StandardizedFile] = []
    for number, scan in enumerate(scans):
        yield Progress("standardizing scans", number, len(scans))
        mark = hashlib.sha256(str(scan.absolute()).encode()).hexdigest()[:8]
        file = folder / f"{stem(scan)}-{mark}-{field}-{spacing}mm.npy"
        if not file.exists():
            try:
                made = standardize(read_volume(scan), field=field, spacing=spacing, name=scan.name)
            except InputError as error:
                logger.warning("%s", error)
                continue
            with placed(file) as part, part.open("wb") as opened:
                np.save(opened, made.data.astype(np.float16))
        done.append(StandardizedFile(stem(scan), file))
    if not done:
        raise InputError("None of the scans can be used: read the warnings above.")
    yield Progress("standardizing scans", len(scans), len(scans))
    return done


def unlabelled(folder: Path) -> list[Path]:
    """Find the scans below a folder, except files named as labels; an `InputError` if there are none."""
    found = [path for path in find_scans([folder]) if not is_label_name(path)]
    if not found:
        raise InputError(f"{folder} contains label files only, by their names: give a folder of scans.")
    return found


CropSource = Callable[[torch.Generator], torch.Tensor]
"""Draws a crop (edge, edge, edge), float32 in [0, 1], which depends on the generator alone."""


def scan_crops(files: Sequence[StandardizedFile], edge: int, device: torch.device | str = "cpu") -> CropSource:
    """Return a source of crops of standardized scans, read from their files as needed."""

    def draw(g: torch.Generator) -> torch.Tensor:
        whole = np.load(files[random_index(len(files), g)].path, mmap_mode="r")
        start = _start(whole.shape[0], edge, g)
        part = whole[tuple(slice(a, a + edge) for a in start)]
        return torch.from_numpy(np.array(part, np.float32)).to(device)

    return draw


def generated_crops(
    maps: Sequence[LabelMap],
    priors: GenerativeModel,
    field: int,
    edge: int,
    spacing: float = 1.0,
    device: torch.device | str = "cpu",
) -> CropSource:
    """Return a source of crops of images of the generative model, each of another head.

    `field` and `edge` are the voxels along each side of the box around the brain, and of the crops in it; `spacing` is
    that of the voxels, mm.
    """
    maps, spacing = [m.to(device) for m in maps], float(spacing)

    def draw(g: torch.Generator) -> torch.Tensor:
        label_map = maps[random_index(len(maps), g)]
        record = priors.sample(label_map, g)
        box, start = Grid.centered((field,) * 3, spacing), _start(field, edge, g)
        origin = tuple(o + a * spacing for o, a in zip(box.origin, start, strict=True))
        image = apply(record, label_map, Grid((edge,) * 3, spacing, origin)).image  # type: ignore[arg-type]
        low, high = (p / 100 for p in PERCENTILES)
        return rescaled(image, percentile_limits(image, low, high))

    return draw


def mixed_crops(scans: CropSource, generated: CropSource, fraction: float) -> CropSource:
    """Return a source of both, with a fraction of generated crops."""
    return lambda g: (generated if float(torch.rand((), generator=g)) < fraction else scans)(g)


def _start(field: int, edge: int, g: torch.Generator) -> list[int]:
    return torch.randint(field - edge + 1, (3,), generator=g).tolist()
