"""What stands between the marks of a section on the page."""

from __future__ import annotations

from typing import Any

from reporting.sections import Section


def rendered(name: str, section: Section, rows: Any, beside: list[Any], replaced: list[str]) -> str:
    """The command, the table and the figure; a line about weights that have been replaced since, if there are any."""
    assert section.table is not None
    parts = ["\n".join(f"    {line}" for line in section.shown_command().splitlines())] if section.says else []
    if replaced:
        files = " and ".join(f"`{file}`" for file in replaced)
        parts.append(f"*Measured with an earlier {files} than the one shipped now.*")
    parts.append(section.table(rows, *beside))
    if section.picture:
        parts.append(f"![{section.title or f'mean Dice, {name}'}](images/{section.picture})")
    return "\n" + "\n\n".join(parts) + "\n\n"


def with_section(page: str, name: str, text: str) -> str:
    """The page with another text between the marks of a section.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = (f"<!-- {name}: {what} -->\n" for what in ("begin", "end"))
    before, found, rest = page.partition(begin)
    inside, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"The page has no {begin.strip()} and {end.strip()}: put both where the section shall stand.")
    return f"{before}{begin}{text}{end}{after}"
