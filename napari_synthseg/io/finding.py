"""Find scans: in folders, and in text files with one path a line."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from napari_synthseg.atomic_io import read_text
from napari_synthseg.errors import InputError
from napari_synthseg.io.formats import check_there, exists, may_be_slice, scan_endings, stem, suffix
from napari_synthseg.io.formats.dicom import DICOM, is_dicom
from napari_synthseg.jobs import checkpoint

LIST_ENDINGS = (".txt", ".lst")
OURS = ("_dseg", "_probseg")
"""Ends of the stems that this program writes: a folder of scans may also hold the results of an earlier run."""
MOST_MISSING = 10_000
"""A list that names more scans that do not exist is wrong; of fewer, each is a scan that fails."""
_LOOKED_AT = 50
"""Files of a folder whose content is looked at for DICOM."""
_QUOTES = "\"'“”"


def find_scans(inputs: Iterable[Path | str]) -> list[Path]:
    """Return the scans that files, folders and lists name, each once, in order.

    What a list or a link names need not exist.

    Raises:
        InputError: an input does not exist, a list names itself, or there is no scan.
    """
    found = list(dict.fromkeys(scan for one in inputs for scan, _ in expand(Path(one))))
    if not found:
        raise InputError("No scan was given: name one in each line of a list.")
    return found


def expand(
    path: Path, in_folder: Callable[[Path], Iterable[Path]] | None = None, lists: tuple[Path, ...] = ()
) -> Iterator[tuple[Path, Path | None]]:
    """Give the scans that a path stands for, each with the folder that holds it; None for one that is named.

    What a list names need not exist.

    Args:
        path: a scan, a folder of scans, or a list.
        in_folder: gives the scans in a folder; default `scans_in`.
        lists: those that led here.

    Raises:
        InputError: nothing has that name, a list names itself or is no text, or a folder holds no scan.
    """
    if not os.path.lexists(path):  # a mistyped name; a link to nowhere or an empty file is a scan that fails
        check_there(path)
    if path.is_dir():
        yield from ((scan, path if scan != path else None) for scan in (in_folder or scans_in)(path))
    elif is_list(path):
        if path in lists:
            raise InputError(f"The list {path} names itself: take that line out.")
        named, folders = _named(path)
        for one in named:
            checkpoint()
            if one in folders or is_list(one):
                yield from expand(Path(one), in_folder, (*lists, path))
            else:
                yield Path(one), None
    else:
        yield path, None


def _named(path: Path) -> tuple[list[str], set[str]]:
    """The paths in a list, each once, made absolute by its folder, and the folders; or an error if most are missing."""
    folder, folders, missing = str(path.parent), set(), []
    named: dict[str, None] = {}
    for line in lines_of(path):
        checkpoint()
        one = os.path.normpath(os.path.join(folder, os.path.expanduser(line)))
        if one in named:  # the file system is asked once a path: a list may have a million
            continue
        named[one] = None
        try:
            if stat.S_ISDIR(os.stat(one).st_mode):
                folders.add(one)
        except (OSError, ValueError):  # ValueError: a NUL in it
            missing += [] if os.path.islink(one) else [one]
        if len(missing) > MOST_MISSING:
            break
    if missing and (len(missing) == len(named) or len(missing) > MOST_MISSING):
        many = len(missing) > MOST_MISSING
        says = f"More than {MOST_MISSING} paths in {path} do not exist" if many else f"No path in {path} exists"
        raise InputError(f"{says}, such as {missing[0]}: check the list.")
    return list(named), folders


def is_list(path: Path | str) -> bool:
    """Whether a file is a list of paths, by its name."""
    return str(path).lower().endswith(LIST_ENDINGS)


def lines_of(path: Path) -> Iterator[str]:
    """Give the paths that a list names, without quotes around them; empty lines and those with # are left out.

    Raises:
        InputError: it does not exist, or is no text.
    """
    check_there(path)
    try:
        text = read_text(path, "surrogateescape")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a text file with one path a line: save it as plain text.") from error
    for found in re.finditer(r"[^\r\n]+", text):
        line = found[0].strip()
        if line and not line.startswith("#"):
            yield line.strip(_QUOTES)


def scans_in(folder: Path) -> list[Path]:
    """Return the scans anywhere below a folder; a folder of slices (DICOM) is itself one scan.

    Links are followed; one that leads nowhere counts as a scan, which cannot be read.

    Raises:
        InputError: there is none.
    """
    found: list[Path] = []
    endings = scan_endings()
    for here, files in walk(folder):
        found += [path for path in files if suffix(path) in endings and not stem(path).endswith(OURS)]
        if _has_slices(files):
            found.append(here)
    if not found:
        raise InputError(f"There is no scan in {folder} (looked for {', '.join(endings)} and DICOM).")
    return sorted(found)


def scans_at(folder: Path) -> list[Path]:
    """Return the scans of a folder itself, in order: files, and folders of slices that are a series each."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in inside if (is_series(path) if path.is_dir() else suffix(path) in scan_endings())]


def is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM slices and no scans, so that it is one scan itself."""
    files = [path for path in sorted(folder.iterdir()) if not path.is_dir()] if folder.is_dir() else []
    return not any(suffix(path) in scan_endings() for path in files) and _has_slices(files)


def walk(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Give each folder below one, itself included, with its files, in order; linked folders too, each once.

    What is hidden is left out.
    """
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(one for one in folders if not one.startswith("."))
        if real not in seen:
            seen.add(real)
            yield Path(here), [Path(here, one) for one in sorted(files) if not one.startswith(".")]


def _has_slices(files: list[Path]) -> bool:
    """Whether there are DICOM images among files, by their content or ending, or links to files that may be some."""
    if any(suffix(path) in DICOM.endings for path in files):
        return True
    unknown = [path for path in files if may_be_slice(path)][:_LOOKED_AT]
    return any(is_dicom(path) or not exists(path) for path in unknown)
