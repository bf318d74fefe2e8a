"""Whatever happens to the bytes of a header, reading gives a usable volume or one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_synthseg.errors import InputError
from napari_synthseg.io import read_scans, read_volume, write_exactly, write_volume
from napari_synthseg.volume import Volume
from tests.conftest import examples
from tests.io.builders import AFFINE, image_data

FORMATS = {".nii": 352, ".mgh": 90, ".nrrd": 400}


def changed_file(folder: Path, ending: str, changes: list[tuple[float, int]]) -> Path:
    path = folder / f"a{ending}"
    write_volume(path, Volume(image_data(np.int16), AFFINE))
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[int(place * min(FORMATS[ending], len(raw)))] = value
    path.write_bytes(bytes(raw))
    return path


@contextmanager
def refused_in_one_sentence(path: Path) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except InputError as error:
            assert str(error).startswith(str(path)) and str(error).endswith(".") and "\n" not in str(error)


@pytest.mark.parametrize("ending", FORMATS)
@given(changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes(tmp_path, ending, changes):
    """What opens in a viewer can be saved."""
    path = changed_file(tmp_path, ending, changes)
    with refused_in_one_sentence(path):
        v = read_volume(path)
        assert v.data.ndim == 3 and np.isfinite(v.data).all() and np.isfinite(v.affine).all()
        assert (v.spacing > 0).all()
    with refused_in_one_sentence(path):
        (scan,) = read_scans(path)
        data = scan.data if isinstance(scan.data, np.ndarray) else scan.data.volume(0)
        assert data.ndim in (3, 4) and np.isfinite(scan.affine).all()
        assert scan.step is None or scan.step > 0
        write_exactly(path, data, scan.affine, step=scan.step, header=scan.header)
        assert np.abs(read_scans(path)[0].affine - scan.affine).max() < 1e-3
