"""Label maps of whole heads from a scan and a segmentation of its brain."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg import anatomy, synthesize
from napari_synthseg.cli import main
from napari_synthseg.errors import InputError
from napari_synthseg.generator.headmap import CSF, HEAD, HeadmapOptions, head_map
from napari_synthseg.io import read_labels, write_labels, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.volume import Volume, resample_labels_to, resample_to

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SIZE = 48
FAR = np.array([[1.0, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
EXTRA = [s.value for s in anatomy.table() if s.extra_cerebral]


@pytest.fixture(scope="module")
def head() -> tuple[Volume, Volume]:
    """A head of shells, air darkest: ventricles, white matter, cortex, 4 mm of CSF, bone, skin; and its aseg."""
    x, y, z = np.indices((SIZE,) * 3) - (SIZE - 1) / 2
    radius = 2 * np.sqrt(x**2 + y**2 + z**2)
    shells = np.digitize(radius, (8, 24, 30, 34, 40, 46))
    image = np.array([30, 110, 80, 30, 15, 200, 0])[shells] + np.random.default_rng(0).normal(0, 2, shells.shape)
    left = np.array([4, 2, 3, 0, 0, 0, 0])[shells]
    aseg = np.where(x < 0, left, np.array([43, 41, 42, 0, 0, 0, 0])[shells])
    return Volume(image.astype(np.float32), AFFINE), Volume(aseg.astype(np.int16), AFFINE)


def test_the_brain_stays_and_all_around_it_goes_with_the_skull(head):
    scan, aseg = head
    made = head_map(scan, aseg).data
    assert np.array_equal(made[aseg.data > 0], aseg.data[aseg.data > 0])
    around = made[(aseg.data == 0) & (made > 0)]
    assert set(np.unique(around)) <= {CSF, *HEAD} <= set(EXTRA)
    assert {s.target for s in anatomy.table() if s.value in HEAD} == {0}


def test_csf_bone_skin_and_air_are_told_apart(head):
    scan, aseg = head
    made = head_map(scan, aseg, HeadmapOptions(classes=3)).data
    middle = made[SIZE // 2, SIZE // 2]
    csf, bone, skin, air = (middle[SIZE // 2 + int(mm / 2)] for mm in (32, 37, 43, 47))
    assert csf == CSF and bone != skin and {bone, skin} <= set(HEAD) and air == 0


@pytest.mark.parametrize("classes", [3, 10])
def test_the_number_of_classes_is_chosen(head, classes):
    made = head_map(*head, HeadmapOptions(classes=classes))
    assert 3 <= len(set(np.unique(made.data)) & set(HEAD)) <= classes
    with pytest.raises(InputError, match="classes"):
        HeadmapOptions(classes=2)


def test_the_map_lies_on_the_grid_of_the_aseg(head):
    scan, aseg = head
    turned = np.array([[0, 0, -1.5, 98], [-1.5, 0, 0, 97], [0, 1.5, 0, -2], [0, 0, 0, 1]])
    other = resample_to(scan, (66, 68, 67), turned)
    same, made = head_map(scan, aseg).data, head_map(other, aseg)
    assert made.shape == aseg.shape and np.array_equal(made.affine, aseg.affine)
    assert np.mean((same == CSF) == (made.data == CSF)) > 0.95
    assert np.mean((same > 0) == (made.data > 0)) > 0.95
    moved = resample_labels_to(aseg, (66, 68, 67), turned)
    assert np.array_equal(head_map(scan, moved).affine, turned)


def test_values_of_freesurfer_become_those_of_the_table(head):
    scan, aseg = head
    parts = aseg.data.astype(np.int32)
    parts[parts == 3], parts[parts == 42] = 1005, 2030
    parts[22:26, 22:26, 34] = 251  # corpus callosum
    made = head_map(scan, aseg.with_data(parts)).data
    assert set(np.unique(made)) <= {s.value for s in anatomy.table()}
    assert (made[aseg.data == 3] == 3).all() and made[23, 23, 34] in (2, 41)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s, a: (Volume(s.data, FAR @ s.affine), a), "shows 0% of the brain"),
        (lambda s, a: (s, Volume(a.data, FAR @ a.affine * 500)), "check its scale or unit"),
        (lambda s, a: (s.with_data(np.where(a.data > 0, s.data, 0)), a), "before skull stripping"),
        (lambda s, a: (s.with_data(250 - s.data), a), "not dark"),
        (lambda s, a: (s, a.with_data(np.where(a.data == 4, 4321, a.data))), "unknown label values .4321."),
        (lambda s, a: (s, a.with_data(0 * a.data)), "no structure of the brain"),
    ],
)
def test_what_makes_no_head_is_refused_in_one_sentence(head, change, says):
    with pytest.raises(InputError, match=says):
        head_map(*change(*head))


def test_the_command_writes_what_synthesis_and_training_take(head, tmp_path, capsys):
    scan, aseg = head
    write_volume(tmp_path / "orig.mgz", scan)
    write_labels(tmp_path / "aseg.mgz", aseg)
    out = tmp_path / "maps" / "sub-01.nii.gz"
    call = ["headmap", str(tmp_path / "orig.mgz"), str(tmp_path / "aseg.mgz"), "-o", str(out)]
    assert main(call) == 0 and capsys.readouterr().out.strip() == str(out)
    assert main(call) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*call, "--overwrite", "--classes", "4"]) == 0
    (label_map,) = run(read_maps(out.parent))
    assert set(EXTRA) & set(label_map.values) and 42 in label_map.targets
    assert synthesize(read_labels(out), shape=(16, 16, 16)).image.shape == (16, 16, 16)
