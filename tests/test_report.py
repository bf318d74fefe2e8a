"""`benchmarks/report.py`: only what stands between the marks changes; the page says what was measured, with what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_benchmarks import script

report = script("report")
stored = report.stored
brains = report.brains
NAME = "robustness-all"
PAGE = f"# Results\n\nWords.\n\n<!-- {NAME}: begin -->\nold\n<!-- {NAME}: end -->\n\nMore words.\n"
SCAN = {"scan": "1_t1", "kind": "none", "level": 0.0}
ROWS = [{**SCAN, "network": "plain", "dice": 0.9}, {**SCAN, "network": "robust", "dice": 0.8}]


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """The shipped weights, in name."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for section in report.SECTIONS.values():
        for file in section.weights:
            (folder / file).write_text(f"first {file}")
    monkeypatch.setattr(stored, "WEIGHTS", folder)
    monkeypatch.setattr(stored, "commit", lambda: "abc1234")
    return folder


@pytest.fixture
def docs(tmp_path, weights) -> Path:
    folder = tmp_path / "docs"
    (folder / "images").mkdir(parents=True)
    (folder / "results.md").write_text(PAGE)
    stored.write(folder, NAME, report.SECTIONS[NAME], ROWS)
    return folder


def test_only_the_section_changes(docs):
    words = [NAME, "--docs", str(docs)]
    assert report.main([*words, "--check"]) == 1
    assert report.main(words) == 0
    page = (docs / "results.md").read_text()
    assert page.startswith(PAGE[: PAGE.index("old")]) and page.endswith(PAGE[PAGE.index("old") + 4 :])
    assert "| none | 0 | 0.900 | 0.800 |" in page and "    python benchmarks/robustness.py SHARED/" in page
    assert "--out OUT" not in page and "old" not in page
    assert report.main([*words, "--check"]) == 0


def test_marks_that_are_missing_are_said(docs, capsys):
    (docs / "results.md").write_text("# Results\n")
    assert report.main([NAME, "--docs", str(docs)]) == 2
    assert f"The page has no <!-- {NAME}: begin -->" in capsys.readouterr().err
    assert (docs / "results.md").read_text() == "# Results\n"


def test_what_was_not_measured_is_left_as_it_is(docs, capsys):
    stored.file_of(docs, NAME).unlink()
    assert report.main([NAME, "--docs", str(docs)]) == 0
    assert "is not there yet" in capsys.readouterr().err and (docs / "results.md").read_text() == PAGE


# Weights


def test_other_weights_make_a_section_stale(docs, weights, capsys):
    words = ["--docs", str(docs), "--stale", "--list", NAME]
    assert report.main(words) == 0 and capsys.readouterr().out == "Nothing.\n"
    (weights / "synthseg-fast.safetensors").write_text("second")
    assert report.main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{NAME}: ") and "STALE: synthseg-fast.safetensors was " in said
    assert "synthseg-robust.safetensors was" not in said


def test_the_page_says_where_weights_were_replaced(docs, weights):
    words = [NAME, "--docs", str(docs)]
    report.main(words)
    (weights / "synthseg-robust.safetensors").write_text("second")
    assert report.main([*words, "--check"]) == 1
    report.main(words)
    said = "*Measured with an earlier `synthseg-robust.safetensors` than the one shipped now.*"
    assert said in (docs / "results.md").read_text()


def test_another_command_makes_a_section_stale(docs):
    path = stored.file_of(docs, NAME)
    path.write_text(path.read_text().replace("--threads 1", "--threads 2"))
    assert report.reasons(NAME, docs) == ["the command was another one"]


def test_sections_of_some_weights_can_be_chosen(docs, capsys):
    assert report.main(["--docs", str(docs), "--weights", "synthfm-sam", "--list"]) == 0
    lines = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert lines and set(lines) == {n for n, s in report.SECTIONS.items() if report.clicks.CLICKS[1] in s.weights}
    assert "accuracy" not in lines and "prompts" in lines


# Measuring


def test_measuring_runs_the_command_in_words_of_its_own(docs, weights, monkeypatch, tmp_path):
    ran = []

    def run(command, **options):
        ran.append(command)
        Path(command[command.index("--out") + 1], "rows.json").write_text(json.dumps(ROWS[:1]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    (weights / "synthseg-fast.safetensors").write_text("second")
    words = ["--docs", str(docs), "--stale", "--measure", str(tmp_path / "my data"), NAME]
    (tmp_path / "my data").mkdir()
    assert report.main(words) == 0
    (command,) = ran
    assert command[1:3] == ["benchmarks/robustness.py", f"{tmp_path / 'my data'}/data/real_t1/validation"]
    assert command[command.index("--kinds") + 1] == "all at once"
    found = stored.read(docs, NAME)
    assert found["rows"] == ROWS[:1] and found["about"]["machine"] and found["about"]["commit"] == "abc1234"
    assert not stored.stale(report.SECTIONS[NAME], found["about"])
    assert report.main(words) == 0 and len(ran) == 1  # nothing is stale any more


def test_a_benchmark_that_fails_leaves_the_rows(docs, monkeypatch, capsys):
    def run(command, **options):
        raise subprocess.CalledProcessError(2, command)

    monkeypatch.setattr(subprocess, "run", run)
    assert report.main(["--docs", str(docs), "--measure", str(docs), NAME]) == 1
    assert f"{NAME} was not measured: its benchmark ended with 2." in capsys.readouterr().err
    assert stored.read(docs, NAME)["rows"] == ROWS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--measure", "/nowhere"], "there is no folder /nowhere"),
        (["nothing"], "there is no section nothing"),
    ],
)
def test_wrong_words_are_said(words, said, docs, capsys):
    with pytest.raises(SystemExit):
        report.main(["--docs", str(docs), *words])
    assert f"error: {said}" in capsys.readouterr().err


def test_words_before_the_command_are_its_environment():
    words, environment = sys.modules["reporting.sections"].words_of(
        'WEIGHTS=SHARED/weights run -s "1 x 2" python x.py OUT/y', {"SHARED": "/data here", "OUT": "/out"}
    )
    assert environment == {"WEIGHTS": "/data here/weights"}
    assert words[:3] == ["run", "-s", "1 x 2"] and words[4:] == ["x.py", "/out/y"]


def test_every_command_leaves_its_rows_where_they_are_looked_for():
    for name, section in report.SECTIONS.items():
        last = section.command.splitlines()[-1]
        assert not section.made or "--out OUT" in last or ".py OUT " in last or f"OUT/{section.made}" in last, name
        assert "OUT" not in section.shown_command().replace("OUT/slices", "").replace(" OUT ", " "), name
        assert all(part in report.SECTIONS for part in section.beside), name


# Tables


def test_scores_are_kept_without_paths():
    structure = {"name": "Left-Putamen", "dice": 0.8, "sd95_mm": 2.0, "msd_mm": 0.5, "difference_percent": -3.0,
                 "scored": True}  # fmt: skip
    mean = {"dice": 0.8, "sd95_mm": 2.0, "msd_mm": 0.5, "absolute_difference_percent": 3.0, "scans": 1}
    scores = {"mean": mean, "structures": {"12": structure, "13": {**structure, "dice": None}},
              "scans": [{"truth": "/my/place/1_labels.nii.gz", "mean": {"dice": 0.8}, "structures": {}}]}  # fmt: skip
    kept = brains.accuracy_rows(scores)
    assert "/my/place" not in json.dumps(kept)
    text = brains.accuracy_table(kept)
    assert "Mean of 1 scans: Dice 0.800" in text and "| Left-Putamen | 0.800 | 2.00 | 0.50 | -3 | yes |" in text
    assert text.count("| Left-Putamen |") == 1 and "Volumes farthest off: Left-Putamen -3 %" in text


# The committed page


def test_every_table_of_the_page_has_rows():
    """No figure of a table is typed by hand."""
    inside, table, typed = False, False, []
    for line in (report.DOCS / "results.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("<!--"):
            inside = line.endswith("begin -->")
        elif line.startswith("|") and not inside and not table:
            typed.append(line)
        table = line.startswith("|")
    assert typed == []


def test_stored_rows_say_what_they_were_measured_with():
    for path in sorted((report.DOCS / "results").glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        section = report.SECTIONS[path.stem]
        assert set(found["about"]["weights"]) == set(section.weights), path.stem
        assert found["about"]["date"] and found["about"]["machine"] and found["about"]["command"], path.stem
