from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.inference import postprocess
from napari_synthseg.inference.grid import OutputGrid
from napari_synthseg.inference.options import OWN
from napari_synthseg.inference.posteriors import Posteriors
from tests.shared_data import shared


def golden(version: int) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """The reference's data, and its posteriors as (K, X, Y, Z), still padded."""
    data = dict(np.load(shared(f"reference/golden/post_v{version}.npz")))
    counts = data["post_q"].astype(np.float32)
    posteriors = counts / counts.sum(-1, keepdims=True)
    return data, torch.from_numpy(np.ascontiguousarray(np.moveaxis(posteriors, -1, 0)))


def unpadded(posteriors: torch.Tensor, data: dict[str, np.ndarray]) -> torch.Tensor:
    i = data["pad_idx"]
    return posteriors[:, i[0] : i[3], i[1] : i[4], i[2] : i[5]].contiguous()


def unpadded_clean(posteriors: torch.Tensor, values: list[int], data: dict[str, np.ndarray]) -> torch.Tensor:
    """The reference looks for components in the padded volume."""
    assert tuple(values) == anatomy.predicted_values(2 if 24 in values else 1)
    postprocess.clean(posteriors, values, replace(OWN, fill_holes=False, dilation=0))
    return unpadded(posteriors, data)


@pytest.mark.parametrize("version", [1, 2])
def test_labels_on_an_oblique_grid_match_the_reference(version):
    data, posteriors = golden(version)
    values = tuple(data["labels"].tolist())
    found = unpadded_clean(posteriors, list(values), data)
    affine, shape = data["aff"], data["default_seg"].shape
    from napari_synthseg.volume import Volume, to_canonical

    working = to_canonical(Volume(np.zeros(shape, np.uint8), affine))
    grid = OutputGrid.between(working.affine, affine, shape)
    ours = Posteriors(found.half(), (0, 0, 0), values, grid).labels().data
    assert np.mean(ours != data["default_seg"]) < 1e-4  # float16 decides ties otherwise


@pytest.mark.parametrize("version", [1, 2])
def test_float16_gives_the_same_labels(version):
    data, posteriors = golden(version)
    values = data["labels"].tolist()
    half = unpadded_clean(posteriors.half(), values, data)
    assert np.mean(postprocess.hard_labels(half, values) != data["default_ras_seg"]) < 1e-3


def one_hot(labels: np.ndarray, values: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(labels == value) for value in values]).half()


def test_the_largest_component_survives():
    mask = np.zeros((10, 10, 10), bool)
    mask[1:4, 1:4, 1:4] = True
    mask[6:8, 6:8, 6:8] = True
    mask[4, 4, 4] = True  # touches by a corner only
    out = postprocess.largest_component(mask)
    assert out.sum() == 27 and out[2, 2, 2]
    assert not postprocess.largest_component(np.zeros((3, 3, 3), bool)).any()


def test_islands_of_a_structure_become_what_is_around_them():
    values = (0, 2, 17, 41, 53)
    labels = np.zeros((20, 20, 20), np.int16)
    labels[2:18, 2:18, 2:18] = 2
    labels[4:8, 4:8, 4:8] = 17
    labels[14, 14, 14] = 17
    posteriors = one_hot(labels, values) * 0.8 + 0.04
    posteriors[1, 14, 14, 14] += 0.02
    out = postprocess.clean(posteriors, values)
    assert out[14, 14, 14] == 2
    assert (out == 17).sum() == 64


def test_holes_are_filled_only_where_anatomy_has_none():
    values = (0, 2, 3, 10, 24, 41, 42, 49)
    labels = np.full((20, 20, 20), 24, np.int16)
    labels[0] = labels[-1] = labels[:, 0] = labels[:, -1] = labels[:, :, 0] = labels[:, :, -1] = 0
    labels[2:9, 2:9, 2:9] = 10
    labels[5, 5, 5] = 24
    labels[11:18, 11:18, 11:18] = 2
    labels[14, 14, 14] = 3
    posteriors = one_hot(labels, values)
    assert postprocess.fill_holes(posteriors, values) == 1
    out = postprocess.hard_labels(posteriors, values)
    assert out[5, 5, 5] == 10 and out[14, 14, 14] == 3


def test_background_inside_the_brain_takes_the_best_structure_or_its_neighbors():
    values = (0, 2, 24, 41)
    labels = np.zeros((12, 12, 12), np.int16)
    labels[2:10, 2:10, 2:10] = 2
    posteriors = one_hot(labels, values)
    posteriors[:, 5, 5, 5] = torch.tensor([0.6, 0.1, 0.1, 0.2])
    posteriors[:, 7, 7, 7] = torch.tensor([1.0, 0, 0, 0])
    postprocess.fill_holes(posteriors, values)
    out = postprocess.hard_labels(posteriors, values)
    assert out[5, 5, 5] == 41 and out[7, 7, 7] == 2


def test_where_nothing_is_left_it_is_background():
    posteriors = torch.zeros(3, 2, 2, 2).half()
    posteriors[1, 0] = 0.5
    postprocess.normalize(posteriors)
    torch.testing.assert_close(posteriors.sum(0), torch.ones(2, 2, 2).half())
    assert postprocess.hard_labels(posteriors, (0, 5, 9)).tolist()[1] == [[0, 0], [0, 0]]


@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
def test_volumes_are_exact_to_six_digits(kind):
    posteriors = torch.rand(3, 40, 41, 42, generator=torch.Generator().manual_seed(0)).to(kind)
    exact = {value: float(posteriors[k].sum(dtype=torch.float64)) for k, value in ((1, 17), (2, 53))}
    assert postprocess.soft_volumes(posteriors, (0, 17, 53), 1.0) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
@pytest.mark.parametrize("channels", [2, 33, 70])
def test_the_best_channel_is_that_of_argmax(kind, channels):
    posteriors = torch.rand(channels, 21, 22, 23, generator=torch.Generator().manual_seed(1)).to(kind)
    posteriors[:, 3:9] = 0  # where all are equal, the first one wins
    posteriors[channels // 2, 12:15] = posteriors.amax(0)[12:15]
    assert (postprocess.best_channel(posteriors) == posteriors.float().argmax(0).numpy()).all()


def test_the_soft_edge_of_a_structure_stays():
    values = (0, 2, 17, 41, 53)
    labels = np.zeros((20, 20, 20), np.int16)
    labels[2:18, 2:18, 2:18] = 2
    labels[4:8, 4:8, 4:8] = 17
    posteriors = one_hot(labels, values) * 0.99 + 0.002
    for place, share in ((9, 0.2), (11, 0.2)):  # two voxels and four beyond the last full one
        posteriors[1, place, 5, 5], posteriors[2, place, 5, 5] = 1 - share, share
    postprocess.clean(posteriors, values)
    assert posteriors[2, 9, 5, 5] > 0.19
    assert posteriors[2, 11, 5, 5] == 0


def test_removed_voxels_inside_take_their_neighbors_label():
    values = (0, 2, 17, 24, 41, 53)
    labels = np.zeros((20, 20, 20), np.int16)
    labels[2:18, 2:18, 2:18] = 2
    labels[4:8, 4:8, 4:8] = 17
    labels[13:16, 13:16, 13:16] = 17
    posteriors = one_hot(labels, values)
    out = postprocess.clean(posteriors, values)
    assert (out[13:16, 13:16, 13:16] == 2).all()
