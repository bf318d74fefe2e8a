"""From a scan to labels: options, tables of volumes, and scans lying in any way."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.volume import Volume, resample_image, resample_labels_to
from tests.conftest import examples
from tests.inference.fakes import LABELS, FakeLocateRefine, FakeUNet, ball_scan
from tests.test_volume import ORIENTATIONS


def reoriented(volume: Volume, codes: str) -> Volume:
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(volume.affine), nib.orientations.axcodes2ornt(codes)
    )
    image = nib.Nifti1Image(volume.data, volume.affine).as_reoriented(change)
    return Volume(np.asarray(image.dataobj), image.affine)


@pytest.mark.parametrize("codes", ["RAS", "LIA", "PSR", "IAL"])
def test_labels_lie_on_an_oblique_scan(codes):
    scan, labels = ball_scan()
    scan = Volume(scan.data, nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, -0.15)) @ scan.affine)
    turned = reoriented(scan, codes)
    result = segment(turned, network=FakeLocateRefine())
    np.testing.assert_array_equal(result.labels.affine, turned.affine)
    expected = reoriented(scan.with_data(labels), codes).data
    assert np.mean(result.labels.data == expected) > 0.99
    assert result.labels.data.dtype == np.int16


def test_the_1mm_grid_covers_the_scan_and_agrees():
    scan, labels = ball_scan()
    fine = resample_image(scan, 0.8)
    result = segment(fine, network=FakeLocateRefine(), grid="1mm")
    np.testing.assert_allclose(result.labels.spacing, 1)
    assert result.labels.axcodes == ("R", "A", "S")
    expected = resample_labels_to(scan.with_data(labels), result.labels.shape, result.labels.affine).data
    ours, theirs = result.labels.data == 2, expected == 2
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.9


@pytest.mark.parametrize("spacing", [1.0, 0.8])
def test_volumes_are_in_cubic_millimetres_whatever_the_voxels(spacing):
    scan, labels = ball_scan()
    result = segment(resample_image(scan, spacing), network=FakeLocateRefine())
    for value in (2, 41):  # partial volume around the others looks like yet others to this network
        assert result.volumes[value] == pytest.approx((labels == value).sum(), rel=0.15)
    assert result.intracranial_mm3 == pytest.approx(sum(result.volumes.values()))


def test_posteriors_come_only_when_asked_for():
    scan, _ = ball_scan()
    assert segment(scan, network=FakeLocateRefine()).posteriors is None
    result = segment(scan, network=FakeLocateRefine(), posteriors=True)
    assert result.posteriors.values == LABELS
    white = result.posteriors.channel(2).data
    assert white.shape == scan.shape
    assert white[result.labels.data == 2].min() > 0.3


def test_the_record_is_json_and_says_what_ran():
    result = segment(ball_scan()[0], network=FakeUNet(), flip=False)
    record = json.loads(json.dumps(result.record))
    assert record["weights"] == {"name": "fake-unet"}
    assert record["options"]["flip"] is False
    assert record["network"] == "unet"
    assert record["seconds"].keys() >= {"prepare", "predict"}


def test_threads_are_set_inside_and_put_back():
    before = torch.get_num_threads()
    seen = []

    class Curious(FakeLocateRefine):
        def locate(self, image):
            seen.append(torch.get_num_threads())
            return super().locate(image)

    segment(ball_scan()[0], network=Curious(), threads=before + 1)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("option", "says"), [("color", "no option 'color'"), ("block_mm", "block_mm must lie between")]
)
def test_options_that_cannot_be_are_refused(option, says):
    with pytest.raises(InputError, match=says):
        segment(ball_scan()[0], network=FakeLocateRefine(), **{option: 10})


# Scans lying in any way


BRIGHT, DARK = 2, 41
"""FreeSurfer values (white matter, left and right) that the network below gives to the halves of the ball."""
RADIUS = 28.0  # mm


class Halves(nn.Module):
    """Tells the bright half of a ball from its dark half, and both from the air."""

    labels = (0, BRIGHT, DARK)

    def __init__(self) -> None:
        super().__init__()
        self.card = {"network": "unet", "name": "halves"}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor([0.0, 1.0, 0.5]).view(1, -1, 1, 1, 1)
        return (-((image - levels) ** 2) * 1000).softmax(1)


geometries = st.fixed_dictionaries(
    {
        "orientation": st.sampled_from(ORIENTATIONS),
        "spacing": st.tuples(*[st.floats(0.3, 9.0)] * 3).filter(lambda s: np.prod(s) > 0.1),
        "angles": st.tuples(*[st.floats(-0.6, 0.6)] * 3),
        "shears": st.tuples(*[st.floats(-0.1, 0.1)] * 3),
        "origin": st.tuples(*[st.floats(-150, 150)] * 3),
        "direction": st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda u: np.linalg.norm(u) > 0.3),
    }
)


def halved_ball(orientation, spacing, angles, shears, origin, direction) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A scan of the ball, how far (mm) each voxel lies on its bright side, and how far inside the ball."""
    axes, signs = orientation
    matrix = np.zeros((3, 3))
    matrix[list(axes), range(3)] = np.multiply(signs, spacing)
    shear = np.eye(3)
    shear[[0, 0, 1], [1, 2, 2]] = shears
    matrix = nib.eulerangles.euler2mat(*angles) @ shear @ matrix
    shape = tuple(max(2, round(2.6 * RADIUS / step)) for step in np.linalg.norm(matrix, axis=0))
    middle = matrix @ (np.array(shape) - 1) / 2
    affine = nib.affines.from_matvec(matrix, np.array(origin) - middle)
    index = np.indices(shape).reshape(3, -1)
    place = (matrix @ index - middle[:, None]).T  # mm from the ball's middle
    u = np.array(direction) / np.linalg.norm(direction)
    bright, inside = (place @ u).reshape(shape), (RADIUS - np.linalg.norm(place, axis=1)).reshape(shape)
    image = np.where(inside > 0, np.where(bright > 0, 500.0, 250.0), 0.0).astype(np.float32)
    return Volume(image, affine), bright, inside


@given(geometries)
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_labels_come_back_to_their_voxels(geometry):
    scan, bright, inside = halved_ball(**geometry)
    result = segment(scan, network=Halves(), flip=False)
    assert result.labels.shape == scan.shape
    np.testing.assert_array_equal(result.labels.affine, scan.affine)
    assert set(np.unique(result.labels.data)) <= {0, BRIGHT, DARK}
    half = np.sqrt(3) / 2  # of the network's voxels of 1 mm, from their middle to a corner
    sure = (inside > half + np.max(scan.spacing)) & (np.abs(bright) > half)
    expected = np.where(bright > 0, BRIGHT, DARK)
    wrong = (result.labels.data != expected)[sure]
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size}"
    air = inside < -half - np.max(scan.spacing)
    assert (result.labels.data[air] == 0).all()


@pytest.mark.parametrize(
    "shape", [(1, 64, 64), (64, 1, 64), (64, 64, 1), (1, 1, 64), (1, 1, 1), (2, 2, 2), (512, 40, 3), (5, 512, 512)]
)
def test_sizes_from_one_voxel_to_many(shape):
    """Labels on the same voxels, or one sentence why there are none."""
    place = np.indices(shape).reshape(3, -1) - (np.array(shape)[:, None] - 1) / 2
    inside = np.linalg.norm(place, axis=0).reshape(shape) < 24
    image = np.where(inside, np.where(place[1].reshape(shape) > 0, 500.0, 250.0), 0.0).astype(np.float32)
    try:
        result = segment(Volume(image, np.eye(4)), network=Halves(), flip=False)
    except InputError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        assert min(shape) < 3
        return
    assert result.labels.shape == shape
    assert (result.labels.data[~inside] == 0).all()
