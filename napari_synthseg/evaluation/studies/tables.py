"""Read tables as pandas frames of text, and find columns, scans and people by name.

Columns have names of this package, BIDS, FreeSurfer or SynthSeg.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath

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
_MAY_BE_EMPTY = ("lesion", "hypointensit", "vessel", "choroid", "5th")
"""Parts of the names of structures that a healthy brain may lack: a volume of 0 is a measurement."""


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


def may_be_empty(column: str) -> bool:
    """Whether a volume of 0 is a measurement: for everything that is not a structure of every brain."""
    return not is_structure(column) or any(part in plain(column) for part in _MAY_BE_EMPTY)


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
    listed = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    if len(wanted) > 1:
        named = ", ".join(map(repr, wanted[:-1])) + f" and {wanted[-1]!r}"
        return InputError(f"There are no columns {named} in {where}: there are {listed}{hint}.")
    close = get_close_matches(plain(wanted[0]), [plain(column) for column in columns], n=1, cutoff=0.75)
    meant = next((column for column in columns if close and plain(column) == close[0]), None)
    guess = f" (did you mean {meant!r}?)" if meant else ""
    return InputError(f"There is no column {wanted[0]!r} in {where}{guess}: there are {listed}{hint}.")


def without_side(column: str) -> str:
    """Return a structure's name without its side: `Hippocampus` for `Left-Hippocampus`, `ctx-insula` for
    `ctx-lh-insula`."""
    rest = re.sub(r"^(ctx-[lr]h-|(left|right|lh|rh)[-_ ])", "", column, flags=re.IGNORECASE)
    return f"ctx-{rest}" if column.lower().startswith("ctx-") and rest != column else rest


def chosen(wanted: Sequence[str], structures: Sequence[str]) -> list[str]:
    """Select the structures with these names or parts of names, in the order of the table.

    Raises:
        InputError: a name fits none.
    """
    found: set[str] = set()
    for name in wanted:
        exact = find(name, structures)
        fitting = [exact] if exact else [s for s in structures if plain(name) and plain(name) in plain(s)]
        if not fitting:
            raise missing([name], structures, "the volumes")
        found.update(fitting)
    return [structure for structure in structures if structure in found]


MISSING = ("-", "--", ".", "?", "n.a.", "N.A.", "none", "NONE", "missing", "Missing", "#VALUE!", "#DIV/0!", "nd", "Nan")
"""Cells without a value, beside those that pandas knows."""
WHO = ["#scan", "#subject", "#person", "#session", "#folder"]
"""Columns added to a table: scan as written, name of the subject, the same normalized, session, folder of the table."""
_WORKBOOKS = {b"PK\x03\x04": "an Excel or OpenDocument workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook"}
_SUBJECT = re.compile(r"(?:^|[/\\_])sub-([A-Za-z0-9+]+)")
_SESSION = re.compile(r"(?:^|[/\\_])ses-([A-Za-z0-9+]+)")
_LAST_PARTS = re.compile(r"_(dseg|labels?|seg|aseg|synthseg|segmentation)$")
_ENTITY = re.compile(r"(ses|run|acq|rec|desc|dir|echo|part|ce|space|res|task)-", re.IGNORECASE)
_KINDS = frozenset((
    "t1", "t1w", "t2", "t2w", "flair", "pd", "pdw", "ct", "mr", "mri", "mprage", "t1mprage", "mp2rage", "brain", "head",
    "anat", "image", "scan", "scans", "orig", "nu", "norm", "raw", "nii", "nifti", "dicom", "data", "/", ".",
))  # fmt: skip
"""Names of files and folders that identify nobody."""
_EXAMPLES = 3


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
        note = Note(where, what, len(texts), tuple(dict.fromkeys(text[:60] for text in texts))[:_EXAMPLES])
        if texts and note not in self.all:
            self.all.append(note)


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
    for beginning, what in _WORKBOOKS.items():
        if first_bytes(path).startswith(beginning):
            raise InputError(f"{path} is {what}: save the sheet as CSV and give that file.")
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not encoded in UTF-8: save it as CSV in UTF-8.") from error
    if "\0" in text[: 1 << 16]:
        raise InputError(f"{path} is no text: save it as CSV in UTF-8.")
    return text


def identified(table: pd.DataFrame, wanted: str = "") -> pd.DataFrame:
    """Return the table with the columns `WHO` in place of those that name scans, people and sessions.

    Args:
        table: of volumes or people.
        wanted: the column that names scans or subjects; without it, columns of the usual names are found, else the
            first column if it is no structure and its cells differ.

    Raises:
        InputError: there is no such column.
    """
    scan, subject = _id_columns(table, wanted)
    session = find_any(SESSION, list(table))
    cells = [table[column].fillna("") if column else [""] * len(table) for column in (scan, subject, session)]
    who = pd.DataFrame([_identity(*row) for row in zip(*cells, strict=True)], columns=WHO[:4], index=table.index)
    who["#folder"] = str(table.attrs["path"].parent)
    rest = table.drop(columns=[column for column in (scan, subject, session) if column])
    return pd.concat([who.replace("", pd.NA), rest], axis=1)


def _id_columns(table: pd.DataFrame, wanted: str) -> tuple[str | None, str | None]:
    scan, subject = find_any(SCAN, list(table)), find_any(SUBJECT, list(table))
    if wanted:
        column = find(wanted, list(table))
        if column is None:
            raise missing([wanted], list(table), str(table.attrs["path"]))
        if column == scan or _has_paths(table[column]):
            return column, subject if subject != column else None
        return scan if scan != column else None, column
    if subject and not scan and _has_paths(table[subject]):
        return subject, None  # SynthSeg's own tables call the scan the subject
    first = str(table.columns[0])
    if not scan and not subject and not is_structure(first) and table[first].is_unique:
        return None, first
    return scan, subject


def _has_paths(cells: pd.Series) -> bool:
    return bool(cells.str.contains(r"[/\\]|\.(?:nii|gz|mgz|nrrd)$", case=False, na=False).any())


def _identity(scan: str, subject: str, session: str) -> tuple[str, str, str, str]:
    """Return scan, subject, person and session of a row; empty if nothing says."""
    match = _SUBJECT.search(subject or scan)
    subject = f"sub-{match[1]}" if match else subject or (person_of(scan) if scan else "")
    visit = _SESSION.search(scan or subject)
    return scan, subject, normal(subject), normal(session or (visit[1] if visit else ""), "ses-")


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


def titles(rows: pd.DataFrame) -> list[str]:
    """Return the scans' names for a note."""
    return [
        bare(scan) if isinstance(scan, str) else subject if isinstance(subject, str) else "a row without a name"
        for scan, subject in zip(rows["#scan"], rows["#subject"], strict=True)
    ]


def person_in(known: dict[str, str], person: str, scan: str) -> str | None:
    """Find a scan's person in another table: by name, by ever fewer of its parts, by folders, or without zeros.

    Args:
        known: people of that table, by their names and by those that are numbers without leading zeros.
        person: normalized name from the scan's own row.
        scan: its path, or an empty text.
    """
    parts = person.split("_")
    shorter = ["_".join(parts[:count]) for count in range(len(parts), 0, -1)]
    folders = [normal(part) for part in reversed(PurePosixPath(scan.replace("\\", "/")).parts[:-1])]
    candidates = [*shorter, *folders, person.lstrip("0") or "0"]
    return next((known[one] for one in candidates if one in known), None)


def known_people(people: Sequence[str]) -> dict[str, str]:
    """Index people by their names, and numbers also without leading zeros (spreadsheets drop them) if unambiguous."""
    known = {name: name for name in people}
    for name in known.copy():
        short = name.lstrip("0") or "0"
        if name.isdigit() and short not in known:
            same = [other for other in people if other.isdigit() and (other.lstrip("0") or "0") == short]
            known |= {short: name} if len(same) == 1 else {}
    return known
