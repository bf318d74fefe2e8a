"""Lesions: drawn as a record, painted where they belong, seen in the image and in the target, and off by default."""

from __future__ import annotations

from dataclasses import asdict, replace

import cc3d
import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from napari_synthseg.errors import InputError
from napari_synthseg.generator.figure import panel
from napari_synthseg.generator.head import Grid, full_grid
from napari_synthseg.generator.labelmap import LabelMap, prepare
from napari_synthseg.generator.lesion_painting import DEEP_MM, MIDLINE_MM, SPARED_MM, Painting, painted, with_lesions
from napari_synthseg.generator.model import GenerativeModel, Record, run
from napari_synthseg.generator.sample import deformed
from napari_synthseg.generator.steps.labels import LEAST_CONTRAST
from tests.generator.builders import PAPER, STILL, edited, small_map

ON = PAPER.with_values(lesion_load_ml=(0.0, 60.0))
SOME = Painting(load_ml=8.0, periventricular=0.5, size_mm3=(5.0, 800.0), symmetry=0.5, seed=3)


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    """Half a head a side: cortex around white matter, with a ventricle and a lesion in it; axes R, A, S, 1 mm."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (80, 96, 64)), indexing="ij")
    ball = np.sqrt((x / 38) ** 2 + (y / 46) ** 2 + (z / 30) ** 2)
    out = np.zeros(ball.shape, np.int32)
    for side, cortex, white, ventricle, lesion in ((-1, 3, 2, 4, 25), (1, 42, 41, 43, 57)):
        half = x * side > 0
        out[half & (ball < 1)] = cortex
        out[half & (ball < 0.85)] = white
        out[half & (np.abs(x * side - 11) < 3) & (np.abs(y) < 20) & (np.abs(z) < 5)] = ventricle
        out[half & (np.abs(x * side - 15) < 1) & (np.abs(y) < 3) & (np.abs(z) < 2)] = lesion
    return out


@pytest.fixture(scope="module")
def head(data) -> LabelMap:
    return prepare(data, name="head")


def lesions_of(head: LabelMap, lesions: Painting) -> np.ndarray:
    return painted(head, lesions).numpy() >= len(head.values)


def values_of(head: LabelMap) -> np.ndarray:
    return np.array(head.values)[head.index.numpy()]


def drawn(priors: GenerativeModel = ON, seed: int = 0, label_map: LabelMap | None = None) -> Record:
    return priors.sample(label_map or small_map(), seed)


def still(head: LabelMap, some: Painting | None = SOME, lesions: bool = True, **changes) -> Record:
    record = drawn(STILL.with_values(lesion_load_ml=(1.0, 1.0)), 0, head).changed("labels", lesions=lesions)
    painted = {} if some is None else {**asdict(some), "mean": 200.0, "std": 1.0}
    return edited(record.changed("lesions", **painted) if some else record.without("lesions"), **changes)


# Drawing


def test_none_by_default_and_the_rest_of_a_record_does_not_notice() -> None:
    for seed in range(5):
        without, with_ = drawn(PAPER, seed), drawn(ON, seed)
        assert "lesions" not in without and "lesions" in with_
        assert with_.without("lesions") == without


def test_loads_lie_in_their_range_and_small_ones_are_common() -> None:
    loads = np.array(
        [drawn(ON.with_values(lesion_load_ml=(2.0, 60.0)), seed)["lesions"]["load_ml"] for seed in range(300)]
    )
    assert loads.min() >= 2 and 50 < loads.max() <= 60
    assert np.median(loads) < 15 < loads.mean() + 5


@pytest.mark.parametrize("tissue", [0.0, 1.0])
def test_lesions_look_different_from_white_matter(tissue: float) -> None:
    m = small_map(values=(2, 41, 3, 42, 4))
    for seed in range(60):
        record = drawn(ON.with_values(tissue_contrast=tissue), seed, m)
        at = {v: i for i, v in enumerate(m.values)}
        means, mean = record["contrast"]["means"], record["lesions"]["mean"]
        white = (means[at[2]] + means[at[41]]) / 2
        assert abs(mean - white) > LEAST_CONTRAST - 1e-6
        assert ON["contrast"].mean[0] <= mean <= ON["contrast"].mean[1]


def test_without_white_matter_there_are_none() -> None:
    assert "lesions" not in drawn(ON, 0, small_map(values=(3, 42)))


# Painting


@pytest.mark.parametrize("load", [0.5, 8.0, 20.0])
@pytest.mark.parametrize("periventricular", [0.0, 0.5, 1.0])
def test_the_load_is_that_of_the_record(head, load: float, periventricular: float) -> None:
    found = lesions_of(head, replace(SOME, load_ml=load, periventricular=periventricular))
    assert found.sum() == pytest.approx(load * 1000, rel=0.05)


def test_lesions_lie_in_white_matter_away_from_cortex_and_middle(head) -> None:
    found, values = lesions_of(head, replace(SOME, load_ml=20.0)), values_of(head)
    assert set(np.unique(values[found])) <= {2, 41, 25, 57}
    assert distance_transform_edt(~np.isin(values, (3, 42)))[found].min() >= SPARED_MM
    middle = (np.argwhere(values == 2)[:, 0].mean() + np.argwhere(values == 41)[:, 0].mean()) / 2
    assert np.abs(np.argwhere(found)[:, 0] - middle).min() >= MIDLINE_MM - 0.5


def test_each_side_has_its_own_row(head) -> None:
    index, values, k = painted(head, SOME).numpy(), values_of(head), len(head.values)
    assert set(np.unique(values[index == k])) <= {2, 25} and set(np.unique(values[index == k + 1])) <= {41, 57}
    table = with_lesions(head, SOME)
    assert table.values[k:] == (77, 77) and table.partners[k:] == (k + 1, k) and table.targets[k:] == (77, 77)
    assert table.values[:k] == head.values and max(table.classes) == table.classes[k] > max(head.classes)


def test_bands_hug_the_ventricles_and_deep_lesions_are_single(head) -> None:
    values = values_of(head)
    away = distance_transform_edt(~np.isin(values, (4, 43)))
    bands = lesions_of(head, replace(SOME, periventricular=1.0, load_ml=3.0))
    deep = lesions_of(head, replace(SOME, periventricular=0.0, load_ml=3.0))
    assert np.median(away[bands]) < DEEP_MM < np.median(away[deep])
    assert away[bands].max() < 15


def test_sizes_are_those_asked_for(head) -> None:
    small = lesions_of(head, replace(SOME, periventricular=0.0, load_ml=0.6, size_mm3=(20.0, 40.0), symmetry=0.0))
    labels, count = cc3d.connected_components(small.astype(np.uint8), connectivity=26, return_N=True)
    assert 10 <= count <= 30
    assert np.bincount(labels.ravel())[1:].max() <= 120  # a few grow together


def test_symmetry_makes_both_sides_alike(head) -> None:
    def alike(symmetry: float) -> float:
        scores = []
        for seed in range(6):
            found = lesions_of(head, replace(SOME, load_ml=4.0, symmetry=symmetry, seed=seed))
            mirrored = found[::-1]  # the head stands in the middle of its array
            scores.append(2 * (found & mirrored).sum() / (found.sum() + mirrored.sum()))
        return float(np.mean(scores))

    assert alike(0.95) > alike(0.0) + 0.15


def test_loads_count_millimetres(data) -> None:
    coarse = prepare(data[::2, ::2, ::2], spacing=2.0)
    assert lesions_of(coarse, SOME).sum() * 8 == pytest.approx(8000, rel=0.05)


def test_maps_without_ventricles_have_deep_lesions_only(data) -> None:
    plain = prepare(np.where(np.isin(data, (4, 43)), data // 2, data).clip(0, 57))
    assert lesions_of(plain, replace(SOME, periventricular=0.9)).sum() == pytest.approx(8000, rel=0.05)


def test_maps_with_too_many_labels_are_refused(data) -> None:
    many = data.copy()
    many.reshape(-1)[:246] = np.arange(1000, 1246)
    with pytest.raises(InputError, match="lesions"):
        with_lesions(prepare(many), SOME)


# In the image and in the target


def test_lesions_bend_with_the_head_and_change_sides_with_it(head) -> None:
    grid = full_grid(head)
    k = len(head.values)
    plain, flipped = (deformed(still(head, flip=flip), head, grid).labels for flip in (False, True))
    assert torch.equal((plain == k).flip(0), flipped == k + 1)
    moved = deformed(still(head, translation_mm=(0.0, 4.0, 0.0)), head, grid).labels
    assert torch.equal((moved >= k)[:, :-4], (plain >= k)[:, 4:])


def test_the_same_lesions_on_two_grids(head) -> None:
    fine = deformed(still(head), head, Grid.centered((80, 96, 64), 1.0)).labels >= len(head.values)
    coarse = deformed(still(head), head, Grid.centered((40, 48, 32), 2.0)).labels >= len(head.values)
    assert coarse.sum() * 8 == pytest.approx(fine.sum().item(), rel=0.1)


def test_they_have_their_own_gaussian_and_share_it_with_the_map_s_lesions(head) -> None:
    made = deformed(still(head), head, full_grid(head))
    image = run(still(head), made, after="labels", until="contrast").image
    k, lesion = len(head.values), head.values.index(25)
    for shown in (made.labels >= k, made.labels == lesion):
        assert image[shown].mean().item() == pytest.approx(200, abs=1)
    assert deformed(still(head, lesions=False), head, full_grid(head)).shown[lesion] == head.values.index(2)


@pytest.mark.parametrize("kept", [True, False])
def test_targets_of_networks_with_and_without_lesions(head, kept: bool) -> None:
    made = deformed(still(head, lesions=kept), head, full_grid(head))
    labels = made.labels
    k, own = len(head.values), labels == head.values.index(25)
    plain = made.target((0, 2, 3, 41, 42))
    assert set(plain[labels == k].tolist()) == {1} and set(plain[labels == k + 1].tolist()) == {3}
    assert set(plain[own].tolist()) == {1}
    aware = made.target((0, 2, 3, 41, 42, 77))
    assert set(aware[labels >= k].tolist()) == {5}
    assert set(aware[own].tolist()) == {5 if kept else 1}


def test_the_panels_of_figure_3_show_them_once_they_are_painted(head) -> None:
    record, affine = still(head), np.eye(4)
    assert 77 not in panel("a", record, head, affine).volume.data
    assert 77 in panel("b", record, head, affine).volume.data
    assert 77 in panel("f", record, head, affine).labels.data


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_devices_agree_on_lesions(head) -> None:
    assert torch.equal(painted(head.to("cuda"), SOME).cpu(), painted(head, SOME))
