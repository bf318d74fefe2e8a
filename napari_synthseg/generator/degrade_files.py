"""Degraded scans as files: what `napari-synthseg degrade` makes of real ones."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation import degrade, draw_degradation
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.prior_settings import changed
from napari_synthseg.generator.saving import refuse_to_replace, save_sample
from napari_synthseg.jobs import Progress

LABELS = ("_dseg", "_probseg", "_labels")
"""Ends of the names of what this program writes beside scans, and is none."""


@dataclass(frozen=True)
class DegradeOptions:
    """How scans are degraded."""

    prior: tuple[str, ...] = ()
    """Priors of SynthSeg+'s degradation model to change, as name=low,high, for example noise_std=0,10 rotation_deg=0,0.
    """
    seed: int = 0
    """Seed of the first result; each further one has the next seed."""
    labels: Path | None = None
    """Labels of the scan, moved along with it; only with one scan."""
    device: str = "cpu"
    """Where it is computed: auto, cpu, cuda or mps."""


def degrade_files(
    inputs: Sequence[Path], out: Path, options: DegradeOptions | None = None, count: int = 1, *, overwrite: bool = False
) -> Generator[Progress, None, list[Path]]:
    """Write degraded scans: `<name>_<seed>_image.nii.gz`, `_labels.nii.gz` where given, and `_record.json` each.

    Args:
        inputs: scans, or folders of them.
        out: folder, made if missing.
        options: how to degrade.
        count: how many of each scan.
        overwrite: replace files of these names.

    Returns:
        The images' paths.

    Raises:
        InputError: something cannot be used, or a file of a sample is there already; nothing is written then, unless it
            is a scan that cannot be read.
    """
    from napari_synthseg.io import read_labels, read_volume, stem

    options = options or DegradeOptions()
    if count < 1:
        raise InputError(f"{count} samples were asked for: give a number of at least 1.")
    device = resolve_device(options.device)
    priors = changed(DegradationPriors(), options.prior)
    scans = [scan for path in inputs for scan in _scans(Path(path))]
    if not scans:
        raise InputError("There is no scan to degrade: give a file or a folder.")
    if options.labels is not None and len(scans) != 1:
        raise InputError(f"Labels belong to one scan, and {len(scans)} were given: degrade them one by one.")
    labels = None if options.labels is None else read_labels(options.labels)
    seeds = [range(options.seed + n * count, options.seed + (n + 1) * count) for n in range(len(scans))]
    if not overwrite:
        stems = (f"{stem(path)}_{seed:04d}" for path, own in zip(scans, seeds, strict=True) for seed in own)
        refuse_to_replace(out, stems)
    written: list[Path] = []
    total = count * len(scans)
    yield Progress("degrade", 0, total)
    for path, own in zip(scans, seeds, strict=True):
        scan = read_volume(path)
        for seed in own:
            record = draw_degradation(priors, torch.Generator().manual_seed(seed))
            made = degrade(scan, record, labels, device)
            facts = {"scan": path.name, "prior": list(options.prior), "seed": seed}
            written.append(save_sample(out, f"{stem(path)}_{seed:04d}", made, facts))
            yield Progress("degrade", len(written), total, {"file": written[-1].name})
    return written


def _scans(path: Path) -> list[Path]:
    from napari_synthseg.io import stem, suffix
    from napari_synthseg.io.formats import scan_endings

    if not path.exists():
        raise InputError(f"The scan {path} does not exist: check its name.")
    if not path.is_dir():
        return [path]
    files = (p for p in path.iterdir() if p.is_file() and suffix(p) in scan_endings())
    found = sorted(p for p in files if not stem(p).endswith(LABELS))
    if not found:
        raise InputError(f"The folder {path} holds no scans ({', '.join(scan_endings())}): give another folder.")
    return found
