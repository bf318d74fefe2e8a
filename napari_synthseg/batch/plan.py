"""The plan of a batch: the scans of folders, lists and BIDS datasets, and the names of their label files."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_synthseg.batch import bids
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.errors import InputError
from napari_synthseg.io import stem
from napari_synthseg.io.finding import expand, scans_in
from napari_synthseg.jobs import checkpoint


@dataclass(frozen=True)
class Source:
    """One scan."""

    scan: Path
    """Absolute path."""
    root: Path | None = None
    """The input folder that holds it; None for a scan that was named."""
    dataset: Path | None = None
    """Its BIDS dataset."""


def find(inputs: Sequence[Path | str], out: Path, options: BatchOptions) -> list[Source]:
    """Return the scans that the inputs name, in order, without duplicates and without the folder of results.

    A missing file in a list is a scan that will fail, and stops no other.

    Raises:
        InputError: an input does not exist or holds no scan, or a list cannot be read.
    """
    out = absolute(out)
    found: dict[Path, Source] = {}
    bids.forget_datasets()

    def in_folder(folder: Path) -> list[Path]:
        dataset = bids.dataset_of(folder) or (folder if bids.is_dataset(folder) else None)
        return scans_in(folder) if dataset is None else _in_dataset(folder, options)

    for one in map(absolute, inputs):
        for scan, root in expand(one, in_folder):
            results_inside = root is not None and root != out and out.is_relative_to(root)
            if not (results_inside and scan.is_relative_to(out)) and scan not in found:
                found[scan] = Source(scan, root, bids.dataset_of(scan.parent) if bids.parse(scan) else None)
    if not found:
        raise InputError("No scan was given, or all of them lie in the folder of the results.")
    return list(found.values())


def absolute(path: Path | str) -> Path:
    """Return the absolute path; links are kept."""
    return Path(os.path.abspath(Path(path).expanduser()))


def _in_dataset(folder: Path, options: BatchOptions) -> list[Path]:
    scans = list(bids.images(folder, options.suffixes, options.participants))
    if not scans:
        wanted = ", ".join(options.suffixes or bids.STRUCTURAL)
        of = f" of the participants {', '.join(options.participants)}" if options.participants else ""
        raise InputError(f"The dataset {folder} has no image{of} in its anat folders that ends in {wanted}.")
    return scans


@dataclass(frozen=True)
class Task:
    """One scan to segment."""

    number: int
    """Place in the batch, from 0."""
    scan: Path
    target: Path
    """The label file."""
    sidecar: dict[str, Any] = field(default_factory=dict)
    """BIDS fields of its record."""
    name: bids.Name | None = None


def plan(sources: Sequence[Source], out: Path, grid: str) -> list[Task]:
    """Return a task for every scan.

    A scan with a BIDS name gets the name of a BIDS derivative. Others keep their names and subfolders: `<sub>/<name>`
    in an input folder becomes `<sub>/<name>_dseg.nii.gz`, in a folder of the input's name if there are several.

    Raises:
        InputError: two scans would be written to one file.
    """
    out = absolute(out)
    roots = {source.root for source in sources if source.root is not None}
    alone = Counter(_name(source.scan) for source in sources if source.root is None)
    tasks = []
    for number, source in enumerate(sources):
        checkpoint()
        name = bids.parse(source.scan)
        if name is not None and name.suffix not in ("dseg", "probseg"):
            target = out / bids.derivative(name, grid)
        elif source.root is not None:
            folders = source.scan.parent.relative_to(source.root)
            above = Path(source.root.name) if len(roots) > 1 else Path()
            target = out / above / folders / f"{_name(source.scan)}_dseg.nii.gz"
        else:
            own = _name(source.scan)
            label = own if alone[own] == 1 else f"{source.scan.parent.name}_{own}"
            target = out / f"{label}_dseg.nii.gz"
        tasks.append(Task(number, source.scan, target, bids.sidecar(source.scan, grid) if name else {}, name))
    _check_apart(tasks)
    return tasks


def _name(scan: Path) -> str:
    return scan.name if scan.is_dir() else stem(scan)


def _check_apart(tasks: Sequence[Task]) -> None:
    """Check that no two scans have the same label file, and that none replaces a scan.

    Raises:
        InputError: that is so.
    """
    by_target: dict[str, list[Path]] = defaultdict(list)
    for task in tasks:
        by_target[str(task.target).casefold()].append(task.scan)  # some file systems ignore case
    for target, scans in by_target.items():
        if len(scans) > 1:
            raise InputError(
                f"{scans[0]} and {scans[1]} would both be written to {Path(target).name}: give them different output "
                "folders, in batches of their own."
            )
    scans_given = {task.scan for task in tasks}
    for task in tasks:
        if task.target in scans_given:
            raise InputError(f"{task.target} is an input too: choose another folder for the labels.")
