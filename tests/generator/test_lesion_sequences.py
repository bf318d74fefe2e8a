"""Heads with lesions as random T1, T2, PD, FLAIR and CT sequences show them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from napari_synthseg.generator import lesion_sequences
from napari_synthseg.generator.labelmap import prepare
from napari_synthseg.generator.lesion_sequences import KINDS, SHARES, as_random_sequence
from napari_synthseg.generator.priors import preset
from napari_synthseg.generator.record import Record, draw
from tests.generator.builders import boxes


@pytest.fixture(scope="module")
def label_map():
    return prepare(boxes((2, 41, 3, 42, 4, 10, 49), side=24), name="boxes")


@pytest.fixture(scope="module")
def record(label_map) -> Record:
    priors = replace(preset("fast"), lesion_load_ml=(5.0, 5.0))
    return draw(priors, label_map, torch.Generator().manual_seed(0))


def shown(record: Record, label_map, kind: str, monkeypatch, seed: int = 0) -> Record:
    monkeypatch.setattr(lesion_sequences, "SHARES", tuple(float(one == kind) for one in KINDS))
    return as_random_sequence(record, label_map, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_lesions_lie_where_the_sequence_puts_them(record, label_map, monkeypatch, kind) -> None:
    slot = {value: i for i, value in enumerate(label_map.values)}
    right = 0
    for seed in range(20):
        made = shown(record, label_map, kind, monkeypatch, seed)
        white, grey, fluid = (made.means[slot[value]] for value in (2, 3, 4))
        lesion = made.drawn_lesions.mean
        assert all(0 <= mean <= 300 for mean in (*made.means, lesion)) and made.contrast == "given"
        right += {
            "T1": fluid < lesion < white,
            "inversion": fluid < lesion < white,
            "T2": white < grey and white < lesion,
            "PD": white < lesion,
            "FLAIR": lesion > white and lesion > grey and fluid < grey,
            "CT": fluid < grey and lesion < white,
        }[kind]
    assert right >= 16


def test_both_sides_look_alike_and_the_same_seed_gives_the_same(record, label_map) -> None:
    slot = {value: i for i, value in enumerate(label_map.values)}
    first, again = (as_random_sequence(record, label_map, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == again
    for left, right in ((2, 41), (3, 42), (10, 49)):
        assert first.means[slot[left]] == first.means[slot[right]]
    assert first.velocity_seed == record.velocity_seed and first.slice_spacing_mm == record.slice_spacing_mm


def test_each_kind_comes_about_as_often_as_wanted() -> None:
    assert sum(SHARES) == pytest.approx(1)
    found = Counter(lesion_sequences._chosen(i / 1000) for i in range(1000))
    assert all(found[kind] == pytest.approx(1000 * share, abs=2) for kind, share in zip(KINDS, SHARES, strict=True))


def test_a_head_without_lesions_stays_without(record, label_map) -> None:
    without = as_random_sequence(replace(record, drawn_lesions=None), label_map, torch.Generator().manual_seed(0))
    assert without.drawn_lesions is None
