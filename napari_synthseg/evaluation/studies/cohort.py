"""From tables to a cohort: volumes as an array, and beside them what is known of the people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import names
from napari_synthseg.evaluation.studies.identity import People, examples_of
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.evaluation.studies.numerals import is_missing, is_numeric, parse_numbers
from napari_synthseg.evaluation.studies.options import TableOptions, names_of
from napari_synthseg.evaluation.studies.records import Record, records_of, without_failed
from napari_synthseg.evaluation.studies.text_table import TextTable, read_text_table

WHOSE = "; --participants gives a table of the people"
"""Said where a column is not there and no such table was given."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """Scans with their volumes, and whose they are."""

    subjects: tuple[str, ...]
    """Of each scan; a name of its own for a scan of nobody known."""
    sessions: tuple[str, ...]
    scans: tuple[str, ...]
    """What the table calls each scan, a path where it holds paths; empty where it does not say."""
    folders: tuple[Path, ...]
    """Where the table of each scan lies."""
    structures: tuple[str, ...]
    volumes: np.ndarray
    """(scans, structures), in the unit of the table, mm^3 in ours; NaN where missing."""
    cells: dict[str, list[str]]
    """The columns that were asked for, as text, by the name they were asked by."""
    marks: dict[str, str | None]
    """What separates decimals in each of them."""

    def __len__(self) -> int:
        return len(self.subjects)

    def take(self, rows: Sequence[int] | np.ndarray) -> Cohort:
        """Some of the scans."""
        index = np.asarray(rows, np.intp)
        return replace(
            self,
            subjects=tuple(self.subjects[i] for i in index),
            sessions=tuple(self.sessions[i] for i in index),
            scans=tuple(self.scans[i] for i in index),
            folders=tuple(self.folders[i] for i in index),
            volumes=self.volumes[index],
            cells={name: [cells[i] for i in index] for name, cells in self.cells.items()},
        )


def load_cohort(
    tables: Sequence[Path], options: TableOptions, wanted: Mapping[str, str] | Sequence[str], notes: Notes
) -> Cohort:
    """Reads tables of volumes and of people, and puts them together.

    Args:
        tables: tables of volumes; several are put together scan by scan.
        options: what belongs together.
        wanted: columns that are needed beside the volumes; looked for among the people first. As a mapping: with
            the end of the sentence to be said where they are not there.
        notes: what was left out is noted here.

    Raises:
        InputError: a table cannot be used, a column is not there, no scan is of anybody known, or nothing is left.
    """
    if not tables:
        raise InputError("Give a table of volumes, such as `segment --volumes` writes.")
    read = [read_text_table(Path(table), notes) for table in tables]
    records = records_of(read, options.id, notes)
    if options.quality is not None:
        records = without_failed(records, read_text_table(Path(options.quality), notes), notes)
    people = None if options.participants is None else read_text_table(Path(options.participants), notes)
    hints = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted, "")
    sources = _sources(hints, read, people)
    cells, records, subjects = _with_people(records, sources, people, notes)
    if not records:
        raise InputError(f"No scan of {read[0].path.name} can be used: {'; '.join(map(str, notes.all[-2:]))}.")
    structures, volumes = _volumes(read, records, options, _in_use(sources, read), notes)
    marks = {
        name: people.mark
        if people is not None and of_people
        else next((t.mark for t in read if column in t.columns), None)
        for name, (of_people, column) in sources.items()
    }
    cohort = Cohort(
        subjects=tuple(subjects),
        sessions=tuple(record.who.session for record in records),
        scans=tuple(record.who.scan for record in records),
        folders=tuple(record.folder for record in records),
        structures=tuple(structures),
        volumes=volumes,
        cells=cells,
        marks=marks,
    )
    return cohort if options.sides == "apart" else both_sides(cohort)


def _sources(
    wanted: Mapping[str, str], tables: list[TextTable], people: TextTable | None
) -> dict[str, tuple[bool, str]]:
    """For each column that is wanted: whether the table of people has it, and what it is called there."""
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    found: dict[str, tuple[bool, str]] = {}
    missing: list[str] = []
    for name in wanted:
        own = names.find(name, people.columns) if people is not None else None
        column = own or names.find(name, columns)
        if column is None:
            missing.append(name)
        else:
            found[name] = (own is not None, column)
    if missing:
        where = " and ".join(str(t.path) for t in ([people] if people is not None else []) + tables)
        everything = [*(people.columns if people is not None else ()), *columns]
        hints = dict.fromkeys([WHOSE if people is None else "", *(wanted[name] for name in missing)])
        raise names.all_unknown(missing, everything, where, "".join(hints))
    return found


def _in_use(sources: dict[str, tuple[bool, str]], tables: list[TextTable]) -> set[str]:
    """Columns of the volumes that are no structures here, since they say what was asked for by name."""
    columns = [column for table in tables for column in table.columns]
    alike = {names.find(name, columns) for name in sources}
    return {column for _, column in sources.values()} | {column for column in alike if column}


def _with_people(
    records: list[Record], sources: dict[str, tuple[bool, str]], people: TextTable | None, notes: Notes
) -> tuple[dict[str, list[str]], list[Record], list[str]]:
    """The wanted cells of each scan, the scans that are somebody's, and whose they are."""
    directory = None if people is None else People(people)
    of_people = [(name, column) for name, (own, column) in sources.items() if own]
    kept, subjects, nobody, unclear = [], [], [], []
    cells: dict[str, list[str]] = {name: [] for name in sources}
    seen: set[str] = set()
    for number, record in enumerate(records):
        subject, row = record.who.subject or f"row {number + 1}", dict.fromkeys(sources, "")
        if directory is not None and people is not None:
            match = directory.find(record.who)
            if match is None or not match[1]:
                nobody.append(record.who)
                continue
            subject = match[0]
            seen.add(subject)
            said = {tuple(people.rows[i][people.columns.index(column)] for _, column in of_people) for i in match[1]}
            agreed = _agreed(said)
            if agreed is None:
                unclear.append(record.who)
                continue
            row.update(zip([name for name, _ in of_people], agreed, strict=True))
        row.update({name: record.cells.get(column, "") for name, (own, column) in sources.items() if not own})
        for name, cell in row.items():
            cells[name].append(cell)
        kept.append(record)
        subjects.append(subject)
    if people is not None and directory is not None:
        where = people.path.name
        notes.add("rows", f"scans are of nobody in {where}, so left out", examples_of(nobody))
        notes.add(
            "rows", f"scans are of people about whom {where} says different things, so left out", examples_of(unclear)
        )
        notes.add(where, "people have no scan", [name for name in directory.names.values() if name not in seen])
    return cells, kept, subjects


def _agreed(said: set[tuple[str, ...]]) -> tuple[str, ...] | None:
    """What several rows about one person say together, or None where two say different things."""
    out = []
    for cells in zip(*said, strict=True):
        known = {cell for cell in cells if not is_missing(cell)}
        if len(known) > 1:
            return None
        out.append(known.pop() if known else "")
    return tuple(out)


def _volumes(
    tables: list[TextTable], records: list[Record], options: TableOptions, used: set[str], notes: Notes
) -> tuple[list[str], np.ndarray]:
    """The structures, and their volumes (scans, structures)."""
    held = {column for record in records for column in record.cells}
    columns = [c for c in dict.fromkeys(c for t in tables for c in t.columns) if c in held and c not in used]
    known = [column for column in columns if names.is_structure(column)]
    asked = names_of(options.structures)
    if known and not asked:
        notes.add("columns", "are no structures that are known, so left out (--structures takes them)",
                  [column for column in columns if column not in known])  # fmt: skip
    candidates = names.chosen(asked, columns) if asked else known or columns
    marks = {column: table.mark for table in reversed(tables) for column in table.columns}
    structures, volumes, text = [], [], []
    for column in candidates:
        cells = [record.cells.get(column, "") for record in records]
        parsed = parse_numbers(cells, marks[column])
        if not is_numeric(parsed):
            text.append(column)
            continue
        gone = [records[row].who for row, cell in enumerate(cells) if is_missing(cell)]
        notes.add(column, "volumes are missing, so left out of this structure", examples_of(gone))
        notes.add(column, "cells are no numbers, so taken as missing", [cells[row] for row in parsed.wrong])
        structures.append(column)
        volumes.append(_possible(column, parsed.values, records, notes))
    notes.add("columns", "hold no numbers, so are no structures", text)
    if not structures:
        raise InputError(f"{tables[0].path} has no column of volumes: give a table that `segment --volumes` wrote.")
    return structures, np.stack(volumes, 1)


def _possible(column: str, values: np.ndarray, records: list[Record], notes: Notes) -> np.ndarray:
    """Volumes, NaN in place of those that nobody has."""
    negative = values < 0
    empty = (values == 0) & (not names.may_be_empty(column))
    for where, what in ((negative, "volumes are negative"), (empty, "volumes are 0 (not found in the scan)")):
        rows = np.flatnonzero(where)
        notes.add(column, f"{what}, so taken as missing", examples_of([records[row].who for row in rows]))
    return np.where(negative | empty, np.nan, values)


def both_sides(cohort: Cohort) -> Cohort:
    """The cohort with left and right of every structure added up; what has no other side stays as it is."""
    parts: dict[str, list[int]] = {}
    for place, structure in enumerate(cohort.structures):
        parts.setdefault(names.side_and_rest(structure)[1], []).append(place)
    titles = [rest if len(places) > 1 else cohort.structures[places[0]] for rest, places in parts.items()]
    volumes = np.stack([cohort.volumes[:, places].sum(1) for places in parts.values()], 1)
    return replace(cohort, structures=tuple(titles), volumes=volumes)
