"""Labelled data for training: FreeSurfer's values are mapped, voxel sizes respected, unknown values refused."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.training.data.cases import channels_of, labelled_cases
from napari_synthseg.training.data.label_maps import BRAIN, read_maps, table_values
from napari_synthseg.volume import Volume

LABELS = anatomy.predicted_values(2)


def found(value: int, beside: int = 2) -> int:
    """The network's label that a value in a label file becomes."""
    values = np.full((4, 4, 4), beside, np.int32)
    values[0] = value
    return LABELS[channels_of(values, LABELS, "a.nii.gz")[0, 0, 0]]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (17, 17),
        (1005, 3),
        (2030, 42),
        (11101, 3),
        (12175, 42),
        (19, 3),
        (56, 42),
        (31, 4),
        (63, 43),
        (77, 2),
        (251, 2),
        (30, 0),
        (25, 2),
        (515, 0),
    ],
)
def test_values_of_freesurfer_become_the_networks(value, label) -> None:
    assert found(value) == label


def test_lesions_belong_to_the_nearest_white_matter() -> None:
    assert found(77, beside=41) == 41


def test_the_networks_own_values_stay_and_unknown_ones_are_refused() -> None:
    values = np.array([[[0, 1005, 7]]])
    assert channels_of(values, (0, 7, 1005), "a").tolist() == [[[0, 2, 1]]]
    with pytest.raises(InputError, match=r"a.nii.gz contains unknown label values \(9999\)"):
        channels_of(np.array([[[0, 2, 9999]]]), LABELS, "a.nii.gz")


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.5)])
def test_the_voxel_size_of_scans_and_of_their_labels_is_respected(tmp_path, spacing) -> None:
    at = np.meshgrid(*(np.arange(60 // s) * s for s in spacing), indexing="ij")
    ball = sum((axis - 30) ** 2 for axis in at) < 20**2
    affine = np.diag([*spacing, 1.0])
    write_volume(tmp_path / "7_t1.nii.gz", Volume((100.0 + 100 * ball).astype(np.float32), affine))
    write_labels(tmp_path / "7_labels.nii.gz", Volume(np.where(ball, 1005, 0).astype(np.int32), affine))
    (case,) = labelled_cases(tmp_path, LABELS)
    assert case.name == "7" and case.image.shape == case.channels.shape == (96, 128, 96)
    cortex = case.channels == LABELS.index(3)
    assert int(cortex.sum()) == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.05)
    assert float(case.image[cortex].float().mean()) > 0.95


# Label maps


def brain(*more: int) -> Volume:
    values = np.zeros((12, 12, 12), np.int32)
    for number, value in enumerate((*BRAIN, 3, 42, *more)):
        values[number % 12, 2:10, 2:10] = value
    return Volume(values, np.eye(4))


def test_an_aseg_becomes_a_label_map_of_the_table(tmp_path) -> None:
    write_labels(tmp_path / "one.nii.gz", brain(1005, 31))
    (label_map,) = run(read_maps(tmp_path))
    assert set(label_map.targets) <= set(LABELS)
    assert set(np.unique(table_values(brain(1005, 31), "a").data)) == {0, *BRAIN, 3, 42, 136}


def test_a_brain_with_an_unknown_value_is_refused_and_other_organs_stay(tmp_path) -> None:
    write_labels(tmp_path / "one.nii.gz", brain(9999))
    with pytest.raises(InputError, match=r"one.nii.gz contains unknown label values \(9999\)"):
        run(read_maps(tmp_path))
    heart = Volume(np.arange(27, dtype=np.int32).reshape(3, 3, 3), np.eye(4))
    assert table_values(heart, "heart") is heart
    numbered = Volume(np.arange(52, dtype=np.int32).reshape(4, 13, 1), np.eye(4))
    assert table_values(numbered, "52 organs") is numbered
    for lost, more in (((17,), (31,)), ((17, 53, 51), (31,)), ((17, 53, 51, 12, 10), (1005, 2030))):
        rest = brain(*more)
        rest.data[np.isin(rest.data, lost)] = 0
        assert not set(np.unique(table_values(rest, "a").data)) & {31, 1005, 2030}, "structures that are not there"
