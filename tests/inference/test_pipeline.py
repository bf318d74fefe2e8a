from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.volume import Volume, resample_image, resample_labels_to
from tests.inference.fakes import LABELS, FakeLocateRefine, FakeUNet, ball_scan


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
