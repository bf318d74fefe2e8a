"""The label table: complete, consistent, and as SynthSeg's own lists have it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg import anatomy
from tests.shared_data import shared


def test_the_table_is_sorted_has_names_of_its_own_and_starts_with_background():
    values = [s.value for s in anatomy.table()]
    assert values == sorted(set(values))
    assert anatomy.table()[0].name == "Unknown"
    assert len({s.name for s in anatomy.table()}) == len(anatomy.table()) == 54


def test_contralateral_is_an_involution_that_swaps_sides():
    swapped = {"left": "right", "right": "left", "midline": "midline"}
    for s in anatomy.table():
        partner = anatomy.structure(s.contralateral)
        assert partner.contralateral == s.value
        assert partner.side == swapped[s.side]
        assert (partner.value == s.value) == (s.side == "midline")


def test_partners_share_all_but_value_and_side():
    for s in anatomy.table():
        partner = anatomy.structure(s.contralateral)
        assert partner.name.replace("Right-", "Left-") == s.name.replace("Right-", "Left-")
        assert (partner.tissue, partner.extra_cerebral, partner.evaluated) == (s.tissue, s.extra_cerebral, s.evaluated)
        assert partner.target == (anatomy.structure(s.target).contralateral if s.target else 0)


def test_targets_are_their_own_targets():
    for s in anatomy.table():
        assert anatomy.structure(s.target).target == s.target
        assert anatomy.structure(s.target_v1).target_v1 == s.target_v1


def test_what_is_evaluated_is_predicted():
    assert set(anatomy.evaluated_values()) < set(anatomy.predicted_values(1))
    assert len(anatomy.evaluated_values()) == 25


def test_extra_cerebral_structures_are_not_predicted_but_csf():
    assert [s.value for s in anatomy.table() if s.extra_cerebral and s.target] == [24]


@pytest.mark.parametrize(("version", "count"), [(1, 32), (2, 33)])
def test_predicted_values(version, count):
    values = anatomy.predicted_values(version)
    assert len(values) == count and values[0] == 0 and list(values) == sorted(values)
    assert (24 in values) == (version == 2)


def test_flip_channels_puts_left_where_right_was_and_strangers_are_their_own_partners():
    assert anatomy.flip_channels([0, 17, 53, 16, 9000]) == (0, 2, 1, 3, 4)


def test_mirrored_swaps_sides_and_keeps_strangers():
    labels = np.array([[[0, 17, 53, 14, 251]]])
    assert anatomy.mirrored(labels).ravel().tolist() == [0, 53, 17, 14, 251]


def test_mapping_maps_an_array():
    labels = np.array([0, 25, 136, 530, 24])
    assert anatomy.mapping("target")[labels].tolist() == [0, 2, 4, 0, 24]
    assert anatomy.mapping("target_v1")[labels].tolist() == [0, 2, 4, 0, 0]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: anatomy.structure(9999), "9999"),
        (lambda: anatomy.predicted_values(3), "versions 1 and 2"),
        (lambda: anatomy.flip_channels([0, 17]), "partner"),
    ],
)
def test_what_there_is_not_is_said(ask, says):
    with pytest.raises(ValueError, match=says):
        ask()


def test_strangers_still_have_a_name_and_a_steady_colour():
    assert anatomy.name(9999) == "Label-9999"
    assert anatomy.color(9999) == anatomy.color(9999)
    assert all(0 <= part <= 255 for part in anatomy.color(9999))


def test_known_colours_are_freesurfers():
    assert anatomy.color(17) == anatomy.color(53) == (220, 216, 20)


@pytest.mark.parametrize("version", [1, 2])
def test_channels_agree_with_the_reference(version):
    golden = np.load(shared(f"reference/golden/labels_v{version}.npz"))
    values = anatomy.predicted_values(version)
    assert list(values) == golden["labels"].tolist()
    assert list(anatomy.flip_channels(values)) == golden["flip_indices"].tolist()
    assert [anatomy.structure(v).topology for v in values] == golden["topology"].tolist()


def test_the_table_agrees_with_the_published_lists():
    folder = shared("data/label_maps")
    values = np.load(folder / "generation_labels.npy")
    assert sorted(values.tolist()) == [s.value for s in anatomy.table()]
    rows = [anatomy.structure(v) for v in values]
    assert [s.generation_class for s in rows] == np.load(folder / "generation_classes.npy").tolist()
    assert [s.target_v1 for s in rows] == np.load(folder / "synthseg_segmentation_labels.npy").tolist()
    # Version 2's lists have one more neutral label, of which nothing is kept, somewhere after CSF.
    target = np.load(folder / "synthseg_segmentation_labels_2.0.npy").tolist()
    assert [s.target for s in rows] == target[:5] + target[6:]
    topology = np.load(folder / "synthseg_topological_classes_2.0.npy").tolist()
    assert [s.topology for s in rows] == topology[:5] + topology[6:]
    tissue = np.load(folder / "synthseg_denoiser_labels_2.0.npy").tolist()
    assert [anatomy.TISSUES.index(s.tissue) for s in rows] == tissue[:5] + tissue[6:]


def test_left_structures_lie_on_the_left():
    """A name on the wrong side would be the worst mistake of all: ask a real label map."""
    from napari_synthseg.io import read_labels
    from napari_synthseg.volume import to_canonical

    v = to_canonical(read_labels(shared("data/label_maps/training_seg_01.nii.gz")))
    world_x = v.affine[0, 0] * np.arange(v.shape[0])
    mean_x = {}
    for s in anatomy.table():
        if s.side != "midline":
            counts = np.count_nonzero(v.data == s.value, axis=(1, 2))
            mean_x[s.value] = float(counts @ world_x / counts.sum())
    for s in anatomy.table():
        if s.side == "left":
            assert mean_x[s.value] < mean_x[s.contralateral], s.name


# Parts of the cortex, groups of structures


def test_parcels_come_in_pairs():
    assert len(anatomy.parcels()) == 68
    for value, parcel in anatomy.parcels().items():
        partner = anatomy.parcels()[parcel.contralateral]
        assert partner.contralateral == value and partner.color == parcel.color
        assert partner.name == parcel.name.replace(*("-lh-", "-rh-") if parcel.side == "left" else ("-rh-", "-lh-"))


def test_parcels_have_names_and_colours():
    assert anatomy.name(1035) == "ctx-lh-insula" and anatomy.color(2035) == (255, 192, 32)
    assert not anatomy.known(1035)  # no structure of the generative model
    assert anatomy.parcel_values()[:3] == (0, 1001, 1002)


@pytest.mark.parametrize("version", [1, 2])
def test_every_predicted_value_is_in_one_quality_group(version):
    members = [value for values in anatomy.QUALITY_GROUPS.values() for value in values]
    assert len(members) == len(set(members))
    assert set(anatomy.predicted_values(version)) <= set(members)


def test_lesions_are_a_structure_outside_the_table():
    lesions = anatomy.structure(anatomy.LESION)
    assert lesions is anatomy.LESIONS and lesions not in anatomy.table() and lesions.value not in range(61)
    assert anatomy.name(77) == "WM-hypointensities" and anatomy.color(77) == lesions.color
    assert 77 not in anatomy.predicted_values() and 77 not in anatomy.evaluated_values()
    assert anatomy.flip_channels([0, 2, 41, 77]) == (0, 2, 1, 3)
    assert lesions.generation_class not in {s.generation_class for s in anatomy.table()}


def test_coarse_structures_are_those_of_what_a_label_becomes():
    for s in anatomy.table():
        assert s.coarse == anatomy.structure(s.target).coarse == anatomy.structure(s.contralateral).coarse
        assert (s.coarse == "background") == (s.target == 0)
    assert {g.coarse for g in anatomy.COARSE} == {s.coarse for s in anatomy.table()} - {"background"}


def test_groups_have_values_that_nothing_else_has():
    values = [g.value for g in (anatomy.BRAIN, *anatomy.COARSE)]
    assert not {*values} & {*anatomy.parcels(), anatomy.LESION, *(s.value for s in anatomy.table())}
    assert anatomy.name(values[0]) == "Brain" and anatomy.flip_channels((0, *values)) == tuple(range(6))
    assert max(values) < len(anatomy.mapping("topology"))


@pytest.mark.parametrize(
    ("value", "all_of_it", "four", "brain"),
    [
        (17, 17, "Subcortical-Grey-Matter", True),
        (57, 41, "White-Matter", True),
        (163, 43, "CSF-and-Ventricles", True),
        (24, 24, "CSF-and-Ventricles", False),
        (47, 47, "Cortex", True),
        (2035, 42, "Cortex", True),
        (77, 77, "White-Matter", True),
        (511, 0, None, False),
    ],
)
def test_what_a_structure_counts_as(value, all_of_it, four, brain):
    assert anatomy.in_task(value, "all") == all_of_it
    found = anatomy.in_task(value, "four")
    assert (anatomy.name(found) if found else None) == four
    assert anatomy.in_task(value, "brain") == (anatomy.BRAIN.value if brain else 0)
    if found:  # grouped before
        assert anatomy.in_task(found, "four") == found


def test_what_cannot_be_told_apart_is_refused():
    for value, task in ((999, "brain"), (461, "four"), (471, "all")):
        with pytest.raises(ValueError, match=str(value)):
            anatomy.in_task(value, task)
    with pytest.raises(ValueError, match="brain, four, all"):
        anatomy.task_values("skull")
    assert len(anatomy.task_values("all")) == 33


# FreeSurfer's own values


def aparc() -> np.ndarray:
    """Left and right: cortex in parts, white matter with a lesion and corpus callosum, choroid plexus."""
    labels = np.zeros((12, 8, 8), np.int32)
    for side, (cortex, white, plexus) in enumerate([(1001, 2, 31), (2035, 41, 63)]):
        half = labels[6 * side : 6 * side + 6]
        half[:, 1:3], half[:, 3:6], half[:, 6] = cortex, white, plexus
    labels[5:7, 3], labels[1, 4, 4], labels[10, 5, 5] = 253, 77, 77
    labels[2, 2, 2], labels[9, 2, 2] = 11112, 12175
    return labels


def test_values_of_freesurfer_become_rows_of_the_table():
    found, mapped = anatomy.from_freesurfer(aparc())
    assert set(np.unique(found)) == {0, 2, 3, 41, 42, 136, 163}
    assert found[5, 3, 0] == 2 and found[6, 3, 0] == 41, "the corpus callosum belongs to both sides"
    assert found[1, 4, 4] == 2 and found[10, 5, 5] == 41, "lesions to the white matter around them"
    assert mapped[253] == 16 and mapped[77] == 2
    predicted, _ = anatomy.from_freesurfer(aparc(), predicted=True)
    assert set(np.unique(predicted)) <= set(anatomy.predicted_values())


def test_a_flip_brings_every_value_to_the_other_side():
    found, _ = anatomy.from_freesurfer(aparc())
    swapped = anatomy.mirrored(found)
    for left, right in ((3, 42), (2, 41), (136, 163)):
        assert np.array_equal(swapped == right, found == left) and np.array_equal(swapped == left, found == right)


def test_what_needs_no_mapping_is_left_alone():
    labels = np.array([0, 2, 3, 502])
    assert anatomy.from_freesurfer(labels)[0] is labels
    assert anatomy.from_freesurfer(np.array([1001, 77]), keep=(1001, 77))[1] == {}
    alone = np.array([[77, 203, 0]])
    assert anatomy.from_freesurfer(alone)[0].tolist() == alone.tolist(), "nothing says on which side they lie"
    assert anatomy.from_freesurfer(alone)[1] == {}


def test_parts_without_a_side_belong_to_that_of_what_is_nearest():
    labels = np.array([[[42, 0, 236, 7008, 0, 0, 0, 0, 3, 77, 8105, 805, 203, 231]]])
    found, mapped = anatomy.from_freesurfer(labels)
    assert found.ravel().tolist() == [42, 0, 53, 54, 0, 0, 0, 0, 3, 2, 10, 28, 17, 17] and len(mapped) == 7


def test_values_that_nobody_knows_are_listed():
    assert anatomy.unknown_values(np.array([0, 2, 77, 1001, 2000, 31, 9999, -1])) == [-1, 9999]
