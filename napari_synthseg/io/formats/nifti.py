"""NIfTI-1 and NIfTI-2 through nibabel: which affine holds, its units, and one volume of a 4D file.

The affine is the sform if `sform_code` > 0, else the qform if `qform_code` > 0; a file with neither is refused, since
nobody could tell left from right in it.
"""

from __future__ import annotations

import gzip
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Pair

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks
from napari_synthseg.io.formats import Format, files_of, first_bytes, is_gzip, register, suffix
from napari_synthseg.io.scan import MOST_AT_ONCE, FileHeader, ScanFile, Series

logger = logging.getLogger(__name__)
nib.imageglobals.logger.setLevel(logging.CRITICAL)  # it writes what is wrong with a header before it raises that

_SECONDS_PER_UNIT = {8: 1.0, 16: 1e-3, 24: 1e-6}  # NIfTI's codes for second, millisecond, microsecond
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI's codes for meter, millimeter, micrometer
_LABEL_INTENT = 1002
_HEADERS: dict[str, Any] = {"nifti1": nib.Nifti1Header, "nifti2": nib.Nifti2Header}
_PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")
SAME_MM = 1e-6
"""Affines that differ by less are the same."""
_SHEAR = 1e-4


@register
class NIfTI(Format):
    """NIfTI files and pairs of header and voxels."""

    name = "NIfTI"
    writable = (".nii.gz", ".nii")
    endings = (*writable, *_PAIRS)
    parts = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img", ".img.gz")}

    def recognizes(self, start: bytes) -> bool:
        return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")

    def open(self, path: Path) -> list[ScanFile]:
        with checks.reading(path, self.name):
            start = first_bytes(path)  # a file that says it holds both is none of a pair, whatever its name
            pair = suffix(path) in _PAIRS and start[344:347] != b"n+1" and start[4:7] != b"n+2"
            if pair and (name := Nifti1Pair.filespec_to_file_map(path)["header"].filename):
                start = first_bytes(Path(name))
            if self.recognizes(start) or not pair:
                _check_header(path, start)
            image = nib.load(path, mmap=False) if pair else load_image(path, _image_class(start))
            if not isinstance(image, Nifti1Pair):
                raise InputError(f"{path} is an Analyze file, which does not say left from right: convert it to NIfTI.")
            if not pair:  # voxels never begin within the header, though some programs write an offset of 0
                voxels: Any = image.dataobj
                voxels._offset = max(voxels.offset, image.header.single_vox_offset)
            affine = checks.check_affine(path, _affine(path, image.header))
            header: Any = image.header
            is_labels = int(header["intent_code"]) == _LABEL_INTENT
            return [scan_of(path, image, affine, _kept(header), _step(header), is_labels)]

    def write(
        self, path: Path, data: np.ndarray, affine: np.ndarray, header: FileHeader | None, step: float | None
    ) -> None:
        """Write NIfTI-1, or NIfTI-2 if the voxels came from one, with `header_for` them."""
        out = header_for(data.shape, data.dtype, affine, header)
        if data.ndim == 4 and step is not None:
            _set_step(out, step)
        kind = nib.Nifti2Image if isinstance(out, nib.Nifti2Header) else nib.Nifti1Image
        nib.save(kind(data, None, out), path)


def header_for(shape: Sequence[int], dtype: Any, affine: np.ndarray, header: FileHeader | None) -> Any:
    """Return a header of nibabel's for voxels on the grid of a file, or for its own, with its units and extensions.

    The forms of a header that says the same affine stay as they are, to the bit. Else both forms are set, with the
    codes of that header or 1 (scanner space); a sheared grid has no qform. A header says that voxels are labels by
    its intent, and has no display range then.
    """
    kept = header if header is not None and header.form in _HEADERS else None
    form = "nifti2" if (kept is not None and kept.form == "nifti2") or max(shape) > 32767 else "nifti1"
    out: Any = _parsed(kept) if kept is not None and kept.form == form else _HEADERS[form]()
    if header is not None and header.labels:
        out["intent_code"], out["intent_name"] = _LABEL_INTENT, b""
        out["cal_min"], out["cal_max"] = 0, 0
    pixdim = np.array(out["pixdim"], np.float64)
    out.set_data_dtype(dtype)
    out.set_data_shape(shape)
    out["pixdim"] = pixdim
    out["magic"], out["vox_offset"] = out.single_magic, 0
    out["scl_slope"], out["scl_inter"] = 1, 0
    before = _affine_in(out) if kept is not None else None
    if before is None or np.abs(before - affine).max() > SAME_MM:
        _set_forms(out, affine)
    return out


def load_image(path: Path, kind: Any) -> Any:
    """Open an image of nibabel's by its content, packed or not; its voxels are not yet read.

    Packed files are unpacked once, to their end, where the checksum stands, and no further than their header asks for.
    """
    packed, named = is_gzip(path), path.name.lower().endswith((".gz", ".mgz"))
    source: dict[str, Any] = {"filename": str(path)}
    if packed:
        with gzip.open(path) as file:  # MGH has a footer, for which nibabel would unpack all voxels
            start: Any = io.BytesIO(first_bytes(path)) if kind is nib.MGHImage else file
            header = kind.header_class.from_fileobj(start, check=False)
        offset = int(header["vox_offset"]) if "vox_offset" in header else 4096
        size = _volume_bytes(path, header)
        if size * _count(header.get_data_shape()) <= MOST_AT_ONCE:
            source = {"fileobj": io.BytesIO(checks.unpacked(path, size * _count(header.get_data_shape()) + offset))}
        else:
            checks.check_gzip(path)
            source = source if named else {"fileobj": gzip.open(path)}  # noqa: SIM115 (its voxels are read later)
    elif named:
        source = {"fileobj": io.BytesIO(path.read_bytes())}
    return kind.from_file_map({"image": nib.FileHolder(**source)}, mmap=False)


def scan_of(
    path: Path, image: Any, affine: np.ndarray, header: FileHeader, step: float | None, is_labels: bool = False
) -> ScanFile:
    """Return the scan in an image of nibabel's, its voxels not yet read."""
    shape = _three(image.shape)
    count = _count(image.shape, path)
    packed = [one for one in files_of(path) if is_gzip(one)]
    size = sum(one.stat().st_size for one in packed) if packed else np.inf
    checks.check_shape(path, shape, image.get_data_dtype().itemsize, count=count, packed=size)
    checks.check_type(path, image.get_data_dtype())
    stored = _stored_type(image)

    def exact(data: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return checks.exact_array(path, data.astype(stored, copy=False))

    def volume(index: int) -> np.ndarray:
        with checks.reading(path, "a scan"):
            place = (*[slice(None)] * min(3, len(image.shape)), *(index if n > 1 else 0 for n in image.shape[3:]))
            return exact(np.asarray(image.dataobj[place]).reshape(shape, order="F"))

    volumes = Series((*shape, count), exact(np.zeros(0, stored)).dtype, volume)
    return ScanFile(volumes, affine, step=step if count > 1 else None, header=header, is_labels=is_labels)


def is_sheared(affine: np.ndarray) -> bool:
    """Whether the axes of a grid are not at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR)


def _image_class(start: bytes) -> Any:
    sizes = [int.from_bytes(start[:4], order) for order in ("little", "big")]
    return nib.Nifti2Image if 540 in sizes else nib.Nifti1Image


def _kept(header: Any) -> FileHeader:
    extensions = io.BytesIO()
    for one in header.extensions:
        one.write_to(extensions, False)
    form = "nifti2" if isinstance(header, nib.Nifti2Header) else "nifti1"
    return FileHeader(form, header.binaryblock, extensions.getvalue())


def _parsed(kept: FileHeader) -> Any:
    """A header of nibabel's, in native byte order."""
    header = _HEADERS[kept.form](kept.raw, check=False).as_byteswapped(nib.volumeutils.native_code)
    if kept.extensions:
        stream = io.BytesIO(kept.extensions)
        header.extensions = nib.nifti1.Nifti1Extensions.from_fileobj(stream, len(kept.extensions), False)
    return header


def _affine(path: Path, header: Any) -> np.ndarray:
    affine = _affine_in(header)
    if affine is None:
        raise InputError(
            f"{path} has no affine (sform_code and qform_code are 0), so left and right are unknown: "
            "convert it again from DICOM, or set one."
        )
    if int(header["sform_code"]) > 0:
        _warn_of_contradiction(path, header, np.asarray(header.get_sform(), np.float64))
    return affine


def _affine_in(header: Any) -> np.ndarray | None:
    """(4, 4) from voxel index to RAS mm; None if no form has a code."""
    if int(header["sform_code"]) > 0:
        affine = np.asarray(header.get_sform(), np.float64)
    elif int(header["qform_code"]) > 0:
        affine = np.asarray(header.get_qform(), np.float64)
    else:
        return None
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return affine


def _warn_of_contradiction(path: Path, header: Any, sform: np.ndarray) -> None:
    """Log a qform that puts a corner of the volume more than a voxel away from where the sform does."""
    if int(header["qform_code"]) <= 0:
        return
    try:
        qform = np.asarray(header.get_qform(), np.float64)
    except Exception:  # the sform is taken: whatever is wrong with the qform does not matter
        return
    corner = np.array([*(n - 1 for n in _three(header.get_data_shape())), 1], np.float64)
    if not np.isfinite(sform).all():
        return
    off = max(np.abs((sform - qform) @ point).max() for point in (corner, np.array([0.0, 0, 0, 1])))
    if off > np.linalg.norm(sform[:3, :3], axis=0).max():
        logger.warning("%s has an sform and a qform that differ by %.1f mm; the sform is taken.", path, off)


def _set_forms(header: Any, affine: np.ndarray) -> None:
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    header["xyzt_units"] = (int(header["xyzt_units"]) & 0x38) | 2
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_sform(affine, code=sform or qform or 1)
    header.set_qform(affine, code=0 if is_sheared(affine) else qform or sform or 1)


def _step(header: Any) -> float | None:
    """Time from one volume to the next in seconds, None if the header does not say (or says no time)."""
    unit = _SECONDS_PER_UNIT.get(int(header["xyzt_units"]) & 0x38)
    step = float(header["pixdim"][4])
    if unit is None or not np.isfinite(step) or step <= 0:
        return None
    return float(f"{step:.7g}") * unit  # 32 bits in the file: 2.2, not 2.200000047


def _set_step(header: Any, step: float) -> None:
    """Set the time from one volume to the next, s, in the header's unit of time."""
    code = int(header["xyzt_units"]) & 0x38
    if code not in _SECONDS_PER_UNIT:
        code = 8
        header["xyzt_units"] = (int(header["xyzt_units"]) & 7) | code
    header["pixdim"][4] = step / _SECONDS_PER_UNIT[code]


def _check_header(path: Path, start: bytes) -> None:
    """Refuse voxel sizes of 0, which nibabel would silently take for 1 mm, and a qform, if it counts, that is none."""
    kind = _image_class(start).header_class
    if len(start) < kind.sizeof_hdr:
        return
    header = kind(start[: kind.sizeof_hdr], check=False)
    sizes = np.asarray(header["pixdim"][1 : 1 + min(3, max(0, int(header["dim"][0])))], np.float64)
    if not np.isfinite(sizes).all() or (sizes == 0).any():
        text = " x ".join(f"{s:g}" for s in sizes)
        raise InputError(f"{path} has a spacing of {text} mm in its header (pixdim): repair it, or convert it again.")
    if int(header["sform_code"]) <= 0 < int(header["qform_code"]):
        turn = np.array([header[f"quatern_{axis}"] for axis in "bcd"], np.float64)
        if not (turn @ turn <= 1 + kind.quaternion_threshold):
            text = ", ".join(f"{one:g}" for one in turn)
            raise InputError(f"{path} has a qform that is no rotation (quatern_b, c, d: {text}): repair its header.")


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The first three axes; those that are missing have a length of 1."""
    x, y, z = (*(int(n) for n in shape[:3]), 1, 1, 1)[:3]
    return x, y, z


def _count(shape: tuple[int, ...], path: Path | None = None) -> int:
    """The number of volumes: axes of length 1 after the third do not count.

    Raises:
        InputError: a path is given, and the image is no series of volumes.
    """
    more = [int(n) for n in shape[3:] if n > 1]
    if len(more) > 1 and path is not None:
        text = " x ".join(str(n) for n in shape)
        raise InputError(f"{path} has {len(shape)} dimensions ({text}): give a 3D scan, or a 4D series of them.")
    return int(np.prod(more, dtype=np.int64))


def _volume_bytes(path: Path, header: Any) -> int:
    """Bytes of one volume in the file.

    Raises:
        InputError: it is no volume, or does not fit into memory.
    """
    shape = _three(header.get_data_shape())
    size, count = header.get_data_dtype().itemsize, _count(header.get_data_shape())
    checks.check_shape(path, shape, size, count=count, packed=path.stat().st_size)
    return int(np.prod(shape, dtype=np.int64)) * header.get_data_dtype().itemsize


def _stored_type(image: Any) -> np.dtype:
    """The type of the values: of the file, or floats if its numbers are scaled."""
    dtype = image.get_data_dtype()
    slope, inter = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
    if (slope, inter) == (1.0, 0.0):
        return dtype
    few = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    return np.dtype(np.float32 if few else np.float64)
