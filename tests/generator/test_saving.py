"""Samples as files: complete, or not there at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_synthseg import io
from napari_synthseg.errors import InputError
from napari_synthseg.generator.files import free_stem, save_sample
from napari_synthseg.generator.model import Record
from napari_synthseg.generator.sample import Synthesized
from napari_synthseg.io import read_labels, read_volume
from napari_synthseg.volume import Volume
from tests.generator.builders import record


def sample(labels: bool = True) -> Synthesized:
    grid = np.diag([1.0, 1, 2, 1])
    image = Volume(np.random.default_rng(0).random((4, 5, 6), np.float32), grid)
    return Synthesized(image, Volume(np.full((4, 5, 6), 17, np.int32), grid) if labels else None, record())  # type: ignore[arg-type]


def test_image_labels_and_record(tmp_path) -> None:
    path = save_sample(tmp_path / "new", "one", sample(), {"seed": 3})
    assert {p.name for p in path.parent.iterdir()} == {
        "one_image.nii.gz", "one_labels.nii.gz", "one_labels.tsv", "one_record.json"}  # fmt: skip
    assert np.array_equal(read_volume(path).data, sample().image.data)
    assert (read_labels(tmp_path / "new" / "one_labels.nii.gz").data == 17).all()
    text = json.loads((tmp_path / "new" / "one_record.json").read_text())
    assert text["seed"] == 3 and Record.from_dict(text) == record()


def test_a_sample_without_labels(tmp_path) -> None:
    save_sample(tmp_path, "one", sample(labels=False))
    assert {p.name for p in tmp_path.iterdir()} == {"one_image.nii.gz", "one_record.json"}


def test_labels_of_an_earlier_sample_do_not_stay_beside_an_image_that_has_none(tmp_path) -> None:
    save_sample(tmp_path, "one", sample())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(InputError, match="belongs to an earlier sample"):
        save_sample(tmp_path, "one", sample(labels=False))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_free_stem_is_of_no_sample_that_is_there(tmp_path) -> None:
    assert free_stem(tmp_path / "none yet", "one") == "one"
    for expected in ("one", "one_2", "one_3"):
        assert free_stem(tmp_path, "one") == expected
        save_sample(tmp_path, expected, sample(labels=False))


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    save_sample(tmp_path, "one", sample())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io, "write_labels", full)
    with pytest.raises(InputError, match="No space left"):
        save_sample(tmp_path, "one", sample(), {"seed": 9})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_place_that_is_no_folder(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        save_sample(tmp_path / "file", "one", sample())
