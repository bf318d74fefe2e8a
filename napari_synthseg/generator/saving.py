"""A sample as files: image, labels with their table, and the record, all of them or none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_synthseg.atomic_io import placed_files
from napari_synthseg.errors import InputError

if TYPE_CHECKING:
    from napari_synthseg.generator.model import Record
    from napari_synthseg.io import FileHeader
    from napari_synthseg.volume import Volume

ENDS = ("image.nii.gz", "labels.nii.gz", "labels.tsv", "record.json")
"""Ends of the names of a sample's files, after the stem."""


class Sample(Protocol):
    """`Synthesized` or `Degraded`."""

    @property
    def image(self) -> Volume: ...
    @property
    def labels(self) -> Volume | None: ...
    @property
    def record(self) -> Record: ...


def free_stem(folder: str | os.PathLike, stem: str, ends: Sequence[str] = ENDS) -> str:
    """Return the stem, numbered if a folder holds a sample of that name (the same seed, other priors)."""
    number, found = 1, stem
    while any((Path(folder) / f"{found}_{end}").exists() for end in ends):
        number += 1
        found = f"{stem}_{number}"
    return found


def refuse_to_replace(folder: str | os.PathLike, stems: Iterable[str], ends: Sequence[str] = ENDS) -> None:
    """Check before the work that all samples can be written.

    Raises:
        InputError: the folder holds a sample of one of these names.
    """
    taken = next((path for stem in stems for end in ends if (path := Path(folder) / f"{stem}_{end}").exists()), None)
    if taken is not None:
        raise InputError(f"{taken} is there already: choose another folder or other seeds, or give --overwrite.")


def save_sample(
    folder: str | os.PathLike,
    stem: str,
    sample: Sample,
    facts: Mapping[str, Any] | None = None,
    header: FileHeader | None = None,
) -> Path:
    """Write `<stem>_image.nii.gz`, `<stem>_labels.nii.gz` (with its .tsv) and `<stem>_record.json`.

    Files of these names are replaced, once all new ones are complete.

    Args:
        folder: made if missing.
        stem: beginning of the names.
        sample: to write; without labels there is no labels file.
        facts: entries of the record file besides the record itself.
        header: of the scan that the sample was made of: it lies in the space that this names.

    Returns:
        The image's path.

    Raises:
        InputError: the folder cannot be written to, or holds the labels of an earlier sample of this name while
            this one has none: they would look like its own.
    """
    from napari_synthseg.io import write_labels, write_volume

    folder = Path(folder)
    earlier = folder / f"{stem}_labels.nii.gz"
    if sample.labels is None and earlier.exists():
        raise InputError(f"{earlier} belongs to an earlier sample: move it away or choose another folder.")
    record = json.dumps({**(facts or {}), **sample.record.to_dict()}, indent=1) + "\n"

    def write(part: Path) -> None:
        write_volume(part / f"{stem}_image.nii.gz", sample.image, header=header)
        if sample.labels is not None:
            write_labels(part / f"{stem}_labels.nii.gz", sample.labels, header=header)
        (part / f"{stem}_record.json").write_text(record, encoding="utf-8")

    save_files(folder, write)
    return folder / f"{stem}_image.nii.gz"


def save_files(folder: str | os.PathLike, write: Callable[[Path], None]) -> None:
    """Put files into a folder once all of them are complete; those of the same names are replaced.

    Args:
        folder: made if missing.
        write: writes the files into the folder it is given.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        with placed_files(folder) as place:
            write(place)
    except InputError:
        raise
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise InputError(f"The folder {folder} cannot be written to ({reason}): choose another one.") from error


def read_record(path: str | os.PathLike, step: str) -> Record:
    """Read the record of a `<stem>_record.json`, of this version or an earlier one.

    Args:
        path: the file.
        step: one that the record must have, such as contrast for a head.

    Raises:
        InputError: it cannot be read, or is no such record.
    """
    from napari_synthseg.generator.model import Record

    try:
        record = Record.from_dict(read_record_file(path))
        if step not in record:
            raise KeyError(step)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no complete record of such a sample: choose another one.") from error
    return record


def read_record_file(path: str | os.PathLike) -> dict[str, Any]:
    """Read a `<stem>_record.json`: the facts and the record.

    Raises:
        InputError: it cannot be read, or is no record.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The record {path} cannot be read ({error.strerror}): check its name.") from error
    except ValueError as error:
        raise InputError(f"{path} is no record: it holds no JSON.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no record: choose a file that ends in _record.json.")
    return content
