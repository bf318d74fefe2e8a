"""What a study left out or changed, and why: so that nobody has to guess how many scans a figure rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EXAMPLES = 3


@dataclass(frozen=True)
class Note:
    """One thing that was left out or changed."""

    where: str
    """A column, a table, or "rows"."""
    what: str
    """The end of a sentence: "are no numbers, so taken as missing"."""
    count: int
    """How many cells, rows or columns."""
    examples: tuple[str, ...] = ()
    """Some of them, as they stand in the table."""

    def __str__(self) -> str:
        shown = ", ".join(self.examples)
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.where}: {self.count} {self.what}" + (f" ({shown}{more})" if shown else "")


class Notes:
    """The notes of one study, in the order in which things were noticed."""

    def __init__(self) -> None:
        self.all: list[Note] = []

    def add(self, where: str, what: str, examples: Iterable[object], *, count: int | None = None) -> None:
        """Note something, unless there is none of it or the very same was noted before.

        Args:
            where: a column, a table, or "rows".
            what: the end of a sentence.
            examples: all there are of it, or (with `count`) some.
            count: how many there are; by default the number of examples.
        """
        texts = [str(example) for example in examples]
        number = len(texts) if count is None else count
        distinct = tuple(dict.fromkeys(text[:60] for text in texts))[:EXAMPLES]
        note = Note(where, what, number, distinct)
        if number and note not in self.all:
            self.all.append(note)

    def as_json(self) -> list[dict[str, object]]:
        """A dictionary for each note."""
        return [{"where": n.where, "what": n.what, "count": n.count, "examples": list(n.examples)} for n in self.all]
