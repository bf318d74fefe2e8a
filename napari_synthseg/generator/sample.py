"""Synthetic scans as files and volumes: what `napari_synthseg.synthesize` and the command line make of a label map."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.brains import (
    Grid,
    crop_grid,
    deform,
    full_grid,
    intensity_limits,
    render,
    target_table,
)
from napari_synthseg.generator.class_priors import read_class_priors
from napari_synthseg.generator.labelmap import LabelMap, prepare
from napari_synthseg.generator.prior_settings import changed
from napari_synthseg.generator.priors import Priors, preset
from napari_synthseg.generator.record import Record, draw
from napari_synthseg.generator.saving import refuse_to_replace, save_sample
from napari_synthseg.jobs import Progress
from napari_synthseg.volume import Volume, resample_labels_to, to_canonical


@dataclass(frozen=True)
class SynthesizeOptions:
    """How synthetic scans are drawn."""

    preset: str = "synthseg"
    """Priors to start from: synthseg, synthseg-larger-gmm, synthseg-tighter-gmm, synthseg-r, synthseg-rc, no-bias,
    no-deformation, synthseg-plus or fast."""
    prior: tuple[str, ...] = ()
    """Priors to change, as name=value or name=low,high, for example mean=0,255 skull_strip=1."""
    seed: int = 0
    """Seed of the first sample; sample i has seed + i."""
    shape: tuple[int, int, int] | None = None
    """Voxels of a random crop; by default the label map's whole grid."""
    device: str = "cpu"
    """Where the samples are computed: auto, cpu, cuda or mps."""
    class_priors: Path | None = None
    """Intensities of each class on the scans to be segmented, for synthseg-rc: a table (.tsv or .csv with a column
    structure or class, and mean, sd, and if known mean_sd, sd_sd), or SynthSeg's prior_means_*.npy with
    prior_stds_*.npy beside it."""

    def priors(self) -> Priors:
        """The priors that the options stand for.

        Raises:
            InputError: one of them cannot be used.
        """
        priors = changed(preset(self.preset), self.prior)
        if self.class_priors is None:
            return priors
        means, stds = read_class_priors(self.class_priors)
        return replace(priors, class_means=means, class_stds=stds)


@dataclass(frozen=True)
class Synthesized:
    """One synthetic scan.

    Attributes:
        image: (X, Y, Z) float32 in [0, 1].
        labels: (X, Y, Z) int32, the segmentation target in FreeSurfer values, on the image's grid.
        record: the parameters it was made with; `replay` makes it again.
    """

    image: Volume
    labels: Volume
    record: Record


def prepared(source: Volume | LabelMap | str | os.PathLike) -> tuple[LabelMap, np.ndarray]:
    """A label map ready for generation and the affine of the (canonical) array it came from.

    Anisotropic maps are resampled to the smallest of their spacings.
    """
    if isinstance(source, LabelMap):
        affine = np.diag([source.spacing] * 3 + [1.0])
        affine[:3, 3] = [-(c + o) * source.spacing for c, o in zip(source.centre, source.offset, strict=True)]
        return source, affine
    name = "the label map"
    if not isinstance(source, Volume):
        from napari_synthseg.io import read_labels

        name = Path(source).name
        source = read_labels(Path(source))
    volume = to_canonical(source)
    spacing = np.asarray(volume.spacing, dtype=float)
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
    """Make the scan that a record describes.

    Args:
        record: as drawn for this label map.
        label_map: on the device to compute on.
        affine: of the array the map came from.
        shape: voxels of a crop at the map's spacing, or None for the map's whole grid.
        spacing: voxel size of a quick look at the same field of view, mm; by default the map's.
    """
    grid = sample_grid(record, label_map, shape, spacing)
    labels = deform(record, label_map, grid)
    image, _ = render(record, label_map, labels, grid, intensity_limits(record, label_map, labels, grid))
    table = np.array(target_table(record, label_map), dtype=np.int32)
    placed = placed_affine(grid, label_map, affine)
    return Synthesized(Volume(image.cpu().numpy(), placed), Volume(table[labels.cpu().numpy()], placed), record)


def sample_grid(
    record: Record, label_map: LabelMap, shape: Sequence[int] | None = None, spacing: float | None = None
) -> Grid:
    """The grid of a sample; see `replay`.

    Raises:
        InputError: the spacing is not positive.
    """
    own = label_map.spacing
    grid = full_grid(label_map) if shape is None else crop_grid(label_map, shape, record.crop, own)
    if spacing is None or spacing == own:
        return grid
    if not spacing > 0:
        raise InputError(f"The voxel size must be positive, not {spacing:g} mm.")
    size = tuple(max(1, round(n * own / spacing)) for n in grid.shape)
    return Grid(size, float(spacing), tuple(o + 0.5 * (spacing - own) for o in grid.origin))  # type: ignore[arg-type]


def placed_affine(grid: Grid, label_map: LabelMap, affine: np.ndarray) -> np.ndarray:
    """Affine of a grid, given that of the array the label map came from."""
    scale = grid.spacing / label_map.spacing
    first = [
        o / label_map.spacing + c + s for o, c, s in zip(grid.origin, label_map.centre, label_map.offset, strict=True)
    ]
    step = np.diag([scale, scale, scale, 1.0])
    step[:3, 3] = first
    return affine @ step


def synthesize(
    label_map: Volume | LabelMap | str | os.PathLike,
    priors: Priors | str = "synthseg",
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
    priors = preset(priors) if isinstance(priors, str) else priors
    record = draw(priors, ready, torch.Generator().manual_seed(seed))
    return replay(record, ready.to(resolve_device(device)), affine, shape)


def synthesize_files(
    label_map: Path, out: Path, options: SynthesizeOptions | None = None, count: int = 1, *, overwrite: bool = False
) -> Generator[Progress, None, list[Path]]:
    """Write synthetic scans: `<name>_<seed>_image.nii.gz`, `_labels.nii.gz` and `_record.json` each, all or none.

    Args:
        label_map: a file, or a folder from which each sample takes one at random.
        out: folder, made if missing.
        options: how to draw.
        count: how many samples.
        overwrite: replace files of these names.

    Returns:
        The images' paths.

    Raises:
        InputError: if nothing usable is given, or a file of a sample is there already; nothing is written then.
    """
    from napari_synthseg.io import stem

    options = options or SynthesizeOptions()
    if count < 1:
        raise InputError(f"{count} samples were asked for: give a number of at least 1.")
    if options.shape is not None and min(options.shape) < 1:
        raise InputError(
            f"A crop of {' x '.join(map(str, options.shape))} voxels is empty: give numbers of at least 1."
        )
    device = resolve_device(options.device)
    priors = options.priors()
    choices = {"preset": options.preset, "prior": list(options.prior)}
    if options.class_priors is not None:
        choices["class_priors"] = options.class_priors.name
    sources = label_map_files(Path(label_map))
    chosen = [(seed, picked(sources, seed)) for seed in range(options.seed, options.seed + count)]
    if not overwrite:
        refuse_to_replace(out, (f"{stem(path)}_{seed:04d}" for seed, path in chosen))
    written: list[Path] = []
    cache: dict[Path, tuple[LabelMap, np.ndarray]] = {}
    yield Progress("synthesize", 0, count)
    for seed, path in chosen:
        if path not in cache:
            cache.clear()
            ready, affine = prepared(path)
            cache[path] = (ready.to(device), affine)
        ready, affine = cache[path]
        made = replay(draw(priors, ready, torch.Generator().manual_seed(seed)), ready, affine, options.shape)
        facts = {**choices, "label_map": path.name, "seed": seed}
        written.append(save_sample(out, f"{stem(path)}_{seed:04d}", made, facts))
        yield Progress("synthesize", len(written), count, {"file": written[-1].name})
    return written


def picked(sources: Sequence[Path], seed: int) -> Path:
    """Which of several label maps the sample of a seed is made from; independent of everything drawn from the seed."""
    g = torch.Generator().manual_seed(~seed % 2**31)
    return sources[int(torch.randint(len(sources), (1,), generator=g))]


def label_map_files(path: Path) -> list[Path]:
    """The label maps that a path stands for.

    Raises:
        InputError: if there are none.
    """
    if path.is_dir():
        from napari_synthseg.io.formats import scan_endings, suffix

        found = sorted(p for p in path.iterdir() if p.is_file() and suffix(p) in scan_endings())
        if not found:
            raise InputError(f"The folder {path} holds no label maps (NIfTI, MGZ or NRRD): give another folder.")
        return found
    if not path.exists():
        raise InputError(f"The label map {path} does not exist: check its name.")
    return [path]
