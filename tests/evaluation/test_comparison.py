"""Several methods: names, what is compared with what, the report, the table and the picture; folders with bad files."""

from __future__ import annotations

import csv
import json
from itertools import product

import numpy as np
import pytest
from scipy import stats

from napari_synthseg import cli
from napari_synthseg.atomic_io import write_lines
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.comparison import (
    EXACT_UP_TO,
    compare_pairs,
    compare_steps,
    named_methods,
    signed_rank_p,
)
from napari_synthseg.evaluation.reports import (
    TSV_HEADER,
    as_markdown,
    as_text,
    draw_boxes,
    rows_of_scans,
    scores_of_structures,
    shown_p,
)
from napari_synthseg.io import write_volume
from napari_synthseg.jobs import run
from napari_synthseg.volume import Volume

SCANS = 7


def labels(shift=0, values=(17, 53), size=4):
    data = np.zeros((14, 10, 8), np.int16)
    data[2 + shift : 2 + shift + size, 2:6, 2:6] = values[0]
    data[2 + shift : 2 + shift + size, 6:9, 2:6] = values[1]
    return Volume(data, np.eye(4))


@pytest.fixture
def study(tmp_path):
    """Truths of seven scans, a perfect method and one that is off by a voxel or two."""
    for n in range(SCANS):
        for folder, shift in (("truth", 0), ("good", 0), ("poor", 1 + n % 2)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_volume(tmp_path / folder / f"{n}_dseg.nii.gz", labels(shift))
    return tmp_path


def compared(study, *names):
    return run(compare_steps({name: study / name for name in names}, study / "truth"))


def test_methods_are_named_by_hand_or_by_their_folders(tmp_path):
    (tmp_path / "x=1").mkdir()
    found = named_methods(["new=out/b", "old", str(tmp_path / "x=1")], tmp_path / "first")
    assert [(name, path.name) for name, path in found.items()] == [
        ("first", "first"), ("new", "b"), ("old", "old"), ("x=1", "x=1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "sentence"), [([], "nothing to evaluate"), (["a=x", "a=y"], "called a"), (["=x"], "has no name")]
)
def test_names_that_cannot_be_used(words, sentence):
    with pytest.raises(InputError, match=sentence):
        named_methods(words)


def test_the_better_method_is_found_by_paired_tests(study):
    found = compared(study, "good", "poor")
    assert found["summary"]["dice"]["good"] == {"mean": 1.0, "std": 0.0, "median": 1.0, "scans": SCANS}
    assert found["summary"]["dice"]["poor"]["mean"] == pytest.approx((4 * 0.75 + 3 * 0.5) / 7)
    test = next(t for t in found["tests"] if t["score"] == "dice")
    assert (test["first"], test["second"], test["scans"]) == ("good", "poor", SCANS)
    assert test["p"] == pytest.approx(2 * 2.0**-SCANS) and test["significant"]
    assert found["best"]["dice"] == found["best"]["sd95_mm"] == {"method": "good", "significantly": True}
    assert found["best"]["absolute_difference_percent"]["significantly"] is False
    by_structure = [t for t in found["structure_tests"] if t["score"] == "dice"]
    assert [t["structure"] for t in by_structure] == ["17", "53"]
    assert all(t["corrected_p"] == pytest.approx(4 * 2.0**-SCANS) for t in by_structure)
    json.dumps(found)


def test_three_methods_are_corrected_for_three_comparisons(study):
    found = run(compare_steps({"a": study / "good", "b": study / "poor", "c": study / "poor"}, study / "truth"))
    tests = [t for t in found["tests"] if t["score"] == "dice"]
    assert [(t["first"], t["second"], t["comparisons"]) for t in tests] == [("a", "b", 3), ("a", "c", 3), ("b", "c", 3)]
    assert tests[2]["p"] is None and tests[2]["equal"] == SCANS


def test_a_scan_that_one_method_lacks_is_paired_with_nothing(study):
    (study / "poor" / "3_dseg.nii.gz").unlink()
    found = compared(study, "good", "poor")
    assert found["common_scans"] == SCANS - 1
    assert {t["scans"] for t in found["tests"]} == {SCANS - 1}
    assert found["methods"]["poor"]["unmatched"]["truth"] == ["3_dseg.nii.gz"]
    assert "not the same scans" in as_text(found) and "no segmentation for 3_dseg.nii.gz" in as_text(found)


def test_bad_files_are_reported_and_stop_no_other(study):
    (study / "poor" / "0_dseg.nii.gz").write_bytes(b"no gzip")
    (study / "poor" / "1_dseg.nii.gz").write_bytes(b"")
    write_volume(study / "poor" / "2_dseg.nii.gz", Volume(labels().data, np.diag([2.0, 1, 1, 1])))
    write_volume(study / "poor" / "3_dseg.nii.gz", labels().with_data(labels().data + np.float32(0.4)))
    poor = compared(study, "good", "poor")["methods"]["poor"]
    assert [scan["truth"][-13] for scan in poor["scans"]] == ["4", "5", "6"]
    reasons = [one["reason"] for one in poor["failed"]]
    for said, reason in zip(("damaged", "empty", "different grids", "no label map"), reasons, strict=True):
        assert said in reason


def test_an_empty_label_map_is_scored_as_all_missing(study):
    write_volume(study / "poor" / "0_dseg.nii.gz", labels().with_data(np.zeros((14, 10, 8), np.int16)))
    scan = compared(study, "poor")["methods"]["poor"]["scans"][0]
    assert scan["mean"]["dice"] == 0 and scan["mean"]["sd95_mm"] is None
    assert scan["mean"]["missing"] == [17, 53]


def test_the_report_stars_what_is_significant(study):
    text = as_markdown(compared(study, "good", "poor"))
    assert "| good | 7 | **1.000 (0.000)** * | **0.00 (0.00)** * |" in text
    assert "| Dice | good - poor | 7 | 0 | +0.2500 | 0.016 | 0.016 | significant |" in text
    assert "| Left-Hippocampus * | 1.000 | 0.00 | +0.0 | 0.643 |" in text


def test_few_scans_are_said_to_be_few(study):
    for n in range(4, SCANS):
        (study / "truth" / f"{n}_dseg.nii.gz").unlink()
    assert "4 or fewer unequal scans cannot show a difference" in as_markdown(compared(study, "good", "poor"))


def test_the_table_has_every_scan_and_structure(study):
    header, *rows = rows_of_scans(compared(study, "good", "poor"))
    assert tuple(header) == TSV_HEADER
    assert len(rows) == 2 * SCANS * 3
    row = dict(zip(header, next(r for r in rows if r[0] == "poor" and r[2] == "53"), strict=True))
    assert (row["scan"], row["name"], float(row["dice"])) == ("0_dseg", "Right-Hippocampus", 0.75)
    assert float(row["msd_mm"]) > 0


def test_boxes_hold_both_sides_of_a_structure(study):
    found = compared(study, "good", "poor")
    assert {name: {m: len(d) for m, d in one.items()} for name, one in scores_of_structures(found, "dice").items()} == {
        "Hippocampus": {"good": 2 * SCANS, "poor": 2 * SCANS}
    }


def test_nothing_is_drawn_of_no_scan(study, tmp_path):
    found = compared(study, "good")
    found["methods"]["good"]["scans"] = []
    with pytest.raises(InputError, match="no scan was scored"):
        draw_boxes(found, tmp_path / "boxes.png")


def test_the_command_writes_every_file(study, tmp_path, capsys):
    (study / "poor" / "0_dseg.nii.gz").write_bytes(b"no gzip")
    out = tmp_path / "out"
    words = ["evaluate", str(study / "truth"), "--pred", f"good={study / 'good'}", "--pred", f"poor={study / 'poor'}"]
    files = {"--json": "a.json", "--tsv": "a.tsv", "--markdown": "a.md", "--plot": "a.svg"}
    words += [word for option, name in files.items() for word in (option, str(out / name))]
    assert cli.main(words) == cli.SOME_FAILED
    said = capsys.readouterr().out
    assert "good - poor" in said and "poor: not scored: 0_dseg.nii.gz" in said
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.md", "a.svg", "a.tsv"]
    assert set(json.loads((out / "a.json").read_text())["methods"]) == {"good", "poor"}
    rows = list(csv.DictReader((out / "a.tsv").open(), delimiter="\t"))
    assert {row["method"] for row in rows} == {"good", "poor"}
    assert "<svg" in (out / "a.svg").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{truth}"], "nothing to evaluate"),
        (["{truth}", "{good}", "{poor}"], "Give PRED and TRUTH"),
        (["{good}", "{truth}", "--plot", "a.bmp"], "must end with"),
        (["{good}", "{truth}", "--tsv", "{good}"], "is a folder"),
        (["{truth}", "--pred", "a=nowhere"], "does not exist"),
    ],
)
def test_wrong_words_are_one_sentence(study, capsys, words, sentence):
    places = {name: study / name for name in ("truth", "good", "poor")}
    assert cli.main(["evaluate", *(word.format(**places) for word in words)]) == cli.BAD_INPUT
    assert sentence in capsys.readouterr().err


def by_all_signs(differences):
    """The p-value from all 2^N choices of signs."""
    ranks = stats.rankdata(np.abs(differences))
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign) for signs in product([0, 1], repeat=len(ranks))
    ]
    found = ranks[np.asarray(differences) > 0].sum()
    below, above = (np.mean([s <= found + 1e-9 for s in sums]), np.mean([s >= found - 1e-9 for s in sums]))
    return min(1.0, 2 * min(below, above))


@pytest.mark.parametrize("differences", [[1], [-2, 1], [1, 1, -1, 2], [3, 3, 3, 3, -1, 0.5], [1, -2, 3, -4, 5, 6, 7]])
def test_p_is_that_of_all_choices_of_signs(differences):
    assert signed_rank_p(np.array(differences, float)) == pytest.approx(by_all_signs(differences))


def test_beyond_the_exact_range_it_is_nearly_the_same(rng):
    differences = rng.normal(0.05, 1, EXACT_UP_TO + 1)
    assert signed_rank_p(differences) == pytest.approx(signed_rank_p(differences[:-1]), abs=0.05)


def test_a_clear_difference_is_found_and_its_sign_kept(rng):
    a = rng.normal(0.8, 0.02, 15)
    test = compare_pairs(a, a - rng.uniform(0.001, 0.02, 15), comparisons=3)
    assert (test["scans"], test["equal"]) == (15, 0)
    assert (test["p"], test["corrected_p"]) == pytest.approx((2.0**-14, 3 * 2.0**-14))
    assert test["significant"] and test["possible"] and test["median_difference"] > 0


def test_equal_scans_are_left_out_and_counted():
    test = compare_pairs([1, 1, 1, 3, 4.5], [1, 1, 1 + 1e-13, 2, 4])
    assert (test["scans"], test["equal"], test["p"]) == (5, 3, 0.5)


def test_five_scans_cannot_show_a_difference():
    test = compare_pairs([1, 2, 3, 4, 5], [0] * 5)
    assert test["p"] == test["smallest_p"] == 0.0625
    assert not test["possible"] and not test["significant"]
    assert compare_pairs(range(1, 7), [0] * 6)["significant"]


def test_no_scans_and_no_differences_have_no_p_and_the_correction_ends_at_one():
    nothing = compare_pairs([], [])
    assert (nothing["p"], nothing["median_difference"], nothing["significant"]) == (None, None, False)
    assert compare_pairs([1, 2], [1, 2])["corrected_p"] is None
    assert compare_pairs([1, 2], [2, 1], comparisons=100)["corrected_p"] == 1


def test_p_in_words():
    assert [shown_p(p) for p in (None, 0.0001, 0.03125, 0.0625, 0.5)] == ["-", "< 0.001", "0.031", "0.062", "0.50"]


def test_cells_that_a_spreadsheet_would_compute_are_text(tmp_path):
    write_lines(tmp_path / "a.csv", [["=1+1", "-0.5", "@x", "-", "-cmd", "1e-5", "plain"]])
    assert (tmp_path / "a.csv").read_text() == "'=1+1,-0.5,'@x,-,'-cmd,1e-5,plain\n"
