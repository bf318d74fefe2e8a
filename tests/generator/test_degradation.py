"""The degradation model: seeded, on the scan's own grid, and each corruption does what its name says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation import (
    TISSUE_ERRORS,
    degrade,
    degrade_batch,
    normalized,
    tissue_errors,
    with_errors,
)
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.presets import STILL as UNMOVED
from napari_synthseg.generator.presets import degradation
from napari_synthseg.jobs import Stopped, stoppable
from napari_synthseg.volume import Volume, to_canonical
from tests.generator.builders import edited

WILD = degradation()
STILL = WILD.with_values(**UNMOVED, bias_std=(0, 0), gamma_exponent=(1, 1), slice_spacing_mm=(1, 1),
                         slice_blur_mm=(0, 0), noise_std=(0, 0))  # fmt: skip
"""Priors under which nothing changes."""


def scan(shape=(40, 36, 32), spacing=1.0) -> Volume:
    """A ball with an off-center bright spot."""
    at = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij"))
    data = 100.0 * (np.linalg.norm(at, axis=0) < 0.35 * min(shape)).astype(np.float32)
    data[shape[0] // 2 + 2 : shape[0] // 2 + 9, shape[1] // 2 : shape[1] // 2 + 7, shape[2] // 2 :] += 80
    return Volume(data, np.diag([spacing, spacing, spacing, 1.0]))


def record(priors: GenerativeModel = STILL, seed: int = 0, **changes) -> Record:
    return edited(priors.sample(seed=seed), **changes)


def test_the_priors_are_those_of_table_s1() -> None:
    p = WILD.values
    assert (p["rotation_deg"], p["scaling"], p["translation_mm"]) == ((-25, 25), (0.5, 1.5), (-50, 50))
    assert (p["velocity_std"][1] ** 2, p["bias_std"][1] ** 2) == pytest.approx((4, 3))
    assert (p["gamma_exponent"], p["slice_blur_mm"], p["slice_spacing_mm"], p["noise_std"]) == (
        (0.3, 3), (0.5, 8), (1, 12), (0, 50))  # fmt: skip


def test_nothing_changes_under_still_priors() -> None:
    made = degrade(scan(), record())
    assert np.allclose(made.image.data, normalized(scan().data) / 255, atol=1e-4)
    assert made.labels is None


def test_a_translation_is_in_millimetres_and_leaves_emptiness() -> None:
    made = degrade(scan(spacing=2.0), record(translation_mm=(0.0, 10.0, 0.0))).image.data
    whole = degrade(scan(spacing=2.0), record()).image.data
    assert np.allclose(made[:, :-5], whole[:, 5:], atol=1e-4)
    assert (made[:, -5:] == 0).all()


def test_labels_move_with_the_image() -> None:
    image = scan()
    labels = image.with_data(np.where(image.data > 120, 1033, np.where(image.data > 50, 17, 0)).astype(np.int32))
    wild = STILL.with_values(rotation_deg=(10, 20), scaling=(0.8, 0.9), velocity_std=(1, 1))
    made = degrade(image, record(wild), labels)
    assert made.labels is not None
    assert set(np.unique(made.labels.data)) == {0, 17, 1033}
    assert not np.array_equal(made.labels.data, labels.data)
    assert np.median(made.image.data[made.labels.data == 1033]) > np.median(made.image.data[made.labels.data == 17])
    agree = (made.image.data > 0.25) == (made.labels.data > 0)
    assert agree.mean() > 0.99


def test_labels_of_another_grid_are_refused() -> None:
    with pytest.raises(InputError, match="grid"):
        degrade(scan(), record(), scan((40, 36, 30)))


@pytest.mark.parametrize("shape", [(40, 36, 32), (1, 36, 32)])
def test_every_prior_at_once_on_any_shape(shape) -> None:
    made = degrade(scan(shape), degradation().sample(seed=1)).image
    assert made.shape == shape and np.isfinite(made.data).all()


def test_the_result_lies_on_the_grid_of_the_scan_whatever_its_layout() -> None:
    canonical = scan()
    turned = Volume(canonical.data.transpose(2, 0, 1)[::-1], np.array(
        [[0, 1.0, 0, 3], [0, 0, 1, -4], [-1, 0, 0, 31 + 9], [0, 0, 0, 1]]))  # fmt: skip
    assert np.array_equal(to_canonical(turned).data, canonical.data)
    r = record(WILD, 2)
    a, b = degrade(canonical, r).image, degrade(turned, r).image
    assert np.array_equal(b.affine, turned.affine) and b.shape == turned.shape
    assert np.array_equal(to_canonical(b).data, a.data)


@pytest.mark.parametrize("direction", [0, 1, 2])
def test_slices_are_thick_along_their_direction_only(direction) -> None:
    noise = Volume(np.random.default_rng(0).random((40, 40, 40), np.float32), np.eye(4))
    made = degrade(noise, record(direction=direction, spacing_mm=6.0, blur_mm=2.0)).image.data
    rough = [np.abs(np.diff(made, axis=i)).mean() for i in range(3)]
    assert int(np.argmin(rough)) == direction and min(rough) < 0.5 * sorted(rough)[1]


def test_noise_gamma_and_bias() -> None:
    plain = degrade(scan(), record()).image.data
    empty = plain == 0
    assert degrade(scan(), record(noise_std=25.5)).image.data[empty].mean() == pytest.approx(0.1 / (2 * np.pi) ** 0.5,
                                                                                             rel=0.05)  # fmt: skip
    assert np.allclose(degrade(scan(), record(gamma=2.0)).image.data, plain**2, atol=1e-4)
    ball = (plain > 0.3) & (plain < 0.9)
    assert degrade(scan(), record(bias_std=0.5, bias_seed=2)).image.data[ball].std() > 3 * plain[ball].std() + 0.02


def test_a_batch_is_its_samples() -> None:
    images = torch.from_numpy(np.stack([normalized(scan().data)] * 2))[:, None]
    labels = (images[:, 0] > 20).to(torch.uint8)
    records = [record(WILD, seed) for seed in (1, 2)]
    made, moved = degrade_batch(images, records, labels=labels)
    assert made.shape == images.shape and moved is not None and moved.dtype == torch.uint8
    for i, r in enumerate(records):
        single = degrade(scan(), r)
        assert np.allclose(made[i, 0].numpy(), single.image.data, atol=1e-5)


def test_scans_without_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        degrade(Volume(np.full((4, 4, 4), np.nan), np.eye(4)), record())


def test_outliers_and_holes_do_not_darken_a_scan() -> None:
    data = np.random.default_rng(0).normal(100, 10, (40, 40, 40)).astype(np.float32)
    data[0, 0, 0], data[1, 1, 1] = 1e6, np.nan
    assert normalized(data).mean() == pytest.approx(127, abs=5)
    assert (normalized(np.full((3, 3, 3), 7.0)) == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_devices_agree() -> None:
    r = record(WILD.with_values(noise_std=(0, 0)), 4)
    a, b = (degrade(scan(), r, device=device).image.data for device in ("cpu", "cuda"))
    assert np.abs(a - b).max() < 1e-2


def test_a_degradation_that_nobody_waits_for_stops_in_the_middle() -> None:
    with stoppable(lambda: True), pytest.raises(Stopped):
        degrade(scan(), record())


# Tissue maps made wrong


def errors(displacement_std: float = 0.0, growth: tuple[tuple[int, float], ...] = ()) -> dict:
    return {"displacement_std": displacement_std, "seed": 7, "growth": growth, "blur": 0.0}


def ball(side: int = 24, radius: float = 7.0) -> torch.Tensor:
    """Class 1 inside a ball, class 2 in a shell of three voxels around it, background outside."""
    at = torch.arange(side) - side // 2
    r = (at[:, None, None] ** 2 + at[None, :, None] ** 2 + at[None, None] ** 2).float().sqrt()
    return ((r < radius).to(torch.uint8) + 2 * ((r >= radius) & (r < radius + 3)).to(torch.uint8)).contiguous()


def test_a_record_without_errors_gives_the_true_classes() -> None:
    true = ball()
    maps = with_errors(true, **errors(), count=3)
    assert torch.equal(maps.argmax(0), true.long())
    assert maps.unique().tolist() == [0.0, 1.0]


def test_maps_add_up_to_one() -> None:
    maps = tissue_errors(ball(), TISSUE_ERRORS.sample(seed=5), spacing=2.0)
    torch.testing.assert_close(maps.sum(0), torch.ones(24, 24, 24))


@pytest.mark.parametrize(("mm", "spacing"), [(2.0, 1.0), (2.0, 2.0), (4.0, 2.0)])
def test_a_class_grows_and_shrinks_by_so_many_millimetres(mm, spacing) -> None:
    def radius(classes: torch.Tensor) -> float:
        return float((3 * (classes == 1).sum() / (4 * torch.pi)) ** (1 / 3)) * spacing

    def changed(growth: float) -> torch.Tensor:
        return with_errors(ball(), **errors(growth=((1, growth),)), count=3, spacing=spacing).argmax(0)

    before = radius(ball())
    assert radius(changed(mm)) - before == pytest.approx(mm, abs=0.35 * mm + 0.2)
    assert before - radius(changed(-mm)) == pytest.approx(mm, abs=0.35 * mm + 0.2)


def test_what_a_class_loses_goes_to_its_neighbor() -> None:
    after = with_errors(ball(), **errors(growth=((1, -1.0),)), count=3).argmax(0)
    lost = (ball() == 1) & (after != 1)
    assert lost.any() and (after[lost] == 2).all()


def test_bending_moves_borders_and_keeps_classes() -> None:
    after = with_errors(ball(), **errors(3.0), count=3).argmax(0)
    assert (after != ball()).float().mean() > 0.01
    assert 0.7 < (after == 1).sum() / (ball() == 1).sum() < 1.4
    assert torch.equal(after, with_errors(ball(), **errors(3.0), count=3).argmax(0))


def test_records_are_drawn_from_their_seed_and_come_back_from_plain_numbers() -> None:
    all_classes = TISSUE_ERRORS.with_values(change=1.0)
    one, same, other = (all_classes.sample(seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    growth = one["label_errors"]["growth"]
    assert sorted(c for c, _ in growth) == [1, 2, 3, 4]
    assert all(abs(mm) <= 4 for _, mm in growth)
    assert not TISSUE_ERRORS.with_values(change=0.0).sample(seed=1)["label_errors"]["growth"]
    again = Record.from_dict(json.loads(json.dumps(one.to_dict())))
    assert torch.equal(tissue_errors(ball(), again), tissue_errors(ball(), one))
