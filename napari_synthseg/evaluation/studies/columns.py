"""Names of columns: ours, BIDS', FreeSurfer's and SynthSeg's own for scans, people, covariates and structures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError

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
    """Make the error for columns that do not exist."""
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
