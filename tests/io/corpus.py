"""Broken and unsuitable scans of many kinds, made by functions of a folder: `CORPUS` by name."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np

from napari_synthseg.io import write_volume
from napari_synthseg.volume import Volume
from tests.io.builders import AFFINE, image_data, nifti

SHAPE = (20, 20, 20)
FORMATS = ("nii", "nii.gz", "mgh", "mgz", "nrrd")
JUNK: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\x5c",
    "bytes of every value": bytes(range(256)) * 8,
    "a page of a failed download": b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20,
    "an error as JSON": b'{"error": "access denied"}',
    "a pointer of git-annex": b"/annex/objects/MD5E-s9--a.nii.gz\n",
    "a link of git-annex as text": b"../../.git/annex/objects/X4/0p/MD5E-s9--a.nii.gz/MD5E-s9--a.nii.gz",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
}
NIFTI_FIELDS: dict[str, dict] = {
    "no form has a code": {"sform_code": 0, "qform_code": 0},
    "singular affine": {"srow_z": [-1, 0, 0, 0]},
    "affine of zeros": {"srow_x": [0] * 4, "srow_y": [0] * 4, "srow_z": [0] * 4},
    "affine with NaN": {"srow_x": [np.nan, 0, 0, 0]},
    "affine with infinity": {"srow_y": [np.inf, 1, 0, 0]},
    "quaternion with NaN": {"sform_code": 0, "quatern_b": np.nan},
    "impossible quaternion": {"sform_code": 0, "quatern_b": 3.0},
    "qform with spacing 0": {"sform_code": 0, "pixdim": [1, 1, 0, 1, 0, 0, 0, 0]},
    "spacing NaN": {"pixdim": [1, 1, np.nan, 1, 0, 0, 0, 0]},
    "an axis of 0 voxels": {"dim": [3, 0, 5, 5, 1, 1, 1, 1]},
    "an axis of -6 voxels": {"dim": [3, -6, 7, 8, 1, 1, 1, 1]},
    "9 dimensions": {"dim": [9, 6, 7, 8, 1, 1, 1, 1]},
    "-1 dimensions": {"dim": [-1, 6, 7, 8, 1, 1, 1, 1]},
    "more voxels than there are bytes": {"dim": [3, 900, 900, 90, 1, 1, 1, 1]},
    "more voxels than any scan": {"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]},
    "unknown type of voxels": {"datatype": 777},
    "type of voxels 0": {"datatype": 0},
    "voxels beyond the end": {"vox_offset": 1e6},
    "voxels before the file": {"vox_offset": -400},
    "a slope of NaN for every voxel": {"scl_slope": 1.0, "scl_inter": np.nan},
    "voxels of 18 m": {"srow_x": [18000, 0, 0, 0], "srow_y": [0, 18000, 0, 0], "srow_z": [0, 0, 18000, 0]},
    "voxels of a nanometer": {"srow_x": [1e-6, 0, 0, 0], "srow_y": [0, 1e-6, 0, 0], "srow_z": [0, 0, 1e-6, 0]},
}
NRRD_HEADERS: dict[str, dict] = {
    "no place": {},
    "spacings alone": {"spacings": [1, 1, 1]},
    "directions without a space": {"space dimension": 3, "space directions": np.eye(3)},
    "a space without anatomy": {"space": "scanner-xyz", "space directions": np.eye(3)},
    "directions of zeros": {"space": "LPS", "space directions": np.zeros((3, 3))},
    "directions with NaN": {"space": "LPS", "space directions": np.diag([1, np.nan, 1])},
    "all axes in a plane": {"space": "LPS", "space directions": np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])},
    "colors": {"space": "LPS", "space directions": np.eye(3), "kinds": ["RGB-color", "domain", "domain"]},
}
EMPTY_HEADER = {"space": "LPS", "space directions": np.eye(3)}


def scan(dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, SHAPE).astype(dtype)


def junk(folder: Path, ending: str, content: bytes) -> Path:
    path = folder / f"scan.{ending}"
    path.write_bytes(content)
    return path


def cut(folder: Path, ending: str, keep: float) -> Path:
    """A file of which only the first part arrived."""
    path = folder / f"scan.{ending}"
    write_volume(path, Volume(scan(), AFFINE))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    return path


def overwritten(folder: Path, ending: str) -> Path:
    """A packed file with a hole in it."""
    path = folder / f"scan.{ending}"
    write_volume(path, Volume(scan(), AFFINE))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 400] = bytes(400)
    path.write_bytes(bytes(raw))
    return path


def bomb(folder: Path, ending: str, series: bool = False) -> Path:
    """A packed file of zeros, whose header claims 5e9 voxels of a byte; it is as short as its packed part."""
    if ending == "nrrd":
        path = nrrd_of(folder, EMPTY_HEADER)
        head, _, content = path.read_bytes().partition(b"\n\n")
        head = re.sub(rb"sizes: .*", b"sizes: 1700 1700 1870", re.sub(rb"type: .*", b"type: uchar", head))
        path.write_bytes(head + b"\n\n" + content)
        return path
    if ending == "mgz":
        header = struct.pack(">7i", 1, 1700, 1700, 1870, 1, 0, 0) + struct.pack(">h", 1)
        header += struct.pack(">15f", 1, 1, 1, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0)
    else:
        raw = nib.Nifti1Header()
        raw.set_data_dtype(np.uint8)
        raw.set_data_shape((100, 100, 100, 5400) if series else (1700, 1700, 1870))
        raw.set_sform(np.eye(4), 1)
        header = raw.binaryblock + bytes(4)
    path = folder / f"scan.{ending}"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header)
        file.write(bytes(1 << 22))
    return path


def voxels(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    return nifti(folder / "scan.nii.gz", change(scan()))


def of_shape(folder: Path, *shape: int) -> Path:
    return nifti(folder / "scan.nii", image_data(np.int16, shape))


def header_patched(folder: Path, fields: dict) -> Path:
    return nifti(folder / "scan.nii", scan(), **fields)


def nrrd_of(folder: Path, header: dict) -> Path:
    path = folder / "scan.nrrd"
    nrrd.write(str(path), image_data(), header)
    return path


def nrrd_without_data(folder: Path) -> Path:
    path = folder / "scan.nhdr"
    nrrd.write(str(path), image_data(), EMPTY_HEADER)
    next(p for p in folder.iterdir() if p != path).unlink()
    return path


def analyze(folder: Path) -> Path:
    nib.save(nib.AnalyzeImage(image_data(), np.eye(4)), folder / "scan.hdr")
    return folder / "scan.hdr"


def mgh_without_orientation(folder: Path, ending: str) -> Path:
    path = folder / "scan.mgh"
    write_volume(path, Volume(image_data(), AFFINE))
    raw = bytearray(path.read_bytes())
    raw[28:30] = struct.pack(">h", 0)
    return junk(folder, ending, gzip.compress(bytes(raw)) if ending == "mgz" else bytes(raw))


def dicom(folder: Path, **fields: object) -> Path:
    from tests.io.test_dicom import series

    return series(folder / "series", **fields)  # type: ignore[arg-type]


def dicom_cut(folder: Path) -> Path:
    for path in dicom(folder).iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    return folder / "series"


def colored(data: np.ndarray) -> np.ndarray:
    return np.zeros(data.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])


def mostly(value: float, data: np.ndarray) -> np.ndarray:
    data[:14] = value
    return data


CORPUS: dict[str, Callable[[Path], Path]] = {
    **{f"{end}: {what}": partial(junk, ending=end, content=raw) for end in FORMATS for what, raw in JUNK.items()},
    **{f"{end}: cut at {keep:.0%}": partial(cut, ending=end, keep=keep) for end in FORMATS for keep in (0.002, 0.5)},
    **{f"{end}: a hole": partial(overwritten, ending=end) for end in ("nii.gz", "mgz")},
    **{f"{end}: a bomb": partial(bomb, ending=end) for end in ("nii.gz", "mgz", "nrrd")},
    "nii.gz: a bomb of many volumes": partial(bomb, ending="nii.gz", series=True),
    **{f"NIfTI: {what}": partial(header_patched, fields=fields) for what, fields in NIFTI_FIELDS.items()},
    **{f"NRRD: {what}": partial(nrrd_of, header=header) for what, header in NRRD_HEADERS.items()},
    "NRRD: its data file is missing": nrrd_without_data,
    "Analyze": analyze,
    **{f"{end}: no orientation": partial(mgh_without_orientation, ending=end) for end in ("mgh", "mgz")},
    "all voxels 0": partial(voxels, change=np.zeros_like),
    "all voxels 42": partial(voxels, change=partial(np.full_like, fill_value=42)),
    "all voxels NaN": partial(voxels, change=partial(np.full_like, fill_value=np.nan)),
    "most voxels NaN": partial(voxels, change=partial(mostly, np.nan)),
    "most voxels infinite": partial(voxels, change=partial(mostly, np.inf)),
    "complex voxels": partial(voxels, change=lambda data: data.astype(np.complex64)),
    "colors": partial(voxels, change=colored),
    "a series": lambda folder: of_shape(folder, 8, 8, 8, 3),
    "a vector field": lambda folder: of_shape(folder, 8, 8, 8, 1, 3),
    "5 dimensions": lambda folder: of_shape(folder, 6, 6, 6, 2, 2),
    "a slice": lambda folder: of_shape(folder, 64, 64),
    "a row": lambda folder: of_shape(folder, 64),
    "DICOM: cut": dicom_cut,
    "DICOM: a slice is missing": partial(dicom, skip=(3,)),
    "DICOM: no place": partial(dicom, ImagePositionPatient=None),
    "DICOM: no directions": partial(dicom, orientation=None),
    "DICOM: no voxel size": partial(dicom, PixelSpacing=None),
    "DICOM: colors": partial(dicom, SamplesPerPixel=3),
    "DICOM: a mosaic": partial(dicom, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
    "DICOM: more rows than pixels": partial(dicom, Rows=4000),
    "DICOM: a mark and nothing more": lambda folder: junk(folder, "dcm", bytes(128) + b"DICM"),
}  # fmt: skip
SAYS = {
    ": empty": "empty file",
    "a pointer": "datalad get",
    "cut at 50%": "damaged or incomplete",
    "a bomb": "cannot hold them",
    "quaternion": "no rotation",
    "slope of NaN": "header that cannot be right (Valid slope but invalid intercept nan)",
    "unknown type": "header that cannot be right",
    "no form has a code": "left and right are unknown",
    "singular affine": "spacing of 0 mm",
    "affine of zeros": "spacing of 0 mm",
    "affine with NaN": "NaN or infinite",
    "with spacing 0": "spacing",
    "spacing NaN": "spacing",
    "more voxels than any scan": "no scan has",
    "NRRD: no place": "left and right are unknown",
    "spacings alone": "left and right are unknown",
    "directions without a space": "left from right",
    "a space without anatomy": "left from right",
    "directions of zeros": "spacing of 0 mm",
    "all axes in a plane": "singular",
    "Analyze": "Analyze",
    "no orientation": "no orientation",
    "all voxels 0": "all its voxels are 0",
    "all voxels 42": "all its voxels are 42",
    "all voxels NaN": "100% of its voxels",
    "most voxels": "70% of its voxels",
    "complex voxels": "complex",
    "colors": "color",
    "5 dimensions": "5 dimensions",
    "a series": "holds 3 volumes: choose one by its index, 0 to 2",
    "DICOM: cut": "damaged or incomplete",
    "a slice is missing": "unevenly spaced",
    "DICOM: no place": "ImagePositionPatient",
    "no directions": "ImageOrientationPatient",
    "no voxel size": "PixelSpacing",
    "a mosaic": "mosaic",
    "a mark and nothing more": "no DICOM images",
}
"""What a sentence says of a scan that has this in its name."""
FINE: dict[str, tuple[str, ...]] = {
    "segment": (),
    "evaluate": ("all voxels 0", "all voxels 42", "a slice", "a row"),
    "prompt": ("NIfTI: voxels of 18 m", "NIfTI: voxels of a nanometer"),
}
"""Those that a command takes, though they are no scans of a head."""
