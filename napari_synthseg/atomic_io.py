"""Files that appear complete or not at all: written beside their place, and moved there at the end."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_synthseg.errors import InputError, printable


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Inside, say in a sentence that a file or folder cannot be written.

    Raises:
        InputError: it cannot.
    """
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error.strerror or error).split())
        raise InputError(f"{path} cannot be written ({reason}): choose another place.") from error


@contextmanager
def placed(path: Path | str) -> Iterator[Path]:
    """A path to write to in place of `path`, whose folder is made. What was there stays until the end, or an error.

    Its name is hidden, has the same ending, and differs between processes and machines that share the folder.

    Raises:
        OSError: the place cannot be written to.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}.part{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def placed_files(
    folder: str | os.PathLike[str], *, prefix: str = ".writing-", rank: Callable[[str], int] = lambda name: 0
) -> Iterator[Path]:
    """A folder to write several files to, which are moved into `folder` at the end; after an error none of them is.

    Args:
        folder: made if missing; files of the same names are replaced.
        prefix: how the name of the folder in between begins.
        rank: of a file by its name; the lowest are moved first.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        yield part
        for path in sorted(part.iterdir(), key=lambda path: (rank(path.name), path.name)):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, all or nothing.

    Raises:
        OSError: the place cannot be written to.
    """
    with placed(path) as part:
        part.write_text(text, encoding="utf-8")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that a disk or a quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def write_lines(path: Path, lines: Iterable[Iterable[object]], delimiter: str | None = None) -> None:
    """Write a CSV, or with tabs if its name ends in .tsv (or another delimiter is given), all or nothing.

    Cells that a spreadsheet would take for a formula, such as the name `=cmd().nii`, begin with an apostrophe, and
    control characters are written out.

    Raises:
        OSError: the place cannot be written to.
    """
    with placed(path) as part, part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        by_name = "\t" if path.suffix.lower() == ".tsv" else ","
        writer = csv.writer(file, delimiter=delimiter or by_name, lineterminator="\n")
        writer.writerows([_defused(cell) for cell in line] for line in lines)


def _defused(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    if not cell.isprintable():
        cell = "".join(printable(one) if one < "\xa0" else one for one in cell)  # bytes that are no UTF-8 stay
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return cell if cell == "-" else f"'{cell}"
    return cell
