"""Networks of transformers run block-wise: windows cover the box, weights are listed and loaded, labels come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.inference.memory import _attempts, predict_steps
from napari_synthseg.inference.options import OWN, SegmentOptions
from napari_synthseg.inference.patches import crop_with_padding, patch_grid, sliding_windows
from napari_synthseg.inference.pipeline import segment_steps
from napari_synthseg.inference.sliding_window import flip_order, sliding_window_steps
from napari_synthseg.inference.state import load
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.networks.registry import InferenceSpec
from napari_synthseg.networks.transformers import Transformer, Unetr
from napari_synthseg.weights import catalogue, store
from tests.inference.fakes import GREY, SCALP, ball_scan

SIZES = {"edge": 32, "hidden": 24, "mlp": 32, "heads": 2, "layers": 4, "features": 4, "field": 64}


class Reader(Transformer):
    """Reads a tissue off the intensity: left and right are told apart nowhere, so the labels have no sides."""

    encoder_name = "nothing"
    spec = InferenceSpec(predictor="sliding_window", fixed_window=True)

    def __init__(self, edge: int, field: int, spacing: int = 1) -> None:
        super().__init__(nn.Identity(), (0, 1003, 1002), edge, field, spacing)
        self.seen: list[tuple[int, ...]] = []

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape))
        levels = torch.tensor([0.0, GREY[3], GREY[2], GREY[24], SCALP]).view(1, 5, 1, 1, 1)
        likely = -((image - levels) ** 2) * 2000
        return torch.cat([likely[:, [0, 3, 4]].amax(1, keepdim=True), likely[:, 1:3]], 1)


@pytest.mark.parametrize("field, edge, count", [(192, 160, 2), (192, 96, 3), (96, 96, 1), (48, 32, 2)])
def test_windows_cover_the_box_and_weigh_one(field, edge, count) -> None:
    plan = sliding_windows(field, edge)
    assert len(plan) == count**3
    line = np.zeros(field)
    for start, _ in zip(plan.starts[0], range(count), strict=True):
        assert 0 <= start <= field - edge
    for ramp in plan._weights(0):
        line += ramp
    np.testing.assert_allclose(line, 1, rtol=1e-6)


@pytest.mark.parametrize("spacing", [1, 2])
def test_every_voxel_of_the_brain_is_read(spacing) -> None:
    scan, labels = ball_scan()
    model = Reader(32 // spacing, 64 // spacing, spacing)
    found = run(sliding_window_steps(model, scan.data.astype(np.float32), torch.device("cpu"), None))
    assert set(model.seen) == {(1, 1, *[32 // spacing] * 3)}
    found = found.within(scan.shape)
    place = tuple(slice(a, a + n) for a, n in zip(found.start, found.posteriors.shape[1:], strict=True))
    white = np.isin(labels[place], (2, 41))
    got = found.posteriors.float().argmax(0).numpy() == 2
    dice = 2 * (got & white).sum() / (got.sum() + white.sum())
    assert dice > (0.99 if spacing == 1 else 0.9)
    assert found.whole_head is not None
    x, y, z = (14 - a for a in found.whole_head.start)  # the scan's voxel 14 an axis, as the scene shows it
    np.testing.assert_allclose(found.whole_head.image[x, y, z], scan.data[14, 14, 14] / scan.data.max(), atol=1e-3)


def test_labels_without_partners_are_not_flipped() -> None:
    assert flip_order((0, 2, 41)) == (0, 2, 1)
    assert flip_order((0, 2)) is None


def saved(folder, card) -> str:
    torch.manual_seed(0)
    model = Unetr(card["labels"], **SIZES)
    with torch.no_grad():
        model.net.out.conv.conv.bias[0] = -1.0  # random weights, but not background everywhere
    store.save(folder / f"{card['name']}.safetensors", model.state_dict(), {"network": "unetr", **SIZES, **card})
    return str(folder / f"{card['name']}.safetensors")


def test_a_tiny_unetr_is_listed_and_segments_onto_the_scans_grid(tmp_path, monkeypatch) -> None:
    pytest.importorskip("monai")
    monkeypatch.setenv("NAPARI_SYNTHSEG_WEIGHTS", str(tmp_path))
    saved(tmp_path, {"name": "tiny", "labels": [0, 2, 41]})
    assert "tiny" in [card["name"] for card in catalogue.available()]
    scan, _ = ball_scan()
    scan = type(scan)(
        scan.data[:, ::-1].astype(np.float32),
        scan.affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 55], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    )
    with pytest.raises(InputError, match="preset reference does not fit"):
        run(segment_steps(scan, SegmentOptions(model="tiny", preset="reference")))
    reports = []
    result = run(segment_steps(scan, SegmentOptions(model="tiny", device="cpu", threads=1)), reports.append)
    assert result.labels.shape == scan.shape
    np.testing.assert_allclose(result.labels.affine, scan.affine)
    assert set(np.unique(result.labels.data)) <= {0, 2, 41} and result.labels.data.any()
    assert result.record["network"] == "unetr" and set(result.volumes) == {2, 41}
    assert [r.total for r in reports if r.stage == "Segmenting"][-1] == 27


def test_an_encoder_alone_is_not_listed_and_segments_nothing(tmp_path, monkeypatch) -> None:
    pytest.importorskip("monai")
    monkeypatch.setenv("NAPARI_SYNTHSEG_WEIGHTS", str(tmp_path))
    state = Unetr(2, **SIZES).encoder_state()
    card = {"name": "pre", "network": "unetr-encoder", "labels": [], **SIZES, "title": "a pre-trained encoder"}
    store.save(tmp_path / "pre.safetensors", state, card)
    assert "pre" not in [one["name"] for one in catalogue.available()]
    with pytest.raises(InputError, match="pre-trained encoder"):
        load(SegmentOptions(model="pre"))


def test_short_of_memory_the_cpu_takes_windows_of_the_same_size() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert _attempts(Reader(32, 64), (64,) * 3, gpu, 128**3, OWN)[0] == [(gpu, 32**3), (cpu, 32**3)]
    assert _attempts(Reader(32, 64), (64,) * 3, cpu, 128**3, OWN)[0] == [(cpu, 32**3)]


def test_a_stop_ends_within_a_window() -> None:
    scan, _ = ball_scan()
    model = Reader(32, 64)
    asked = iter([False] * 3 + [True] * 100)
    with pytest.raises(Stopped):
        run(predict_steps(model, scan.data.astype(np.float32), device="cpu"), should_stop=lambda: next(asked))
    assert len(model.seen) < 16


# Blocks


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
