"""Combine tables of volumes, people and quality into a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import tables as names
from napari_synthseg.evaluation.studies.options import TableOptions, names_of
from napari_synthseg.evaluation.studies.tables import (
    WHO,
    Notes,
    bare,
    identified,
    known_people,
    person_in,
    read_table,
    titles,
)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Scans with their volumes and people: three frames with the same rows.

    Attributes:
        who: `tables.WHO`; the person is always known.
        volumes: (scans, structures), in the unit of the table; NaN if missing.
        cells: the requested columns, as text.
    """

    who: pd.DataFrame
    volumes: pd.DataFrame
    cells: pd.DataFrame

    def __len__(self) -> int:
        return len(self.who)

    def take(self, rows: np.ndarray) -> Cohort:
        index = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else rows
        return Cohort(*(one.iloc[index].reset_index(drop=True) for one in (self.who, self.volumes, self.cells)))

    def titles(self, rows: np.ndarray) -> list[str]:
        """Return names of the scans in a mask, for a note."""
        return titles(self.who[np.asarray(rows)])


def load_cohort(
    tables: Sequence[Path], options: TableOptions, wanted: Mapping[str, str] | Sequence[str], notes: Notes
) -> Cohort:
    """Read tables of volumes and of people, and join them.

    Args:
        tables: tables of volumes; several are joined scan by scan.
        options: how the tables belong together.
        wanted: columns needed beside the volumes, looked for among the people first. As a mapping: with the end of
            the error's sentence if the column does not exist.
        notes: everything left out is noted here.

    Raises:
        InputError: a table cannot be used, a column does not exist, no scan belongs to a known person, or nothing is
            left.
    """
    if not tables:
        raise InputError("Give a table of volumes, such as `segment --volumes` writes.")
    hints = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted, "")
    rows = _combined([identified(read_table(Path(table), notes), options.id) for table in tables], notes)
    if options.quality is not None:
        rows = rows[~_failed(rows, read_table(Path(options.quality), notes), notes)].reset_index(drop=True)
    people = None if options.participants is None else read_table(Path(options.participants), notes)
    columns = [column for column in rows if column not in WHO]
    theirs, ours = _sources(hints, columns, people, ", ".join(map(str, tables)))
    cells, keep = rows[list(ours.values())].set_axis(list(ours), axis=1), np.ones(len(rows), bool)
    if people is not None:
        found, keep = _join_people(rows, people, theirs, notes)
        cells = pd.concat([found, cells], axis=1)
    rows, cells = rows[keep].reset_index(drop=True), cells[keep].reset_index(drop=True)
    if not len(rows):
        raise InputError(f"No scan of {Path(tables[0]).name} can be used: {'; '.join(map(str, notes.all[-2:]))}.")
    numbers = pd.Series([f"row {i + 1}" for i in rows.index])
    rows["#subject"] = rows["#subject"].fillna(numbers)
    rows["#person"] = rows["#person"].fillna(numbers)
    in_use = {*ours.values(), *(names.find(name, columns) for name in hints)}
    volumes = _volumes(rows, [column for column in columns if column not in in_use], options, str(tables[0]), notes)
    return Cohort(rows[WHO], volumes if options.sides == "apart" else _both_sides(volumes), cells[list(hints)])


def _combined(tables: list[pd.DataFrame], notes: Notes) -> pd.DataFrame:
    """Return one row a scan; scans with contradicting rows are left out.

    Rows of the same scan (or, in a table without scans, of the same person and session) are merged, and a table
    without scans adds its columns to all scans of its people. Other rows of the same person are scans of their own.
    """
    rows, *others = sorted(tables, key=lambda table: table["#scan"].isna().all())
    conflict = pd.Series(False, index=rows.index)
    for table in others:
        personal = table["#scan"].isna() & table["#person"].isin(rows["#person"].dropna())
        if personal.any():
            facts, clash, _ = _facts_about(rows, table[personal], [c for c in table if c not in WHO])
            both = [column for column in facts if column in rows]
            clash |= ((rows[both] != facts[both]) & rows[both].notna() & facts[both].notna()).any(axis=1)
            conflict |= clash
            rows = rows.combine_first(facts)[[*rows, *(c for c in facts if c not in rows)]]
        rows = pd.concat([rows, table[~personal]], ignore_index=True)
        conflict = conflict.reindex(rows.index, fill_value=False)
    repeated = rows.duplicated() & rows["#subject"].notna()
    notes.add("rows", "are in the tables twice: the second was left out", titles(rows[repeated]))
    rows, conflict = rows[~repeated], conflict[~repeated]
    key = rows["#scan"].fillna(rows["#person"] + " " + rows["#session"])
    several = key.notna() & key.duplicated(keep=False)
    if several.any():
        groups = rows[several].groupby(key[several], sort=False)
        merged = groups.first().set_axis(key[several].drop_duplicates().index)
        distinct = groups[[column for column in rows if column not in WHO]].nunique()
        differ = (distinct > 1).any(axis=1).to_numpy() | groups.apply(lambda one: conflict[one.index].any()).to_numpy()
        rows = pd.concat([rows[~several], merged]).sort_index()
        conflict = pd.concat([conflict[~several], pd.Series(differ, index=merged.index)]).sort_index()
        columns = ", ".join(distinct.columns[(distinct > 1).any()][:3])
    else:
        columns = "those of the people"
    what = f"scans are in the tables twice with different values ({columns}), so left out"
    notes.add("rows", what, titles(rows[conflict]))
    return rows[~conflict].reset_index(drop=True)


def _facts_about(
    rows: pd.DataFrame, facts: pd.DataFrame, columns: list[str]
) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Look up facts by person and, if both sides name one, session.

    Returns:
        The columns for each row, whether several facts contradict each other, and whether there are any.
    """
    pairs = rows[["#person", "#session"]].reset_index().merge(facts, on="#person", suffixes=("", " of facts"))
    theirs = pairs["#session of facts"]
    pairs = pairs[(pairs["#session"] == theirs) | pairs["#session"].isna() | theirs.isna()]
    groups = pairs.groupby("index")[columns]
    found = groups.first().reindex(rows.index)
    conflict = (groups.nunique() > 1).any(axis=1).reindex(rows.index, fill_value=False)
    return found, conflict.astype(bool), pd.Series(rows.index.isin(pairs["index"]), rows.index)


def _failed(rows: pd.DataFrame, quality: pd.DataFrame, notes: Notes) -> np.ndarray:
    """Mark scans with a "likely failed" verdict, matched by path, else by the scan's name."""
    where = quality.attrs["path"]
    if "verdict" not in quality:
        raise InputError(f"{where} has no column 'verdict': give a table that `segment --qc` wrote.")
    judged = identified(quality)
    name = judged["#scan"].fillna(judged["#subject"]).fillna("")
    verdicts = pd.Series(judged["verdict"].str.contains("fail", case=False, na=False).to_numpy(), index=name)
    verdicts = pd.concat([verdicts, verdicts.set_axis([bare(one) for one in name])])
    verdicts = verdicts[~verdicts.index.duplicated()]
    own = rows["#scan"].fillna(rows["#subject"]).fillna("")
    found = own.map(verdicts).fillna(own.map(bare).map(verdicts))
    failed = (found == True).to_numpy()  # noqa: E712
    notes.add("rows", f"scans have likely failed by {where.name}, so left out", titles(rows[failed]))
    notes.add("rows", f"scans are not in {where.name}: kept", titles(rows[found.isna()]))
    return failed


def _sources(
    wanted: Mapping[str, str], columns: list[str], people: pd.DataFrame | None, where: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the wanted columns among the people and among the volumes, by the name asked for."""
    of_people = [] if people is None else list(people)
    theirs = {name: column for name in wanted if (column := names.find(name, of_people))}
    ours = {name: column for name in wanted if name not in theirs and (column := names.find(name, columns))}
    if lacking := [name for name in wanted if name not in theirs and name not in ours]:
        hint = "; --participants gives a table of the people" if people is None else ""
        where = where if people is None else f"{people.attrs['path']} and {where}"
        raise names.missing(
            lacking, [*of_people, *columns], where, "".join(dict.fromkeys([hint, *(wanted[name] for name in lacking)]))
        )
    return theirs, ours


def _join_people(
    rows: pd.DataFrame, table: pd.DataFrame, columns: dict[str, str], notes: Notes
) -> tuple[pd.DataFrame, np.ndarray]:
    """Name the rows after their people; return the columns of each row by the name asked for, and the rows to keep."""
    where, asked = table.attrs["path"].name, [f"={name}" for name in columns]
    people = pd.concat([identified(table)[WHO], table[list(columns.values())].set_axis(asked, axis=1)], axis=1)
    people = people[people["#person"].notna()]
    if not len(people):
        raise InputError(f"{where} has no subjects: its column of subjects is empty.")
    known = known_people(list(dict.fromkeys(people["#person"])))
    written = dict(zip(people["#person"], people["#subject"], strict=True))
    matches = [
        person_in(known, person, scan)
        for person, scan in zip(rows["#person"].fillna(""), rows["#scan"].fillna(""), strict=True)
    ]
    rows["#person"] = pd.Series(matches, index=rows.index, dtype=object)
    found, conflict, matched = _facts_about(rows, people, asked)
    notes.add("rows", f"scans belong to nobody in {where}, so left out", titles(rows[~matched]))
    notes.add("rows", f"scans belong to people with contradicting rows in {where}, so left out", titles(rows[conflict]))
    unseen = [name for person, name in written.items() if person not in set(rows["#person"][matched])]
    notes.add(where, "people have no scan", unseen)
    rows["#subject"] = rows["#person"].map(written).fillna(rows["#subject"])
    return found.set_axis(list(columns), axis=1), (matched & ~conflict).to_numpy()


def numbers(text: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Convert a column to finite numbers, NaN elsewhere; also return the mask of cells that are neither nor missing."""
    values = pd.to_numeric(text, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
    return values, text.notna() & values.isna()


def _volumes(rows: pd.DataFrame, columns: list[str], options: TableOptions, where: str, notes: Notes) -> pd.DataFrame:
    known = [column for column in columns if names.is_structure(column)]
    if options.structures:
        candidates = names.chosen(names_of(options.structures), columns)
    else:
        candidates = known or columns
    if known and not options.structures:
        others = [column for column in columns if column not in known]
        notes.add("columns", "are no known structures, so left out (--structures takes them)", others)
    found, text = {}, []
    for column in candidates:
        values, wrong = numbers(rows[column])
        if not values.notna().any() or values.notna().sum() < wrong.sum():
            text.append(column)
            continue
        negative, empty = values < 0, (values == 0) & (not names.may_be_empty(column))
        notes.add(column, "volumes are missing, so left out of this structure", titles(rows[rows[column].isna()]))
        notes.add(column, "cells are no numbers, so taken as missing", rows[column][wrong])
        notes.add(column, "volumes are negative, so taken as missing", titles(rows[negative]))
        notes.add(column, "volumes are 0 (not found in the scan), so taken as missing", titles(rows[empty]))
        found[column] = values.mask(negative | empty)
    notes.add("columns", "hold no numbers, so are no structures", text)
    if not found:
        raise InputError(f"{where} has no column of volumes: give a table that `segment --volumes` wrote.")
    return pd.DataFrame(found, index=rows.index)


def _both_sides(volumes: pd.DataFrame) -> pd.DataFrame:
    """Add left and right of every structure; structures without another side stay as they are."""
    parts: dict[str, list[str]] = {}
    for column in volumes:
        parts.setdefault(names.without_side(column), []).append(column)
    return pd.DataFrame(
        {(rest if len(same) > 1 else same[0]): volumes[same].sum(axis=1, skipna=False) for rest, same in parts.items()}
    )
