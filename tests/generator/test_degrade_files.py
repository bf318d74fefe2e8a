"""Degraded scans as files."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation import DegradationRecord, degrade
from napari_synthseg.generator.degrade_files import DegradeOptions, degrade_files
from napari_synthseg.io import read_labels, read_volume, write_labels, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.volume import Volume


@pytest.fixture
def scans(tmp_path):
    """Two scans in a folder, with labels of the first beside it."""
    g = np.random.default_rng(0)
    for name in ("one", "two"):
        write_volume(tmp_path / "scans" / f"{name}.nii.gz", Volume(g.random((12, 10, 8), np.float32), np.eye(4)))
    write_labels(tmp_path / "one_labels.nii.gz", Volume(g.integers(0, 3, (12, 10, 8)), np.eye(4)))
    return tmp_path / "scans"


def test_every_scan_gets_its_own_seeds(scans, tmp_path) -> None:
    written = run(degrade_files([scans], tmp_path / "out", DegradeOptions(seed=5), count=2))
    assert [path.name for path in written] == [f"{n}_image.nii.gz" for n in ("one_0005", "one_0006", "two_0007",
                                                                            "two_0008")]  # fmt: skip


def test_labels_and_the_other_half_of_a_pair_are_no_scans(scans, tmp_path) -> None:
    nib.save(nib.Nifti1Pair(np.random.default_rng(1).random((12, 10, 8)), np.eye(4)), scans / "pair.hdr")
    for name in ("one_dseg", "one_labels"):
        write_labels(scans / f"{name}.nii.gz", Volume(np.ones((12, 10, 8), np.uint8), np.eye(4)))
    written = run(degrade_files([scans], tmp_path / "out"))
    assert [path.name.split("_")[0] for path in written] == ["one", "pair", "two"]


def test_the_record_makes_it_again(scans, tmp_path) -> None:
    (path,) = run(degrade_files([scans / "one.nii.gz"], tmp_path / "out", DegradeOptions(prior=("noise_std=1,2",))))
    text = json.loads((tmp_path / "out" / "one_0000_record.json").read_text())
    assert text["prior"] == ["noise_std=1,2"] and 1 <= text["noise_std"] <= 2
    again = degrade(read_volume(scans / "one.nii.gz"), DegradationRecord.from_dict(text))
    assert np.array_equal(read_volume(path).data, again.image.data)


def test_nothing_is_replaced_unless_asked(scans, tmp_path) -> None:
    out = tmp_path / "out"
    run(degrade_files([scans], out, DegradeOptions(seed=1)))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match="two_0002_image.nii.gz is there already.*--overwrite"):
        run(degrade_files([scans / "two.nii.gz"], out, DegradeOptions(seed=1, prior=("noise_std=0,0",)), count=2))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    run(degrade_files([scans], out, DegradeOptions(seed=1, prior=("noise_std=0,0",)), overwrite=True))
    assert {path.name for path in out.iterdir()} == set(before)
    assert (out / "two_0002_image.nii.gz").read_bytes() != before["two_0002_image.nii.gz"]


def test_labels_come_along(scans, tmp_path) -> None:
    options = DegradeOptions(labels=tmp_path / "one_labels.nii.gz", prior=("translation_mm=0,0",))
    run(degrade_files([scans / "one.nii.gz"], tmp_path / "out", options))
    assert set(np.unique(read_labels(tmp_path / "out" / "one_0000_labels.nii.gz").data)) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("inputs", "options", "count", "what"),
    [([], {}, 1, "no scan"), (["nothing.nii"], {}, 1, "nothing.nii"), (["scans"], {}, 0, "at least 1"),
     (["empty"], {}, 1, "no scans"), (["scans"], {"labels": "one_labels.nii.gz"}, 1, "one by one"),
     (["scans"], {"prior": ("flip=1",)}, 1, "flip")],
)  # fmt: skip
def test_what_cannot_be_leaves_nothing(scans, tmp_path, inputs, options, count, what) -> None:
    (tmp_path / "empty").mkdir()
    if "labels" in options:
        options = {"labels": tmp_path / options["labels"]}
    with pytest.raises(InputError, match=what):
        run(degrade_files([tmp_path / i for i in inputs], tmp_path / "out", DegradeOptions(**options), count))
    assert not (tmp_path / "out").exists()
