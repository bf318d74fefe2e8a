"""Lesions in a segmentation: apart where asked for, else the white matter of their side."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from napari_synthseg.inference.lesions import folded, kept_or_folded, stage_for, winners_folded
from napari_synthseg.inference.one_scan import segment
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.outputs import result_columns, write_results
from napari_synthseg.inference.plausibility import score
from napari_synthseg.inference.prediction import Prediction, Scene
from tests.inference.fakes import LABELS, SCALP, FakeLocateRefine, ball_labels, ball_scan

BRIGHT = 0.55
"""Of lesions; between ventricle and cortex."""
VALUES = (0, 2, 41, 77)


class FakeWithLesions(FakeLocateRefine):
    """The fake network with one class more, for what is as bright as lesions."""

    labels = (*LABELS, 77)

    def _tissue(self, image: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor([0.0, 1.0, 0.7, 0.4, 0.2, SCALP, BRIGHT]).view(1, -1, 1, 1, 1)
        return (-((image - levels) ** 2) * 2000).softmax(1)

    def _sided(self, tissue: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        return torch.cat([super()._sided(tissue[:, :6], left), tissue[:, 6:7]], 1)


@pytest.fixture(scope="module")
def scan():
    """The balls with a lesion in the white matter of each side, the right one twice as large; and its place."""
    volume, labels = ball_scan()
    n = labels.shape[0]
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2,) * 3, indexing="ij")
    lesion = (np.abs(y + 4) < 3) & (np.abs(z) < 3) & (((x > 9) & (x < 13)) | ((x < -9) & (x > -11)))
    assert set(np.unique(ball_labels()[lesion])) == {2, 41}
    image = volume.data.copy()
    image[lesion] = BRIGHT * 500
    return volume.with_data(image), lesion, labels


def test_lesions_are_a_label_where_they_are_wanted(scan) -> None:
    volume, lesion, _ = scan
    result = segment(volume, network=FakeWithLesions(), lesions=True, device="cpu")
    found = result.labels.data == 77
    assert 2 * (found & lesion).sum() / (found.sum() + lesion.sum()) > 0.8
    assert result.volumes[77] == pytest.approx(lesion.sum(), rel=0.25)
    assert result.record["lesions"] == "label 77" and 77 in result.quality


def test_else_they_are_the_white_matter_of_their_side(scan) -> None:
    volume, lesion, labels = scan
    result = segment(volume, network=FakeWithLesions(), device="cpu")
    assert 77 not in result.volumes and 77 not in result.labels.data
    inside = lesion & (result.labels.data > 0)
    assert (result.labels.data[inside] == labels[inside]).mean() > 0.95
    apart = segment(volume, network=FakeWithLesions(), lesions=True, device="cpu")
    more = {v: result.volumes[v] - apart.volumes[v] for v in (2, 41)}
    assert more[41] > 1.5 * more[2] > 0
    assert sum(more.values()) == pytest.approx(apart.volumes[77], rel=0.1)
    assert "white matter" in result.record["lesions"]


def test_networks_without_lesions_say_nothing_of_them(scan) -> None:
    volume, _, _ = scan
    assert "lesions" not in segment(volume, network=FakeLocateRefine(), device="cpu").record


def test_who_looks_for_lesions(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("napari_synthseg.inference.lesions.load_lesions", lambda name: name)
    with_them, without = FakeWithLesions(), FakeLocateRefine()
    assert stage_for(without, SegmentOptions()) is None and stage_for(with_them, SegmentOptions()) is None
    wanted = SegmentOptions(lesions=True)
    assert stage_for(with_them, wanted) is None and stage_for(without, wanted) == "lesions"
    own = SegmentOptions(lesions=True, lesion_weights=tmp_path)
    assert stage_for(with_them, own) == str(tmp_path)


def test_their_row_stands_in_table_and_record(scan, tmp_path) -> None:
    volume, _, _ = scan
    result = segment(volume, network=FakeWithLesions(), lesions=True, device="cpu")
    assert 77 in result_columns(result)["volume_mm3"]
    write_results(tmp_path / "a_dseg.nii.gz", volume, result)
    table = (tmp_path / "a_dseg.tsv").read_text()
    assert "77\tWM-hypointensities\t#c846ff" in table
    record = json.loads((tmp_path / "a_dseg.json").read_text())
    assert record["options"]["lesions"] is True and record["volumes_mm3"]["WM-hypointensities"] > 0


def test_where_white_matter_is_nowhere_near_the_nearest_decides() -> None:
    posteriors = torch.zeros(4, 12, 4, 4)
    posteriors[0] = 1
    posteriors[:, :3] = torch.tensor([0.0, 1, 0, 0]).view(4, 1, 1, 1)
    posteriors[:, 9:] = torch.tensor([0.0, 0, 1, 0]).view(4, 1, 1, 1)
    posteriors[:, 3:9] = torch.tensor([0.0, 0, 0, 1]).view(4, 1, 1, 1)
    out = folded(posteriors.clone(), VALUES)
    assert out.shape[0] == 3 and torch.allclose(out.sum(0), torch.ones(12, 4, 4))
    assert (out[1, :6] == 1).all() and (out[2, 6:] == 1).all()
    winners = winners_folded(posteriors.argmax(0), VALUES)
    assert torch.equal(winners, out.argmax(0))


def test_lesions_need_not_be_the_last_channel() -> None:
    posteriors = torch.rand(5, 4, 4, 4).softmax(0)
    out = folded(posteriors.clone(), (0, 2, 41, 77, 100))
    torch.testing.assert_close(out[1] + out[2], posteriors[1:4].sum(0))
    assert torch.equal(out[3], posteriors[4])
    winners = torch.tensor([[[3, 4, 2, 1, 0]]])
    assert winners_folded(winners, (0, 2, 41, 77, 100)).flatten().tolist() == [2, 3, 2, 1, 0]


def test_the_locator_s_view_and_the_scene_are_folded_too() -> None:
    posteriors = torch.rand(4, 4, 4, 4).softmax(0).half()
    with torch.inference_mode():
        coarse = posteriors.clone()
    scene = Scene(torch.zeros(4, 4, 4), posteriors.float().argmax(0), (0, 0, 0))
    prediction = Prediction(posteriors, VALUES, (0, 0, 0), coarse, "cpu", scene=scene)
    assert kept_or_folded(prediction, True) is prediction
    out = kept_or_folded(prediction, False)
    assert out.values == (0, 2, 41) and out.posteriors.shape[0] == out.coarse.shape[0] == 3
    assert out.scene.winners.max() <= 2
    assert score(out.coarse, out.values) >= 0
