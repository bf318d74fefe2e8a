"""Tables of any making: files, numbers, scans, people, structures."""

from __future__ import annotations

import os

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import TableOptions
from napari_synthseg.evaluation.studies.cohort import load_cohort
from napari_synthseg.evaluation.studies.tables import Notes, identified, numbers, person_of, read_table, without_side
from tests.evaluation.studies.tables import VOLUMES, cohort, write, write_cohort


def load(tables, wanted=(), **options):
    notes = Notes()
    made = load_cohort(tables, TableOptions(**options), list(wanted), notes)
    return made, [str(note) for note in notes.all]


# Files


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_delimiters_and_encodings(tmp_path, delimiter, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes(f"näme{delimiter} age\n\nä{delimiter}3\n{delimiter}n/a\n".encode(encoding))
    table = read_table(path, Notes())
    assert list(table) == ["näme", "age"] and table.to_numpy().tolist() == [["ä", "3"]]


def test_long_rows_are_noted_and_short_ones_lack_cells(tmp_path):
    notes = Notes()
    table = read_table(write(tmp_path / "t.csv", ["a", "b"], [["1"], ["1", "2", "3"], ["1", "2"]]), notes)
    assert table.fillna("").to_numpy().tolist() == [["1", ""], ["1", "2"]]
    assert [note.examples for note in notes.all] == [("line 3",)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no columns"), (b"a,b\n", "no rows"), (b"one\n1\n", "no columns"), (b"PK\x03\x04abc", "Excel"),
        (b"\0\1\2", "no text"), (b"a,b\n\xe4,1\n", "UTF-8"), (b'a,b\n"' + b"x" * 200000, "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_table(tmp_path, content, says):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_table(path, Notes())


def test_places_that_hold_no_table(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none.csv", tmp_path / "pipe"):
        with pytest.raises(InputError, match=path.name):
            read_table(path, Notes())


def test_cells_are_numbers_missing_or_wrong(tmp_path):
    cells = ["12.5", "1e3", "", "n/a", "NaN", "-", "45y", "inf", "1,5"]
    path = write(tmp_path / "t.csv", ["x", "y"], [[f'"{cell}"', "1"] for cell in cells])
    values, wrong = numbers(read_table(path, Notes())["x"])
    assert values.dropna().tolist() == [12.5, 1000] and np.flatnonzero(wrong).tolist() == [6, 7, 8]


# Whose scan


def test_identities_from_paths_and_columns(tmp_path):
    table = write(
        tmp_path / "t.csv", ["scan", "x"], [["/a/sub-01/ses-2/sub-01_ses-2_T1w.nii.gz", 1], ["b/OAS_7_dseg.nii", 1]]
    )
    found = identified(read_table(table, Notes()))[["#subject", "#session"]].fillna("").to_numpy().tolist()
    assert found == [["sub-01", "2"], ["OAS_7", ""]]
    own = write(tmp_path / "u.csv", ["subject", "total intracranial"], [["sub-01_T1w.nii.gz", 1]])  # SynthSeg's own
    assert identified(read_table(own, Notes()))["#subject"][0] == "sub-01"


@pytest.mark.parametrize(
    ("scan", "person"),
    [
        ("/d/1002_t1.nii.gz", "1002"), ("/d/1002_run-2_T1w.nii.gz", "1002"), ("P7/mri/orig.mgz", "P7"),
        ("/data/P8/t1.nii", "P8"), ("OAS1_0001_MR1.nii", "OAS1_0001_MR1"), ("t1.nii", "t1"),
        ("C:\\x\\Ann_dseg.nii", "Ann"),
    ],
)  # fmt: skip
def test_people_of_other_names(scan, person):
    assert person_of(scan) == person


@pytest.mark.parametrize("people", ["01", "sub-01", "SUB-01", "1"])
def test_people_are_found_however_they_are_written(tmp_path, people):
    table = write(tmp_path / "v.csv", ["scan", "Brain-Stem"], [["x/sub-01_T1w.nii.gz", 5], ["x/sub-02_T1w.nii.gz", 6]])
    other = write(tmp_path / "p.tsv", ["participant_id", "age"], [[people, 70], ["none", 3]], "\t")
    made, notes = load([table], ["age"], participants=other)
    assert made.cells["age"].tolist() == ["70"] and any("nobody" in note and "sub-02" in note for note in notes)


def test_people_are_found_by_folder_or_the_beginning_of_a_name(tmp_path):
    table = write(tmp_path / "v.csv", ["scan", "Brain-Stem"], [["d/OAS1_0001_MR1.nii", 5], ["d/P7/t1.nii", 6]])
    other = write(tmp_path / "p.csv", ["id", "age"], [["OAS1_0001", 70], ["P7", 60]])
    assert load([table], ["age"], participants=other)[0].cells["age"].tolist() == ["70", "60"]


def test_sessions_have_their_own_rows(tmp_path):
    scans = [["sub-1_ses-a_T1w.nii", 5], ["sub-1_ses-b_T1w.nii", 6], ["sub-2_T1w.nii", 7]]
    table = write(tmp_path / "v.csv", ["scan", "Brain-Stem"], scans)
    rows = [["sub-1", "ses-a", 70], ["sub-1", "ses-b", 72], ["sub-2", "ses-a", 50], ["sub-2", "ses-b", 52]]
    other = write(tmp_path / "p.tsv", ["participant_id", "session_id", "age"], rows, "\t")
    made, notes = load([table], ["age"], participants=other)
    assert made.cells["age"].tolist() == ["70", "72"] and any("contradicting rows" in note for note in notes)


def test_rows_that_repeat_or_disagree(tmp_path):
    rows, people = cohort(6)
    wrong = [rows[1][0], rows[1][1], "1", *rows[1][3:]]
    table, other = write_cohort(tmp_path, [*rows, rows[0], wrong], [*people, people[0]])
    made, notes = load([table], ["age"], participants=other)
    assert len(made) == 5 and "sub-001" not in set(made.who["#subject"])
    assert "twice: the second" in "".join(notes) and "different values (Left-Hip" in "".join(notes)


def test_tables_are_put_together_scan_by_scan(tmp_path):
    rows, _ = cohort(4)
    one = write(tmp_path / "a.csv", VOLUMES[:3], [row[:3] for row in rows])
    two = write(tmp_path / "b.tsv", ["scan", *VOLUMES[3:]], [[row[0], *row[3:]] for row in rows[:3]], "\t")
    three = write(tmp_path / "c.csv", ["participant_id", "age"], [["sub-000", 80]])
    made, _ = load([one, two, three], ["age"])
    assert list(made.volumes) == VOLUMES[1:] and made.volumes.isna().to_numpy().sum() == 2
    assert made.cells["age"].fillna("").tolist() == ["80", "", "", ""]


# Structures


def test_only_structures_are_volumes(tmp_path):
    table = write(tmp_path / "v.csv", ["scan", "left hippocampus", "mmse"], [["a", 4000, 30], ["b", 4100, 29]])
    made, notes = load([table])
    assert list(made.volumes) == ["left hippocampus"] and any("mmse" in note for note in notes)
    assert load([table], structures="mmse,hippo")[0].volumes.columns.tolist() == ["left hippocampus", "mmse"]
    with pytest.raises(InputError, match="did you mean 'left hippocampus'"):
        load([table], structures="left hippocampas")


def test_other_organs_are_volumes_too(tmp_path):
    table = write(tmp_path / "v.csv", ["scan", "spleen", "site"], [["a", "1,5", "x"], ["b", "2,5", "y"]], ";")
    made, notes = load([table])
    assert list(made.volumes) == ["spleen"] and made.volumes["spleen"].tolist() == [1.5, 2.5]
    assert any("site" in note for note in notes)


def test_impossible_volumes_are_missing(tmp_path):
    header = ["scan", "Brain-Stem", "WM-hypointensities"]
    table = write(tmp_path / "v.csv", header, [["a", 0, 0], ["b", -3, 5], ["c", "big", 5], ["d", 9, 5], ["e", 8, 5]])
    made, notes = load([table])
    assert made.volumes["Brain-Stem"].isna().tolist() == [True] * 3 + [False] * 2 and made.volumes.iloc[0, 1] == 0
    assert len([note for note in notes if note.startswith("Brain-Stem: 1 ")]) == 3


def test_both_sides_together(tmp_path):
    table, _ = write_cohort(tmp_path, n=4)
    apart, together = load([table])[0], load([table], sides="together")[0]
    assert list(together.volumes) == ["intracranial", "Hippocampus", "Brain-Stem"]
    assert together.volumes["Hippocampus"].tolist() == pytest.approx(apart.volumes.iloc[:, 1:3].sum(axis=1).tolist())
    assert without_side("ctx-rh-insula") == "ctx-insula"


def test_scans_that_failed_are_left_out(tmp_path):
    table, _ = write_cohort(tmp_path, n=4)
    rows = [["/in/sub-000/anat/sub-000_T1w.nii.gz", "likely failed"], ["sub-001_T1w.nii.gz", "good"]]
    made, notes = load([table], quality=write(tmp_path / "q.csv", ["scan", "verdict"], rows))
    assert made.who["#subject"].tolist() == ["sub-001", "sub-002", "sub-003"]
    assert any("likely failed" in note for note in notes) and any("kept" in note for note in notes)
    with pytest.raises(InputError, match="verdict"):
        load([table], quality=table)


def test_all_columns_that_are_not_there_are_named(tmp_path):
    table, people = write_cohort(tmp_path, n=8)
    with pytest.raises(InputError) as error:
        load([table], ["diagnosis", "age", "sex", "icv"])
    said = str(error.value)
    assert "no columns 'diagnosis', 'age' and 'sex' in " in said and "; --participants gives" in said
    with pytest.raises(InputError, match="no columns 'weight' and 'height' in ") as error:
        load([table], ["age", "weight", "height"], participants=people)
    assert "--participants" not in str(error.value)
