"""Files that appear complete or not at all, written beside their place and moved there at the end; texts to read."""

from __future__ import annotations

import codecs
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

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OS_ERROR = "(os error"
"""How safetensors' errors end, before the number."""


class NotWritten(InputError, OSError):
    """A file or folder cannot be written; `__cause__` is the error of the system."""


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Inside, say in a sentence that a file or folder cannot be written; errors of other files pass.

    The outermost one names the path: users know none of a temporary folder.

    Raises:
        NotWritten: it cannot.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and _OS_ERROR not in str(error):
            raise
        if isinstance(error, OSError) and _is_of_another(error, Path(path)):
            raise
        cause = error.__cause__ if isinstance(error, NotWritten) else error
        reason = " ".join(str(getattr(cause, "strerror", None) or cause).split())
        if isinstance(cause, FileExistsError | NotADirectoryError):
            reason = "there is a file in place of a folder"
        remedy = "make room there, or choose another place" if is_disk_full(cause) else "choose another place"
        raise NotWritten(f"{path} cannot be written ({reason}): {remedy}.") from cause


def _is_of_another(error: OSError, path: Path) -> bool:
    """Whether an error is of a file that was only read: no path, part of it, or hidden one beside or below it."""
    if isinstance(error, NotWritten):
        return False
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return type(error).__module__ not in ("builtins", "shutil")  # such as gzip.BadGzipFile
    own, path = Path(os.path.abspath(os.fsdecode(error.filename))), Path(os.path.abspath(path))
    folders = (path, *path.parents)
    hidden = any(part.startswith(".") for part in own.parts[len(path.parent.parts) :])
    return own not in folders and not (hidden and path.parent in own.parents)


@contextmanager
def placed(path: Path | str) -> Iterator[Path]:
    """A path to write to in place of `path`, whose folder is made. What was there stays until the end, or an error.

    Its name is hidden, has the same ending, and differs between processes and machines that share the folder.

    Raises:
        NotWritten: the place cannot be written to.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}.part{path.suffix}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
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
        NotWritten: the folder cannot be written to.
    """
    folder = Path(folder)
    with writing(folder):
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
        NotWritten: the place cannot be written to.
    """
    with placed(path) as part:
        part.write_text(text, encoding="utf-8")


def read_text(path: str | os.PathLike[str], errors: str = "strict") -> str:
    """Read a text in UTF-8 or, as Windows writes it, in UTF-16, each with a byte order mark or without.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is in another encoding, unless `errors` say what becomes of that.
    """
    raw = Path(path).read_bytes()
    encoding, start = "utf-8", raw[:4096]
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif 3 * max(zeros := (start[::2].count(0), start[1::2].count(0))) > len(start):  # of letters, half the bytes are 0
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return raw.decode(encoding, errors).replace("\ufeff", "")  # also marks between texts that were joined


def delimiter_of(text: str) -> str:
    """Return what separates the columns of a table by its first line: tabs, semicolons or commas."""
    return max("\t;,", key=text.lstrip().partition("\n")[0].count)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that a disk or a quota is full."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL or any(f"{_OS_ERROR} {full})" in str(error) for full in _FULL):
            return True
        error = error.__cause__
    return False


def write_lines(path: Path, lines: Iterable[Iterable[object]]) -> None:
    """Write a table with tabs, or with commas if its name ends in .csv, all or nothing.

    Cells that a spreadsheet would take for a formula, such as the name `=cmd().nii`, begin with an apostrophe, and
    control characters are written out.

    Raises:
        NotWritten: the place cannot be written to.
    """
    with placed(path) as part, part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, delimiter="," if path.suffix.lower() == ".csv" else "\t", lineterminator="\n")
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
