"""DICOM series: slices in whatever order, the affine of the scanner, one volume of several, nothing guessed."""

from __future__ import annotations

import gzip
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.io import read_scans, read_volume
from tests.io.builders import image_data, refusal

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid  # noqa: E402

SERIES = generate_uid(entropy_srcs=["series"])
SLICES = image_data(np.int16)  # (columns, rows, slices)
SAGITTAL = [0, 1, 0, 0, 0, -1]


def header(orientation, spacing=(1.5, 2.0)) -> Dataset:
    """Everything but position and pixels; `spacing` is (rows, columns) in mm as DICOM has it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID = SERIES
    ds.Rows, ds.Columns = SLICES.shape[1], SLICES.shape[0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    if orientation is not None:
        ds.ImageOrientationPatient, ds.PixelSpacing = orientation, list(spacing)
    return ds


def save(ds: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def series(folder: Path, prefix="", *, data=SLICES, orientation=SAGITTAL, step=(3.0, 0, 0), skip=(), **fields) -> Path:
    """One file a slice, beside those that are there; the names are not in the order of the slices."""
    for number in range(data.shape[2]):
        if number in skip:
            continue
        ds = header(orientation)
        ds.ImagePositionPatient = [float(p) for p in np.array([-10.0, -20.0, 30.0]) + number * np.array(step)]
        ds.InstanceNumber = number
        ds.PixelData = np.ascontiguousarray(data[:, :, number].T).tobytes()
        for name, value in fields.items():
            setattr(ds, name, value)
        save(ds, folder / f"{prefix}{(number * 5) % 8:02d}.dcm")
    return folder


def test_a_series_is_read(tmp_path):
    v = read_volume(series(tmp_path / "s"))
    # LPS: columns run along +y (2 mm), rows along -z (1.5 mm), slices along +x (3 mm); RAS turns x and y round. The
    # normal of these slices is -x, so the last slice comes first.
    last = [-10 + 7 * 3, -20, 30]
    expected = [[0, 0, 3, -last[0]], [-2, 0, 0, -last[1]], [0, -1.5, 0, last[2]], [0, 0, 0, 1]]
    assert np.allclose(v.affine, expected)
    assert np.array_equal(v.data, SLICES[:, :, ::-1]) and v.data.dtype == np.int16


def test_rescaling_to_hounsfield_units(tmp_path):
    v = read_volume(series(tmp_path / "s", RescaleSlope=2, RescaleIntercept=-1024))
    assert np.array_equal(v.data, 2.0 * SLICES[:, :, ::-1] - 1024)


def test_a_tilted_gantry_gives_a_sheared_grid(tmp_path):
    v = read_volume(series(tmp_path / "s", step=(3.0, 0.0, 0.8)))
    assert np.allclose(v.affine[:3, 2], [3, 0, -0.8]) and np.isclose(v.voxel_mm3, 1.5 * 2 * 3)


def test_repeated_positions_are_volumes(tmp_path):
    series(tmp_path / "s", "a", AcquisitionNumber=1)
    series(tmp_path / "s", "b", AcquisitionNumber=2, data=SLICES + 7)
    assert "holds 2 volumes" in refusal(tmp_path / "s")
    assert np.array_equal(read_volume(tmp_path / "s", index=1).data, SLICES[:, :, ::-1] + 7)
    (scan,) = read_scans(tmp_path / "s")  # a viewer gets all
    assert np.array_equal(scan.data[..., 1], scan.data[..., 0] + 7)


def test_a_multi_frame_file(tmp_path):
    classic = read_volume(series(tmp_path / "s"))
    v = read_volume(enhanced(tmp_path / "multi.dcm"))
    assert np.array_equal(v.data, classic.data) and np.allclose(v.affine, classic.affine)


# What cannot be used


def test_two_series(tmp_path):
    series(tmp_path / "s")
    extra = pydicom.dcmread(tmp_path / "s" / "00.dcm")
    extra.SeriesInstanceUID = generate_uid()
    save(extra, tmp_path / "s" / "extra.dcm")
    assert read_volume(tmp_path / "s").shape == SLICES.shape, "a scout is left out"
    series(tmp_path / "s", "t2_", SeriesInstanceUID=generate_uid(), SeriesDescription="T2")
    assert "2 DICOM series" in refusal(tmp_path / "s") and "(T2, 6 x 7 x 8" in refusal(tmp_path / "s")


def test_a_localizer_among_the_slices(tmp_path):
    series(tmp_path / "s")
    extra = pydicom.dcmread(tmp_path / "s" / "00.dcm")
    extra.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    save(extra, tmp_path / "s" / "extra.dcm")
    assert "different size or direction" in refusal(tmp_path / "s")


def test_a_slice_that_is_there_twice(tmp_path):
    folder = series(tmp_path / "s")
    (folder / "copy.dcm").write_bytes((folder / "00.dcm").read_bytes())
    assert read_volume(folder).shape == SLICES.shape, "a copy is no other image"
    again = pydicom.dcmread(folder / "00.dcm")
    again.SOPInstanceUID = generate_uid()
    save(again, folder / "again.dcm")
    assert "some slices 1 and some 2 times" in refusal(folder)


def test_a_single_slice(tmp_path):
    v = read_volume(series(tmp_path / "s", skip=range(1, 8), SliceThickness=5))
    assert v.shape == (6, 7, 1) and np.allclose(v.spacing, [2, 1.5, 5])


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    folder = series(tmp_path / "s")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "napari-synthseg[dicom]" in refusal(folder)


def test_a_viewer_gets_every_series_of_a_folder(tmp_path, caplog):
    folder = series(tmp_path / "s", SeriesDescription="T1 sagittal", SeriesNumber=2)
    series(folder, "x", data=SLICES + 7, SeriesInstanceUID=generate_uid(), SeriesNumber=1)
    series(folder, "y", skip=range(1, 8), SeriesInstanceUID=generate_uid(), SeriesNumber=3)  # a scout
    with caplog.at_level(logging.WARNING):
        first, second = read_scans(folder)
    assert second.name == "T1 sagittal"
    assert np.array_equal(first.data, second.data + 7)
    assert "single slice" in caplog.text


# Order and identity come from headers, not from names


def enhanced(path: Path, *, values=(0,), times=(1,), number=1, acquisition=None) -> Path:
    """A multi-frame file with a volume of 8 frames for each of `values`, which is added to the voxels."""
    ds = header(None)
    ds.NumberOfFrames, ds.InstanceNumber = 8 * len(values), number
    if acquisition is not None:
        ds.AcquisitionNumber = acquisition
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [1.5, 2.0], SAGITTAL
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for time in times:
        for place in range(8):
            position, content, frame = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = [-10.0 + 3 * place, -20.0, 30.0]
            content.TemporalPositionIndex = time
            frame.PlanePositionSequence, frame.FrameContentSequence = Sequence([position]), Sequence([content])
            frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.PixelData = b"".join(np.ascontiguousarray((SLICES + v).transpose(2, 1, 0)).tobytes() for v in values)
    save(ds, path)
    return path


def levels(path: Path) -> list[int]:
    (scan,) = read_scans(path)
    return [int(scan.volume(index).max()) - int(SLICES.max()) for index in range(scan.count)]


@pytest.mark.parametrize("by", ["number", "acquisition"])
def test_enhanced_files_are_in_the_order_of_their_numbers(tmp_path, by):
    for place in range(1, 12):
        enhanced(tmp_path / "s" / f"{place}.dcm", values=(place,), **{by: place})
    assert levels(tmp_path / "s") == list(range(1, 12))


def test_frames_are_in_the_order_of_their_times_or_without_those_of_their_dates(tmp_path):
    path = enhanced(tmp_path / "a.dcm", values=(5, 3), times=(2, 1))
    assert levels(path) == [3, 5]
    ds = pydicom.dcmread(path)
    for frame in ds.PerFrameFunctionalGroupsSequence:
        content = frame.FrameContentSequence[0]
        content.FrameAcquisitionDateTime = f"2024010112000{content.TemporalPositionIndex}.5"
        del content.TemporalPositionIndex
    save(ds, path)
    assert levels(path) == [3, 5]


def test_frames_that_do_not_say_where_they_lie_are_refused(tmp_path):
    path = series(tmp_path / "s") / "00.dcm"
    ds = pydicom.dcmread(path)
    ds.NumberOfFrames, ds.PixelData = 3, ds.PixelData * 3
    save(ds, path)
    assert "holds frames that do not say where they lie" in refusal(path)


def mixed_series(folder: Path) -> Path:
    for place, (echo, kind) in enumerate([(9.8, "P"), (4.9, "P"), (9.8, "M"), (4.9, "M")]):
        of = {"EchoTime": echo, "ImageType": ["ORIGINAL", "PRIMARY", kind], "AcquisitionNumber": 1}
        series(folder, f"{place}_", data=SLICES + place, **of)
    return folder


def test_echoes_and_phase_are_told_apart_by_name(tmp_path):
    folder = mixed_series(tmp_path / "s")
    assert levels(folder) == [3, 2, 1, 0]
    expected = ("echo 1, magnitude", "echo 2, magnitude", "echo 1, phase", "echo 2, phase")
    assert read_scans(folder)[0].volume_names == expected
    assert "(0: echo 1, magnitude; 1: echo 2, magnitude" in refusal(folder)


def test_a_number_that_cannot_be_read_breaks_nothing(tmp_path):
    folder = series(tmp_path / "s")
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        ds.add_new(0x00200012, "LO", "first")  # AcquisitionNumber
        save(ds, file)
    assert read_volume(folder).shape == SLICES.shape


def test_a_study_is_read_if_it_has_one_series_and_listed_if_more(tmp_path):
    series(tmp_path / "study" / "S1" / "images", SeriesDescription="T1")
    (tmp_path / "study" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert read_volume(tmp_path / "study").shape == SLICES.shape
    series(tmp_path / "study" / "S2", SeriesInstanceUID=generate_uid(), SeriesDescription="T2")
    message = refusal(tmp_path / "study")
    assert f"{tmp_path / 'study' / 'S2'}/" in message and "T1, 6 x 7 x 8" in message


@pytest.mark.parametrize("name", ["1.2.840.113619.2.5", "I10", "a.img", ".dcm"])
def test_a_slice_of_any_name_stands_for_its_series(tmp_path, name):
    folder = series(tmp_path / "s")
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"{number}{name}")
    (folder / "notes.txt").write_text("not DICOM")
    assert np.array_equal(read_volume(folder / f"3{name}").data, read_volume(folder).data)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("TriggerTime", (600, 0, 300)),
        ("AcquisitionTime", ("120500.5", "115959.0", "120000")),
        ("DiffusionBValue", (9, 0, 5)),
    ],
)
def test_volumes_of_the_same_numbers_are_sorted_by_trigger_time_or_diffusion(tmp_path, field, values):
    for place, value in enumerate(values):  # the names are in the order of `values`
        series(tmp_path / "s", f"{place}_", data=SLICES + place, **{field: value})
    assert levels(tmp_path / "s") == [1, 2, 0]
    assert ("0: b 0; 1: b 5; 2: b 9" in refusal(tmp_path / "s")) == (field == "DiffusionBValue")


@pytest.mark.parametrize("name", ["7", "00.dcm", "IM.img"])
@pytest.mark.parametrize("pointer", [None, "version https://git-lfs.github.com/spec/v1\n", "/annex/objects/MD5-1"])
def test_a_series_of_which_a_slice_was_not_fetched_is_refused(tmp_path, name, pointer):
    folder = series(tmp_path / "s")
    (folder / "00.dcm").unlink()  # the first in place: the others look complete
    if pointer is None:
        (folder / name).symlink_to("../.git/annex/objects/x")
    else:
        (folder / name).write_text(pointer)
    with pytest.raises(
        InputError, match=r"/s/" + name + r" .*(is a link to a missing file|is a pointer of).*datalad get"
    ):
        read_volume(folder)


def test_packed_slices_and_those_without_the_mark_are_read(tmp_path):
    folder = series(tmp_path / "s")
    for number, file in enumerate(sorted(folder.iterdir())):
        raw = file.read_bytes()
        if number % 2:
            Path(f"{file}.gz").write_bytes(gzip.compress(raw))
            file.unlink()
        else:
            file.write_bytes(raw[132:])
    assert np.array_equal(read_volume(folder).data, SLICES[:, :, ::-1])
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert read_volume(folder / "DICOMDIR").shape == SLICES.shape


# Compressed files


def compressed(folder: Path, name: str = "MR_small_jpeg_ls_lossless") -> Path:
    """Slices of a file that pydicom brings for its own tests, by default in JPEG-LS."""
    source = Path(pydicom.__file__).parent / "data" / "test_files" / f"{name}.dcm"
    for number in range(3):
        ds = pydicom.dcmread(source)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber, ds.ImagePositionPatient = number + 1, [0, 0, 5 * number]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        save(ds, folder / f"{number}.dcm")
    return folder


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless", "MR_small_jp2klossless", "MR_small_RLE"])
def test_compressed_series_are_decoded(tmp_path, name):
    pytest.importorskip("gdcm")
    plain = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / "MR_small.dcm").pixel_array
    assert np.array_equal(read_volume(compressed(tmp_path / "s", name)).data[..., 0], plain.T)


@pytest.mark.parametrize("method", ["JPEGLosslessProcess14_1", "JPEGLosslessProcess14"])
def test_what_clinical_archives_send_is_decoded(tmp_path, method):
    gdcm = pytest.importorskip("gdcm")
    for file in (folder := series(tmp_path / "s")).iterdir():
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(file))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, method)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(file))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write() and pydicom.dcmread(file).file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(read_volume(folder).data, read_volume(series(tmp_path / "plain")).data)


def test_twelve_bits_that_no_decoder_reads_are_not_called_damaged(tmp_path):
    message = refusal(compressed(tmp_path / "s", "JPEG-lossy"))
    assert "JPEG Extended" in message and "dcm2niix" in message and "damaged" not in message


def test_a_transfer_syntax_of_a_maker_is_not_called_damaged(tmp_path):
    folder = series(tmp_path / "s")
    for file in folder.iterdir():
        raw = file.read_bytes()
        assert b"1.2.840.10008.1.2.1\0" in raw
        file.write_bytes(raw.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.3\0\0"))
    message = refusal(folder)
    assert "1.2.840.113619.5.3" in message and "dcm2niix" in message and "damaged" not in message


def test_without_a_decoder_the_compression_is_named(tmp_path, monkeypatch):
    def missing(self):
        raise RuntimeError("Unable to decompress because all plugins are missing dependencies: gdcm")

    monkeypatch.setattr(pydicom.dataset.Dataset, "pixel_array", property(missing))
    message = refusal(compressed(tmp_path / "s"))
    assert "JPEG-LS Lossless" in message and "napari-synthseg[dicom]" in message and "damaged" not in message
