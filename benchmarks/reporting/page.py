"""What stands between marks on the pages: sections, plain tables of rows, and single figures in a sentence.

`<!-- NAME: begin -->` and `<!-- NAME: end -->` hold a section, `<!-- rows NAME: begin -->` and its end all rows of
NAME.json as a table, and `<!-- NAME PATH FORMAT -->0.83<!-- / -->` one figure. A path leads into the rows: keys and
numbers between slashes; `*` takes all there are, `key=value&key=value` those that have it, and their mean is shown.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from typing import Any

from harness import markdown

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


FIGURE = re.compile(r"<!-- (?P<name>[\w.-]+) (?P<path>\S[^<>]*?) (?P<form>[+]?[.]\d[f%]) -->(?P<text>.*?)<!-- / -->")


def with_figures(page: str, rows_of: Callable[[str], Any]) -> str:
    """The page with every figure as it was measured; one without rows stays."""

    def anew(found: re.Match[str]) -> str:
        rows = rows_of(found["name"])
        text = found["text"] if rows is None else format(figure_at(rows, found["path"]), found["form"])
        return found[0].replace(f">{found['text']}<", f">{text}<")

    return FIGURE.sub(anew, page)


def figure_at(rows: Any, path: str) -> float:
    """The figure that a path leads to, or the mean of several.

    Raises:
        ValueError: it leads nowhere.
    """
    found = [rows]
    try:
        for part in path.split("/"):
            if part == "*" or "=" in part:
                wanted = [pair.split("=") for pair in part.split("&") if pair != "*"]
                inner = [one for some in found for one in (some.values() if isinstance(some, dict) else some)]
                found = [one for one in inner if all(str(one.get(key)) == value for key, value in wanted)]
            else:
                found = [one[part if isinstance(one, dict) else int(part)] for one in found]
        return statistics.mean(found)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"There is no figure {path} among the rows: correct the mark ({error!r}).") from error


def rows_table(rows: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(rows.values())))
    lines = [[name, *(f"{round(row[one], 3):g}" for one in names)] for name, row in rows.items()]
    return markdown(["", *names], lines)
