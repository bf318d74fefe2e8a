"""Label maps made ready: values of any size, found quickly and kept in place."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.generator.labelmap import MARGIN, prepare
from tests.generator.builders import boxes


@pytest.mark.parametrize("large", [300, 70_000])
@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_every_voxel_keeps_its_value(large: int, dtype: type) -> None:
    data = np.where(boxes() == 507, large, boxes()).astype(dtype)
    m = prepare(data)
    values = np.array(m.values)[m.index.numpy()]
    kept = tuple(slice(o + MARGIN, o + n - MARGIN) for o, n in zip(m.offset, m.index.shape, strict=True))
    assert np.array_equal(values[MARGIN:-MARGIN, MARGIN:-MARGIN, MARGIN:-MARGIN], data[kept])
    assert (data > 0).sum() == (data[kept] > 0).sum()
    assert large in m.values and m.targets[m.values.index(large)] == large


def test_the_center_is_the_middle_of_the_brain() -> None:
    data = boxes(values=(2, 41, 24, 507))
    m = prepare(data)
    brain = np.argwhere(np.isin(data, (2, 41)))
    assert np.allclose(np.array(m.center) + m.offset, (brain.min(0) + brain.max(0)) / 2)
