"""Records of version 1 still load, and give the images that version 1 made of them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.phantom import head_phantom, phantom_image
from napari_synthseg.generator.degradation import degrade
from napari_synthseg.generator.model import Record
from napari_synthseg.generator.sample import prepared, replay
from napari_synthseg.generator.shapes.scenes import apply_scene

CASES = json.loads((Path(__file__).parent / "golden" / "version1.json").read_text())
"""Records as version 1 wrote them, and the mean, some voxels and the labels of what it made of a phantom."""


def made(case: dict, record: Record) -> tuple[np.ndarray, np.ndarray]:
    labels = head_phantom(spacing=4.0, seed=0)
    if case["model"] == "brains":
        sample = replay(record, *prepared(labels), case["shape"], case["spacing"])
        return sample.image.data, sample.labels.data
    if case["model"] == "degradation":
        degraded = degrade(phantom_image(labels, seed=1), record, labels)
        assert degraded.labels is not None
        return degraded.image.data, degraded.labels.data
    scene = apply_scene(record, side=128)
    return scene.image.numpy(), scene.objects.numpy()


@pytest.mark.parametrize("case", CASES, ids=[f"{case['model']}-{i}" for i, case in enumerate(CASES)])
def test_an_old_record_gives_the_same_image(case: dict) -> None:
    record = Record.from_dict(case["record"])
    image, labels = made(case, record)
    at = np.random.default_rng(0).integers(image.size, size=24)
    # A real scan is sampled between voxels at single-precision places, which are summed in another order now.
    close = 3e-6 if case["model"] == "degradation" else 1e-6
    assert np.allclose(image.ravel()[at], case["made"]["values"], rtol=0, atol=close)
    assert image.mean(dtype=float) == pytest.approx(case["made"]["mean"], abs=1e-6)
    assert zlib.crc32(np.ascontiguousarray(labels, np.int32).tobytes()) == case["made"]["labels"]
    assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize("case", [case for case in CASES if case["model"] == "shapes"])
def test_a_scene_in_one_step_is_that_in_several(case: dict) -> None:
    facts = {"version": 2, "seed": 3, "preset": "both"}
    assert Record.from_dict({**facts, "steps": {"scene": case["record"]}}) == Record.from_dict(case["record"])


def test_an_incomplete_record_is_none() -> None:
    whole = CASES[0]["record"]
    with pytest.raises(KeyError):
        Record.from_dict({name: value for name, value in whole.items() if name != "gamma"})
