"""Crops without labels: of standardized scans, and of images generated from label maps."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from napari_synthseg.atomic_io import placed
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.scans import is_label_name
from napari_synthseg.generator.brains import apply
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.io import read_volume, stem
from napari_synthseg.io.finding import find_scans
from napari_synthseg.jobs import Progress
from napari_synthseg.training.data.standardize import PERCENTILES, standardize
from napari_synthseg.training.data.synthetic import percentile_limits, rescaled

logger = logging.getLogger(__name__)

FOLDER = "standardised"
"""Folder in a run's for standardized scans, which are made once."""


class CropSource(Protocol):
    """A source of crops."""

    def draw(self, g: torch.Generator) -> torch.Tensor:
        """Draw a crop (edge, edge, edge), float32 in [0, 1]; it depends on the generator alone."""


class ScanCrops:
    """Crops of standardized scans, read from their files as needed.

    Args:
        files: written by `standardized_steps`.
        edge: voxels along each side of the crops.
        device: of the crops.
    """

    def __init__(self, files: Sequence[Path], edge: int, device: torch.device | str = "cpu") -> None:
        self.files, self.edge, self.device = list(files), edge, device

    def draw(self, g: torch.Generator) -> torch.Tensor:
        whole = np.load(self.files[_pick(len(self.files), g)], mmap_mode="r")
        start = _start(whole.shape[0], self.edge, g)
        part = whole[tuple(slice(a, a + self.edge) for a in start)]
        return torch.from_numpy(np.array(part, np.float32)).to(self.device)


class GeneratedCrops:
    """Crops of images of the generative model, each of another head.

    Args:
        maps: label maps.
        priors: of the generative model.
        field: voxels along each side of the box around the brain that crops are taken from.
        edge: voxels along each side of the crops.
        spacing: of the voxels, mm.
        device: of the crops.
    """

    def __init__(
        self,
        maps: Sequence[LabelMap],
        priors: GenerativeModel,
        field: int,
        edge: int,
        spacing: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.maps, self.priors = [m.to(device) for m in maps], priors
        self.field, self.edge, self.spacing = field, edge, float(spacing)

    def draw(self, g: torch.Generator) -> torch.Tensor:
        label_map = self.maps[_pick(len(self.maps), g)]
        record = self.priors.sample(label_map, g)
        box = Grid.centered((self.field,) * 3, self.spacing)
        start = _start(self.field, self.edge, g)
        origin = tuple(o + a * self.spacing for o, a in zip(box.origin, start, strict=True))
        image = apply(record, label_map, Grid((self.edge,) * 3, self.spacing, origin)).image  # type: ignore[arg-type]
        low, high = (p / 100 for p in PERCENTILES)
        return rescaled(image, percentile_limits(image, low, high))


class MixedCrops:
    """Crops of scans and of generated images.

    Args:
        scans: crops of scans.
        generated: crops of generated images.
        fraction: of generated crops.
    """

    def __init__(self, scans: CropSource, generated: CropSource, fraction: float) -> None:
        self.scans, self.generated, self.fraction = scans, generated, fraction

    def draw(self, g: torch.Generator) -> torch.Tensor:
        generated = float(torch.rand((), generator=g)) < self.fraction
        return (self.generated if generated else self.scans).draw(g)


def _pick(count: int, g: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=g))


def _start(field: int, edge: int, g: torch.Generator) -> list[int]:
    return torch.randint(field - edge + 1, (3,), generator=g).tolist()


def unlabelled(folder: Path) -> list[Path]:
    """Find the scans below a folder, except files named as labels.

    Raises:
        InputError: there are none.
    """
    found = [path for path in find_scans([folder]) if not is_label_name(path)]
    if not found:
        raise InputError(f"{folder} contains label files only, by their names: give a folder of scans.")
    return found


def held_apart(names: Sequence[str], hold_out: Sequence[str]) -> list[bool]:
    """Tell which names are kept for validation: those asked for, or the last tenth, at least one of two."""
    asked = [name in hold_out for name in names]
    if any(asked) or len(names) < 2:
        return asked
    last = max(1, len(names) // 10)
    return [i >= len(names) - last for i in range(len(names))]


def standardized_steps(
    scans: Sequence[Path], folder: Path, field: int, spacing: int
) -> Generator[Progress, None, list[Path]]:
    """Standardize scans once, into files of float16 that crops are read from; existing files stay.

    Args:
        scans: files of scans; unreadable ones are skipped with a warning.
        folder: for the files.
        field: see `standardize`.
        spacing: see `standardize`.

    Raises:
        InputError: none of them can be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done: list[Path] = []
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
        done.append(file)
    if not done:
        raise InputError("None of the scans can be used: read the warnings above.")
    yield Progress("standardizing scans", len(scans), len(scans))
    return done
