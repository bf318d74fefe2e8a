"""Class priors estimated on scans: Gaussians of classes that are known, and a file that draws and trains."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.phantom import head_phantom
from napari_synthseg import anatomy, cli
from napari_synthseg.generator.presets import load_priors, preset
from napari_synthseg.generator.sample import prepared, replay
from napari_synthseg.inference.class_priors import class_gaussians, combined, fit
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.io import write_volume
from napari_synthseg.volume import Volume
from tests.inference.fakes import GREY, FakeLocateRefine, ball_scan


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Two noisy scans of the balls, the second a little brighter in white matter; and a network that reads them."""
    scan, labels = ball_scan()
    rng = np.random.default_rng(0)
    white = np.isin(labels, (2, 41))
    for name, more in (("a", 0.0), ("b", -15.0)):
        data = scan.data + rng.normal(0, 5, scan.data.shape).astype(np.float32) + more * white
        write_volume(tmp_path / "scans" / f"{name}.nii.gz", Volume(np.clip(data, 0, None), scan.affine))
    monkeypatch.setattr("napari_synthseg.weights.store.load_model", lambda *a, **k: FakeLocateRefine())
    return tmp_path / "scans"


def class_of(value: int) -> int:
    return anatomy.structure(value).generation_class


def test_em_separates_what_a_vague_prior_does_not() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(60, 4, 4000), rng.normal(110, 8, 6000)])
    prior = np.full((2, 10_000), 0.5)
    prior[0, :4000], prior[0, 4000:] = 0.7, 0.3
    means, stds, counts = fit(x, np.stack([prior[0], 1 - prior[0]]), iterations=20)
    assert means == pytest.approx([60, 110], abs=0.5)
    assert stds == pytest.approx([4, 8], abs=0.3)
    assert counts == pytest.approx([4000, 6000], rel=0.02)


def test_classes_of_a_scan_have_their_intensities() -> None:
    scan, _ = ball_scan()
    noisy = Volume(scan.data + np.random.default_rng(1).normal(0, 5, scan.shape).astype(np.float32), scan.affine)
    posteriors = segment(noisy, network=FakeLocateRefine(), posteriors=True).posteriors
    found = class_gaussians(noisy, posteriors)
    white, gray, fluid = (found[class_of(v)] for v in (2, 3, 4))
    assert white[0] - gray[0] == pytest.approx(255 * (GREY[2] - GREY[3]), abs=8)
    assert gray[0] - fluid[0] == pytest.approx(255 * (GREY[3] - GREY[4]), abs=8)
    assert all(1 < std < 8 for _, std in (white, gray, fluid))


def test_classes_vary_from_scan_to_scan_and_slices_are_the_scans() -> None:
    model = combined([{5: (100.0, 4.0), 7: (50.0, 2.0)}, {5: (110.0, 6.0)}], [np.array([1.0, 1.0, 5.0])] * 2)
    contrast, slices = model["contrast"], model["acquisition"]
    assert contrast.class_means[5] == (105.0, pytest.approx(50**0.5))
    assert contrast.class_stds[5] == (5.0, pytest.approx(2**0.5))
    assert contrast.class_means[7] == (50.0, 0.0) and contrast.class_means[6] is None
    assert (slices.slice_spacing_mm, slices.slice_thickness_mm, slices.slice_direction) == ((5, 5), (5, 5), 2)
    assert combined([{5: (1.0, 1.0)}], [np.ones(3)])["acquisition"].slice_direction is None


def test_the_command_writes_a_file_that_draws_scans_of_that_contrast(scans, tmp_path, capsys) -> None:
    path = tmp_path / "my.json"
    assert cli.main(["priors", str(scans), "-o", str(path)]) == cli.DONE
    assert "classes" in capsys.readouterr().out
    assert json.loads(path.read_text())["preset"] == "synthseg-rc"
    again = load_priors(path, ["slice_spacing_mm=4,4"])
    assert again != preset("synthseg-rc") and again["acquisition"].slice_spacing_mm == (4, 4)
    ready, affine = prepared(head_phantom(spacing=4.0))
    record = again.with_values(gamma_variance=0.0).sample(ready, 3)
    drawn = record["contrast"]
    assert drawn["contrast"] == "given"
    means = [drawn["means"][ready.values.index(v)] for v in (2, 3, 4)]
    assert means[0] > means[1] > means[2]
    assert replay(record, ready, affine).image.data.std() > 0
