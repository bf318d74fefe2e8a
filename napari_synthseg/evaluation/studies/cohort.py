"""Combine tables of volumes, people and quality into a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import TableOptions, names_of
from napari_synthseg.evaluation.studies import tables as names
from napari_synthseg.evaluation.studies.tables import WHO, Notes, bare, identified, numbers, read_table, titles

_MAY_BE_EMPTY = ("lesion", "hypointensit", "vessel", "choroid", "5th")
"""Parts of the names of structures that a healthy brain may lack: a volume of 0 is a measurement."""


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
        """Return some scans, by a mask or by their places."""
        index = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else rows
        return Cohort(*(one.iloc[index].reset_index(drop=True) for one in (self.who, self.volumes, self.cells)))

    def titles(self, rows: np.ndarray) -> pd.Series:
        """Return names of the scans in a mask, for a note."""
        return titles(self.who[np.asarray(rows)])


def load_cohort(
    tables: Sequence[Path], options: TableOptions, wanted: Mapping[str, str | None] | Sequence[str], notes: Notes
) -> Cohort:
    """Read tables of volumes and of people, and join them.

    Args:
        tables: tables of volumes; several are joined scan by scan.
        options: how the tables belong together.
        wanted: columns needed beside the volumes, looked for among the people first. As a mapping: with the end of
            the error's sentence if the column does not exist; if that is None, the column is left out then.
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
    for column in ("#subject", "#person"):
        rows[column] = rows[column].fillna(pd.Series([f"row {i + 1}" for i in rows.index]))
    in_use = {*ours.values(), *(names.find(name, columns) for name in hints)}
    volumes = _volumes(rows, [column for column in columns if column not in in_use], options, str(tables[0]), notes)
    if options.sides == "together":
        parts: dict[str, list[str]] = {}
        for column in volumes:
            parts.setdefault(names.without_side(column), []).append(column)
        sums = {
            (rest if same[1:] else same[0]): volumes[same].sum(axis=1, skipna=False) for rest, same in parts.items()
        }
        volumes = pd.DataFrame(sums)
    return Cohort(rows[WHO], volumes, cells[[name for name in hints if name in cells]])


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
            conflict |= clash | ((rows[both] != facts[both]) & rows[both].notna() & facts[both].notna()).any(axis=1)
            rows = rows.combine_first(facts)[[*rows, *(c for c in facts if c not in rows)]]
        rows = pd.concat([rows, table[~personal]], ignore_index=True)
        conflict = conflict.reindex(rows.index, fill_value=False)
    repeated = rows.duplicated() & rows["#subject"].notna()
    notes.add("rows", "are in the tables twice: the second was left out", titles(rows[repeated]))
    rows, conflict, columns = rows[~repeated], conflict[~repeated], "those of the people"
    key = rows["#scan"].fillna(rows["#person"] + " " + rows["#session"])
    key = key.fillna(pd.Series([f"#{row}" for row in rows.index], rows.index))
    first, several = ~key.duplicated(), key.duplicated(keep=False)
    if several.any():
        groups = rows[several].groupby(key[several], sort=False)
        differ = groups[[column for column in rows if column not in WHO]].nunique() > 1
        columns = ", ".join(differ.columns[differ.any()][:3])
        conflict = conflict.groupby(key).transform("any") | key.isin(differ.index[differ.any(axis=1)])
        rows = pd.concat([rows[~several], groups.first().set_axis(rows.index[several & first])]).sort_index()
        conflict = conflict[first]
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
    rated, own = identified(quality), rows["#scan"].fillna(rows["#subject"]).fillna("")
    name = rated["#scan"].fillna(rated["#subject"]).fillna("")
    failed = rated["verdict"].str.contains("fail", case=False, na=False)
    verdicts = dict(zip([*name.map(bare)[::-1], *name[::-1]], [*failed[::-1], *failed[::-1]], strict=True))
    found = own.map(verdicts).fillna(own.map(bare).map(verdicts))
    gone = (found == True).to_numpy()  # noqa: E712
    notes.add("rows", f"scans have likely failed by {where.name}, so left out", titles(rows[gone]))
    notes.add("rows", f"scans are not in {where.name}: kept", titles(rows[found.isna()]))
    return gone


def _sources(
    wanted: Mapping[str, str | None], columns: list[str], people: pd.DataFrame | None, where: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the wanted columns among the people and among the volumes, by the name asked for."""
    of_people = [] if people is None else list(people)
    theirs = {name: column for name in wanted if (column := names.find(name, of_people))}
    ours = {name: column for name in wanted if name not in theirs and (column := names.find(name, columns))}
    if lacking := [name for name in wanted if name not in theirs | ours and wanted[name] is not None]:
        hints = [wanted[name] or "" for name in lacking]
        if people is None:
            hints = ["; --participants gives a table of the people", *hints]
        else:
            where = f"{people.attrs['path']} and {where}"
        raise names.missing(lacking, [*of_people, *columns], where, "".join(dict.fromkeys(hints)))
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
    rows["#person"] = names.find_people(rows, people["#person"])
    found, conflict, matched = _facts_about(rows, people, asked)
    written = people.drop_duplicates("#person", keep="last").set_index("#person")["#subject"]
    notes.add("rows", f"scans belong to nobody in {where}, so left out", titles(rows[~matched]))
    notes.add("rows", f"scans belong to people with contradicting rows in {where}, so left out", titles(rows[conflict]))
    notes.add(where, "people have no scan", written[~written.index.isin(rows["#person"][matched])])
    rows["#subject"] = rows["#person"].map(written).fillna(rows["#subject"])
    return found.set_axis(list(columns), axis=1), (matched & ~conflict).to_numpy()


def _volumes(rows: pd.DataFrame, columns: list[str], options: TableOptions, where: str, notes: Notes) -> pd.DataFrame:
    known = [column for column in columns if names.is_structure(column)]
    chosen = known or columns
    if options.structures:
        chosen = _named(names_of(options.structures), columns)
    elif known:
        others = [column for column in columns if column not in known]
        notes.add("columns", "are no known structures, so left out (--structures takes them)", others)
    found, text = {}, []
    for column in chosen:
        values, wrong = numbers(rows[column])
        if not values.notna().any() or values.notna().sum() < wrong.sum():
            text.append(column)
            continue
        whole = column in known and not any(part in names.plain(column) for part in _MAY_BE_EMPTY)
        negative, empty = values < 0, (values == 0) & whole
        notes.add(column, "volumes are missing, so left out of this structure", titles(rows[rows[column].isna()]))
        notes.add(column, "cells are no numbers, so taken as missing", rows[column][wrong])
        notes.add(column, "volumes are negative, so taken as missing", titles(rows[negative]))
        notes.add(column, "volumes are 0 (not found in the scan), so taken as missing", titles(rows[empty]))
        found[column] = values.mask(negative | empty)
    notes.add("columns", "hold no numbers, so are no structures", text)
    if not found:
        raise InputError(f"{where} has no column of volumes: give a table that `segment --volumes` wrote.")
    return pd.DataFrame(found, index=rows.index)


def _named(wanted: Sequence[str], structures: Sequence[str]) -> list[str]:
    """Select the structures with these names or parts of names, in the order of the table."""
    found: set[str] = set()
    for name in wanted:
        exact = names.find(name, structures)
        part = names.plain(name) or name
        fitting = [exact] if exact else [one for one in structures if part in names.plain(one)]
        if not fitting:
            raise names.missing([name], structures, "the volumes")
        found.update(fitting)
    return [structure for structure in structures if structure in found]
