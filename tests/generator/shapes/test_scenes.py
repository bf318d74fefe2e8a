"""Scenes: seeded, replayable, with connected objects that can be seen, and a band around them."""

from __future__ import annotations

from dataclasses import replace

import cc3d
import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import GenerativeModel, Record, run
from napari_synthseg.generator.presets import LOOKS, SHAPE_PRESETS, shape_preset
from napari_synthseg.generator.shapes import looks
from napari_synthseg.generator.shapes.layout import GAP
from napari_synthseg.generator.shapes.scenes import (
    Scene,
    SceneState,
    apply_scene,
    outside_near,
    pick_target,
    scene,
    visibility_of,
)

SMALL = shape_preset("both").with_values(acquired_px=(96.0, 160.0))


class Drawn:
    """Params of a record by name, whatever their step."""

    def __init__(self, record: Record) -> None:
        self.record = record
        for params in record.steps.values():
            self.__dict__.update(params)


def record(priors: GenerativeModel = SMALL, seed: int = 0) -> Drawn:
    return Drawn(priors.sample(seed=seed))


def painted(drawn: Drawn, device: str = "cpu") -> SceneState:
    return run(drawn.record, SceneState(device), until="intensities")


def finished(drawn: Drawn) -> SceneState:
    return run(drawn.record, SceneState())


def made(seed: int = 0, side: int = 192, **changes: object) -> Scene:
    return scene(SMALL.with_values(**changes), seed, side=side)


# Records


def test_changing_the_noise_keeps_shapes_and_contrast() -> None:
    drawn, noisier = record(), record(SMALL.with_values(noise=(0.1, 0.3)))
    assert noisier.noise_strengths != drawn.noise_strengths
    assert (noisier.parts, noisier.means, noisier.look) == (drawn.parts, drawn.means, drawn.look)


def test_the_most_crowded_scenes_have_random_numbers_enough() -> None:
    most = SMALL.with_values(
        objects=(16.0, 16.0), nested=1.0, inclusions=1.0, walls=1.0, regions=(26.0, 26.0), cells=0.5
    )
    drawn = [record(most, seed) for seed in range(150)]
    assert max(len(r.parts) for r in drawn) > 80
    assert all(len(r.means) == 3 + (r.regions or len(r.parts)) < 256 for r in drawn)


def test_the_paper_preset_has_no_looks_and_erodes_every_label_map() -> None:
    drawn = [record(shape_preset("paper"), seed) for seed in range(20)]
    assert {r.look for r in drawn} == {"plain"}
    assert all(r.gaps for r in drawn if r.module == "boundary")


def test_all_looks_and_settings_are_drawn() -> None:
    drawn = [record(seed=seed) for seed in range(120)]
    assert {r.look for r in drawn} == {"plain", *LOOKS}
    assert {r.setting for r in drawn} == {"body", "ground", "cells"}


def test_contrasts_reach_from_nearly_invisible_to_obvious_on_both_sides() -> None:
    priors = SMALL.with_values(boundary_aware=0.0, cells=0.0, ct=0.0)
    differences = np.array([r.means[3] - r.means[1] for r in (record(priors, seed) for seed in range(200))])
    assert 0.03 <= np.abs(differences).min() < 0.06
    assert np.abs(differences).max() > 0.4
    assert 0.3 < (differences > 0).mean() < 0.7


# Scenes


@pytest.mark.parametrize("preset", list(SHAPE_PRESETS))
def test_scenes_keep_their_promises(preset: str) -> None:
    priors = shape_preset(preset).with_values(acquired_px=(96.0, 160.0))
    for seed in range(3):
        s = scene(priors, seed, side=192)
        assert s.image.shape == s.objects.shape == (192, 192)
        assert s.image.dtype == torch.float32
        assert bool(s.image.isfinite().all())
        assert s.image.min() >= 0
        assert s.image.max() <= 1
        assert s.image.std() > 0.02
        assert s.count == len(s.visibility) == int(s.objects.max()) > 0
        assert max(s.extent) == 192
        outside = torch.ones(192, 192, dtype=torch.bool)
        outside[: s.extent[0], : s.extent[1]] = False
        assert not s.image[outside].any()
        assert not s.objects[outside].any()


def test_every_object_is_one_connected_region() -> None:
    for seed in range(8):
        s = made(seed)
        for number in range(1, s.count + 1):
            mask = s.target(number).numpy()
            assert cc3d.connected_components(mask, connectivity=4).max() == 1


def test_a_side_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="at least 64"):
        apply_scene(SMALL.sample(), side=20)


def test_the_boundary_aware_module_parts_similar_neighbors_by_a_gap() -> None:
    drawn = record(SMALL.with_values(boundary_aware=1.0, similar=1.0, body=0.0, ultrasound=0.0))
    assert drawn.gaps
    assert np.ptp(drawn.means[3:]) < 0.05
    regions = painted(drawn).regions
    assert 0.02 < (regions == GAP).float().mean() < 0.6
    labels = regions.numpy()
    touching = (labels[1:] != labels[:-1]) & (labels[1:] > GAP) & (labels[:-1] > GAP)
    assert touching.sum() < 0.002 * labels.size


def test_labels_that_are_ground_are_no_objects() -> None:
    priors = SMALL.with_values(boundary_aware=1.0, similar=1.0, body=0.0, ultrasound=0.0, regions=(12.0, 12.0))
    all_objects, some_ground = (record(priors.with_values(ground_share=(share, share))) for share in (0.0, 0.7))
    first, second = painted(all_objects).regions, painted(some_ground).regions
    kept = second > GAP
    assert not (first == 1).any()
    assert (second == 1).float().mean() > 0.3
    assert torch.equal(first[kept], second[kept])
    assert 0.0 in some_ground.gaps
    assert 0.0 not in all_objects.gaps


def test_without_gaps_neighbors_of_one_intensity_are_one_object() -> None:
    drawn = record(SMALL.with_values(boundary_aware=1.0, similar=0.0, gap_chance=0.0, body=0.0, ultrasound=0.0))
    state = painted(drawn)
    objects, _ = state.connected_objects()
    means = torch.tensor(drawn.means)[state.regions.int()]
    both = (objects[1:] > 0) & (objects[:-1] > 0)
    assert both.any()
    assert torch.equal((objects[1:] == objects[:-1])[both], (means[1:] == means[:-1])[both])


def test_nothing_but_crumbs_still_gives_a_target() -> None:
    state = painted(record(SMALL.with_values(boundary_aware=0.0, cells=0.0)))
    state.regions = torch.ones_like(state.regions)
    state.regions[5, 5] = 3
    objects, count = state.connected_objects()
    assert (count, int(objects.sum())) == (1, 1)


def test_where_no_shape_is_left_the_body_is_the_target() -> None:
    state = painted(record(SMALL.with_values(boundary_aware=0.0, cells=0.0)))
    state.regions = torch.zeros_like(state.regions)
    state.regions[20:40, 20:40] = 1
    objects, count = state.connected_objects()
    assert count == 1
    assert torch.equal(objects > 0, state.regions > 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("preset", ["shape-only", "boundary-only", "ultrasound"])
def test_a_gpu_makes_the_same_regions(preset: str) -> None:
    drawn = record(shape_preset(preset), 3)
    there = scene(shape_preset(preset), 3, "cuda", 256)
    assert there.image.is_cuda
    assert (painted(drawn, "cuda").regions.cpu() != painted(drawn).regions).float().mean() < 0.001


# Targets


def test_beside_the_fan_there_is_nothing_not_even_noise() -> None:
    noisy = shape_preset("ultrasound").with_values(noise=(0.2, 0.2), acquired_px=(128.0, 128.0), aspect=(1.0, 1.0))
    drawn = next(r for seed in range(20) if (r := record(noisy, seed)).look_values[0] > 0.5 and r.body is None)
    regions, image = (state := finished(drawn)).regions, state.image
    assert float(image[regions == 0].max()) == 0
    assert float(image[regions > 0].mean()) > 0.1


def test_air_is_black_in_ct_whatever_the_noise() -> None:
    priors = shape_preset("ct").with_values(body=1.0, boundary_aware=1.0, noise=(0.05, 0.05), gap_contrast=(0.2, 0.2),
                     acquired_px=(128.0, 128.0), inverted=0.0, gamma_log_std=0.0)  # fmt: skip
    drawn = next(r for seed in range(20) if (r := record(priors, seed)).body is not None)
    state = finished(drawn)
    assert float(state.image[state.regions == 0].median()) < 0.02


def test_ribs_end_with_the_body() -> None:
    priors = shape_preset("xray").with_values(body=1.0, boundary_aware=1.0, shading=(0.0, 0.0), noise=(0.001, 0.001),
                     acquired_px=(128.0, 128.0), blur_px=(0.5, 0.5), inverted=0.0)  # fmt: skip
    state = finished(record(priors, 3))
    regions, image = state.regions, state.image
    air = looks.blur((regions == 0).float(), 3.0) > 0.999
    assert air.sum() > 200
    assert float(image[air].std()) < 0.02 < float(image[regions > 0].std())


def two_squares(contrast: float) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    image = 0.5 + 0.05 * torch.randn(256, 256, generator=g)
    objects = torch.zeros(256, 256, dtype=torch.int32)
    objects[40:90, 40:90], objects[150:220, 150:220] = 1, 2
    return image + contrast * (objects == 1), objects


def test_visibility_tells_the_seen_from_the_unseen() -> None:
    seen, unseen = visibility_of(*two_squares(0.2), 2)
    assert seen > 3
    assert unseen < 1.15


def test_visibility_of_a_gap() -> None:
    image, objects = two_squares(0.0)
    image[37:40, 37:93] += 0.3
    image[90:93, 37:93] += 0.3
    seen, unseen = visibility_of(image, objects, 2)
    assert seen > 2 > unseen


def test_most_objects_can_be_seen() -> None:
    seen = [v for seed in range(30) for v in made(seed).visibility]
    assert 0.02 < np.mean(np.array(seen) < 2) < 0.6  # faint ones are there,
    assert np.mean(np.array(seen) > 1.4) > 0.75  # but most can be told apart


def test_an_unseen_object_is_no_target() -> None:
    s = replace(made(0), count=3, visibility=(1.0, 5.0, 2.0))
    picked = {pick_target(s, torch.Generator().manual_seed(seed)) for seed in range(30)}
    assert picked == {2, 3}
    faint = replace(s, visibility=(1.0, 1.2, 1.1))
    assert pick_target(faint, torch.Generator().manual_seed(0)) == 2


@pytest.mark.parametrize("size", [9, 60, 400])
def test_the_band_lies_around_the_target(size: int) -> None:
    target = torch.zeros(1024, 1024, dtype=torch.bool)
    target[300 : 300 + size, 300 : 300 + size] = True
    band = outside_near(target)
    assert band.any()
    assert not (band & target).any()
    rows, columns = band.nonzero().unbind(1)
    away = torch.maximum(
        torch.maximum(300 - rows, rows - 299 - size), torch.maximum(300 - columns, columns - 299 - size)
    )
    assert away.min() >= 5
    assert away.max() <= max(24, 0.38 * size) + 20


def test_the_band_stays_in_the_image_and_reaches_into_holes() -> None:
    target = torch.zeros(512, 512, dtype=torch.bool)
    target[100:400, 0:300] = True
    target[200:300, 100:200] = False
    band = outside_near(target, (420, 512))
    assert band[240, 150]
    assert not band[420:].any()


# Priors


def test_the_probabilities_of_modalities_are_checked_together() -> None:
    with pytest.raises(InputError, match="exceed 1 together"):
        SMALL.with_values(ct=0.9)


# Hard targets


SIDE = 256
QUIET = {"acquired_px": (256, 256), "aspect": (1.0, 1.0), "boundary_aware": 0.0, "body": 0.0, "cells": 0.0}


def scene_with(kind: str, seed: int = 3, **priors) -> Scene:
    """A scene whose last objects are of a kind."""
    return scene(shape_preset("shape-only").with_values(**QUIET, **{kind: 1.0}, **priors), seed, side=SIDE)


@pytest.mark.parametrize("area", [0.1, 0.3, 0.55])
def test_a_large_target_takes_the_part_of_the_image_that_is_asked_for(area):
    shares = [
        max(float((made.objects == n).float().mean()) for n in range(1, made.count + 1))
        for made in (scene_with("large", seed, large_area=(area, area)) for seed in range(3))
    ]
    assert area - 0.12 < np.median(shares) < area + 0.12


def test_parts_with_sharp_edges_belong_to_one_target():
    made = scene_with("compound", 5)
    image, found = made.image.numpy(), made.objects.numpy()
    spreads = [image[found == n].std() for n in range(1, made.count + 1)]
    plain = scene(shape_preset("shape-only").with_values(**QUIET), 5, side=SIDE)
    calm = [plain.image.numpy()[plain.objects.numpy() == n].std() for n in range(1, plain.count + 1)]
    assert max(spreads) > max(calm)


def test_a_branching_target_leaves_the_corners_of_its_box_empty():
    filled = []
    for seed in range(4):
        made = scene_with("branching", seed)
        for n in range(1, made.count + 1):
            rows, columns = torch.nonzero(made.objects == n, as_tuple=True)
            box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
            filled.append(float(len(rows) / box))
    assert min(filled) < 0.3


def test_what_lies_below_is_seen_through_a_translucent_target():
    priors = shape_preset("shape-only").with_values(**QUIET, texture=(0.1, 0.1))
    plain, over = (scene(priors.with_values(translucent=p), 2, side=SIDE) for p in (0.0, 1.0))
    changed = (plain.image - over.image).abs() > 0.02
    assert changed.any() and np.corrcoef(plain.image[changed], over.image[changed])[0, 1] > 0.3


def test_cells_of_a_crowd_touch_and_are_targets_each():
    made = scene_with("crowd")
    assert made.count >= 8
    sizes = [int((made.objects == n).sum()) for n in range(1, made.count + 1)]
    assert np.median(sizes) > 0.3 * max(sizes)
    assert float((made.objects > 0).float().mean()) > 0.6


def test_the_preset_has_them_and_the_paper_has_not():
    hard, paper = shape_preset("hard-targets"), shape_preset("paper")
    assert hard["structures"].large > 0 and paper["structures"] == type(paper["structures"])()
    assert "structures" not in paper.sample(seed=1) and "structures" not in shape_preset("both").sample(seed=1)
    drawn = [hard.sample(seed=seed) for seed in range(8)]
    assert any("structures" in record for record in drawn)
    record = next(record for record in drawn if "structures" in record)
    assert type(record).from_dict(record.to_dict()) == record
