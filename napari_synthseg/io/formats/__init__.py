"""File formats, one file of this folder each: a format is a class that registers itself, and nothing else names it.

Readers, writers, the command line, batches and file dialogs ask this registry; only napari's manifest lists the endings
once more; CONTRIBUTING.md has an example. A file is recognized by its content first, and by the ending of its name only
if its content says nothing.
"""

from __future__ import annotations

import functools
import gzip
import importlib
import os
import pkgutil
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_synthseg.errors import InputError

if TYPE_CHECKING:
    from napari_synthseg.io.scan import FileHeader, ScanFile

GZIP, BZIP2 = b"\x1f\x8b", b"BZ"
START = 540
"""Bytes at the start of a file, unpacked, that tell its format."""
OTHERS = (
    ".txt", ".lst", ".csv", ".tsv", ".json", ".md", ".log", ".xls", ".xlsx", ".ods", ".html", ".htm", ".pdf", ".png",
    ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".svg", ".zip", ".gz", ".tar", ".tgz", ".npy", ".npz", ".mat",
    ".h5", ".safetensors",
)  # fmt: skip
"""Endings of files that are no scans: who gives a folder such a name has meant something else."""
POINTERS = re.compile(rb"version https://git-lfs|(\S*\.git)?/annex/objects/")
"""How the small files begin that Git LFS and git-annex leave in place of a file that was not fetched."""
_PAGE = "a web page, perhaps one that asks for a login: download the file again"
FOREIGN = {
    b"BZh": "packed by bzip2: unpack it", b"\xfd7zXZ": "packed by xz: unpack it", b"<html": _PAGE,
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it", GZIP: "packed twice by gzip: unpack it once",
    b"<!doctype": _PAGE, b"\x89hdf": "an HDF5 file: convert it to NIfTI", b"PK\x03\x04": "a zip archive: unpack it",
}  # fmt: skip
"""How other files begin, in lower case or not, and what helps; a scan never begins so."""


class Format:
    """A file format; subclasses are registered by `register`.

    Attributes:
        name: for messages.
        endings: of the names of its files.
        writable: of these, endings that it can write.
        parts: by the ending of a header file, the endings of the file beside it that holds the voxels.
        folders: whether a scan may be a folder of files.
        types: of voxels that it can store; None for any numbers.
    """

    name: ClassVar[str]
    endings: ClassVar[tuple[str, ...]]
    writable: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    folders: ClassVar[bool] = False
    types: ClassVar[tuple[type[np.generic], ...] | None] = None

    def recognizes(self, start: bytes) -> bool:
        """Whether a file, unpacked, begins like one of this format (`START` bytes)."""
        raise NotImplementedError

    def open(self, path: Path) -> list[ScanFile]:
        """Return all scans at a path, their voxels preferably not yet read.

        Raises:
            InputError: there are none, or the header does not say where the voxels lie.
        """
        raise NotImplementedError

    def write(
        self, path: Path, data: np.ndarray, affine: np.ndarray, header: FileHeader | None, step: float | None
    ) -> None:
        """Write a file.

        Args:
            path: the file.
            data: (X, Y, Z) or (X, Y, Z, T), in the type to store.
            affine: (4, 4) voxel index to RAS mm.
            header: of the file that the voxels came from.
            step: time from one volume of a series to the next, s.
        """
        raise NotImplementedError


_registered: dict[str, Format] = {}


def register(kind: type[Format]) -> type[Format]:
    """Add a format to the registry; a class decorator."""
    _registered[kind.name] = kind()
    for cached in (formats, readable, scan_endings):
        cached.cache_clear()
    return kind


@functools.cache
def formats() -> tuple[Format, ...]:
    """Return all formats, by name."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return tuple(_registered[name] for name in sorted(_registered))


@functools.cache
def readable() -> tuple[str, ...]:
    """Return the endings of files that can be read, longest first."""
    return tuple(sorted((end for form in formats() for end in form.endings), key=len, reverse=True))


def writable() -> tuple[str, ...]:
    """Return the endings of files that can be written; the first is NIfTI's, the usual one."""
    return tuple(sorted((end for form in formats() for end in form.writable), key=lambda end: end != ".nii.gz"))


@functools.cache
def scan_endings() -> tuple[str, ...]:
    """Return the endings of files that are a scan each: no slices, and no second files of a pair."""
    parts = {part for form in formats() for parts in form.parts.values() for part in parts}
    return tuple(end for form in formats() if not form.folders for end in form.endings if end not in parts)


def dialog_filter(title: str | None = None) -> str:
    """Return the file filter of a dialog: all readable files under a title, else the formats that can be written."""
    if title is not None:
        return f"{title} ({' '.join(f'*{ending}' for ending in readable())});;All files (*)"
    rows = [(form.name, form.writable) for form in sorted(formats(), key=lambda one: ".nii.gz" not in one.writable)]
    return ";;".join(f"{name} ({' '.join(f'*{end}' for end in ends)})" for name, ends in rows if ends)


def format_of(path: Path) -> Format:
    """Return the format of what is at a path, by its content, else by the ending of its name.

    Raises:
        InputError: nothing usable is there, or nothing tells its format.
    """
    check_there(path)
    if path.is_dir():
        return next(form for form in formats() if form.folders)
    check_fetched(path)
    start, ending = first_bytes(path), suffix(path)
    for mark, remedy in FOREIGN.items():
        if start.lower().lstrip().startswith(mark.lower()):
            raise InputError(f"{path} is {remedy}.")
    for form in formats():
        if form.recognizes(start):
            return form
    for form in formats():
        if ending in form.endings:
            return form
    known = " or ".join((", ".join(form.name for form in formats()[:-1]), formats()[-1].name))
    remedy = "convert it to NIfTI, or call a list .txt"
    raise InputError(f"{path} has no known ending, and its content is no {known} file: {remedy}.")


def format_to_write(path: Path) -> Format:
    """Return the format that a name's ending asks for.

    Raises:
        InputError: no format that can be written has that ending.
    """
    ending = suffix(path)
    for form in formats():
        if ending in form.writable:
            return form
    raise InputError(f"{path} cannot be written: its name must end with one of {', '.join(writable())}.")


def check_there(path: Path) -> None:
    """Refuse a path at which there is nothing to read.

    Raises:
        InputError: it does not exist, is a link to nowhere, a device or an empty file.
    """
    is_link = False
    if not exists(path):
        with suppress(OSError, ValueError):
            is_link = path.is_symlink()
        if is_link:
            raise InputError(
                f"{path} does not exist here, it is a link to a missing file: fetch that (datalad get, git annex get)."
            )
        raise InputError(f"{path} does not exist: check the path.")
    if path.is_dir():
        return
    if not path.is_file():  # a pipe would be waited for, a device never ends
        raise InputError(f"{path} is a pipe, a device or a socket: give a file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is an empty file: copy or download it again.")


def check_fetched(path: Path) -> None:
    """Raise `InputError` for the pointer that stands in place of a file that was not fetched."""
    if POINTERS.match(first_bytes(path)):
        raise InputError(
            f"{path} is a pointer of Git LFS or git-annex, not the file itself: fetch it (git lfs pull, datalad get)."
        )


def first_bytes(path: Path) -> bytes:
    """Return how a file begins, unpacked; empty if it cannot be read, such as a pipe, which would be waited for."""
    if not path.is_file():
        return b""
    try:
        with open(path, "rb") as file:
            start = file.read(START)
            if not start.startswith(GZIP):
                return start
            file.seek(0)
            return gzip.GzipFile(fileobj=file).read(START)
    except (OSError, EOFError, zlib.error):
        return b""


def is_gzip(path: Path) -> bool:
    """Whether a file's content is packed by gzip, whatever its name says."""
    with open(path, "rb") as file:
        return file.read(2) == GZIP


def files_of(path: Path) -> list[Path]:
    """Return the files that a scan consists of: one, a header and its voxels, or a folder of slices."""
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.is_file())
    ending = suffix(path)
    base = str(path)[: len(str(path)) - len(ending)]
    parts = [Path(base + part) for form in formats() for part in form.parts.get(ending, ())]
    return [path, *(part for part in parts if part.is_file())]


def may_be_slice(path: Path) -> bool:
    """Whether a file's name leaves open that it is a DICOM image: its ending is one of DICOM's, shared or not known."""
    known = {*scan_endings(), *OTHERS} - {".img", ".hdr", ".gz"}
    return suffix(path) not in known and path.name.upper() != "DICOMDIR"


def ends_like_a_file(path: Path) -> bool:
    """Whether a name ends like that of a file, a scan's or another, so that a folder is hardly meant."""
    return suffix(path) in readable() or path.suffix.lower() in OTHERS


def suffix(path: str | Path) -> str:
    """Return the ending of a known format, in lower case (`.nii.gz`), else all after the last dot of the name."""
    name = os.path.basename(os.fspath(path)).lower()
    if name.endswith(readable()):
        return next(ending for ending in readable() if name.endswith(ending))
    return Path(name).suffix


def stem(path: str | Path) -> str:
    """Return the name without folder and format ending: `sub-01_T1w` of `scans/sub-01_T1w.nii.gz`."""
    name, ending = os.path.basename(os.fspath(path)), suffix(path)
    return name[: len(name) - len(ending)]


def exists(path: Path) -> bool:
    """Whether something is there; False also for a name that no file system takes, for which pathlib raises."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long; a NUL in it
        return False
