"""What labels ask of a network: groups of channels, values understood or refused, voxels ignored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.training.data.labelled_scans import RawScan, counted, known_values, make_targets, targets_for
from napari_synthseg.training.engine.losses import IGNORED, dice_and_cross_entropy, grouped, target_losses

ALL = anatomy.predicted_values(2)


def raw(*values: int) -> RawScan:
    return RawScan("a", "a_labels.nii.gz", np.zeros((2, 2, 2)), np.resize(values, (2, 2, 2)))


def test_labels_that_no_scan_holds_belong_to_the_background_s_group():
    targets = make_targets((0, 2, 17, 24, 41, 53), "all", {0, 17, 53}, ())
    assert targets.groups == (0, 0, 1, 0, 0, 2)
    assert targets.names == ("Unknown", "Left-Hippocampus", "Right-Hippocampus") and targets.partners == (0, 2, 1)
    assert make_targets((0, 2, 24, 41), "all", {0, 2, 24}, (24,)).groups == (0, 1, 0, 2)  # one side labelled is enough


@pytest.mark.parametrize("task", ["four", "brain"])
def test_a_network_of_single_structures_learns_groups(task):
    present = {anatomy.in_task(v, task) for v in ALL}
    targets = make_targets(ALL, task, present)
    assert targets.values == anatomy.task_values(task) and len(targets.groups) == 33
    assert targets.partners == tuple(range(targets.count)) and all(targets.scored[1:]) and not targets.scored[0]
    white = {ALL[k] for k, g in enumerate(targets.groups) if targets.names[g] == "White-Matter"}
    assert task == "brain" or white == {2, 41, 7, 46, 16}


def test_parcels_and_lesions_are_understood_and_version_one_has_no_csf():
    assert counted(1012, ALL, "all") == 3 and counted(511, ALL, "all") == 0 and counted(25, ALL, "all") == 2
    assert counted(77, ALL, "all") is None and counted(77, (*ALL, 77), "all") == 77
    assert counted(24, anatomy.predicted_values(1), "all") == 0
    assert counted(420, (0, 420, 500), "all") == 420  # another organ's


def test_unknown_labels_are_named_in_one_sentence_or_ignored():
    scans = [raw(0, 2, 999, 1234567)]
    with pytest.raises(InputError, match=r"a_labels.*\(999, 1234567\).*--unknown ignore"):
        known_values(scans, ALL, "all")
    targets, places = targets_for(scans, [], ALL, "all", unknown="ignore")
    assert places[999] == IGNORED and places[2] == targets.groups[ALL.index(2)]
    assert targets.of_values(np.array([0, 2, 999]), places).tolist() == [0, places[2], IGNORED]


def test_nothing_to_learn_and_wrong_labels_are_refused():
    with pytest.raises(InputError, match="nothing that the network could learn"):
        make_targets(ALL, "all", {0}, ())
    with pytest.raises(InputError, match="does not predict the label 999"):
        make_targets(ALL, "all", {0, 2}, (999,))


def test_a_group_s_probability_is_the_sum_of_its_members():
    logits = torch.randn(2, 4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    p, joint = logits.softmax(1), grouped(logits, (0, 1, 0, 2)).softmax(1)
    torch.testing.assert_close(joint, torch.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 3]], 1))
    assert grouped(logits, range(4)) is logits


def test_ignored_voxels_do_not_enter_the_losses():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 4, 4, 4, generator=g, requires_grad=True)
    target = torch.randint(3, (1, 4, 4, 4), generator=g).to(torch.uint8)
    whole = target_losses(logits, target, range(3))
    for a, b in zip(whole, dice_and_cross_entropy(logits, target), strict=True):
        torch.testing.assert_close(a, b)
    some = target.clone()
    some[0, :2] = IGNORED
    half = target_losses(logits, some, range(3))
    for a, b in zip(half, dice_and_cross_entropy(logits[:, :, 2:], target[:, 2:]), strict=True):
        torch.testing.assert_close(a, b)
    sum(half).backward()
    assert logits.grad[:, :, :2].abs().max() == 0 < logits.grad[:, :, 2:].abs().max()
    assert sum(target_losses(logits, torch.full_like(target, IGNORED), range(3))) == 0
