"""Whatever happens to the bytes of a header, reading gives a usable volume or one sentence."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_synthseg.errors import InputError
from napari_synthseg.files import read_volume, write_volume
from napari_synthseg.volume import Volume
from tests.files.builders import AFFINE, image_data

FORMATS = {".nii": 352, ".mgh": 90, ".nrrd": 400}


@pytest.mark.parametrize("ending", FORMATS)
@given(changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes(tmp_path, ending, changes):
    path = tmp_path / f"a{ending}"
    write_volume(path, Volume(image_data(np.int16), AFFINE))
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[int(place * min(FORMATS[ending], len(raw)))] = value
    path.write_bytes(bytes(raw))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            v = read_volume(path)
        except InputError as error:
            assert str(error).startswith(str(path)) and str(error).endswith(".") and "\n" not in str(error)
        else:
            assert v.data.ndim == 3 and np.isfinite(v.data).all() and np.isfinite(v.affine).all()
            assert (v.spacing >= 0.05).all() and (v.spacing <= 20).all()
