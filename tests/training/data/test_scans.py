"""Labelled scans: read, paired, held out; changed at random on any grid; made into label maps, crops and boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.anatomy import predicted_values
from napari_synthseg.errors import InputError
from napari_synthseg.generator.head import Grid
from napari_synthseg.inference.options import OWN
from napari_synthseg.io import write_labels
from napari_synthseg.training.data.crops import standardize
from napari_synthseg.training.data.finetune_data import maps_of_scans, single_structures
from napari_synthseg.training.data.labelled_scans import find, hold_out, read_as_predicted, targets_for
from napari_synthseg.training.data.scan_sampler import InputSpec, ScanSampler, mild, shown, with_targets
from napari_synthseg.training.data.synthetic import task_crops
from napari_synthseg.volume import Volume, resample_labels_to, resample_to
from tests.generator.builders import STILL
from tests.inference.fakes import ball_scan
from tests.training.builders import LABELS, write_scans


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def read_scans(folder):
    return [read_as_predicted(one, OWN) for one in find(folder)]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return read_scans(write_scans(tmp_path_factory.mktemp("scans")))


@pytest.fixture(scope="module")
def sampler(raw):
    targets, places = targets_for(raw, [], LABELS, "all")
    return ScanSampler([with_targets(s, targets, places, InputSpec(OWN, pool=2)) for s in raw], targets, 0.0)


def test_scans_and_labels_are_brought_to_one_grid(raw) -> None:
    assert [scan.name for scan in raw] == ["0", "1", "2"]
    for scan in raw:
        assert scan.image.shape == scan.values.shape and scan.image.min() == 0
        assert set(np.unique(scan.values)) == {*LABELS}
        assert scan.image[scan.values == 42].mean() > scan.image[scan.values == 2].mean() + 80


def test_values_of_freesurfers_own_are_learned_as_those_of_the_table(tmp_path) -> None:
    (scan,) = read_scans(write_scans(tmp_path, 1, values=(2, 3, 31, 41, 42, 63, 77, 251, 1012)))
    assert set(np.unique(scan.values)) <= {0, 2, 3, 41, 42, 77, 136, 163, 1012}
    for task in ("all", "four", "brain"):
        targets_for([scan], [], predicted_values(), task)  # refuses unknown values
    (kept,) = [read_as_predicted(one, OWN, keep=(0, 31, 251)) for one in find(tmp_path)]
    assert {31, 251} <= set(np.unique(kept.values))


def test_what_cannot_be_paired_is_said(tmp_path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        find(tmp_path / "none")
    with pytest.raises(InputError, match="no scan with a label file"):
        find(tmp_path)
    folder = write_scans(tmp_path / "apart", 1)
    labels = np.zeros((9, 9, 9), np.int16)
    labels[4, 4, 4] = 2
    far = np.eye(4)
    far[:3, 3] = 900
    write_labels(folder / "0_labels.nii.gz", Volume(labels, far))
    with pytest.raises(InputError, match=r"0_labels.nii.gz has no label inside 0_t1.nii.gz"):
        read_scans(folder)


def names(part) -> list[str]:
    return [one.name for one in part]


def test_holding_out(raw) -> None:
    assert [names(part) for part in hold_out(raw, (), "scan", one_in=5, least=1)] == [["0", "1"], ["2"]]
    assert [names(part) for part in hold_out(raw, ("0",), "scan")] == [["1", "2"], ["0"]]
    assert hold_out(raw[:1], (), "scan", least=1)[1] == [] == hold_out(raw, (), "scan")[1]
    many = [replace(raw[0], name=f"mr_{i}") for i in range(20)]
    assert names(hold_out(many, (), "scan")[1]) == ["mr_18", "mr_19"]
    assert names(hold_out(many, ("mr_1",), "scan")[1]) == ["mr_1"]  # a whole name, before beginnings of others
    assert names(hold_out(many[2:], ("mr_1",), "scan")[1]) == [f"mr_1{i}" for i in range(10)]
    with pytest.raises(InputError, match="no scan named 'x'"):
        hold_out(raw, ("x",), "scan")
    with pytest.raises(InputError, match="No scan is left"):
        hold_out(many, ("mr",), "scan")


def test_without_changes_a_scan_is_shown_as_it_is(sampler) -> None:
    scan, drawn = sampler.scans[0], sampler.draw(g())
    scan = drawn.scan
    shape = scan.targets.shape
    middle = [(n - 1) / 2 - c for n, c in zip(shape, scan.centre, strict=True)]
    image, targets = shown(scan, drawn.change, Grid.centered(shape, 1.0, middle), sampler.targets.partners)
    torch.testing.assert_close(image, scan.image.float(), atol=2e-3, rtol=0)
    assert torch.equal(targets, scan.targets)


def test_a_mirrored_scan_has_its_sides_swapped(sampler) -> None:
    scan = sampler.scans[0]
    still = mild(0.0).sample(seed=0).changed("spatial", flip=True)
    shape = scan.targets.shape
    middle = [(n - 1) / 2 - c for n, c in zip(shape, scan.centre, strict=True)]
    middle[0] = -middle[0]
    _, targets = shown(scan, still, Grid.centered(shape, 1.0, middle), sampler.targets.partners)
    partners = torch.tensor(sampler.targets.partners)
    assert torch.equal(targets.long(), partners[scan.targets.flip(0).long()])
    assert [sampler.targets.names[p] for p in sampler.targets.partners[1:]] == [
        "Right-Cerebral-White-Matter", "Right-Cerebral-Cortex", "Left-Cerebral-White-Matter", "Left-Cerebral-Cortex"
    ]  # fmt: skip


def test_the_same_change_is_seen_at_both_spacings(sampler) -> None:
    scan, change = sampler.scans[0], mild(1.0, mirror=True).sample(seed=5)
    coarse, few = shown(scan, change, Grid.centered((30, 16, 16), 2.0), sampler.targets.partners)
    fine, many = shown(scan, change, Grid.centered((60, 32, 32), 1.0), sampler.targets.partners)
    pooled = torch.nn.functional.avg_pool3d(fine[None, None], 2)[0, 0]
    assert torch.corrcoef(torch.stack([coarse.flatten(), pooled.flatten()]))[0, 1] > 0.98
    assert (few == many[::2, ::2, ::2]).float().mean() > 0.8
    again, _ = shown(scan, change, Grid.centered((60, 32, 32), 1.0), sampler.targets.partners)
    assert torch.equal(fine, again)


def test_crops_lie_around_labels_and_within_the_field(sampler) -> None:
    for seed in range(6):
        image, targets = sampler.crop(16, g(seed), 1.0, 60.0)
        assert image.shape == targets.shape == (16, 16, 16) and image.min() >= 0 and image.max() <= 1
        drawn = sampler.draw(g(seed))
        assert all(abs(v) <= 22 for v in sampler.place(drawn, 16.0, 22.0, g(seed)))
    assert sampler.group_weights(0.25)[0] == 1


def test_label_maps_of_scans(raw) -> None:
    maps = maps_of_scans(raw, LABELS)
    assert [m.name for m in maps] == ["0", "1", "2"] and {2, 3, 41, 42} <= set(maps[0].values)
    with pytest.raises(InputError, match="--label-maps"):
        maps_of_scans(raw, anatomy.predicted_values(2))
    with pytest.raises(InputError, match="--label-maps"):
        single_structures(np.array([[[0, 471]]]), LABELS)
    sides = single_structures(np.array([[[77]], [[2]], [[2]], [[1012]], [[77]]]), LABELS)
    assert sides.ravel().tolist() == [25, 2, 2, 3, 57]


def test_synthetic_crops_have_the_network_s_channels(raw) -> None:
    maps = maps_of_scans(raw, LABELS)
    image, truth = task_crops(maps, STILL, LABELS, "all", 32, 1.0, "cpu")(g())
    assert image.shape == (1, 1, 32, 32, 32) and truth.shape == (1, 32, 32, 32)
    assert set(truth.unique().tolist()) <= set(range(5)) and truth.max() > 0
    four = task_crops(maps, STILL, anatomy.task_values("four"), "four", 32, 2.0, "cpu")(g())[1]
    assert set(four.unique().tolist()) <= {0, 1, 3} and four.max() == 3  # white matter and cortex


# Standardized scans


def oblique(volume: Volume) -> Volume:
    """The same scan, stored with other axes and finer voxels along one of them."""
    data = np.repeat(volume.data, 2, axis=2)
    affine = volume.affine @ np.diag([1, 1, 0.5, 1])
    affine[:3, 3] += affine[:3, 2] * 0 - np.array([0, 0, 0.25])
    turned = data.transpose(2, 0, 1)[:, ::-1]
    swap = np.zeros((4, 4))
    swap[2, 0], swap[0, 1], swap[1, 2], swap[3, 3] = 1, -1, 1, 1
    swap[0, 3] = data.shape[0] - 1
    return Volume(np.ascontiguousarray(turned), affine @ swap)


def test_a_box_around_the_head_in_0_to_1() -> None:
    scan, labels = ball_scan()
    found = standardize(oblique(scan), field=80)
    assert found.data.shape == (80, 80, 80)
    assert found.data.min() == 0 and found.data.max() == 1
    np.testing.assert_allclose(np.abs(np.diag(found.affine)), 1)
    # The balls' middle, in the world, lies in the middle of the box.
    middle = np.linalg.solve(found.affine, scan.affine @ [27.5, 27.5, 27.5, 1])[:3]
    np.testing.assert_allclose(middle, 39.5, atol=3)


@pytest.mark.parametrize("spacing, least", [(1, 1.0), (2, 0.88)])
def test_labels_there_and_back(spacing, least) -> None:
    scan, labels = ball_scan()
    given = oblique(scan)
    truth = resample_labels_to(Volume(labels, scan.affine), given.shape, given.affine)
    found = standardize(given, field=80 // spacing, spacing=spacing)
    np.testing.assert_allclose(np.linalg.norm(found.affine[:3, :3], axis=0), spacing)
    there = resample_labels_to(truth, found.shape, found.affine)
    back = resample_labels_to(there, given.shape, given.affine)
    assert back.shape == given.shape
    np.testing.assert_allclose(back.affine, given.affine)
    inside = truth.data > 0
    assert (back.data[inside] == truth.data[inside]).mean() >= least
    assert (back.data[~inside] == 0).mean() >= least


def test_the_image_lies_where_the_labels_do() -> None:
    scan, labels = ball_scan()
    found = standardize(scan, field=64)
    there = resample_labels_to(Volume(labels, scan.affine), found.shape, found.affine).data
    means = {value: found.data[there == value].mean() for value in (2, 3, 24)}
    assert means[2] > 0.95 and abs(means[3] - 0.7) < 0.02 and abs(means[24] - 0.2) < 0.02
    np.testing.assert_allclose(resample_to(found, scan.shape, scan.affine).data, scan.data / scan.data.max(), atol=0.01)
