from __future__ import annotations

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.inference import plausibility


def usual_volumes() -> dict[int, float]:
    ranges = {value: plausibility.adult_range(value) for value in anatomy.predicted_values()[1:]}
    return {value: 1000 * float(np.sqrt(low * high)) for value, (low, high) in ranges.items()}


def test_a_usual_brain_gives_no_warning():
    volumes = usual_volumes()
    assert plausibility.check_volumes(volumes, 1.5e6) == []
    assert plausibility.check_volumes(volumes | {53: 6503.0}, 1.5e6) == [], "said as 6.5 mL, usually 1.3-6.5"


def test_missing_and_unusual_structures_are_named():
    volumes = usual_volumes() | {17: 0.0, 53: 20000.0}
    missing, odd = plausibility.check_volumes(volumes, 1.5e6)
    assert missing == "Missing or nearly so: Left-Hippocampus."
    assert "Right-Hippocampus 20 mL (usually 1.3-6.5)" in odd


def test_the_total_is_judged_only_with_csf():
    volumes = usual_volumes()
    assert "intracranial volume of 300 mL" in plausibility.check_volumes(volumes, 3e5)[-1]
    del volumes[24]
    assert plausibility.check_volumes(volumes, 3e5) == []


def test_a_brain_cut_by_the_scan_is_reported():
    mask = np.ones((50, 50, 40), bool)
    assert "(top)" in plausibility.check_field_of_view(mask, (10, 10, 20), (100, 100, 60))[0]
    assert plausibility.check_field_of_view(mask, (10, 10, 10), (100, 100, 100)) == []
    assert "left, bottom" in plausibility.check_field_of_view(mask, (0, 10, 0), (100, 100, 100))[0]


def test_hounsfield_units_are_recognised():
    ct = np.full((20, 20, 20), -1000.0)
    ct[5:15, 5:15, 5:15] = 300
    assert "--ct" in plausibility.check_intensities(ct, ct=False)[0]
    assert plausibility.check_intensities(ct, ct=True) == []
    assert plausibility.check_intensities(np.abs(ct), ct=False) == []


# What is no whole scan


def test_a_slab_is_not_said_to_be_a_head() -> None:
    assert plausibility.check_coverage((180, 200, 160), 1.0) == []
    assert plausibility.check_coverage((116, 150, 118), 1.0) == []  # a small brain without its skull
    (sentence,) = plausibility.check_coverage((180, 200, 80), 1.0)
    assert "80 mm from bottom to top" in sentence and "left" not in sentence
    assert plausibility.check_coverage((90, 100, 80), 2.0) == []


def test_a_label_map_is_told_from_a_scan() -> None:
    labels = np.zeros((64, 64, 64), np.uint8)
    labels[16:48, 16:48, 16:32], labels[16:48, 16:48, 32:48] = 2, 3
    assert "label map" in plausibility.check_values(labels)[0]
    assert "label map" in plausibility.check_values(labels.astype(np.float32))[0]
    noise = np.random.default_rng(0).integers(0, 20, labels.shape)
    assert plausibility.check_values(10 * labels + noise) == []
    assert plausibility.check_values(labels * np.float32(0.3)) == []
    assert plausibility.check_values(np.zeros((8, 8, 8))) == []
