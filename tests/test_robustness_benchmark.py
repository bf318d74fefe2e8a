"""`benchmarks/robustness.py`: what makes scans worse, the ablations, and what is said of the rows."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.networks.hierarchy import Hierarchy, RobustLocateRefine
from napari_synthseg.networks.unet import Denoiser, UNet3d
from napari_synthseg.volume import Volume
from tests.test_benchmarks import called, script

LABELS = (0, 2, 3, 17, 41, 42, 53)
bench = script("robustness")


def blocks() -> Volume:
    """Labels: white matter inside cortex, in a box; RAS, 1 mm."""
    data = np.zeros((48, 40, 44), np.int16)
    data[8:40, 8:32, 8:36] = 3
    data[14:34, 14:26, 14:30] = 2
    return Volume(data, np.eye(4))


def scan_of(labels: Volume) -> Volume:
    return labels.with_data(np.choose(labels.data.clip(0, 3), [0, 0, 200, 100]).astype(np.float32))


def fast_network() -> RobustLocateRefine:
    torch.manual_seed(0)
    return RobustLocateRefine(LABELS, (2, 2, 2, 2), (2, 2, 2), (2, 2, 2, 2), 2).eval()


@pytest.mark.parametrize("kind", list(bench.LEVELS))
def test_the_stronger_the_farther_from_the_scan(kind) -> None:
    scan = scan_of(blocks())
    plain = bench.made_worse(scan, "none", 0, 0).data
    assert plain.min() == 0 and plain.max() == 1
    worse = [bench.made_worse(scan, kind, level, 0) for level in bench.LEVELS[kind]]
    assert all(one.shape == scan.shape and np.allclose(one.affine, scan.affine) for one in worse)

    def alike(one: np.ndarray) -> float:
        return float(np.corrcoef(one.ravel(), plain.ravel())[0, 1])

    found = [alike(one.data) for one in worse]
    assert found == sorted(found, reverse=True) and found[-1] < found[0] - 0.01


def test_slices_lie_in_the_direction_they_are_named_after() -> None:
    scan = scan_of(blocks())
    for name, axis in bench.SLICES.items():
        moved = np.abs(np.diff(bench.made_worse(scan, f"{name} slices", 9, 0).data, axis=axis)).max()
        others = [np.abs(np.diff(bench.made_worse(scan, f"{other} slices", 9, 0).data, axis=axis)).max()
                  for other in bench.SLICES if other != name]  # fmt: skip
        assert moved < 0.5 * min(others)


def test_without_its_denoiser_s2_sees_what_s1_found() -> None:
    model = fast_network()
    twin = bench.without_denoiser(model)
    image = torch.rand(1, 1, *model.head_shape)
    with torch.no_grad():
        s1, passed = twin.locator.tissues(image)
        assert not torch.allclose(model.locator.tissues(image)[1], s1, atol=1e-2)
    torch.testing.assert_close(passed, s1, atol=1e-5, rtol=0)
    torch.manual_seed(0)
    whole = Hierarchy(UNet3d(5, 2, 2), Denoiser(5, 2, 2), UNet3d(LABELS, 2, 2, 6)).eval()
    with torch.no_grad():
        first, second, _ = bench.without_denoiser(whole).stages(torch.rand(1, 1, 8, 8, 8))
    assert torch.equal(first.argmax(1), second.argmax(1))
    assert isinstance(whole.denoiser, Denoiser)


class Swells(nn.Module):
    """A denoiser that finds white matter in all cortex above the middle, and nothing else of it."""

    def forward(self, tissues: torch.Tensor) -> torch.Tensor:
        out = tissues.clone()
        top = tissues.shape[-1] // 2
        out[:, 1, ..., top:] += out[:, 2, ..., top:]
        out[:, 2, ..., top:] = 0
        return out

    logits = forward


@pytest.mark.parametrize("fast", [True, False])
def test_labels_take_the_tissue_that_the_denoiser_says(fast) -> None:
    labels = blocks()
    if fast:
        model = fast_network()
        model.locator.denoiser = Swells()
    else:
        model = Hierarchy(UNet3d(5, 2, 2), Swells(), UNet3d(LABELS, 2, 2, 6))
    out = bench.corrected(labels, model).data
    assert labels.data[20, 10, 34] == 3 and out[20, 10, 34] == 2
    assert out[20, 10, 9] == 3 and (out[14:34, 14:26, 14:30] == 2).all()
    assert (out[labels.data == 0] == 0).all()


def test_a_comparison_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys) -> None:
    truth = blocks()
    write_labels(tmp_path / "1_labels.nii.gz", truth)
    write_volume(tmp_path / "1_t1.nii.gz", scan_of(truth))
    asked: list[str] = []

    def segmenters(*_, **__):
        def right(scan: Volume) -> Volume:
            asked.append("plain")
            return truth

        def none(scan: Volume) -> Volume:
            asked.append("robust")
            raise bench.InputError("No brain was found.")

        return {"plain": right, "robust": none}

    monkeypatch.setattr(bench, "segmenters", segmenters)
    monkeypatch.setattr(bench, "load_model", lambda name: None)
    words = (tmp_path, "--robust", "x", "--out", tmp_path / "out", "--kinds", "noise")
    assert called(monkeypatch, bench, *words) == 0
    kept = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert len(kept) == 2 * (1 + len(bench.LEVELS["noise"])) and {row["dice"] for row in kept} == {0.0, 1.0}
    assert "| noise | 10 | 1.000 | 0.000 |" in (tmp_path / "out" / "table.md").read_text()
    asked.clear()
    assert called(monkeypatch, bench, *words, "contrast") == 0
    assert len(asked) == 2 * 3
    assert called(monkeypatch, bench, tmp_path / "out", "--robust", "x") == 2 and "no scan" in capsys.readouterr().err
