"""Read tables as pandas frames of text, and find columns, scans and people by name.

Columns have names of this package, BIDS, FreeSurfer or SynthSeg.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import delimiter_of, read_text
from napari_synthseg.errors import InputError
from napari_synthseg.io import stem
from napari_synthseg.io.formats import first_bytes

SCAN = ("scan", "filename", "file", "path", "image", "input")
SUBJECT = ("participantid", "subject", "subjectid", "participant", "sub", "subjid", "ptid", "rid", "id")
SESSION = ("sessionid", "session", "ses", "visit", "timepoint", "visitcode")
INTRACRANIAL = (
    "intracranial", "totalintracranial", "icv", "etiv", "tiv", "estimatedtotalintracranialvol",
    "estimatedtotalintracranialvolume", "intracranialvolume",
)  # fmt: skip
AGE = ("age", "ageatscan", "ageyears", "agey", "ageatvisit")
ALIASES = {"age": AGE, "sex": ("sex", "gender"), **dict.fromkeys(("icv", "tiv", "etiv"), INTRACRANIAL)}
"""Other names by which a requested column is found."""
SPACING = ("spacing_x", "spacing_y", "spacing_z")
"""From left to right, from back to front and upwards, mm: sagittal, coronal and axial slices."""
_ELSEWHERE = {
    "leftinferiorlateralventricle": "leftinflatvent", "rightinferiorlateralventricle": "rightinflatvent",
    "leftthalamusproper": "leftthalamus", "rightthalamusproper": "rightthalamus",
}  # fmt: skip
"""Names of structures in SynthSeg's own tables and older ones of FreeSurfer."""
MISSING = ("-", "--", ".", "?", "n.a.", "N.A.", "none", "NONE", "missing", "Missing", "#VALUE!", "#DIV/0!", "nd", "Nan")
"""Cells without a value, beside those that pandas knows."""
WHO = ["#scan", "#subject", "#person", "#session", "#folder"]
"""Columns added to a table: scan as written, name of the subject, the same normalized, session, folder of the table."""
_WORKBOOKS = {b"PK\x03\x04": "an Excel or OpenDocument workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook"}
_LAST_PARTS = re.compile(r"_(dseg|labels?|seg|aseg|synthseg|segmentation)$")
_ENTITY = re.compile(r"(ses|run|acq|rec|desc|dir|echo|part|ce|space|res|task)-", re.IGNORECASE)
_KINDS = frozenset((
    "t1", "t1w", "t2", "t2w", "flair", "pd", "pdw", "ct", "mr", "mri", "mprage", "t1mprage", "mp2rage", "brain", "head",
    "anat", "image", "scan", "scans", "orig", "nu", "norm", "raw", "nii", "nifti", "dicom", "data", "/", ".",
))  # fmt: skip
"""Names of files and folders that identify nobody."""


@dataclass(frozen=True)
class Note:
    """One thing that a study left out or changed.

    Attributes:
        where: a column, a table, or "rows".
        what: the end of a sentence: "are no numbers, so taken as missing".
        count: number of cells, rows or columns.
        examples: some of them, as in the table.
    """

    where: str
    what: str
    count: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(self.examples) + (", ..." if self.count > len(self.examples) else "")
        return f"{self.where}: {self.count} {self.what}" + (f" ({shown})" if self.examples else "")


class Notes:
    """Everything that a study left out or changed, in the order of discovery."""

    def __init__(self) -> None:
        self.all: list[Note] = []

    def add(self, where: str, what: str, examples: Iterable[object]) -> None:
        """Add a note about all its examples, unless there are none or the note exists; see `Note`."""
        texts = [str(example) for example in examples]
        note = Note(where, what, len(texts), tuple(dict.fromkeys(text[:60] for text in texts))[:3])
        if texts and note not in self.all:
            self.all.append(note)


# Columns


def plain(name: str) -> str:
    """Return a name in lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _structures() -> frozenset[str]:
    values = [s.value for s in (*anatomy.table()[1:], anatomy.LESIONS, anatomy.BRAIN, *anatomy.COARSE)]
    return frozenset(plain(anatomy.name(value)) for value in [*values, *anatomy.parcels()])


def is_structure(column: str) -> bool:
    """Whether a column is called like a structure of the brain or the intracranial volume."""
    name = plain(column)
    return _ELSEWHERE.get(name, name) in _structures() or name in INTRACRANIAL


def find(wanted: str, columns: Sequence[str]) -> str | None:
    """Find a column by its name, a name that differs in case and signs only, or an alias."""
    if wanted in columns:
        return wanted
    alike = [column for column in columns if plain(column) == plain(wanted) and plain(wanted)]
    return alike[0] if len(alike) == 1 else find_any(ALIASES.get(plain(wanted), ()), columns)


def find_any(names: Iterable[str], columns: Sequence[str]) -> str | None:
    """Return the first column that has one of these plain names, in the order of the names."""
    called = {plain(column): column for column in reversed(columns)}
    return next((called[name] for name in names if name in called), None)


def missing(wanted: Sequence[str], columns: Sequence[str], where: str, hint: str = "") -> InputError:
    """Return the error about columns that do not exist, with the nearest name if it is one column."""
    listed = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "") + hint
    *first, last = map(repr, wanted)
    if first:
        return InputError(f"There are no columns {', '.join(first)} and {last} in {where}: there are {listed}.")
    called = {plain(column): column for column in reversed(columns)}
    close = get_close_matches(plain(wanted[0]), called, n=1, cutoff=0.75)
    guess = f" (did you mean {called[close[0]]!r}?)" if close else ""
    return InputError(f"There is no column {last} in {where}{guess}: there are {listed}.")


def without_side(column: str) -> str:
    """Return a structure's name without its side: `Hippocampus` for `Left-Hippocampus`, `ctx-insula` for
    `ctx-lh-insula`."""
    rest = re.sub(r"^(ctx-[lr]h-|(left|right|lh|rh)[-_ ])", "", column, flags=re.IGNORECASE)
    return f"ctx-{rest}" if column.lower().startswith("ctx-") and rest != column else rest


# Files


def read_table(path: Path, notes: Notes) -> pd.DataFrame:
    """Read a CSV or TSV table as text, NaN if cells are missing; skipped rows are noted.

    The delimiter is a tab, semicolon or comma, whatever the ending; decimal commas become points in `;` tables.

    Raises:
        InputError: no such file, no text, no columns, or no rows.
    """
    text = _text(path)
    delimiter = delimiter_of(text)
    if delimiter not in text.lstrip().partition("\n")[0]:
        raise InputError(f"{path} has no columns: they must be separated by tabs, commas or semicolons.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, na_values=list(MISSING),
                                skipinitialspace=True, index_col=False, on_bad_lines="warn")  # fmt: skip
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(f"{path} cannot be read as a table ({str(error).strip()}).") from error
    skipped = re.findall(r"Skipping (line \d+)", "\n".join(str(one.message) for one in caught))
    notes.add(path.name, "rows have more cells than the table has columns, so left out", skipped)
    table.columns = [str(column).strip() for column in table.columns]
    table = table.apply(lambda cells: cells.str.strip()).replace("", pd.NA).dropna(how="all").reset_index(drop=True)
    if not len(table):
        raise InputError(f"{path} has no rows below its header: give a table with a row a scan.")
    if delimiter == ";":
        table = table.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
    table.attrs["path"] = path
    return table


def _text(path: Path) -> str:
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise InputError(f"The table {path} {what}: give a CSV or TSV file.")
    if kind := next((what for start, what in _WORKBOOKS.items() if first_bytes(path).startswith(start)), ""):
        raise InputError(f"{path} is {kind}: save the sheet as CSV and give that file.")
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not encoded in UTF-8: save it as CSV in UTF-8.") from error
    if "\0" in text[: 1 << 16]:
        raise InputError(f"{path} is no text: save it as CSV in UTF-8.")
    return text


def numbers(text: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Convert a column to finite numbers, NaN elsewhere; also return the mask of cells that are neither nor missing."""
    values = pd.to_numeric(text, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
    return values, text.notna() & values.isna()


# Scans and people


def identified(table: pd.DataFrame, wanted: str = "") -> pd.DataFrame:
    """Return the table with the columns `WHO` in place of those that name scans, people and sessions.

    Args:
        table: of volumes or people.
        wanted: the column that names scans or subjects; without it, columns of the usual names are found, else the
            first column if it is no structure and its cells differ.

    Raises:
        InputError: there is no such column.
    """
    columns = [*_id_columns(table, wanted), find_any(SESSION, list(table))]
    nothing = pd.Series(pd.NA, index=table.index, dtype=object)
    scan, subject, session = (table[column].astype(object) if column else nothing for column in columns)
    bids = subject.fillna(scan).astype(str).str.extract(r"(?:^|[/\\_])sub-([A-Za-z0-9+]+)")[0]
    subject = ("sub-" + bids).fillna(subject).fillna(scan.map(person_of, na_action="ignore"))
    visit = scan.fillna(subject).astype(str).str.extract(r"(?:^|[/\\_])ses-([A-Za-z0-9+]+)")[0]
    person = subject.map(normal, na_action="ignore")
    session = session.fillna(visit).map(lambda name: normal(name, "ses-"), na_action="ignore")
    who = pd.concat([scan, subject, person, session], axis=1, keys=WHO[:4]).astype(object)
    who["#folder"] = str(table.attrs["path"].parent)
    return pd.concat([who, table.drop(columns=[column for column in columns if column])], axis=1)


def _id_columns(table: pd.DataFrame, wanted: str) -> tuple[str | None, str | None]:
    """Return the columns of scans and of subjects."""
    scan, subject = find_any(SCAN, list(table)), find_any(SUBJECT, list(table))

    def has_paths(column: str) -> bool:
        return bool(table[column].str.contains(r"[/\\]|\.(?:nii|gz|mgz|nrrd)$", case=False, na=False).any())

    if wanted:
        column = find(wanted, list(table))
        if column is None:
            raise missing([wanted], list(table), str(table.attrs["path"]))
        if column == scan or has_paths(column):
            return column, subject if subject != column else None
        return scan, column
    if subject and not scan and has_paths(subject):
        return subject, None  # SynthSeg's own tables call the scan the subject
    first = str(table.columns[0])
    if not scan and not subject and not is_structure(first) and table[first].is_unique:
        return None, first
    return scan, subject


def person_of(scan: str) -> str:
    """Guess the person from a path without BIDS names: the file's name, else a folder's, without kind and entities.

    It is `1002` for `1002_run-2_t1.nii.gz`, and `P7` for `P7/mri/orig.mgz`.
    """
    for part in reversed(PurePosixPath(scan.replace("\\", "/")).parts):
        pieces = [one for one in bare(part).split("_") if not _ENTITY.match(one) and one.lower() not in _KINDS]
        if any(pieces):
            return "_".join(pieces)
    return bare(scan)


def bare(scan: str) -> str:
    """Return a scan's name without folder, format and the ending of a label file."""
    return _LAST_PARTS.sub("", stem(scan.replace("\\", "/")))


def normal(name: str, prefix: str = "sub-") -> str:
    """Normalize a name of a person or session: no case, white space, or BIDS prefix."""
    return name.strip().lower().removeprefix(prefix)


def titles(rows: pd.DataFrame) -> pd.Series:
    """Return the scans' names for a note."""
    return rows["#scan"].map(bare, na_action="ignore").fillna(rows["#subject"]).fillna("a row without a name")


def find_people(rows: pd.DataFrame, people: Iterable[str]) -> pd.Series:
    """Find the person of each scan in another table; None if there is none.

    Looked for are the normalized name from the scan's own row, ever fewer of its parts, the scan's folders, and the
    name without leading zeros (spreadsheets drop them) if that is unambiguous.
    """
    people = list(dict.fromkeys(people))
    short = {name: name.lstrip("0") or "0" for name in people if name.isdigit()}
    counts = Counter(short.values())
    known = {one: name for name, one in short.items() if counts[one] == 1} | {name: name for name in people}

    def find_one(person: str, scan: str) -> str | None:
        parts = person.split("_")
        shorter = ["_".join(parts[:count]) for count in range(len(parts), 0, -1)]
        folders = [normal(part) for part in reversed(PurePosixPath(scan.replace("\\", "/")).parts[:-1])]
        return next((known[one] for one in [*shorter, *folders, person.lstrip("0") or "0"] if one in known), None)

    pairs = zip(rows["#person"].fillna(""), rows["#scan"].fillna(""), strict=True)
    return pd.Series([find_one(*pair) for pair in pairs], index=rows.index, dtype=object)
