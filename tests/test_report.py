"""`benchmarks/report.py`: only what stands between the marks changes, and the page says what was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.test_benchmarks import script

report = script("report")
PAGE = "# Results\n\nWords.\n\n<!-- robustness-all: begin -->\nold\n<!-- robustness-all: end -->\n\nMore words.\n"
SCAN = {"scan": "1_t1", "kind": "none", "level": 0.0}
ROWS = [{**SCAN, "network": "plain", "dice": 0.9}, {**SCAN, "network": "robust", "dice": 0.8}]


@pytest.fixture
def docs(tmp_path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "results.md").write_text(PAGE)
    (tmp_path / "results" / "robustness-all.json").write_text(json.dumps(ROWS))
    return tmp_path


def test_only_the_section_changes(docs):
    words = ["robustness-all", "--docs", str(docs)]
    assert report.main([*words, "--check"]) == 1
    assert report.main(words) == 0
    page = (docs / "results.md").read_text()
    assert page.startswith(PAGE[: PAGE.index("old")]) and page.endswith(PAGE[PAGE.index("old") + 4 :])
    assert "| none | 0 | 0.900 | 0.800 |" in page and "    python benchmarks/robustness.py SHARED/" in page
    assert "--out OUT" not in page and "old" not in page
    assert report.main([*words, "--check"]) == 0


def test_marks_that_are_missing_are_said(docs, capsys):
    (docs / "results.md").write_text("# Results\n")
    assert report.main(["robustness-all", "--docs", str(docs)]) == 2
    assert "The page has no <!-- robustness-all: begin -->" in capsys.readouterr().err
    assert (docs / "results.md").read_text() == "# Results\n"


def test_what_was_not_measured_is_left_as_it_is(docs, capsys):
    (docs / "results" / "robustness-all.json").unlink()
    assert report.main(["robustness-all", "--docs", str(docs)]) == 0
    assert "is not there yet" in capsys.readouterr().err and (docs / "results.md").read_text() == PAGE


def test_measuring_runs_the_command_in_words_of_its_own(docs, monkeypatch, tmp_path):
    ran = []

    def run(command, **options):
        ran.append(command)
        Path(command[command.index("--out") + 1], "rows.json").write_text(json.dumps(ROWS))

    monkeypatch.setattr(report.subprocess, "run", run)
    assert report.main(["robustness-all", "--docs", str(docs), "--measure", str(tmp_path / "my data")]) == 0
    (command,) = ran
    assert command[1:3] == ["benchmarks/robustness.py", f"{tmp_path / 'my data'}/data/real_t1/validation"]
    assert command[command.index("--kinds") + 1] == "all at once"
    assert json.loads((docs / "results" / "robustness-all.json").read_text()) == ROWS


def test_scores_are_kept_without_paths():
    structure = {"name": "Left-Putamen", "dice": 0.8, "sd95_mm": 2.0, "msd_mm": 0.5, "difference_percent": -3.0,
                 "scored": True}  # fmt: skip
    mean = {"dice": 0.8, "sd95_mm": 2.0, "msd_mm": 0.5, "absolute_difference_percent": 3.0, "scans": 1}
    scores = {"mean": mean, "structures": {"12": structure, "13": {**structure, "dice": None}},
              "scans": [{"truth": "/my/place/1_labels.nii.gz", "mean": {"dice": 0.8}, "structures": {}}]}  # fmt: skip
    kept = report.accuracy_rows(scores)
    assert "/my/place" not in json.dumps(kept)
    text = report.accuracy_table(kept)
    assert "Mean of 1 scans: Dice 0.800" in text and "| Left-Putamen | 0.800 | 2.00 | 0.50 | -3 | yes |" in text
    assert text.count("Left-Putamen") == 1


def test_the_page_says_what_was_measured(tmp_path):
    """The committed page, its rows and its tables agree."""
    shutil.copytree(report.DOCS / "results", tmp_path / "results")
    page = (report.DOCS / "results.md").read_text(encoding="utf-8")
    (tmp_path / "results.md").write_text(page, encoding="utf-8")
    marked = [name for name in report.SECTIONS if f"<!-- {name}: begin -->" in page]
    assert marked
    assert report.main([*marked, "--docs", str(tmp_path), "--check"]) == 0
