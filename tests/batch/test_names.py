"""Which scans there are, and what their labels are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_synthseg.batch import bids
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.batch.plan import find, plan
from napari_synthseg.errors import InputError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A BIDS dataset with what often lies in one."""
    root = tmp_path / "study"
    touch(
        root / "sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.nii.gz",
        root / "sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.json",
        root / "sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz",
        root / "sub-01/ses-a/anat/sub-01_ses-a_T1map.nii.gz",
        root / "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz",
        root / "sub-02/anat/sub-02_T1w.nii",
        root / "sub-02/anat/sub-02_desc-brain_mask.nii.gz",
        root / "sub-02/anat/notes_T1w.nii.gz",
        root / "sourcedata/sub-02/anat/sub-02_T2w.nii.gz",
        root / "derivatives/other/sub-02/anat/sub-02_desc-preproc_T1w.nii.gz",
    )
    (root / "dataset_description.json").write_text('{"Name": "a study"}')
    return root


def targets(inputs, out: Path, grid: str = "input", **options) -> dict[str, str]:
    sources = find([inputs] if isinstance(inputs, Path) else inputs, out, BatchOptions(**options))
    return {task.scan.name: task.target.relative_to(out).as_posix() for task in plan(sources, out, grid)}


def test_a_dataset_gives_its_structural_images(dataset, tmp_path):
    assert targets(dataset, tmp_path / "out") == {
        "sub-01_ses-a_FLAIR.nii.gz": "sub-01/ses-a/anat/sub-01_ses-a_space-FLAIR_desc-synthseg_dseg.nii.gz",
        "sub-01_ses-a_run-1_T1w.nii.gz": "sub-01/ses-a/anat/sub-01_ses-a_run-1_space-T1w_desc-synthseg_dseg.nii.gz",
        "sub-02_T1w.nii": "sub-02/anat/sub-02_space-T1w_desc-synthseg_dseg.nii.gz",
    }


def test_a_dataset_can_be_narrowed(dataset, tmp_path):
    assert list(targets(dataset, tmp_path, suffixes=("FLAIR",))) == ["sub-01_ses-a_FLAIR.nii.gz"]
    assert list(targets(dataset, tmp_path, participants=("sub-02",))) == ["sub-02_T1w.nii"]
    assert list(targets(dataset / "sub-02", tmp_path)) == ["sub-02_T1w.nii"]
    with pytest.raises(InputError, match="no image of the participants 07 .* T1w"):
        targets(dataset, tmp_path, participants=("07",))


def test_a_dataset_without_description_is_known_by_its_folders(dataset, tmp_path):
    (dataset / "dataset_description.json").unlink()
    assert len(targets(dataset, tmp_path / "out")) == 3


def test_images_that_were_not_downloaded_are_not_overlooked(dataset, tmp_path):
    (dataset / "sub-02/anat/sub-02_T2w.nii.gz").symlink_to("../../.git/annex/objects/none")
    assert "sub-02_T2w.nii.gz" in targets(dataset, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "grid", "expected"),
    [
        ("sub-1_T1w", "1mm", "sub-1_space-T1w_res-1mm_desc-synthseg_dseg"),
        ("sub-1_acq-x_ce-gd_rec-n_T2w", "input", "sub-1_acq-x_ce-gd_rec-n_space-T2w_desc-synthseg_dseg"),
        ("sub-1_desc-preproc_T1w", "input", "sub-1_space-T1w_desc-preprocSynthseg_dseg"),
        ("sub-1_space-MNI_desc-preproc_T1w", "input", "sub-1_space-MNI_desc-preprocT1wSynthseg_dseg"),
        ("sub-1_space-MNI_res-2_T1w", "1mm", "sub-1_space-MNI_res-1mm_desc-T1wSynthseg_dseg"),
    ],
)
def test_entities_are_kept_in_their_order(name, grid, expected):
    found = bids.derivative(bids.parse(Path(f"{name}.nii.gz")), grid)
    assert found == Path("sub-1/anat") / f"{expected}.nii.gz"
    assert bids.parse(found) is not None


@pytest.mark.parametrize(
    "name", ["T1w.nii.gz", "sub_01_T1w.nii", "sub-01.nii", "sub-0.1_T1w.nii", "sub-1_sub-2_T1w.nii"]
)
def test_other_names_are_not_taken_for_bids(name):
    assert bids.parse(Path(name)) is None


def test_folders_keep_their_shape(tmp_path):
    touch(tmp_path / "in/a/t1.nii.gz", tmp_path / "in/b/t1.nii.gz", tmp_path / "in/b/old_dseg.nii.gz")
    out = tmp_path / "out"
    found = [task.target.relative_to(out).as_posix() for task in plan(find([tmp_path / "in"], out, BatchOptions()), out, "input")]  # fmt: skip  # noqa: E501
    assert found == ["a/t1_dseg.nii.gz", "b/t1_dseg.nii.gz"]
    both = plan(find([tmp_path / "in/a", tmp_path / "in/b"], out, BatchOptions()), out, "input")
    assert [task.target.relative_to(out).as_posix() for task in both] == found


def test_results_inside_the_inputs_are_no_inputs(tmp_path):
    touch(tmp_path / "in/t1.nii.gz", tmp_path / "in/out/other.nii.gz")
    assert list(targets(tmp_path / "in", tmp_path / "in/out")) == ["t1.nii.gz"]
    assert len(targets(tmp_path / "in", tmp_path / "in")) == 2


def test_a_list_may_name_what_is_not_there(tmp_path):
    touch(tmp_path / "scans/a/x.nii", tmp_path / "scans/b/x.nii")
    listing = tmp_path / "list.txt"
    listing.write_text("# mine\nscans/a/x.nii\nscans/b/x.nii\nscans/gone.nii\n")
    sources = find([listing], tmp_path / "out", BatchOptions())
    names = [task.target.name for task in plan(sources, tmp_path / "out", "input")]
    assert names == ["a_x_dseg.nii.gz", "b_x_dseg.nii.gz", "gone_dseg.nii.gz"]


def test_what_is_named_twice_is_one_scan(tmp_path):
    touch(tmp_path / "in/a.nii")
    assert len(find([tmp_path / "in", tmp_path / "in/a.nii", tmp_path / "in/../in"], tmp_path, BatchOptions())) == 1


@pytest.mark.parametrize("names", [("a.nii", "a.nii.gz"), ("sub-1_T1w.nii", "sub-1_T1w.nii.gz"), ("A.nii", "a.nii")])
def test_names_that_clash_are_refused(tmp_path, names):
    touch(*(tmp_path / "in" / name for name in names))
    with pytest.raises(InputError, match="would both be written to"):
        targets(tmp_path / "in", tmp_path / "out")


def test_sidecars_say_what_labels_were_made_from(dataset):
    facts = bids.sidecar(dataset / "sub-02/anat/sub-02_T1w.nii", "1mm")
    assert facts["Sources"] == ["bids:study:sub-02/anat/sub-02_T1w.nii"]
    assert "1mm" in facts["Resolution"]
    links = bids.description([dataset], {})["DatasetLinks"]
    assert links == {"study": dataset.as_uri()}


def test_the_dataset_itself_is_no_place_for_results(dataset, tmp_path):
    with pytest.raises(InputError, match="derivatives"):
        bids.check_free(dataset)
    own = tmp_path / "own"
    own.mkdir()
    bids.check_free(own)
    (own / "dataset_description.json").write_text(json.dumps(bids.description([], {})))
    bids.check_free(own)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retries": -1}, "retries"), ({"part": "4/3"}, "k/n"), ({"scheduler": "tcp://x:1", "jobs": 2}, "Choose one"),
        ({"slurm": True, "part": "1/2"}, "omit one"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        BatchOptions(**options)
