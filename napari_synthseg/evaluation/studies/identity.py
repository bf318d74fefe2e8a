"""Whose scan a row is: subject and session out of columns, BIDS names or paths; and the person it belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import names
from napari_synthseg.evaluation.studies.numerals import is_missing
from napari_synthseg.evaluation.studies.text_table import TextTable
from napari_synthseg.io.formats import stem

_SUBJECT = re.compile(r"(?:^|[/\\_])sub-([A-Za-z0-9+]+)")
_SESSION = re.compile(r"(?:^|[/\\_])ses-([A-Za-z0-9+]+)")
_LAST_PARTS = re.compile(r"_(dseg|labels?|seg|aseg|synthseg|segmentation)$")

_ENTITY = re.compile(r"(ses|run|acq|rec|desc|dir|echo|part|ce|space|res|task)-", re.IGNORECASE)
_KINDS = frozenset((
    "t1", "t1w", "t2", "t2w", "flair", "pd", "pdw", "ct", "mr", "mri", "mprage", "t1mprage", "mp2rage", "brain", "head",
    "anat", "image", "scan", "scans", "orig", "nu", "norm", "raw", "nii", "nifti", "dicom", "data", "/", ".",
))  # fmt: skip
"""What files and folders are called that name nobody."""


@dataclass(frozen=True)
class Identity:
    """What a row says about whose scan it is."""

    scan: str
    """The cell that names the scan, as it stands; empty where the table has no such column."""
    subject: str
    """Empty where nothing says."""
    session: str
    """Empty where nothing says."""

    @property
    def key(self) -> str:
        """What two rows of the same scan share; empty where rows cannot be told to be of the same scan."""
        return self.scan or (f"{self.subject} {self.session}" if self.session else "")


def identities(table: TextTable, wanted: str = "") -> list[Identity]:
    """The identity of each row of a table of volumes.

    Args:
        table: the volumes.
        wanted: the column that names scans or subjects; without it, columns of the usual names are found, else the
            first column, where it is no structure.

    Raises:
        InputError: there is no such column.
    """
    scan_column, subject_column = _columns(table, wanted)
    session_column = names.find_any(names.SESSION, table.columns)
    scans = table.cells(scan_column) if scan_column else [""] * len(table.rows)
    subjects = table.cells(subject_column) if subject_column else [""] * len(table.rows)
    sessions = table.cells(session_column) if session_column else [""] * len(table.rows)
    return [_identity(*cells) for cells in zip(scans, subjects, sessions, strict=True)]


def id_columns(table: TextTable, wanted: str = "") -> set[str]:
    """The columns that say whose scan a row is."""
    found = (*_columns(table, wanted), names.find_any(names.SESSION, table.columns))
    return {column for column in found if column}


def _columns(table: TextTable, wanted: str) -> tuple[str | None, str | None]:
    """The columns of scans and of subjects."""
    scan, subject = names.find_any(names.SCAN, table.columns), names.find_any(names.SUBJECT, table.columns)
    if wanted:
        column = names.find(wanted, table.columns)
        if column is None:
            raise names.unknown(wanted, table.columns, str(table.path))
        paths = column == scan or any(_is_path(cell) for cell in table.cells(column))
        return (column, subject if subject != column else None) if paths else (scan if scan != column else None, column)
    if subject and not scan and any(_is_path(cell) for cell in table.cells(subject)):
        return subject, None  # SynthSeg's own tables call the scan the subject
    if not scan and not subject and _names_rows(table, table.columns[0]):
        return None, table.columns[0]
    return scan, subject


def _names_rows(table: TextTable, column: str) -> bool:
    """Whether a column may be one of names: it is no structure, and no two of its cells are the same."""
    cells = table.cells(column)
    return not names.is_structure(column) and len(set(cells)) == len(cells)


def _is_path(cell: str) -> bool:
    return "/" in cell or "\\" in cell or cell.lower().endswith((".nii", ".gz", ".mgz", ".nrrd"))


def _identity(scan: str, subject: str, session: str) -> Identity:
    named = "" if is_missing(subject) else subject
    visit = "" if is_missing(session) else session
    scan = "" if is_missing(scan) else scan
    if not named and scan:
        match = _SUBJECT.search(scan)
        named = f"sub-{match[1]}" if match else person_of(scan)
    elif match := _SUBJECT.search(named):
        named = f"sub-{match[1]}"
    if not visit and (match := _SESSION.search(scan or subject)):
        visit = f"ses-{match[1]}"
    return Identity(scan, named, visit)


def person_of(scan: str) -> str:
    """Whose scan a path without the names of BIDS is likely to be: what is left of the file's name, else of a folder's.

    Left out are the kind of scan and entities: `1002` of `1002_run-2_t1.nii.gz`, `P7` of `P7/mri/orig.mgz`.
    """
    for part in reversed(PurePosixPath(scan.replace("\\", "/")).parts):
        pieces = [one for one in bare(part).split("_") if not _ENTITY.match(one) and one.lower() not in _KINDS]
        if any(pieces):
            return "_".join(pieces)
    return bare(scan)


def bare(scan: str) -> str:
    """A scan's name without folder, format and the ending of a label file."""
    return _LAST_PARTS.sub("", stem(scan.replace("\\", "/")))


def normal(name: str, prefix: str = "sub-") -> str:
    """A name of a person or session for comparison: without case, white space and the prefix of BIDS."""
    return name.strip().lower().removeprefix(prefix)


class People:
    """The rows of a table of people, found by subject and session."""

    def __init__(self, table: TextTable) -> None:
        subject = names.find_any(names.SUBJECT, table.columns) or names.find_any(names.SCAN, table.columns)
        subject = subject or table.columns[0]
        session = names.find_any(names.SESSION, table.columns)
        self.columns = {subject} | ({session} if session else set())
        self.rows: dict[str, list[int]] = {}
        self.names: dict[str, str] = {}
        """How people are written in the table."""
        self.sessions = [normal(cell, "ses-") for cell in table.cells(session)] if session else []
        for row, cell in enumerate(table.cells(subject)):
            if not is_missing(cell):
                name = normal(_identity("", cell, "").subject)
                self.rows.setdefault(name, []).append(row)
                self.names.setdefault(name, cell)
        if not self.rows:
            raise InputError(f"{table.path} names nobody: its column {subject!r} is empty.")
        self._numbers = _without_zeros(self.rows)

    def find(self, identity: Identity) -> tuple[str, list[int]] | None:
        """Who a scan is of: their name here, and their rows (of that session, where the table has sessions)."""
        name = next((one for one in _candidates(identity) if one in self.rows), None)
        if name is None:
            name = self._numbers.get(normal(identity.subject).lstrip("0") or "0")
        if name is None:
            return None
        rows = self.rows[name]
        if self.sessions and identity.session:
            wanted = normal(identity.session, "ses-")
            own = [row for row in rows if self.sessions[row] == wanted]
            rows = own or [row for row in rows if is_missing(self.sessions[row])]
        return self.names[name], rows


def _without_zeros(rows: dict[str, list[int]]) -> dict[str, str]:
    """Names that are numbers by themselves without leading zeros, which spreadsheets drop; unless two become one."""
    found: dict[str, str] = {}
    for name in rows:
        if name.isdigit():
            short = name.lstrip("0") or "0"
            found[short] = "" if short in found else name
    return {short: name for short, name in found.items() if name}


def _candidates(identity: Identity) -> list[str]:
    """What the person may be called: the subject, ever fewer leading parts of the scan's name, then its folders."""
    subject = normal(identity.subject)
    parts = subject.split("_")
    shorter = ["_".join(parts[:count]) for count in range(len(parts), 0, -1)]
    folders = [normal(part) for part in reversed(PurePosixPath(identity.scan.replace("\\", "/")).parts[:-1])]
    return [subject, *shorter, *folders]


def examples_of(found: Sequence[Identity]) -> list[str]:
    """Names of scans to show in a note."""
    return [bare(one.scan) if one.scan else one.subject or "a row without a name" for one in found]
