"""The tissue maps of a robust network: what its inner networks find, on the scan's own voxels and in files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.anatomy import TISSUE_MAPS
from napari_synthseg.batch.job import segment_files
from napari_synthseg.errors import InputError
from napari_synthseg.inference.locate_refine import locate
from napari_synthseg.inference.options import SegmentOptions, tissue_names
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.inference.preprocess import brain_center, prepare
from napari_synthseg.inference.state import load
from napari_synthseg.io import read_label_table, read_volume, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.volume import Volume
from tests.inference.fakes import LABELS, FakeLocateRefine, ball_scan

CPU = torch.device("cpu")


class Small(RobustLocateRefine):
    """Of a small field of view."""

    head_shape = (48, 48, 48)


@pytest.fixture(scope="module")
def model() -> RobustLocateRefine:
    torch.manual_seed(3)
    network = Small(LABELS, (4, 4, 4, 4), (4, 4, 4), (4, 4, 4, 4), 4).eval()
    for inner in (network.locator.s1, network.locator.s2):
        torch.nn.init.normal_(inner.position, std=2.0)  # classes that differ from place to place
    network.card = {"network": "robust", "name": "tiny", "confident_score": 0.0}  # type: ignore[assignment]
    return network


@pytest.mark.parametrize("flip", [True, False])
def test_the_fast_networks_maps_are_those_of_the_scan_as_it_is(model, flip) -> None:
    scan, _ = ball_scan()
    result = segment(scan, network=model, device="cpu", flip=flip)
    assert tuple(result.tissues) == TISSUE_MAPS
    prepared = prepare(scan)
    seen = locate(model, prepared.image, brain_center(prepared.image), CPU, flip=False)
    with torch.inference_mode():
        s1, denoised = model.locator.tissues(seen.image)
    for found, expected in zip(result.tissues.values(), (s1, denoised), strict=True):
        assert found.shape == scan.shape and len(np.unique(found.data)) > 1
        np.testing.assert_allclose(found.affine, scan.affine)
        first = np.linalg.solve(prepared.affine, scan.affine)[:3, 3] - seen.start
        x, y, z = (np.floor((np.arange(n) + a + 1e-3) / 2).astype(int) for n, a in zip(scan.shape, first, strict=True))
        ours = expected[0].argmax(0).numpy()[np.ix_(x, y, z)]
        assert np.mean(found.data != ours) < 0.01  # bfloat16 decides a few voxels otherwise


def test_the_inner_networks_run_once_a_pass(model) -> None:
    prepared, passes = prepare(ball_scan()[0]), []
    counter = model.locator.s1.register_forward_pre_hook(lambda *_: passes.append(1))
    locate(model, prepared.image, brain_center(prepared.image), CPU, flip=True)
    counter.remove()
    assert len(passes) == 4  # the views that are averaged


def test_a_plain_network_has_none() -> None:
    assert segment(ball_scan()[0], network=FakeLocateRefine(), device="cpu").tissues == {}


def test_maps_that_there_are_not_are_told(monkeypatch) -> None:
    scan, _ = ball_scan()
    result = segment(scan, network=FakeLocateRefine(), device="cpu", tissues=True)
    assert any("no tissue maps" in sentence for sentence in result.warnings)
    monkeypatch.setattr("napari_synthseg.weights.store.load_model", lambda _: FakeLocateRefine())
    with pytest.raises(InputError, match="find no tissues"):
        load(SegmentOptions(tissues=True))


def test_files_of_the_maps_stand_beside_the_labels(model, tmp_path) -> None:
    scan, _ = ball_scan()
    write_volume(tmp_path / "sub-01_T1w.nii.gz", scan)
    out = tmp_path / "out"
    run(segment_files(tmp_path / "sub-01_T1w.nii.gz", out, SegmentOptions(tissues=True), model=model))
    for name in ("S1", "denoised"):
        path = out / f"sub-01_T1w_desc-{name}_dseg.nii.gz"
        found = read_volume(path)
        assert found.shape == scan.shape and found.data.max() < len(anatomy.TISSUES)
        names = read_label_table(path)
        assert names and all(names[value] == tissue_names()[value] for value in names)
    plain = tmp_path / "plain"
    run(segment_files(tmp_path / "sub-01_T1w.nii.gz", plain, model=model))
    assert not list(plain.glob("*desc-*"))


def test_a_map_never_replaces_a_file_that_is_not_ours(model, tmp_path) -> None:
    write_volume(tmp_path / "a.nii.gz", ball_scan()[0])
    mine = tmp_path / "out" / "a_desc-S1_dseg.nii.gz"
    write_volume(mine, Volume(np.zeros((3, 3, 3), np.uint8), np.eye(4)))
    before = mine.read_bytes()
    with pytest.raises(InputError, match="no result of an earlier run"):
        run(segment_files(tmp_path / "a.nii.gz", tmp_path / "out", SegmentOptions(tissues=True), model=model))
    assert mine.read_bytes() == before
