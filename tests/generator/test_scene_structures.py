"""Hard targets of scenes: large, of several parts, branching, translucent, crowded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.generator.presets import shape_preset
from napari_synthseg.generator.shapes.scenes import Scene, scene

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
