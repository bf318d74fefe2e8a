"""SynthSeg's generative model of brains (section 3.1, Figure 3): a record and a label map become image and target.

And synthetic scans as volumes: label maps read, samples made and placed in space.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.head import Grid, HeadState, crop_grid, full_grid
from napari_synthseg.generator.labelmap import LabelMap, prepare
from napari_synthseg.generator.model import GenerativeModel, Record, run
from napari_synthseg.generator.presets import load_priors
from napari_synthseg.volume import Volume, check_extent, resample_labels_to, to_canonical


def apply(record: Record, label_map: LabelMap, grid: Grid, limits: tuple[float, float] | None = None) -> HeadState:
    """Make the finished head that a record, drawn with this map's table, describes: its image and its labels.

    It is computed on the label map's device. `limits` are intensities before gamma that become 0 and 1, by default the
    image's own extremes; pass a whole head's limits to make a crop of it.
    """
    return run(record, HeadState.of_map(label_map, grid, limits))


def deformed(record: Record, label_map: LabelMap, grid: Grid) -> HeadState:
    """Return the head with its deformed labels and their tables, before it has an image (eq. 10)."""
    return run(record, HeadState.of_map(label_map, grid), until="labels")


def steady_limits(record: Record, head: HeadState, grid: Grid) -> tuple[float, float] | None:
    """Return limits that make voxels larger than 1 mm as bright as those of 1 mm; None if they are not larger.

    Averaged voxels are less noisy and have milder extremes, so their own would stretch the contrast. Only the image of
    the head, whose labels are deformed, is changed.
    """
    if grid.spacing <= 1.0:
        return None
    n = max(head.labels.numel(), 2)
    # How far out the extremes of as many normals as there are voxels of 1 mm lie.
    head.noise_scale = (math.log(n * grid.spacing**3) / math.log(n)) ** 0.5
    image = run(record, head, after="labels", until="clip").image
    head.noise_scale = grid.noise_scale
    return image.min().item(), image.max().item()


def apply_batch(
    records: Sequence[Record], label_maps: Sequence[LabelMap], grids: Sequence[Grid], values: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make samples of one shape: images (B, 1, X, Y, Z) float32, targets (B, X, Y, Z) uint8 channels of `values`."""
    made = [apply(*each) for each in zip(records, label_maps, grids, strict=True)]
    return torch.stack([s.image for s in made])[:, None], torch.stack([s.target(values) for s in made])


# Volumes


@dataclass(frozen=True)
class Synthesized:
    """One synthetic scan."""

    image: Volume
    """(X, Y, Z) float32 in [0, 1]."""
    labels: Volume
    """(X, Y, Z) int32, the segmentation target in FreeSurfer values, on the image's grid."""
    record: Record
    """The parameters it was made with; `replay` makes it again."""


def prepared(source: Volume | LabelMap | str | os.PathLike) -> tuple[LabelMap, np.ndarray]:
    """Return a label map ready for generation, and the affine of the (canonical) array it came from.

    Anisotropic maps are resampled to the smallest of their spacings.

    Raises:
        InputError: it cannot be read, is no label map, or extends too far.
    """
    if isinstance(source, LabelMap):
        affine = np.diag([source.spacing] * 3 + [1.0])
        affine[:3, 3] = [-(c + o) * source.spacing for c, o in zip(source.center, source.offset, strict=True)]
        return source, affine
    name = "The label map"
    if not isinstance(source, Volume):
        from napari_synthseg.io import read_labels

        name = Path(source).name
        source = read_labels(Path(source))
    volume = to_canonical(source)
    spacing = np.asarray(volume.spacing, dtype=float)
    check_extent(volume, min(1.0, float(spacing.min())), name)  # fields and slices are drawn in mm
    if np.ptp(spacing) > 0.02 * spacing.min():
        finest = float(spacing.min())
        shape = tuple(int(np.ceil(n * s / finest)) for n, s in zip(volume.shape, spacing, strict=True))
        affine = volume.affine @ np.diag([*(finest / spacing), 1.0])
        affine[:3, 3] += volume.affine[:3, :3] @ (0.5 * (finest / spacing - 1.0))
        volume = resample_labels_to(volume, shape, affine)
    return prepare(volume.data, spacing=float(np.mean(volume.spacing)), name=name), volume.affine


def replay(
    record: Record,
    label_map: LabelMap,
    affine: np.ndarray,
    shape: Sequence[int] | None = None,
    spacing: float | None = None,
) -> Synthesized:
    """Make the scan that a record describes, on the label map's device.

    `affine` is that of the array the map came from; see `sample_grid` for shape and spacing.
    """
    grid = sample_grid(record, label_map, shape, spacing)
    head = deformed(record, label_map, grid)
    head.limits = steady_limits(record, head, grid)
    run(record, head, after="labels")
    table = np.array(head.target_table(), dtype=np.int32)
    placed = placed_affine(grid, label_map, affine)
    image = Volume(head.image.cpu().numpy(), placed)
    return Synthesized(image, Volume(table[head.labels.cpu().numpy()], placed), record)


def sample_grid(
    record: Record, label_map: LabelMap, shape: Sequence[int] | None = None, spacing: float | None = None
) -> Grid:
    """Return the grid of a sample: the map's, or a crop of `shape` voxels at its spacing.

    `spacing` (mm) is the voxel size of a quick look at the same field of view; InputError if it is not positive.
    """
    own = label_map.spacing
    grid = full_grid(label_map) if shape is None else crop_grid(label_map, shape, record["crop"]["at"], own)
    if spacing is None or spacing == own:
        return grid
    if not spacing > 0:
        raise InputError(f"The voxel size must be positive, not {spacing:g} mm.")
    size = tuple(max(1, round(n * own / spacing)) for n in grid.shape)
    return Grid(size, float(spacing), tuple(o + 0.5 * (spacing - own) for o in grid.origin))  # type: ignore[arg-type]


def placed_affine(grid: Grid, label_map: LabelMap, affine: np.ndarray) -> np.ndarray:
    """Return the affine of a grid, given that of the array the label map came from."""
    m, scale = label_map, grid.spacing / label_map.spacing
    step = np.diag([scale, scale, scale, 1.0])
    step[:3, 3] = [o / m.spacing + c + s for o, c, s in zip(grid.origin, m.center, m.offset, strict=True)]
    return affine @ step


def synthesize(
    label_map: Volume | LabelMap | str | os.PathLike,
    priors: GenerativeModel | str | Path = "synthseg",
    seed: int = 0,
    shape: Sequence[int] | None = None,
    device: str = "cpu",
) -> Synthesized:
    """Draw a synthetic scan and its segmentation target from a label map.

    Args:
        label_map: a file, a `Volume` of labels, or a prepared `LabelMap`.
        priors: the hyperparameters, or the name of a preset.
        seed: of everything random.
        shape: voxels of a random crop; by default the label map's own grid (canonical RAS orientation).
        device: torch device to compute on.

    Raises:
        InputError: if the label map, the preset or the device cannot be used.
    """
    ready, affine = prepared(label_map)
    priors = priors if isinstance(priors, GenerativeModel) else load_priors(priors)
    return replay(priors.sample(ready, seed), ready.to(resolve_device(device)), affine, shape)


def picked(sources: Sequence[Path], seed: int) -> Path:
    """Choose one of several label maps for the sample of a seed, independent of everything else drawn from it."""
    g = torch.Generator().manual_seed(~seed % 2**31)
    return sources[int(torch.randint(len(sources), (1,), generator=g))]


def label_map_files(path: Path) -> list[Path]:
    """Return the label maps that a file or folder stands for; InputError if there are none."""
    if path.is_dir():
        from napari_synthseg.io.formats import scan_endings, suffix

        found = sorted(p for p in path.iterdir() if not p.is_dir() and suffix(p) in scan_endings())
        if not found:
            raise InputError(f"The folder {path} holds no label maps (NIfTI, MGZ or NRRD): give another folder.")
        return found
    if not path.exists():
        raise InputError(f"The label map {path} does not exist: check its name.")
    return [path]
