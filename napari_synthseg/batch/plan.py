"""The plan of a batch: scans of folders, lists and BIDS datasets, names of their labels, and which are done already."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_synthseg.batch import bids
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.outputs import posteriors_path, read_record
from napari_synthseg.io import stem
from napari_synthseg.io.finding import expand, scans_in
from napari_synthseg.io.formats import files_of
from napari_synthseg.io.labels import table_path
from napari_synthseg.jobs import checkpoint
from napari_synthseg.weights import catalogue


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
        if bids.dataset_of(folder) is None and not bids.is_dataset(folder):
            return scans_in(folder)
        scans = list(bids.images(folder, options.suffixes, options.participants))
        if not scans:
            wanted = ", ".join(options.suffixes or bids.STRUCTURAL)
            of = f" of the participants {', '.join(options.participants)}" if options.participants else ""
            raise InputError(f"The dataset {folder} has no image{of} in its anat folders that ends in {wanted}.")
        return scans

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
        InputError: two scans would be written to one file, or the labels of one would replace another.
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
    by_target: dict[str, Path] = {}
    for task in tasks:
        first = by_target.setdefault(str(task.target).casefold(), task.scan)  # some file systems ignore case
        if first is not task.scan:
            raise InputError(
                f"{first} and {task.scan} would both be written to {task.target.name}: give them different output "
                "folders, in batches of their own."
            )
    scans_given = {task.scan for task in tasks}
    for task in tasks:
        if task.target in scans_given:
            raise InputError(f"{task.target} is an input too: choose another folder for the labels.")
    return tasks


def _name(scan: Path) -> str:
    return scan.name if scan.is_dir() else stem(scan)


MADE_FROM = "made_from"
"""Key of the record."""
NOT_ASKED = ("device", "threads", "model", "weights")
"""Options that do not change the result, or that the checksums of the weights replace."""


def made_with(options: SegmentOptions) -> dict[str, Any]:
    """Return what determines the labels of a scan: options, and SHA-256 of all weights.

    Raises:
        InputError: the weights do not exist.
    """
    fields = {key: value for key, value in asdict(options).items() if key not in NOT_ASKED}
    named = options.weights or options.model
    if options.weights is None and options.robust and options.model == SegmentOptions.model:
        named = catalogue.find_robust()
    files = {"network": named, **{key: value for key, value in fields.items() if isinstance(value, Path)}}
    sums = {key: catalogue.sha256(catalogue.find(value)) for key, value in files.items()}
    kept = {key: value for key, value in fields.items() if key not in files}
    return json.loads(json.dumps({"options": kept, "weights": sums}))


def fingerprint(scan: Path) -> dict[str, Any]:
    """Return size, modification time (ns) and SHA-256 of a scan's files."""
    total = hashlib.sha256()
    files = files_of(scan)
    for path in files:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return {**_size_and_time(files), "sha256": total.hexdigest()}


def _size_and_time(files: list[Path]) -> dict[str, int]:
    stats = [path.stat() for path in files]
    return {"bytes": sum(one.st_size for one in stats), "mtime_ns": max((one.st_mtime_ns for one in stats), default=0)}


def done(scan: Path, target: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a scan that is done; empty if it has to be segmented.

    It is done if its record names this scan (same size, and same modification time or content) and `made` (see
    `made_with`), and labels and table exist, the labels with the checksum of the record.
    """
    record = read_record(target)
    before = record.get(MADE_FROM)
    if not isinstance(before, dict) or not table_path(target).is_file():
        return {}
    defaults = json.loads(json.dumps(asdict(SegmentOptions()), default=str))  # options added since
    known = {key: before.get("options", {}).get(key, defaults.get(key)) for key in made["options"]}
    if known != made["options"] or before.get("weights") != made["weights"]:
        return {}
    if made["options"].get("posteriors") and not posteriors_path(target).is_file():
        return {}
    labels, scanned = record.get("labels", {}), before.get("input", {})
    try:
        intact = target.stat().st_size == labels.get("bytes") and catalogue.sha256(target) == labels.get("sha256")
        now = _size_and_time(files_of(scan))
        same = now["bytes"] == scanned.get("bytes") and (
            now["mtime_ns"] == scanned.get("mtime_ns") or fingerprint(scan)["sha256"] == scanned.get("sha256")
        )
    except OSError:
        return {}
    return record if intact and same else {}
