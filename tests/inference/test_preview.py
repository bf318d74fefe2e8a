from __future__ import annotations

import numpy as np
from matplotlib.image import imread

from napari_synthseg.inference.preview import mosaic, write_preview
from napari_synthseg.volume import Volume
from tests.inference.fakes import ball_scan


def test_the_picture_shows_three_planes_in_our_colors(tmp_path):
    scan, labels = ball_scan()
    write_preview(tmp_path / "p.png", scan, scan.with_data(labels), title="ball")
    picture = imread(tmp_path / "p.png")
    assert picture.shape[0] > 150 and picture.shape[1] > 300
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    cortex = np.array([205, 62, 78]) / 255
    assert (np.abs(picture[..., :3] - cortex).max(-1) < 0.02).sum() > 100


def test_left_is_left():
    scan, labels = ball_scan()
    only_left = np.where((labels > 0) & (labels < 40) & (labels != 24), labels, 0)
    picture, places = mosaic(scan, scan.with_data(only_left), columns=1)
    letters = {letter: x for letter, x, y in places if y < picture.shape[0] / 3}
    assert letters["L"] < letters["R"]
    axial = picture[: picture.shape[0] // 3]
    colored = np.ptp(axial.astype(int), axis=2) > 40
    columns = np.flatnonzero(colored.any(0))
    gray = np.flatnonzero(axial.sum((0, 2)))
    assert columns.mean() < gray.mean()


def test_anisotropic_voxels_are_shown_in_proportion():
    scan, labels = ball_scan()
    thick = Volume(scan.data[:, :, ::4], scan.affine @ np.diag([1, 1, 4, 1]))
    full, _ = mosaic(scan, scan.with_data(labels))
    picture, _ = mosaic(thick, thick.with_data(labels[:, :, ::4]))
    assert abs(picture.shape[0] - full.shape[0]) < 40


def test_an_empty_label_map_still_gives_a_picture():
    scan, labels = ball_scan()
    picture, _ = mosaic(scan, scan.with_data(np.zeros_like(labels)))
    assert picture.dtype == np.uint8 and picture.any()
