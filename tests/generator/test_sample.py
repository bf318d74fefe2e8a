"""Samples as volumes: where they lie, and the quick look at another voxel size."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.generator.figure import panel
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import preset
from napari_synthseg.generator.sample import prepared, replay
from napari_synthseg.jobs import Stopped, stoppable
from napari_synthseg.volume import Volume, resample_to
from tests.generator.builders import PAPER, STILL, boxes, record

AFFINE = np.array([[1.0, 0, 0, -50], [0, 1, 0, -8], [0, 0, 1, 12], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def source() -> tuple:
    return prepared(Volume(boxes(), AFFINE))


@pytest.fixture(scope="module")
def large() -> tuple:
    return prepared(Volume(boxes(side=48), AFFINE))


def drawn(source, priors: GenerativeModel = STILL, seed: int = 0, **changes):
    return record(priors, seed, source[0], **changes)


def test_a_still_sample_lies_on_its_map(source) -> None:
    made = replay(drawn(source), *source)
    assert np.allclose(made.image.affine, AFFINE)
    brain = np.isin(boxes(), (2, 41))
    assert np.array_equal(made.labels.data[brain], boxes()[brain])


@pytest.mark.parametrize("shape", [None, (40, 16, 12)])
def test_a_quick_look_has_the_same_field_of_view(source, shape) -> None:
    record = drawn(source, PAPER)
    full, half = replay(record, *source, shape), replay(record, *source, shape, spacing=2.0)
    assert half.image.shape == tuple(round(n / 2) for n in full.image.shape)
    assert np.allclose(half.image.spacing, 2)
    outer = [v.affine @ [-0.5, -0.5, -0.5, 1] for v in (full.image, half.image)]
    assert np.allclose(*outer)


@pytest.mark.parametrize("seed", range(4))
def test_a_quick_look_shows_the_same_head_as_bright(large, seed) -> None:
    record = drawn(large, PAPER, seed)
    full, half = replay(record, *large), replay(record, *large, spacing=2.0)
    pooled = full.labels.data[: 2 * half.labels.shape[0] : 2, ::2, ::2]
    assert (pooled == half.labels.data).mean() > 0.85
    assert abs(full.image.data.mean() - half.image.data.mean()) < 0.06


def test_a_voxel_size_must_be_positive(source) -> None:
    with pytest.raises(InputError, match="positive"):
        replay(drawn(source), *source, spacing=-1.0)


def test_a_redraw_that_nobody_waits_for_stops_in_the_middle(source) -> None:
    with stoppable(lambda: True), pytest.raises(Stopped):
        replay(drawn(source), *source)


# The six panels of Figure 3


def test_an_unknown_step_is_refused(source) -> None:
    with pytest.raises(InputError, match="'g'"):
        panel("g", drawn(source), *source)


def test_a_is_the_label_map(source) -> None:
    shown = panel("a", drawn(source, PAPER, seed=3), *source)
    assert shown.is_labels
    assert np.array_equal(shown.volume.data, boxes())
    assert np.allclose(shown.volume.affine, AFFINE)


def test_b_is_moved_and_skull_stripped(source) -> None:
    moved = panel("b", drawn(source, translation_mm=(0.0, 2.0, 0.0)), *source).volume.data
    assert np.array_equal(moved[:, :-2], boxes()[:, 2:])
    stripped = panel("b", drawn(source, skull_strip="all"), *source).volume.data
    assert not np.isin(stripped, (24, 507)).any() and (stripped == 2).any()


def test_c_has_the_means_of_the_record(source) -> None:
    r = drawn(source)
    shown = panel("c", r, *source)
    assert not shown.is_labels
    mean = r["contrast"]["means"][source[0].values.index(2)]
    assert shown.volume.data[boxes() == 2].mean() == pytest.approx(mean, abs=2)


@pytest.mark.parametrize("direction", [0, 1, 2])
def test_e_is_a_stack_of_fewer_slices_in_the_right_place(source, direction) -> None:
    r = drawn(source, direction=direction, spacing_mm=4.0)
    stack, full = panel("e", r, *source).volume, panel("f", r, *source).volume
    assert stack.shape[direction] == (full.shape[direction] - 1) // 4 + 1
    assert np.allclose(stack.spacing, [4.0 if i == direction else 1.0 for i in range(3)])
    back = resample_to(stack, full.shape, full.affine)
    inside = [slice(4, -4)] * 3
    assert np.allclose(back.data[tuple(inside)], full.data[tuple(inside)], atol=1e-5)


@pytest.mark.parametrize("name", ["synthseg", "synthseg-plus"])
@pytest.mark.parametrize("spacing", [None, 2.0])
def test_f_is_the_sample(source, name, spacing) -> None:
    r = drawn(source, preset(name), seed=2)
    shown, made = panel("f", r, *source, spacing=spacing), replay(r, *source, spacing=spacing)
    assert np.array_equal(shown.volume.data, made.image.data)
    assert shown.labels is not None and np.array_equal(shown.labels.data, made.labels.data)


@pytest.mark.parametrize("letter", "abcdef")
def test_quick_looks_and_crops(source, letter) -> None:
    r = drawn(source)
    assert np.allclose(panel(letter, r, *source, spacing=2.0).volume.spacing, 2.0)
    assert panel(letter, r, *source, shape=(30, 16, 12)).volume.shape == (30, 16, 12)
