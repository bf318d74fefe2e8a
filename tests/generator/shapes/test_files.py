"""Scenes as files: drawn or replayed, complete or not there at all, nothing replaced."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from napari_synthseg.errors import InputError
from napari_synthseg.generator.files import (
    SynthesizeShapesOptions,
    read_record,
    save_scene,
    scene_arrays,
    synthesize_shapes,
)
from napari_synthseg.generator.presets import shape_preset
from napari_synthseg.generator.shapes.scenes import scene
from napari_synthseg.jobs import run

SMALL = SynthesizeShapesOptions(preset="mr", prior=("acquired_px=96,128", "objects=3,5"), seed=5, side=128)


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_scene_is_three_files_without_padding(tmp_path) -> None:
    made = scene(shape_preset("both").with_values(acquired_px=(96.0, 96.0), aspect=(0.5, 0.5)), seed=2, side=128)
    path = save_scene(tmp_path / "new", "one", made, {"seed": 2})
    assert {p.name for p in path.parent.iterdir()} == {"one_image.png", "one_objects.png", "one_record.json"}
    image, objects = pixels(path), pixels(path.with_name("one_objects.png"))
    assert image.shape == objects.shape == made.extent and min(made.extent) == 64
    assert image.dtype == np.uint8 and objects.dtype == np.uint16
    assert set(np.unique(objects)) - {0} <= set(range(1, made.count + 1))
    np.testing.assert_allclose(image / 255, made.image[: image.shape[0], : image.shape[1]], atol=0.51 / 255)
    assert read_record(path.with_name("one_record.json"), "module") == made.record


def test_sixteen_bits_hold_more(tmp_path) -> None:
    made = scene(shape_preset("both").with_values(acquired_px=(96.0, 96.0)), side=96)
    image = pixels(save_scene(tmp_path, "one", made, bits=16))
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, scene_arrays(made, 16)[0])
    assert len(np.unique(image)) > 256


def test_scene_i_has_seed_plus_i(tmp_path) -> None:
    written = run(synthesize_shapes(tmp_path / "two", SMALL, 2))
    assert [path.name for path in written] == ["mr_0005_image.png", "mr_0006_image.png"]
    (alone,) = run(synthesize_shapes(tmp_path / "one", replace(SMALL, seed=6)))
    np.testing.assert_array_equal(pixels(written[1]), pixels(alone))
    assert not np.array_equal(pixels(written[0]), pixels(written[1]))
    facts = json.loads((tmp_path / "two" / "mr_0006_record.json").read_text())
    drawn = facts["steps"]["module"]
    assert (facts["preset"], facts["prior"], facts["seed"], drawn["look"]) == ("mr", [*SMALL.prior], 6, "mr")


def test_records_of_one_name_are_refused(tmp_path) -> None:
    for folder in ("a", "b"):
        run(synthesize_shapes(tmp_path / folder, SMALL))
    records = tuple(tmp_path / folder / "mr_0005_record.json" for folder in ("a", "b"))
    with pytest.raises(InputError, match="same name"):
        run(synthesize_shapes(tmp_path / "out", SynthesizeShapesOptions(record=records)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("content", "message"), [
    ("no json", "holds no JSON"), ("[1]", "is no record"), ('{"seed": 3}', "no complete record"),
    ('{"parts": 3, "body": 4}', "no complete record"), (None, "cannot be read")])  # fmt: skip
def test_what_is_no_record_is_refused(tmp_path, content, message) -> None:
    path = tmp_path / "a_record.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        run(synthesize_shapes(tmp_path / "out", SynthesizeShapesOptions(record=(path,))))
    assert not (tmp_path / "out").exists()
