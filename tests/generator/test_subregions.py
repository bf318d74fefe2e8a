"""Sub-regions: planted clusters are found, targets stay, the background varies, a seed gives the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.head import full_grid
from napari_synthseg.generator.labelmap import MARGIN
from napari_synthseg.generator.sample import apply
from napari_synthseg.generator.subregions import BACKGROUNDS, LEVELS, clusters, drawn, gray_levels, split
from tests.generator.builders import STILL

INNER = (slice(MARGIN, -MARGIN),) * 3
LABELS = (205, 7)


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scan of 24^3 voxels, its labels (0, 7, 205), and the clusters of intensity that are hidden in each."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((24, 24, 24), np.int32)
    labels[3:11, 3:21, 3:21], labels[13:21, 3:21, 3:21] = LABELS
    clusters_of = rng.integers(0, 2, labels.shape)
    clusters_of[labels == 0] = rng.integers(0, 4, int((labels == 0).sum()))
    means = np.where(labels == 205, 300 + 300 * clusters_of, np.where(labels == 7, 900 + 60 * clusters_of, 0))
    means = np.where(labels == 0, -1000 + 500 * clusters_of, means)
    return means + rng.normal(0, 5, labels.shape), labels, clusters_of


def test_planted_clusters_are_found() -> None:
    image, labels, hidden = planted()
    index = split(image, labels).into(4).index[INNER].numpy()
    for value, count in ((205, 2), (7, 2), (0, 4)):
        inside = labels == value
        pairs = set(zip(hidden[inside].tolist(), index[inside].tolist(), strict=True))
        assert len(pairs) == count, value  # each cluster is one sub-region, and the other way round
    assert len(np.unique(index)) == 8 and 0 not in index


def test_targets_are_the_original_labels() -> None:
    image, labels, _ = planted()
    scan = split(image, labels)
    assert sorted(scan.tables) == list(range(3, 11))
    for n in BACKGROUNDS:
        label_map = scan.into(n)
        assert np.array_equal(np.array(label_map.targets)[label_map.index[INNER].numpy()], labels)
        assert set(label_map.index[0].unique().tolist()) == {0}  # beyond the scan
        assert len(set(label_map.classes)) == len(label_map.values) == len(set(label_map.values))
        assert label_map.partners == tuple(range(len(label_map.values))) and not any(label_map.removed)


def test_an_image_and_its_target_come_of_it() -> None:
    image, labels, _ = planted()
    label_map = drawn(split(image, labels), torch.Generator().manual_seed(3))
    record = STILL.sample(label_map, 1)
    sample = apply(record, label_map, full_grid(label_map))
    channels = sample.target((0, 7, 205)).numpy()
    assert np.array_equal(np.array((0, 7, 205))[channels], labels)
    assert sample.image.shape == labels.shape and float(sample.image.std()) > 0.05


def test_labels_that_freesurfer_knows_mean_nothing_here() -> None:
    image, labels, _ = planted()
    labels = np.select([labels == 205, labels == 7], [77, 25], 0)  # lesions, to the label table
    label_map = split(image, labels).into(3)
    record = STILL.sample(label_map, 1)
    lesions_hidden = record.changed("labels", lesions=False, skull_strip="all")
    sample = apply(lesions_hidden, label_map, full_grid(label_map))
    channels = sample.target((0, 25, 77)).numpy()
    assert np.array_equal(np.array((0, 25, 77))[channels], labels)


def test_the_background_has_from_three_to_ten_classes() -> None:
    image, labels, _ = planted()
    rng = np.random.default_rng(1)
    image = np.where(labels == 0, rng.uniform(-1000, 1000, labels.shape), image)
    scan, g = split(image, labels), torch.Generator().manual_seed(0)
    counts = {drawn(scan, g).targets[1:].count(0) for _ in range(80)}
    assert counts == set(range(3, 11))


def test_a_seed_gives_the_same_sub_regions() -> None:
    image, labels, _ = planted()
    image = image + np.random.default_rng(5).normal(0, 100, image.shape)  # nothing is clear any more
    one, same = (split(image, labels, seed=4) for _ in range(2))
    assert all(torch.equal(one.tables[n], same.tables[n]) for n in BACKGROUNDS)
    draws = [[len(drawn(one, torch.Generator().manual_seed(s)).values) for s in range(6)] for _ in range(2)]
    assert draws[0] == draws[1] and len(set(draws[0])) > 1


def test_small_and_constant_labels_stay_whole() -> None:
    image, labels, _ = planted()
    labels[0, 0, :10] = 9  # ten voxels
    image[labels == 7] = 55.0
    label_map = split(image, labels).into(3)
    assert [label_map.targets.count(v) for v in (7, 9, 205)] == [1, 1, 2]
    flat = split(np.zeros(labels.shape), labels)
    assert all(flat.into(n).targets == (0, 0, 7, 9, 205) for n in BACKGROUNDS)


def test_labels_can_be_left_whole() -> None:
    image, labels, _ = planted()
    scan = split(image, labels, parts=1, backgrounds=(1,))
    assert drawn(scan, torch.Generator()).targets == (0, 0, 7, 205)


def test_clusters_are_ordered_by_brightness() -> None:
    levels = np.concatenate([np.full(500, 900), np.full(500, 100), np.full(500, 500)])
    found = clusters(levels + np.random.default_rng(0).integers(-9, 10, 1500), 3, np.random.default_rng(0))
    assert found.shape == (LEVELS,) and found[[100, 500, 900]].tolist() == [0, 1, 2]


def test_a_few_extreme_voxels_do_not_spoil_the_gray_levels() -> None:
    image = np.random.default_rng(0).uniform(0, 100, (30, 30, 30))
    image[0, 0, :5], image[0, 0, 5] = 1e6, np.nan
    levels = gray_levels(image)
    assert levels.min() == 0 and levels.max() == LEVELS - 1
    assert 400 < np.median(levels) < 620


@pytest.mark.parametrize("labels, words", [(np.zeros((4, 4, 4)), "0 labels"), (np.ones((4, 4, 5)), "differ in shape"),
                                           (np.arange(216).reshape(6, 6, 6), "215 labels")])  # fmt: skip
def test_what_cannot_be_split_is_refused(labels, words) -> None:
    with pytest.raises(InputError, match=words):
        split(np.zeros((6, 6, 6) if labels.size == 216 else (4, 4, 4)), labels.astype(np.int32))
