"""Sequences: the order of tissues that every radiologist knows, and records that show them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.generator.head import full_grid
from napari_synthseg.generator.sample import apply
from tests.generator.builders import PAPER, STILL, small_map
from tests.test_benchmarks import script

bench = script("sequences")
NAMES, as_sequence, label_mean = bench.NAMES, bench.as_sequence, bench.label_mean
tissue_intensities = bench.tissue_intensities

ORDER = {
    "T1": ("fluid", "grey", "lesion", "white"),
    "T2": ("white", "grey", "lesion", "fluid"),
    "PD": ("white", "grey", "lesion", "fluid"),
    "FLAIR": ("fluid", "white", "grey", "lesion"),
    "CT": ("fluid", "lesion", "white", "grey"),
}


@pytest.mark.parametrize("name", NAMES)
def test_tissues_are_in_the_order_that_the_sequence_is_known_for(name: str) -> None:
    means = tissue_intensities(name)
    values = [means[tissue] for tissue in ORDER[name]]
    assert values == sorted(values)
    assert all(b - a > 0.5 for a, b in zip(values, values[1:], strict=False))


@pytest.mark.parametrize("name", NAMES)
def test_every_label_has_an_intensity_the_same_on_both_sides(name: str) -> None:
    for s in (*anatomy.table(), anatomy.LESIONS):
        mean = label_mean(name, s.value, s.contralateral)
        assert 0 <= mean <= 300
        assert mean == label_mean(name, s.contralateral, s.value)
        if s.evaluated:
            assert mean > 0 or (name == "FLAIR" and s.tissue == "CSF")


def test_deep_nuclei_lie_between_grey_and_white() -> None:
    means = tissue_intensities("T1")
    for value in (10, 11, 12, 13):
        assert means["grey"] <= label_mean("T1", value) <= means["white"]
    assert label_mean("T1", 11) < label_mean("T1", 10) < label_mean("T1", 13)


def test_a_record_shows_the_sequence_and_nothing_else_changes() -> None:
    m = small_map(values=(2, 41, 4, 3, 25))
    record = STILL.with_values(lesion_load_ml=(1.0, 1.0), gamma_exponent=(2.0, 2.0)).sample(m)
    flair = as_sequence(record, m, "FLAIR")
    sample = apply(flair, m, full_grid(m))
    low, high = sample.limits
    shown = sample.image * (high - low) + low
    for value in (2, 3):
        inside = shown[sample.labels == m.values.index(value)]
        assert inside.mean().item() == pytest.approx(label_mean("FLAIR", value), abs=2)
    lesions = shown[sample.labels >= len(m.values)]
    assert lesions.mean().item() == pytest.approx(label_mean("FLAIR", 77), abs=3)  # clipped at the ceiling
    assert torch.equal(sample.labels, apply(record, m, full_grid(m)).labels)
    assert np.isclose(as_sequence(PAPER.sample(m), m, "CT")["bias"]["bias_std"], 0)


def test_inverted_scans_are_dark_where_they_were_bright() -> None:
    image = bench.inverted(np.array([0.0, 1.0, 50.0, 100.0, -3.0]))
    assert image[1] > image[2] > image[3] > 0 == image[0] == image[4]
