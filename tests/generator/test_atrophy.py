"""Atrophy: volumes change as asked, and every structure stays one piece where it was."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest

from benchmarks.phantom import head_phantom
from napari_synthseg.generator.head import full_grid
from napari_synthseg.generator.labelmap import LabelMap, prepare
from napari_synthseg.generator.presets import preset
from napari_synthseg.generator.sample import apply
from napari_synthseg.generator.steps.atrophy import VENTRICLES, atrophied
from napari_synthseg.volume import to_canonical
from tests.generator.builders import PAPER, STILL

SPACING = 1.5


@pytest.fixture(scope="module")
def head() -> LabelMap:
    return prepare(to_canonical(head_phantom(spacing=SPACING, seed=0)).data, spacing=SPACING)


def values(label_map: LabelMap) -> np.ndarray:
    return np.array(label_map.values)[label_map.index.numpy()]


def pieces(mask: np.ndarray) -> int:
    """Components of at least 2 % of a structure."""
    sizes = np.bincount(cc3d.connected_components(mask.astype(np.uint8), connectivity=26).ravel())[1:]
    return int((sizes > 0.02 * sizes.sum()).sum())


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.5, 3.0])
def test_ventricles_have_the_volume_asked_for(head: LabelMap, factor: float) -> None:
    before, after = values(head), values(atrophied(head, factor, 0.0))
    sizes = [np.isin(v, VENTRICLES).sum() for v in (before, after)]
    assert sizes[1] / sizes[0] == pytest.approx(factor, rel=0.15)
    for pair in ((4, 43), (14,)):
        grown = np.isin(after, pair).sum() / np.isin(before, pair).sum()
        assert (grown > 1) == (factor > 1)


@pytest.mark.parametrize(("sulci", "more"), [(-0.4, False), (0.8, True)])
def test_sulci_widen_at_the_cost_of_the_cortex(head: LabelMap, sulci: float, more: bool) -> None:
    before, after = values(head), values(atrophied(head, 1.0, sulci))
    assert ((after == 24).sum() > (before == 24).sum()) == more
    brain = np.isin(before, (2, 3, 41, 42)).sum() - np.isin(after, (2, 3, 41, 42)).sum()
    assert (brain > 0) == more
    assert np.isin(after, VENTRICLES).sum() == pytest.approx(np.isin(before, VENTRICLES).sum(), rel=0.1)


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_structures_stay_whole_and_where_they_were(head: LabelMap, factor: float) -> None:
    before, after = values(head), values(atrophied(head, factor, 0.4))
    assert set(np.unique(before)) - set(np.unique(after)) <= {72}  # a cleft of a few voxels
    for value in (2, 3, 10, 11, 12, 13, 16, 17, 18, 41, 42, 49, 50, 51, 53):
        assert pieces(after == value) <= pieces(before == value) + 1, value
        moved = np.argwhere(after == value).mean(0) - np.argwhere(before == value).mean(0)
        assert np.linalg.norm(moved) * SPACING < 6, value
    assert pieces(np.isin(after, VENTRICLES)) <= pieces(np.isin(before, VENTRICLES)) + 1
    outer = np.isin(before, (0, 507, 509, 511, 512, 515, 516, 530))
    assert (after == before)[outer].mean() > 0.98


def test_nothing_moves_without_a_reason(head: LabelMap) -> None:
    assert (values(atrophied(head, 1.0, 0.0)) == values(head)).mean() > 0.999


def test_it_is_off_by_default_and_a_probability_of_any_preset(head: LabelMap) -> None:
    assert "atrophy" not in PAPER.sample(head, 1) and "atrophy" not in preset("fast").sample(head, 1)
    often = preset("fast").with_values(atrophy=0.5)
    assert often.milder(0.4)["atrophy"].atrophy == 0.2
    drawn = [often.sample(head, seed) for seed in range(300)]
    factors = np.array([r["atrophy"]["factor"] for r in drawn if "atrophy" in r])
    assert len(factors) / 300 == pytest.approx(0.5, abs=0.1)
    assert 0.4 <= factors.min() < 0.45 and 2.7 < factors.max() <= 3
    assert np.log(factors).mean() == pytest.approx(np.log(0.4 * 3) / 2, abs=0.1)


def test_an_old_head_has_large_ventricles_in_image_and_target(head: LabelMap) -> None:
    still = STILL.with_values(atrophy=1.0, ventricle_factor=(3.0, 3.0), sulci_mm=(0.0, 0.0), lesion_load_ml=(5.0, 5.0))
    record, grid = still.sample(head, 1), full_grid(head)
    old, young = (apply(r, head, grid) for r in (record, record.without("atrophy")))
    labels = (0, 4, 14, 43)
    assert (old.target(labels) > 0).sum() > 2 * (young.target(labels) > 0).sum()
    assert (old.labels >= len(head.values)).any()  # lesions are painted into the atrophied map
