"""Lesions marked after a segmentation: by any network, inside white matter, with posteriors that add up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.inference import lesion_stage
from napari_synthseg.inference import lesions as lesions_module
from napari_synthseg.inference.lesion_doubts import doubts
from napari_synthseg.inference.lesion_stage import plausible, with_channel
from napari_synthseg.inference.one_scan import segment
from napari_synthseg.inference.outputs import write_results
from napari_synthseg.networks.lesion_finder import LesionFinder
from napari_synthseg.weights import save
from tests.inference.fakes import FakeLocateRefine, ball_scan

BRIGHT = 1.25
"""Of the lesions, as a share of white matter."""


class FakeFinder(nn.Module):
    """What is far brighter than white matter is a lesion, wherever it lies."""

    multiple = 2
    labels = (0, 77)

    def __init__(self) -> None:
        super().__init__()
        self.card = {"name": "fake-lesions", "network": "lesions", "sha256": "1" * 64}
        self.blocks: list[tuple[int, ...]] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.blocks.append(tuple(inputs.shape[2:]))
        return 40 * (inputs[:, 1:2] - 0.4)


@pytest.fixture(scope="module")
def scan():
    """The balls with two lesions in the left white matter, one voxel of noise, and one as bright outside the brain."""
    volume, _ = ball_scan()
    image = volume.data.copy()
    lesion = np.zeros(image.shape, bool)
    lesion[14:18, 24:29, 20:25] = lesion[36:40, 18:22, 22:26] = True
    image[lesion] = image[38, 36, 20] = image[1:4, 1:4, 1:4] = BRIGHT * 500
    return volume.with_data(image), lesion


@pytest.fixture
def finder(monkeypatch):
    fake = FakeFinder()
    monkeypatch.setattr(lesions_module, "load_lesions", lambda name: fake)
    return fake


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("fast", [True, False])
def test_a_network_without_lesions_gets_them_marked(scan, finder, fast) -> None:
    volume, lesion = scan
    plain = segment(volume, network=FakeLocateRefine(), device="cpu", fast=fast)
    result = segment(volume, network=FakeLocateRefine(), device="cpu", fast=fast, lesions=True, posteriors=True)
    found = result.labels.data == 77
    assert dice(found, lesion) > 0.9 and not found[:4, :4, :4].any() and not found[38, 36, 20]
    assert result.record["lesion_count"] == 2 and result.record["lesions"] == "label 77"
    assert result.record["lesion_weights"]["name"] == "fake-lesions"
    assert result.volumes[77] == pytest.approx(lesion.sum(), rel=0.15)
    assert sum(result.volumes.values()) == pytest.approx(sum(plain.volumes.values()), rel=0.02)
    assert set(result.quality) == {*plain.quality, 77} and result.quality[77] > 0.8
    others = plain.labels.data[~lesion & ~found]
    np.testing.assert_array_equal(result.labels.data[~lesion & ~found], others)
    soft = result.posteriors
    assert soft is not None and soft.values[-1] == 77
    torch.testing.assert_close(soft.data.float().sum(0), torch.ones(soft.data.shape[1:]), atol=0.01, rtol=0)


def test_blocks_give_what_one_piece_gives(scan, finder) -> None:
    volume, _ = scan
    whole = segment(volume, network=FakeLocateRefine(), device="cpu", lesions=True, fast=True)
    assert len(finder.blocks) == 1
    finder.blocks.clear()
    parts = segment(volume, network=FakeLocateRefine(), device="cpu", lesions=True, fast=True, grid="1mm", block_mm=64)
    assert parts.volumes[77] == pytest.approx(whole.volumes[77], rel=1e-3)


def test_without_white_matter_or_lesions_nothing_is_marked(finder) -> None:
    volume, _ = ball_scan()
    result = segment(volume, network=FakeLocateRefine(), device="cpu", lesions=True)
    assert result.record["lesion_count"] == 0 and result.volumes[77] < 1 and not (result.labels.data == 77).any()


def test_files_say_how_many_there_are_and_what_is_doubted(scan, finder, tmp_path, monkeypatch) -> None:
    volume, _ = scan
    seen = []
    monkeypatch.setattr(
        lesion_stage, "doubts", lambda image, hard: seen.append((image.shape, hard.shape)) or ("Doubt.",)
    )
    result = segment(volume, network=FakeLocateRefine(), device="cpu", lesions=True)
    write_results(tmp_path / "a_dseg.nii.gz", volume, result)
    record = json.loads((tmp_path / "a_dseg.json").read_text())
    assert "Doubt." in result.warnings and "Doubt." in record["warnings"] and seen[0][0] == seen[0][1]
    assert record["lesion_count"] == 2 and record["volumes_mm3"]["WM-hypointensities"] > 100
    assert "77\tWM-hypointensities" in (tmp_path / "a_dseg.tsv").read_text()


def test_only_near_white_matter_and_not_too_small() -> None:
    hard = np.zeros((20, 20, 20), np.int16)
    hard[:10], hard[10:] = 2, 3
    hard[:4, :, :4] = 7
    p = np.zeros(hard.shape, np.float32)
    p[6:8, 6:8, 6:8] = p[16:18, 6:8, 6:8] = p[1:3, 6:8, 1:3] = p[6, 15, 15] = 0.9
    p[9:12, 12:14, 12:14] = 0.9
    found, count = plausible(p, hard, 1.0)
    assert count == 2 and found.sum() == 8 + 12
    assert found[6:8, 6:8, 6:8].all() and found[9:12, 12:14, 12:14].all()
    assert plausible(p, hard, 0.25)[1] == 0


@pytest.mark.parametrize(
    ("white", "grey", "fluid", "expected"),
    [(100, 70, 20, "as on T1"), (80, 100, 200, "as on T2"), (80, 95, 20, None), (100, 80, 120, "as on T2")],
)
def test_a_contrast_on_which_lesions_are_missed_is_named(white, grey, fluid, expected) -> None:
    hard = np.repeat(np.array([0, 2, 3, 4], np.int16), 250).reshape(4, 5, 50)
    image = np.array([0, white, grey, fluid], np.float32)[np.searchsorted([0, 2, 3, 4], hard)]
    found = doubts(image, hard)
    assert (expected is None and not found) or (len(found) == 1 and expected in found[0])
    assert doubts(image, np.zeros_like(hard)) == ()


def test_lesions_win_where_they_are_and_nowhere_else() -> None:
    g = torch.Generator().manual_seed(0)
    posteriors = (4 * torch.rand(4, 8, 8, 8, generator=g)).softmax(0)
    probability = torch.rand(6, 8, 8, generator=g).numpy()
    lesions = np.zeros((6, 8, 8), bool)
    lesions[2:4, 2:6, 2:6] = probability[2:4, 2:6, 2:6] >= 0.5
    box = (slice(1, 7), slice(0, 8), slice(0, 8))
    out, soft = with_channel(posteriors, box, probability, lesions)
    np.testing.assert_array_equal((out.argmax(0) == 4)[box].numpy(), lesions)
    torch.testing.assert_close(out.float().sum(0), torch.ones(8, 8, 8), atol=3e-3, rtol=0)
    assert soft.shape == lesions.shape and float(soft[0].max()) == 0 and not out[4, 0].any()
    assert torch.equal(out[:4].argmax(0)[:1], posteriors.argmax(0)[:1])


def test_weights_of_another_kind_are_refused(scan, tmp_path) -> None:
    volume, _ = scan
    card = {"name": "x", "network": "unet", "labels": [0, 2], "features": 2, "levels": 1}
    from napari_synthseg.networks.build import build

    save(tmp_path / "x.safetensors", build(card).state_dict(), card)
    with pytest.raises(InputError, match="'x' are not of a lesion network"):
        segment(volume, network=FakeLocateRefine(), lesions=True, lesion_weights=tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="does not exist"):
        segment(volume, network=FakeLocateRefine(), lesions=True, lesion_weights=Path("none.safetensors"))


def test_where_there_is_no_lesion_network_one_sentence_says_so(scan, monkeypatch) -> None:
    monkeypatch.setattr("napari_synthseg.weights.folders", lambda: [])
    with pytest.raises(InputError, match="no lesion network was found: give one"):
        segment(scan[0], network=FakeLocateRefine(), lesions=True)


def test_own_weights_are_used(scan, tmp_path) -> None:
    volume, _ = scan
    model = LesionFinder((2,))
    card = {"name": "mine", "network": "lesions", "labels": [0, 77], "hidden": [2]}
    save(tmp_path / "mine.safetensors", model.state_dict(), card)
    path = tmp_path / "mine.safetensors"
    result = segment(volume, network=FakeLocateRefine(), lesions=True, lesion_weights=str(path), device="cpu")
    assert result.record["lesion_weights"]["name"] == "mine"
