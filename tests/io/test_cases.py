"""Kinds of scans that users reported, through the jobs that read them: sizes, slices, codes, values of FreeSurfer."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from napari_synthseg.cli import main
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation import evaluate
from napari_synthseg.generator.degradation import degrade
from napari_synthseg.generator.files import DegradeOptions, degrade_files
from napari_synthseg.generator.presets import degradation
from napari_synthseg.generator.sample import prepared
from napari_synthseg.inference.preprocess import check_scan
from napari_synthseg.io import read_labels, read_volume, write_labels, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.prompting.one_object import prompt_file
from napari_synthseg.prompting.options import PromptOptions
from napari_synthseg.volume import Volume, resample_image
from tests.io.builders import nifti
from tests.prompting.tracer import Tracer, disc
from tests.training.builders import fast_weights

RNG = np.random.default_rng(0)
BLOCK = np.zeros((24, 20, 16), np.int16)
BLOCK[4:12, 4:16, 4:12], BLOCK[12:20, 4:16, 4:12] = 2, 41


def spaced(*mm: float) -> np.ndarray:
    return np.diag([*mm, 1.0])


# A layer or file without a unit, or with a wrong one

TOO_FAR = [spaced(2e4, 2e4, 2e4), spaced(1000, 1000, 1000), spaced(1, 1, 2e8)]


@pytest.mark.parametrize("affine", TOO_FAR)
def test_an_extent_that_no_memory_holds_is_refused_by_every_job(affine, tmp_path):
    scan = Volume(RNG.normal(100, 20, BLOCK.shape).astype(np.float32), affine)
    nib.save(nib.Nifti1Image(scan.data, affine), tmp_path / "scan.nii")
    jobs = [
        lambda: check_scan(scan),
        lambda: resample_image(scan, 1.0),
        lambda: degrade(scan, degradation().sample(seed=0)),
        lambda: run(degrade_files([tmp_path / "scan.nii"], tmp_path / "out", DegradeOptions())),
        lambda: prepared(scan.with_data(BLOCK)),
    ]
    for job in jobs:
        with pytest.raises(InputError, match=r"check its (scale or unit|units or scale)"):
            job()


def test_thick_slices_of_a_fine_label_map_are_refused_before_they_are_filled():
    with pytest.raises(InputError, match="The label map extends over"):
        prepared(Volume(BLOCK, spaced(1e-4, 1e-4, 20)))


# Small animals and samples


@pytest.mark.parametrize("mm", [0.039, 0.01, 0.0005])
def test_any_spacing_is_read_written_pointed_at_and_compared(mm, tmp_path):
    data = np.stack([disc((24, 30), 10, 8, 4)] * 5, -1) * 100 + RNG.uniform(0, 5, (24, 30, 5))
    write_volume(tmp_path / "rat.nii.gz", Volume(data.astype(np.float32), spaced(mm, mm, mm)))
    assert read_volume(tmp_path / "rat.nii.gz").spacing == pytest.approx([mm] * 3, rel=1e-5)
    job = prompt_file(
        tmp_path / "rat.nii.gz", tmp_path / "o.nii.gz", PromptOptions(inside=((10, 8, 2),)), session=Tracer()
    )
    written = run(job)
    assert float(written.size.split()[0]) > 0
    found = read_labels(written.file)
    assert evaluate(found, found, [1])["structures"]["1"]["dice"] == 1
    assert evaluate(found, found)["notes"][0].endswith("holds a structure of the brain: score others by --values 1.")
    with pytest.raises(InputError, match="absurd spacing"):
        check_scan(read_volume(tmp_path / "rat.nii.gz"))


# Slices


@pytest.mark.parametrize(("shape", "index"), [((24, 30), None), ((24, 30, 1), None), ((24, 30, 1, 4), 3)])
def test_a_slice_is_pointed_at_and_not_segmented(shape, index, tmp_path):
    data = np.broadcast_to(disc((24, 30), 10, 8, 4).reshape(24, 30, *[1] * (len(shape) - 2)), shape) * 100
    path = nifti(tmp_path / "flat.nii.gz", data + RNG.uniform(0, 5, shape).astype(np.float32), spaced(1.5, 1.5, 8))
    options = PromptOptions(inside=((10, 8, 0),), index=index)
    found = read_labels(run(prompt_file(path, tmp_path / "o.nii.gz", options, session=Tracer())).file)
    assert found.shape == (24, 30, 1) and found.data.any()
    with pytest.raises(InputError, match="single slice|3D"):
        check_scan(read_volume(path, index=index))


# Values of FreeSurfer's parcellations


def test_values_of_no_structure_are_said(tmp_path, capsys):
    truth = np.where(BLOCK == 41, 203, BLOCK)
    truth[BLOCK == 2] = 9001
    for name, labels in (("pred", BLOCK), ("truth", truth)):
        write_labels(tmp_path / f"{name}.nii.gz", Volume(labels.astype(np.int32), np.eye(4)))
    words = ["evaluate", str(tmp_path / "pred.nii.gz"), str(tmp_path / "truth.nii.gz")]
    assert main(words) == 0
    assert "truth.nii.gz holds values of no structure of the brain (203, 9001)" in capsys.readouterr().out
    assert main([*words, "--values", "2", "41", "203", "9001"]) == 0
    assert "of no structure" not in capsys.readouterr().out, "what was asked for is scored"


# Spaces


@pytest.mark.parametrize("codes", [(4, 4), (2, 2), (4, 0), (0, 3)])
def test_results_lie_in_the_space_that_the_scan_names(codes, tmp_path):
    data = RNG.normal(100, 20, (40, 30, 20)).astype(np.float32)
    path = nifti(tmp_path / "scan.nii.gz", data, spaced(2, 2, 3), sform=codes[0], qform=codes[1])
    scan = nib.load(path)
    scan.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"a note"))
    scan.header.set_xyzt_units("mm", "msec")
    nib.save(scan, path)
    run(degrade_files([path], tmp_path / "out", DegradeOptions()))
    run(prompt_file(path, tmp_path / "p.nii.gz", PromptOptions(inside=((10, 8, 2),)), session=Tracer()))
    weights = fast_weights(tmp_path / "tiny.safetensors", (0, 2, 41))
    words = ["segment", str(path), "-o", str(tmp_path / "s.nii.gz"), "--posteriors", "--weights", str(weights)]
    assert main(words) == 0
    labels, image = 1002, 0
    for made, intent in (
        ("out/scan_0000_image", image), ("p", labels), ("s", labels), ("s_probseg", image)
    ):  # fmt: skip
        result = nib.load(tmp_path / f"{made}.nii.gz")
        header = result.header
        assert (int(header["sform_code"]), int(header["qform_code"]), int(header["intent_code"])) == (*codes, intent)
        assert header.get_xyzt_units() == ("mm", "msec") and header.extensions[0].get_content() == b"a note"
        assert np.array_equal(result.affine, scan.affine) and np.isfinite(result.get_fdata()).all()
