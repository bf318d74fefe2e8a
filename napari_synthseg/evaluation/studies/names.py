"""What columns are called: ours, BIDS', FreeSurfer's and SynthSeg's own names for scans, people and structures."""

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
ALIASES: dict[str, tuple[str, ...]] = {
    "age": ("age", "ageatscan", "ageyears", "agey", "ageatvisit"),
    "sex": ("sex", "gender"),
    "icv": INTRACRANIAL,
    "tiv": INTRACRANIAL,
    "etiv": INTRACRANIAL,
}
"""Other names by which a column that is asked for is found too."""
_ELSEWHERE = {
    "leftinferiorlateralventricle": "leftinflatvent", "rightinferiorlateralventricle": "rightinflatvent",
    "leftthalamusproper": "leftthalamus", "rightthalamusproper": "rightthalamus",
}  # fmt: skip
"""What SynthSeg's own tables and older ones of FreeSurfer call structures."""
MAY_BE_EMPTY = ("lesion", "hypointensit", "vessel", "choroid", "5th")
"""Parts of the names of structures that a healthy brain need not have: a volume of 0 is a volume."""


def plain(name: str) -> str:
    """A name in lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _structures() -> frozenset[str]:
    values = [s.value for s in (*anatomy.table()[1:], anatomy.LESIONS, anatomy.BRAIN, *anatomy.COARSE)]
    return frozenset(plain(anatomy.name(value)) for value in [*values, *anatomy.parcels()])


def is_structure(column: str) -> bool:
    """Whether a column is called like a structure of the brain, or the intracranial volume."""
    name = plain(column)
    return _ELSEWHERE.get(name, name) in _structures() or name in INTRACRANIAL


def may_be_empty(column: str) -> bool:
    """Whether a volume of 0 mm^3 is a measurement: for what is no structure of every brain."""
    return not is_structure(column) or any(part in plain(column) for part in MAY_BE_EMPTY)


def find(wanted: str, columns: Sequence[str]) -> str | None:
    """The column meant by a name: the same one, one that differs in case and signs, or one known by another name."""
    if wanted in columns:
        return wanted
    alike = [column for column in columns if plain(column) == plain(wanted) and plain(wanted)]
    if len(alike) == 1:
        return alike[0]
    return find_any(ALIASES.get(plain(wanted), ()), columns)


def find_any(names: Iterable[str], columns: Sequence[str]) -> str | None:
    """The first column that is called one of these plain names, in the order of the names."""
    called = {plain(column): column for column in reversed(columns)}
    return next((called[name] for name in names if name in called), None)


def unknown(wanted: str, columns: Sequence[str], where: str, hint: str = "") -> InputError:
    """The sentence for a column that is not there."""
    close = get_close_matches(plain(wanted), [plain(c) for c in columns], n=1, cutoff=0.75)
    meant = next((column for column in columns if close and plain(column) == close[0]), None)
    guess = f" (did you mean {meant!r}?)" if meant else ""
    return InputError(f"There is no column {wanted!r} in {where}{guess}: there are {_listed(columns)}{hint}.")


def all_unknown(wanted: Sequence[str], columns: Sequence[str], where: str, hint: str = "") -> InputError:
    """The sentence for columns that are not there."""
    if len(wanted) == 1:
        return unknown(wanted[0], columns, where, hint)
    named = ", ".join(map(repr, wanted[:-1])) + f" and {wanted[-1]!r}"
    return InputError(f"There are no columns {named} in {where}: there are {_listed(columns)}{hint}.")


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")


def side_and_rest(column: str) -> tuple[str, str]:
    """(`left`, `right` or nothing, the name without its side): `left`, `Hippocampus` of `Left-Hippocampus`."""
    for side, start in (("left", r"(left[-_ ]|lh[-_ ]|ctx-lh-)"), ("right", r"(right[-_ ]|rh[-_ ]|ctx-rh-)")):
        rest = re.sub(f"^{start}", "", column, flags=re.IGNORECASE)
        if rest != column:
            return side, f"ctx-{rest}" if column.lower().startswith("ctx-") else rest
    return "", column


def chosen(wanted: Sequence[str], structures: Sequence[str]) -> list[str]:
    """The structures meant by names or parts of names, in the order of the table.

    Raises:
        InputError: a name fits none.
    """
    if not wanted:
        return list(structures)
    found: set[str] = set()
    for name in wanted:
        exact = find(name, structures)
        fitting = [exact] if exact else [s for s in structures if plain(name) and plain(name) in plain(s)]
        if not fitting:
            raise unknown(name, structures, "the volumes")
        found.update(fitting)
    return [structure for structure in structures if structure in found]
