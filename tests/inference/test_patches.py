from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.inference.patches import crop_with_padding, patch_grid


@pytest.mark.parametrize("shape", [(160, 192, 160), (31, 200, 77), (18, 20, 22), (401, 60, 90)])
@pytest.mark.parametrize("edge", [48, 64, 96])
def test_blocks_cover_the_region_with_weights_that_sum_to_one(shape, edge):
    blocks = patch_grid(shape, max_voxels=edge**3)
    total = np.zeros(shape)
    for start, weights in blocks:
        assert all(s % 2 == 0 for s in start)
        total += weights[0][:, None, None] * weights[1][:, None] * weights[2]
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert all(n % 16 == 0 for n in blocks.size)


def test_blocks_keep_to_the_size_asked_for():
    blocks = patch_grid((160, 192, 160), max_voxels=96**3)
    assert np.prod(blocks.size) <= 96**3
    assert len(blocks) <= 12


def test_a_region_that_fits_is_one_block_around_it():
    blocks = patch_grid((90, 100, 60), max_voxels=128**3)
    assert len(blocks) == 1
    assert blocks.size == (96, 112, 64)
    ((start, _),) = list(blocks)
    assert all(-16 <= s <= 0 for s in start)


def test_neighbors_share_the_overlap():
    blocks = patch_grid((40, 300, 40), max_voxels=48 * 48 * 112, overlap=16)
    starts = sorted({start[1] for start, _ in blocks})
    assert len(starts) > 1
    assert all(b - a <= blocks.size[1] - 16 + 1 for a, b in zip(starts, starts[1:], strict=False))


def test_window_is_zero_beyond_the_array():
    array = torch.arange(27.0).view(3, 3, 3) + 1
    out = crop_with_padding(array, (-1, 1, 2), (3, 2, 4))
    assert out.shape == (3, 2, 4)
    torch.testing.assert_close(out[1:, :, :1], array[:2, 1:, 2:])
    assert out[0].sum() == 0 and out[:, :, 1:].sum() == 0
    assert crop_with_padding(array, (10, 0, 0), (2, 2, 2)).sum() == 0
