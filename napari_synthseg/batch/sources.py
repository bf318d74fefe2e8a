"""Which scans a batch has: of folders, lists and BIDS datasets, each once."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_synthseg.batch import bids
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.errors import InputError
from napari_synthseg.io.finding import expand, scans_in
from napari_synthseg.io.formats import check_there


@dataclass(frozen=True)
class Source:
    """One scan.

    Attributes:
        scan: its absolute path.
        root: the folder that was given and holds it; None for a scan that was named.
        dataset: the BIDS dataset that it is from.
    """

    scan: Path
    root: Path | None = None
    dataset: Path | None = None


def find(inputs: Sequence[Path | str], out: Path, options: BatchOptions) -> list[Source]:
    """The scans that the inputs name, each once, in order; none of those in the folder of results.

    What a list names need not be there: it is a scan that will fail, and stops no other.

    Raises:
        InputError: an input does not exist or holds no scan, or a list is none.
    """
    out = absolute(out)
    found: dict[Path, Source] = {}
    dataset_of = functools.cache(bids.dataset_of)

    def in_folder(folder: Path) -> list[Path]:
        dataset = dataset_of(folder) or (folder if bids.is_dataset(folder) else None)
        return scans_in(folder) if dataset is None else _in_dataset(folder, options)

    for one in map(absolute, inputs):
        check_there(one)
        for scan, root in expand(one, in_folder):
            results_inside = root is not None and root != out and out.is_relative_to(root)
            if not (results_inside and scan.is_relative_to(out)) and scan not in found:
                found[scan] = Source(scan, root, dataset_of(scan.parent) if bids.parse(scan) else None)
    if not found:
        raise InputError("No scan was given, or all of them lie in the folder of the results.")
    return list(found.values())


def absolute(path: Path | str) -> Path:
    """A path that holds on other machines and in other folders too; links stay links."""
    return Path(os.path.abspath(Path(path).expanduser()))


def _in_dataset(folder: Path, options: BatchOptions) -> list[Path]:
    scans = list(bids.images(folder, options.suffixes, options.participants))
    if not scans:
        wanted = ", ".join(options.suffixes or bids.STRUCTURAL)
        of = f" of the participants {', '.join(options.participants)}" if options.participants else ""
        raise InputError(f"The dataset {folder} has no image{of} in its anat folders that ends in {wanted}.")
    return scans
