"""The rows of one or several tables of volumes, put together: one record a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies.identity import Identity, bare, examples_of, id_columns, identities, normal
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.evaluation.studies.numerals import is_missing
from napari_synthseg.evaluation.studies.text_table import TextTable


@dataclass
class Record:
    """What all tables say about one scan."""

    who: Identity
    cells: dict[str, str] = field(default_factory=dict)
    """By column; columns that name scans, people and sessions aside."""
    folder: Path = Path()
    """Where the table lies: paths in it may be relative to that."""
    disagree: set[str] = field(default_factory=set)
    """Columns of which two rows say different things."""

    def add(self, cells: dict[str, str]) -> None:
        """Take over what another row says about the same scan."""
        for column, cell in cells.items():
            old = self.cells.get(column, "")
            if is_missing(old):
                self.cells[column] = cell
            elif not is_missing(cell) and cell != old:
                self.disagree.add(column)


def records_of(tables: Sequence[TextTable], wanted_id: str, notes: Notes) -> list[Record]:
    """One record for each scan of the tables, those left out about which two rows disagree.

    Rows of the same scan (or, in a table without scans, of the same person and session) are put together, and a table
    that says nothing of scans adds what it knows of people to all of their scans. Rows of the same person without a
    session are scans of their own, unless they are the same in everything.
    """
    records: dict[str, Record] = {}
    twice = []
    for table in tables:
        skipped = id_columns(table, wanted_id)
        places = [(place, column) for place, column in enumerate(table.columns) if column not in skipped]
        known = _by_person(records)
        for number, (who, row) in enumerate(zip(identities(table, wanted_id), table.rows, strict=True)):
            cells = {column: row[place] for place, column in places}
            others = [] if who.scan else [one for one in known.get(normal(who.subject), []) if _may_be(who, one.who)]
            if others:
                for record in others:
                    record.add(cells)
                continue
            # Without a name for the scan, only a row that repeats another one in everything is the same scan.
            key = who.key or f"{who.subject} {cells}" if who.subject or who.scan else f"{table.path} row {number}"
            if key in records:
                if records[key].cells == cells:
                    twice.append(who)
                records[key].add(cells)
            else:
                records[key] = Record(who, dict(cells), table.path.parent)
    notes.add("rows", "stand in the tables twice: the second was left out", examples_of(twice))
    return _agreeing(list(records.values()), notes)


def _by_person(records: dict[str, Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records.values():
        found.setdefault(normal(record.who.subject), []).append(record)
    found.pop("", None)
    return found


def _may_be(who: Identity, other: Identity) -> bool:
    return not who.session or not other.session or normal(who.session, "ses-") == normal(other.session, "ses-")


def _agreeing(records: list[Record], notes: Notes) -> list[Record]:
    bad = [record for record in records if record.disagree]
    columns = sorted({column for record in bad for column in record.disagree})
    what = f"scans stand in the tables twice with different values ({', '.join(columns[:3])}), so left out"
    notes.add("rows", what, examples_of([record.who for record in bad]))
    return [record for record in records if not record.disagree]


def without_failed(records: list[Record], quality: TextTable, notes: Notes) -> list[Record]:
    """Leave out scans that a table of quality calls likely failed; it is matched by path, else by the scan's name."""
    if "verdict" not in quality.columns:
        raise InputError(f"{quality.path} has no column 'verdict': give a table that `segment --qc` wrote.")
    verdicts = quality.cells("verdict")
    said = {
        who.scan or who.subject: "fail" in word.lower() for who, word in zip(identities(quality), verdicts, strict=True)
    }
    by_name = {bare(scan): failed for scan, failed in said.items()}
    failed: list[Record] = []
    kept: list[Record] = []
    unknown = []
    for record in records:
        name = record.who.scan or record.who.subject
        verdict = said.get(name, by_name.get(bare(name)))
        if verdict is None:
            unknown.append(record.who)
        (failed if verdict else kept).append(record)
    notes.add(
        "rows", f"scans have likely failed by {quality.path.name}, so left out", examples_of([r.who for r in failed])
    )
    notes.add("rows", f"scans are not in {quality.path.name}: kept", examples_of(unknown))
    return kept
