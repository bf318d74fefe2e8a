"""NRRD through pynrrd: its space, directions and origin as an affine in RAS mm."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks
from napari_synthseg.io.formats import Format, register
from napari_synthseg.io.scan import FileHeader, ScanFile

_TO_RAS = {"ras": (1, 1, 1), "las": (-1, 1, 1), "lps": (-1, -1, 1)}
_MM_PER_UNIT = {"mm": 1.0, "m": 1000.0, "cm": 10.0, "um": 0.001, "microns": 0.001, "micron": 0.001, "µm": 0.001}
_GZIP = ("gzip", "gz")
_PACKED = (*_GZIP, "bzip2", "bz2")
_WHERE = ("datafile", "lineskip", "byteskip")
_SECONDS_PER_UNIT = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3}


@register
class NRRD(Format):
    """NRRD files, attached and detached."""

    name = "NRRD"
    writable = (".nrrd",)
    endings = (".nrrd", ".nhdr")
    parts = {".nhdr": (".raw", ".raw.gz")}

    def recognizes(self, start: bytes) -> bool:
        return start.startswith(b"NRRD0")

    def open(self, path: Path) -> list[ScanFile]:
        import nrrd

        with checks.reading(path, self.name):
            with open(path, "rb") as file:
                header = nrrd.read_header(file)
                start = file.tell()
            sizes = [int(n) for n in header["sizes"]]
            if any("color" in str(kind).lower() for kind in header.get("kinds", ())):
                raise InputError(f"{path} holds colors, not gray values: convert it to a single channel.")
            directions = _directions(path, header, len(sizes))
            spatial = [axis for axis, direction in enumerate(directions) if direction is not None]
            others = [axis for axis in range(len(sizes)) if axis not in spatial]
            if len(spatial) != 3 or sum(sizes[axis] > 1 for axis in others) > 1:
                text = " x ".join(str(n) for n in sizes)
                raise InputError(f"{path} is no 3D scan ({text}, {len(spatial)} spatial axes): give a 3D scan.")
            named = header.get("data file", header.get("datafile"))
            file_of_data = path if named is None else path.parent / str(named)
            itemsize = np.dtype(nrrd.reader._TYPEMAP_NRRD2NUMPY[header["type"]]).itemsize
            packed = file_of_data.stat().st_size if header["encoding"] in _GZIP else np.inf
            count = int(np.prod([float(sizes[axis]) for axis in others]))
            checks.check_shape(path, tuple(sizes[axis] for axis in spatial), itemsize, count=count, packed=packed)
            affine = checks.check_affine(path, _affine(path, header, [directions[axis] for axis in spatial]))
            if header["encoding"] in _PACKED:  # pynrrd would unpack all, whatever the sizes say
                size = int(np.prod(sizes, dtype=np.int64)) * itemsize
                content = _unpacked(file_of_data, size, start if named is None else 0, header)
                plain = {key: header[key] for key in header if key.replace(" ", "") not in _WHERE}
                read = nrrd.read_data(plain | {"encoding": "raw"}, io.BytesIO(content), str(path))
            else:
                read = nrrd.read(str(path))[0]
            data = checks.exact_array(path, read)
        several = [axis for axis in others if sizes[axis] > 1]
        step = _step(header, several[0]) if several else None
        data = np.moveaxis(data, others, range(-len(others), 0)) if others else data
        data = data.reshape(*data.shape[:3], -1) if several else data.reshape(data.shape[:3])
        return [ScanFile(data, affine, step=step)]

    def write(
        self, path: Path, data: np.ndarray, affine: np.ndarray, header: FileHeader | None, step: float | None
    ) -> None:
        """Write in left-posterior-superior space, that of 3D Slicer and ITK; a series has its own axis, the last."""
        import nrrd

        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        fields: dict[str, Any] = {
            "space": "left-posterior-superior",
            "space directions": lps[:3, :3].T,
            "space origin": lps[:3, 3],
            "space units": ["mm"] * 3,
            "kinds": ["domain"] * 3,
            "encoding": "gzip",
        }
        if data.ndim == 4:
            fields["space directions"] = np.vstack([lps[:3, :3].T, np.full(3, np.nan)])
            fields["kinds"] = ["domain", "domain", "domain", "list" if step is None else "time"]
        if data.ndim == 4 and step is not None:
            fields["spacings"] = [np.nan, np.nan, np.nan, step]
            fields["units"] = ["", "", "", "s"]
        nrrd.write(str(path), np.asfortranarray(data), fields, compression_level=4)


def _unpacked(path: Path, size: int, start: int, header: dict[str, Any]) -> bytes:
    """The voxels in a packed file, from a byte on: lines are skipped in what is packed, bytes in what is unpacked."""
    lines, skipped = (int(header.get(f"{one} skip", header.get(f"{one}skip", 0))) for one in ("line", "byte"))
    with open(path, "rb") as file:
        file.seek(start)
        for _ in range(lines):
            file.readline()
        start = file.tell()
    content = checks.unpacked(path, size + max(skipped, 0), start)
    return content[skipped : skipped + size] if skipped >= 0 else content[-size:]


def _step(header: dict[str, Any], axis: int) -> float | None:
    """Seconds between the volumes along an axis; None where the header does not say."""
    units = [str(unit).strip('"').lower() for unit in header.get("units", ())]
    seconds = _SECONDS_PER_UNIT.get(units[axis]) if axis < len(units) else None
    spacings = header.get("spacings")
    if seconds is None or spacings is None or not np.isfinite(spacings[axis]) or spacings[axis] <= 0:
        return None
    return float(spacings[axis]) * seconds


def _directions(path: Path, header: dict[str, Any], dimensions: int) -> list[np.ndarray | None]:
    """The direction of each array axis in the file's space; None for axes that are not spatial."""
    if "space directions" not in header:
        raise InputError(
            f"{path} has no space directions, so left and right are unknown: "
            "convert it again from DICOM, or save it from 3D Slicer."
        )
    rows = [None if row is None else np.asarray(row, np.float64) for row in header["space directions"]]
    rows = [None if row is None or np.isnan(row).all() else row for row in rows]
    if len(rows) != dimensions:
        raise InputError(f"{path} has {dimensions} axes but {len(rows)} space directions: convert it again.")
    return rows


def _affine(path: Path, header: dict[str, Any], directions: list[np.ndarray | None]) -> np.ndarray:
    said = str(header.get("space", "")).lower()
    space = ("".join(word[:1] for word in said.split("-")) if said.count("-") > 1 else said)[:3]  # without the time
    spelled = said.startswith(("right-", "left-"))
    if space not in _TO_RAS or not (spelled or said in (space, f"{space}t")):
        raise InputError(
            f"{path} lies in the space '{said or 'unknown'}', which does not say left from right: "
            "save it in left-posterior-superior or right-anterior-superior space."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([d for d in directions if d is not None])[:3]
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), np.float64)[:3]
    units = [str(unit).strip('"').lower() for unit in header.get("space units", ())][:3]
    scales = [_MM_PER_UNIT.get(unit, 1.0) for unit in units] or [1.0] * 3
    affine[:3] *= (np.array(_TO_RAS[space]) * np.array(scales))[:, None]
    return affine
