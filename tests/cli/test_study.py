"""`study`, `study ageing` and `study retest` as a person calls them, and small cohorts of benchmarks/studies.py."""

from __future__ import annotations

import csv
import importlib
import json
import re
import subprocess
import sys

import pytest

from napari_synthseg import cli
from napari_synthseg.evaluation import studies
from tests.evaluation.studies.tables import cohort, write_cohort
from tests.test_benchmarks import script

bench = script("studies")
groups, ageing, retest = (importlib.import_module(f"cohorts.{name}") for name in ("groups", "ageing", "retest"))


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The tables of the tutorial."""
    folder = tmp_path_factory.mktemp("example")
    bench.write_example(folder)
    return folder


def call(capsys, *words):
    code = cli.main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


# Commands


def test_groups(example, tmp_path, capsys):
    code, out, _ = call(
        capsys, "study", example / "groups/volumes.csv", "--participants", example / "groups/participants.tsv",
        "--group", "diagnosis", "--covariates", "age,sex,icv", "--resamples", "200", "--json", tmp_path / "g.json",
        "--out", tmp_path / "g.tsv", "--figures", tmp_path / "figures", "--corrected", tmp_path / "c.csv",
    )  # fmt: skip
    assert code == cli.DONE and "CN (90 people, the reference) against AD (60 people)" in out
    assert "AD minus CN" in out and "HC3" in out and "bootstrap (bca)" in out
    assert out.index("Left-Hippocampus") < out.index("Left-Pallidum") and "- Left-Putamen: 1 volumes are missing" in out
    found = json.loads((tmp_path / "g.json").read_text())
    one = found["structures"]["Left-Hippocampus"]
    assert one["ci"][0] < -1.2 < one["ci"][1] and one["ci"][0] < one["cohens_d"] < one["ci"][1]
    assert found["comparisons"][0]["n"] == {"CN": 90, "AD": 60} and found["options"]["seed"] == 0
    rows = list(csv.DictReader((tmp_path / "g.tsv").read_text().splitlines(), delimiter="\t"))
    assert len(rows) == 8 and float(rows[0]["cohens_d"]) == pytest.approx(one["cohens_d"], rel=1e-4)
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"effects_CN-AD.png", "volumes_CN-AD.png"}
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 151


def test_ageing(example, tmp_path, capsys):
    code, out, _ = call(
        capsys, "study", "ageing", example / "ageing/volumes.csv", "--resamples", "20", "--figures", tmp_path,
        "--participants", example / "ageing/participants.tsv", "--json", tmp_path / "a.json", "--form", "svg",
        "--out", tmp_path / "a.md", "--structures", "hippocampus,ventricle",
    )  # fmt: skip
    assert code == cli.DONE and "spacing_z" in out and "Left-Hippocampus" in out
    found = json.loads((tmp_path / "a.json").read_text())["structures"]["Left-Lateral-Ventricle"]
    assert found["direction"] == 1 and len(found["ages"]) == len(found["curve"]) == len(found["low"]) == 101
    assert (tmp_path / "trajectories_1.svg").read_text().startswith("<?xml")
    assert re.search(r"\| +18 +\|", (tmp_path / "a.md").read_text())


def test_retest(example, tmp_path, capsys):
    code, out, _ = call(capsys, "study", "retest", example / "retest/volumes.csv", "--resamples", "200", "--json",
                        tmp_path / "r.json", "--out", tmp_path / "r.tsv", "--figures", tmp_path / "f")  # fmt: skip
    assert code == cli.DONE and "ICC(1,1)" in out
    found = json.loads((tmp_path / "r.json").read_text())["structures"]
    assert sum(one["icc_ci"][0] < 100 / 104 < one["icc_ci"][1] for one in found.values()) >= 3 and len(found) == 4
    assert found["Left-Thalamus"]["bland_altman"]["bias"] > 0
    header = (tmp_path / "r.tsv").read_text().splitlines()[0].split("\t")
    assert {"difference_percent", "icc_low", "bias", "upper_high"} <= set(header)
    assert (tmp_path / "f/differences.png").stat().st_size > 5000


def test_what_was_left_out_is_told_and_nothing_is_half_written(tmp_path, capsys):
    rows, people = cohort(30)
    (tmp_path / "g.tsv").mkdir()
    people[3][1], people[4][1] = "n/a", "old"
    table, other = write_cohort(tmp_path, rows, people)
    code, out, err = call(capsys, "study", table, "--participants", other, "--group", "diagnosis", "--resamples", 100,
                        "--json", tmp_path / "x.json", "--corrected", tmp_path / "g.tsv")  # fmt: skip
    assert code == cli.BAD_INPUT and "g.tsv cannot be written" in err
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    assert "- age: 1 cells are no numbers, so taken as missing (old)" in out
    assert "- age: 2 scans lack it, so left out (sub-003_T1w, sub-004_T1w)" in out
    notes = json.loads((tmp_path / "x.json").read_text())["notes"]
    examples = ["sub-003_T1w", "sub-004_T1w"]
    assert {"where": "age", "what": "scans lack it, so left out", "count": 2, "examples": examples} in notes


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--group", "sex", "--covariates", "age,icv", "--out", "t.xlsx"], "t.xlsx cannot be written"),
        (["--group", "diagnoses"], "did you mean 'diagnosis'"),
        (["--group", "diagnosis", "--participants", "nowhere.tsv"], "The table nowhere.tsv does not exist"),
        (["--group", "diagnosis", "--json", "/dev/null/x.json"], "cannot be written"),
    ],
)
def test_one_sentence_and_exit_code_2(tmp_path, capsys, words, says):
    table, people = write_cohort(tmp_path, n=20)
    given = ["--participants", people] if "--participants" not in words else []
    code, _, err = call(capsys, "study", table, *given, *words)
    assert code == cli.BAD_INPUT and says in err and len(err.strip().splitlines()) == 1


def test_libraries_are_imported_with_the_first_study_and_torch_never():
    code = (
        "import sys, napari_synthseg.evaluation.studies\n"
        "from napari_synthseg.cli import COMMANDS\n"
        "[one.make([]) for name, one in COMMANDS.items() if name.startswith('study')]\n"
        "print({'torch', 'qtpy', 'matplotlib', 'pandas', 'statsmodels', 'pingouin'} & set(sys.modules))\n"
        "from napari_synthseg.evaluation.studies import study_ageing, study_groups\n"
        "print({'torch', 'qtpy', 'pingouin'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "set()"]


def test_a_missing_library_is_said_in_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(studies, "find_spec", lambda name: None if name == "pingouin" else object())
    code, _, err = call(capsys, "study", "retest", write_cohort(tmp_path, n=4)[0])
    assert code == cli.BAD_INPUT and 'Studies need pingouin: pip install "napari-synthseg[studies]"' in err


# Simulated cohorts


def test_intervals_of_effects_hold_the_truth_and_a_model_of_everybody_hides_effects():
    found = groups.measure_groups(groups.GroupSetting(40, 40, older=10), 8, 3, resamples=100)
    assert 0.90 < found["coverage"] < 0.99 and abs(found["g"]) < 0.05 and found["power"] > 0.4
    assert found["false"] < 0.15
    bad = groups.measure_groups(groups.GroupSetting(40, 40, older=10, fit="all"), 3, 3, resamples=100)
    assert bad["d -1.2"] > 0.3 > found["d -1.2"]


def test_bands_of_curves_hold_the_truth():
    found = ageing.measure_ageing(ageing.AgeingSetting(300, resamples=150), 3, 1)
    assert found["curve coverage"] > 0.8 and found["spacing coverage"] > 0.75 and found["converged"] > 0.9
    assert max(found[name] for name in ageing.SHAPES) < 0.25


def test_intervals_of_reproducibility_hold_the_truth():
    found = retest.measure_retest(retest.RetestSetting(30), 30, 2, resamples=200)
    assert all(found[name] > 0.85 for name in ("difference", "variation", "error", "icc", "bias", "upper"))
