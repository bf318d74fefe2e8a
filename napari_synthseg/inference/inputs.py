"""What to read: scans, folders of scans, and lists of paths. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_synthseg.errors import InputError
from napari_synthseg.io import stem, suffix
from napari_synthseg.io.paths import DICOM, SCANS, exists

LIST_ENDINGS = (".txt", ".lst")
OURS = ("_dseg", "_probseg")
"""Ends of the stems that this program writes: a folder of scans may also hold the results of an earlier run."""


def find_scans(inputs: Iterable[Path | str]) -> list[Path]:
    """The scans that the inputs name, each once, in order.

    Raises:
        InputError: a path does not exist, or nothing was found.
    """
    found: dict[Path, None] = {}
    for one in map(Path, inputs):
        for scan in _expand(one):
            found[scan] = None
    if not found:
        raise InputError("No scan was given.")
    return list(found)


def _expand(path: Path, lists: tuple[Path, ...] = ()) -> list[Path]:
    if path in lists:
        raise InputError(f"The list {path} names itself; take that line out.")
    if not exists(path):
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        return in_folder(path)
    if is_list(path):
        return [scan for line in lines_of(path) for scan in _expand(path.parent / line, (*lists, path))]
    return [path]


def is_list(path: Path) -> bool:
    """Whether a file is a list of paths, by its name."""
    return path.name.lower().endswith(LIST_ENDINGS)


def lines_of(path: Path) -> list[str]:
    """The paths that a list names, as they stand there; lines that begin with # are left out.

    Raises:
        InputError: it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file with one path a line.") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def in_folder(folder: Path) -> list[Path]:
    """Scans anywhere below a folder; a folder of slices (DICOM) is itself one scan."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    scans = [path for path in files if suffix(path) in SCANS and not stem(path).endswith(OURS)]
    if scans:
        return scans
    if any(suffix(path) in (*DICOM, "") for path in files if path.parent == folder):
        return [folder]
    raise InputError(f"There is no scan in {folder} (looked for {', '.join(SCANS)} and DICOM).")
