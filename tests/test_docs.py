"""Figures on the pages: each comes from a file of results, or stands in a short list with its reason."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.test_benchmarks import script

report = script("report")
FIGURE = sys.modules["reporting.page"].FIGURE
CHECKOUT = report.DOCS.parent
PAGES = sorted([*(p for p in report.DOCS.rglob("*.md") if "generated" not in p.parts), CHECKOUT / "README.md"])
GENERATED = re.compile(r"<!-- (rows )?(\S+): begin -->.*?<!-- (rows )?\2: end -->", re.DOTALL)
SCORE = re.compile(
    r"(?<![\d.,v=])[01]?\.\d{3}(?!\d)"  # three decimals are a score
    r"|(?:Dice|SD95|Pearson|AUC)[^|\n.]{0,40}?\b[01]?\.\d+"
    r"|(?<![\w.])(?!95 %)[\d.,]+[ -]?"  # but levels of confidence
    r"(?:(?:CPU[- ]?)?(?:ms|s|min|h|(?:second|minute|hour|day)s?)|[GMk]i?B|%|percent)(?!\w)"
)
ALLOWED = {
    "training-log.md": {"": "a ledger: every entry has its date and its command"},
    "results.md": {
        "Earlier weights": "of files that are shipped no more, dated by their commit",
        "The paper's network": "of the paper",
        "reference implementation": "of another program",
        "about 35 CPU-minutes": "the cost of a run",
        "mni152_labels.nii.gz": "the size of a file",
        "--model mobilesam --connected": "one draw of the command beside it",
        "### Two decoders, one answer": "of the commands above each; they keep no rows",
    },
    "evaluation.md": {
        "synthseg-fast": "an example of output",
        "synthseg-robust": "an example of output",
        "Few scans": "arithmetic",
        "five scans cannot show it": "a level of significance",
    },
    "studies.md": dict.fromkeys(("Left-", "Right-", "Brain-Stem", "40 people"), "an example of output"),
    "lesions.md": {"of three patients": "of a network that was removed"},
    "other-anatomies.md": {"the paper's figures": "of the paper"},
    "pretraining.md": {
        "standardized once": "arithmetic",
        "boxes cut out until": "a rule of the program",
        "| holes |": "of the paper, and a rule of the program",
    },
    "prompts.md": dict.fromkeys(("overlap by a Dice below", "keeps what the network makes"), "a rule of the program"),
    "batch.md": {
        "the MAD counts as": "a rule of the program",
        "### 10,520 scans, on paper": "arithmetic, with what it assumes",
    },
    "finetuning.md": {"Cross-entropy and Dice, AdamW": "defaults of the program"},
    "training.md": {
        "validation Dice is below": "a rule of the program",
        "a tick every 10 ms": "how the benchmark measures",
        "Two processes on a CPU": "asked by a test, which is named",
    },
}
"""By page: words of a paragraph, or a heading, with which figures may stand, and why; an empty word: the whole page."""


def figures_by_hand(page: Path) -> list[str]:
    """Lines with figures that nothing generates and nobody allowed."""
    text = FIGURE.sub("", GENERATED.sub("", page.read_text(encoding="utf-8")))
    allowed = ALLOWED.get(page.name, {})
    found, heading = [], ""
    for paragraph in text.split("\n\n"):
        heading = paragraph if paragraph.startswith("#") else heading
        known = any(words in paragraph or words == heading for words in allowed)
        found += [line for line in paragraph.splitlines() if SCORE.search(line) and not known]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_figure_comes_from_a_file_of_results(page):
    assert figures_by_hand(page) == [], "put a mark around it (benchmarks/reporting/page.py), or leave it out"


def test_pages_say_what_was_measured(capsys):
    """The committed pages, their rows and their tables agree, and every section that was measured stands on one."""
    page = (report.DOCS / "results.md").read_text(encoding="utf-8")
    measured = {path.stem for path in (report.DOCS / "results").glob("*.json")}
    shown = [name for name, section in report.SECTIONS.items() if section.table is not None and name in measured]
    assert shown and all(f"<!-- {name}: begin -->" in page for name in shown)
    assert report.main(["--check"]) == 0, capsys.readouterr().out


def test_what_the_pages_import_is_there():
    texts = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    lines = set(re.findall(r"^from napari_synthseg.*", texts, re.MULTILINE))
    assert len(lines) > 10
    for line in sorted(lines):
        exec(compile(line, line, "exec"), {})


@pytest.mark.parametrize("page", [one for one in PAGES if one.name != "training-log.md"], ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    named = set(re.findall(r"`(?:python )?((?:\w+/)+\w+\.py)\b", page.read_text(encoding="utf-8")))
    assert [
        one for one in named if not any((place / one).is_file() for place in (CHECKOUT, CHECKOUT / "napari_synthseg"))
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_can_be_read(page):
    """Tables, blocks of code and output, pictures, and what a command wrote apart."""
    text = FIGURE.sub("", GENERATED.sub("", page.read_text(encoding="utf-8")))
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "``", text)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "    ", "!["))]
    assert long == []
