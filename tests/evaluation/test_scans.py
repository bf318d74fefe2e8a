"""Files and folders: which prediction belongs to which truth, the JSON, and the table."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation import EvaluateOptions, evaluate_files, evaluate_steps, table
from napari_synthseg.evaluation.scans import labelled_scans, pair_up
from napari_synthseg.io import read_labels, write_volume
from napari_synthseg.jobs import Progress, run
from napari_synthseg.volume import Volume
from tests.io.test_dicom import series


def write(path, shift=0, values=(17, 53)):
    labels = np.zeros((12, 10, 8), np.int16)
    labels[2 + shift : 6 + shift, 2:6, 2:6] = values[0]
    labels[2 + shift : 6 + shift, 6:9, 2:6] = values[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(labels, np.diag([1.0, 1.0, 2.0, 1.0])))
    return path


def touched(folder: Path, *names: str) -> Path:
    """Empty scans of these names, which may hold folders."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.nii.gz").touch()
    return folder


def folders(tmp_path, preds, truths):
    for folder, names in (("pred", preds), ("truth", truths)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    return tmp_path / "pred", tmp_path / "truth"


def names(pairs):
    return [(p.name, t.name) for p, t in pairs]


def test_names_are_matched_by_their_leading_parts(tmp_path):
    preds = ["1002_t1_dseg.nii.gz", "1013_t1_dseg.nii.gz", "1002_t1_dseg.tsv", "record.json"]
    truths = ["1002_labels.nii.gz", "1013_labels.nii.gz", "1002_t1.nii.gz", "1110_labels.nii.gz"]
    pairs, unmatched = pair_up(*folders(tmp_path, preds, truths))
    assert names(pairs) == list(zip(preds[:2], truths[:2], strict=True))
    assert unmatched == {"pred": [], "truth": ["1110_labels.nii.gz"]}


def test_bids_entities_keep_sessions_apart(tmp_path):
    preds = ["sub-1_ses-1_T1w_dseg.nii.gz", "sub-1_ses-2_T1w_dseg.nii.gz", "sub-2_ses-1_T1w_dseg.nii.gz"]
    truths = ["sub-1_ses-1_desc-manual_dseg.nii.gz", "sub-2_ses-1_desc-manual_dseg.nii.gz"]
    pairs, unmatched = pair_up(*folders(tmp_path, preds, truths))
    assert names(pairs) == [(preds[0], truths[0]), (preds[2], truths[1])]
    assert unmatched["pred"] == [preds[1]]


def test_folders_are_looked_through(tmp_path):
    touched(tmp_path, "a/sub-01/anat/sub-01_T1w_dseg", "a/sub-02/anat/sub-02_T1w_dseg", "b/sub-01_dseg",
            "b/sub-03_dseg", "a/.segment-1/sub-03_dseg")  # fmt: skip
    pairs, alone = pair_up(tmp_path / "a", tmp_path / "b")
    assert names(pairs) == [("sub-01_T1w_dseg.nii.gz", "sub-01_dseg.nii.gz")]
    assert alone == {"pred": ["sub-02/anat/sub-02_T1w_dseg.nii.gz"], "truth": ["sub-03_dseg.nii.gz"]}


@pytest.mark.parametrize("truth", ["1_labels", "sub-1/anat/sub-1_T1w_label"], ids=["at the top", "in folders"])
@pytest.mark.parametrize("place", ["made", "derivatives/fast"])
def test_segmentations_inside_the_folder_of_the_truth_are_not_their_own_truth(tmp_path, truth, place):
    name = truth.replace("_labels", "_dseg").replace("_label", "_dseg")
    touched(tmp_path, truth, f"{place}/{name}", f"derivatives/other/{name}")
    pairs, alone = pair_up(tmp_path / place, tmp_path)
    assert pairs == [(tmp_path / place / f"{name}.nii.gz", tmp_path / f"{truth}.nii.gz")]
    assert alone == {"pred": [], "truth": []}
    (tmp_path / f"{truth}.nii.gz").unlink()
    with pytest.raises(InputError, match="No label file"):
        pair_up(tmp_path / place, tmp_path)


def test_equal_names_belong_together_by_their_folders(tmp_path):
    touched(tmp_path, "a/one/aseg", "a/two/aseg", "b/one/aseg", "b/two/aseg")
    pairs, _ = pair_up(tmp_path / "a", tmp_path / "b")
    assert [(p.parent.name, t.parent.name) for p, t in pairs] == [("one", "one"), ("two", "two")]
    (tmp_path / "b/one").rename(tmp_path / "b/three")
    (tmp_path / "b/two").rename(tmp_path / "b/four")
    with pytest.raises(InputError, match=r"matches aseg.nii.gz as well as aseg.nii.gz"):
        pair_up(tmp_path / "a", tmp_path / "b")


def test_equal_names_match(tmp_path):
    preds = ["head.nii.gz", "head_2.nii.gz"]
    pairs, _ = pair_up(*folders(tmp_path, preds, preds))
    assert names(pairs) == [(name, name) for name in preds]


@pytest.mark.parametrize(
    ("preds", "truths", "sentence"),
    [
        (["a_dseg.nii"], ["a_one_dseg.nii", "a_two_dseg.nii"], "matches a_one_dseg.nii as well as"),
        (["a_t1_dseg.nii", "a_t2_dseg.nii"], ["a_labels.nii"], "both match a_labels.nii"),
        (["a_dseg.nii"], ["b_dseg.nii"], "No label file"),
        ([], [], "No label file"),
    ],
)
def test_what_cannot_be_matched_is_said(tmp_path, preds, truths, sentence):
    with pytest.raises(InputError, match=sentence):
        pair_up(*folders(tmp_path, preds, truths))


def test_folders_of_slices_and_pairs_of_files_are_one_label_map_each(tmp_path):
    pytest.importorskip("pydicom")
    for place in ("a", "b"):
        for n, slice_ in enumerate(series(tmp_path / "truth" / place).iterdir()):
            slice_.rename(slice_.with_name(f"{n}.img"))
    truth = read_labels(tmp_path / "truth" / "a")
    write_volume(tmp_path / "pred" / "a_dseg.nii.gz", truth)
    nib.save(nib.Nifti1Pair(truth.data, truth.affine), tmp_path / "pred" / "b_dseg.img")
    pairs, alone = pair_up(tmp_path / "pred", tmp_path / "truth")
    assert names(pairs) == [("a_dseg.nii.gz", "a"), ("b_dseg.hdr", "b")] and alone == {"pred": [], "truth": []}
    values = tuple(np.unique(truth.data).tolist()[1:4])
    for pred, true in [(tmp_path / "pred", tmp_path / "truth"), *pairs]:
        assert evaluate_files(pred, true, options=EvaluateOptions(values))["mean"]["dice"] == 1
    (tmp_path / "pred" / "a_dseg.nii.gz").rename(tmp_path / "truth" / "a_labels.nii.gz")
    assert labelled_scans(tmp_path / "truth") == [(tmp_path / "truth" / "a", tmp_path / "truth" / "a_labels.nii.gz")]


def test_a_file_against_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="a file and a folder"):
        pair_up(write(tmp_path / "a_dseg.nii.gz"), tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        pair_up(tmp_path / "nothing.nii.gz", tmp_path)


def test_a_pair_of_files_gives_scores_and_a_json(tmp_path):
    pred, truth = write(tmp_path / "p.nii.gz", 1), write(tmp_path / "t.nii.gz")
    result = evaluate_files(pred, truth, tmp_path / "out" / "scores.json")
    msd = pytest.approx(result["scans"][0]["mean"]["msd_mm"])
    assert result["mean"] == {
        "dice": 0.75, "sd95_mm": 1.0, "msd_mm": msd, "absolute_difference_percent": 0.0, "scans": 1, "missing": 0,
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == result


def test_folders_report_each_scan_and_the_agreement_of_volumes(tmp_path):
    for n in range(3):
        write(tmp_path / "pred" / f"{n}_t1_dseg.nii.gz", n)
        write(tmp_path / "truth" / f"{n}_labels.nii.gz")
    reports: list[Progress] = []
    result = run(evaluate_steps(tmp_path / "pred", tmp_path / "truth"), reports.append)
    assert [(r.done, r.total) for r in reports] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [scan["mean"]["dice"] for scan in result["scans"]] == [1, 0.75, 0.5]
    assert result["structures"]["17"]["dice"] == 0.75
    assert result["structures"]["17"]["difference_percent"] == 0
    msd = f"{np.mean([scan['mean']['msd_mm'] for scan in result['scans']]):.2f}"
    text = table(result)
    assert "Left-Hippocampus *" in text
    assert text.splitlines()[-1].split() == ["mean", "of", "3", "scan(s)", "0.750", "1.00", msd, "0.0"]


def test_the_truth_can_be_reduced_to_predicted_values(tmp_path):
    pred = write(tmp_path / "p.nii.gz", values=(2, 53))
    truth = write(tmp_path / "t.nii.gz", values=(25, 53))
    assert evaluate_files(pred, truth)["mean"]["dice"] == 0.5
    assert evaluate_files(pred, truth, options=EvaluateOptions(reduce=True))["mean"]["dice"] == 1


def paired(folder: Path, labels: Path | None = None) -> dict[str, str]:
    return {a.name.split(".")[0]: b.name.split(".")[0] for a, b in labelled_scans(folder, labels)}


def test_label_files_go_with_the_scans_whose_names_begin_with_theirs(tmp_path):
    brains = touched(tmp_path / "a", "1002_t1", "1002_t2", "1002_labels", "1003_t1")
    assert paired(brains) == {"1002_t1": "1002_labels", "1002_t2": "1002_labels"}
    hearts = touched(
        tmp_path / "b", "ct_train_1001_image", "ct_train_1001_label", "ct_train_1002_image", "ct_train_1002_label",
        "ct_train_1009_image",
    )  # fmt: skip
    assert paired(hearts) == {f"ct_train_100{i}_image": f"ct_train_100{i}_label" for i in (1, 2)}
    bids = touched(
        tmp_path / "c", "sub-01_T1w", "sub-01_desc-manual_dseg", "sub-02_T1w", "sub-02_a_dseg", "sub-02_dseg"
    )
    assert paired(bids) == {"sub-01_T1w": "sub-01_desc-manual_dseg", "sub-02_T1w": "sub-02_dseg"}


def test_label_files_may_lie_in_a_folder_of_their_own(tmp_path):
    images = touched(tmp_path / "imagesTr", "la_003_0000", "la_004_0000", "la_030_0000")
    labels = touched(tmp_path / "labelsTr", "la_003", "la_004")
    assert paired(images, labels) == {"la_003_0000": "la_003", "la_004_0000": "la_004"}


def test_structures_are_called_as_their_table_says(tmp_path):
    pred, truth = tmp_path / "a" / "1_seg.nii.gz", tmp_path / "b" / "1_labels.nii.gz"
    write(pred, 1, values=(2, 7)), write(truth, values=(2, 7))
    (tmp_path / "b" / "1_labels.tsv").write_text("index\tname\n2\tkidney\n7\tstone\n")
    result = evaluate_files(pred, truth, options=EvaluateOptions(values=(2, 7)))
    assert [s["name"] for s in result["structures"].values()] == ["kidney", "stone"]
    assert "kidney *" in table(result)
