"""Which scans a batch has: of folders, lists and BIDS datasets, each once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_synthseg.batch import bids
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.errors import InputError
from napari_synthseg.inference.inputs import in_folder, is_list, lines_of


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
    for one in map(absolute, inputs):
        if not one.exists():
            raise InputError(f"{one} does not exist; check the path.")
        for source in _expand(one, out, options):
            results_inside = source.root is not None and source.root != out and out.is_relative_to(source.root)
            if not (results_inside and source.scan.is_relative_to(out)):
                found.setdefault(source.scan, source)
    if not found:
        raise InputError("No scan was given, or all of them lie in the folder of the results.")
    return list(found.values())


def absolute(path: Path | str) -> Path:
    """A path that holds on other machines and in other folders too; links stay links."""
    return Path(os.path.abspath(Path(path).expanduser()))


def _expand(path: Path, out: Path, options: BatchOptions, lists: tuple[Path, ...] = ()) -> Iterator[Source]:
    if path.is_dir():
        yield from _in_folder(path, options)
    elif is_list(path):
        if path in lists:
            raise InputError(f"The list {path} names itself; take that line out.")
        for line in lines_of(path):
            yield from _expand(absolute(path.parent / line), out, options, (*lists, path))
    else:
        yield Source(path, None, bids.dataset_of(path.parent) if bids.parse(path) else None)


def _in_folder(folder: Path, options: BatchOptions) -> Iterator[Source]:
    dataset = bids.dataset_of(folder) or (folder if bids.is_dataset(folder) else None)
    if dataset is None:
        for scan in in_folder(folder):
            yield Source(scan, folder if scan != folder else None)
        return
    scans = list(bids.images(folder, options.suffixes, options.participants))
    if not scans:
        wanted = ", ".join(options.suffixes or bids.STRUCTURAL)
        of = f" of the participants {', '.join(options.participants)}" if options.participants else ""
        raise InputError(f"The dataset {folder} has no image{of} in its anat folders that ends in {wanted}.")
    for scan in scans:
        yield Source(scan, folder, dataset)
