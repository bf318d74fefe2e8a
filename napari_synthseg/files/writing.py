"""Writing volumes and label maps: beside their final place first, then moved there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.files import checks, paths
from napari_synthseg.volume import Volume

_MGH_TYPES = (np.uint8, np.int16, np.int32, np.float32)


def write_volume(path: str | Path, volume: Volume, *, dtype: DTypeLike | None = None) -> None:
    """Writes a volume as NIfTI, MGH/MGZ or NRRD, by the ending of the name; missing folders are made.

    NIfTI files get the affine as sform and, where it has no shear, as qform (code 1, scanner space), in mm.

    Args:
        path: the file; one of that name is replaced.
        volume: what to write.
        dtype: type of the voxels in the file; without it the volume's (64-bit and 16-bit floats become float32).
            Whole types are rounded to.

    Raises:
        InputError: an unknown ending, values that do not fit `dtype`, or a place that cannot be written to.
    """
    path = Path(path)
    ending = _writable(path)
    data = _as_type(path, volume.data, _file_type(volume.data, ending) if dtype is None else np.dtype(dtype))
    with _placed(path) as (temporary,):
        _WRITERS[ending](temporary, data, volume.affine)


def write_labels(path: str | Path, volume: Volume, columns: Mapping[str, Mapping[int, object]] | None = None) -> None:
    """Writes a label map in the smallest integer type that holds it, and its table `<stem>.tsv` beside it.

    The table is that of a BIDS `dseg.tsv`: index, name and colour of each label in the volume but background.

    Args:
        path: the file; one of that name, and its table, are replaced.
        volume: whole numbers, none negative.
        columns: further columns of the table, by name: what each value has in it (`n/a` where it has nothing).

    Raises:
        InputError: as `write_volume`, or the values are no labels.
    """
    path = Path(path)
    ending = _writable(path)
    data = volume.data
    if data.dtype.kind not in "biu" and not np.array_equal(data, np.rint(data)):
        raise InputError(f"{path} was not written: its values are not whole numbers, so they are no labels.")
    if data.size and data.min() < 0:
        raise InputError(f"{path} was not written: labels cannot be negative.")
    top = int(data.max()) if data.size else 0
    small = np.uint8 if top < 1 << 8 else np.int16 if top < 1 << 15 else np.int32
    data = _as_type(path, data, np.dtype(small))
    table = path.with_name(paths.stem(path) + ".tsv")
    with _placed(path, table) as (labels_file, table_file):
        _WRITERS[ending](labels_file, data, volume.affine)
        table_file.write_text(labels_table(_values(data), columns), encoding="utf-8")


def labels_table(values: list[int], columns: Mapping[str, Mapping[int, object]] | None = None) -> str:
    """The text of a BIDS `dseg.tsv` for these label values, background left out; see `write_labels`."""
    more = columns or {}
    rows = ["\t".join(("index", "name", "color", *more))]
    for value in values:
        if value != 0:
            red, green, blue = anatomy.color(value)
            rest = (str(column.get(value, "n/a")) for column in more.values())
            rows.append("\t".join((str(value), anatomy.name(value), f"#{red:02x}{green:02x}{blue:02x}", *rest)))
    return "\n".join(rows) + "\n"


def _values(data: np.ndarray) -> list[int]:
    """The sorted distinct values of non-negative whole numbers; counting is much faster than sorting 10^7 voxels."""
    if data.dtype.itemsize > 2:
        return [int(value) for value in np.unique(data)]
    seen = np.zeros(int(data.max(initial=0)) + 1, bool)
    seen[data.ravel(order="K")] = True
    return [int(value) for value in np.flatnonzero(seen)]


def _writable(path: Path) -> str:
    ending = paths.suffix(path)
    if ending not in paths.WRITABLE:
        raise InputError(f"{path} cannot be written: its name must end with one of {', '.join(paths.WRITABLE)}.")
    return ending


def _file_type(data: np.ndarray, ending: str) -> np.dtype:
    """The type to store an array in: its own where the format has it."""
    kind, size = data.dtype.kind, data.dtype.itemsize
    if kind == "b":
        return np.dtype(np.uint8)
    if kind == "f" or kind not in "iu":
        return np.dtype(np.float32)
    if size > 4 or (ending in (".mgz", ".mgh") and data.dtype not in _MGH_TYPES):
        low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
        fitting = [t for t in _MGH_TYPES[:3] if np.iinfo(t).min <= low and high <= np.iinfo(t).max]
        return np.dtype(fitting[0] if fitting else np.float32)
    return data.dtype.newbyteorder("=")


def _as_type(path: Path, data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if data.dtype == dtype:
        return data
    if dtype.kind in "iu" and data.size:
        if data.dtype.kind == "f":
            data = np.rint(data)
        low, high = data.min(), data.max()
        bounds = np.iinfo(dtype)
        if not (np.isfinite(low) and np.isfinite(high) and bounds.min <= low and high <= bounds.max):
            raise InputError(f"{path} was not written: values from {low:g} to {high:g} do not fit the type {dtype}.")
    return data.astype(dtype)


@contextmanager
def _placed(*targets: Path) -> Iterator[tuple[Path, ...]]:
    """Files to write in a temporary folder beside the targets, moved to them once all are complete."""
    folder = targets[0].parent
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=".writing-", dir=folder))
        files = tuple(temporary / target.name for target in targets)
        yield files
        for file, target in zip(files, targets, strict=True):
            os.replace(file, target)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{targets[0]} cannot be written ({checks.one_line(error)}): choose another place.") from error
    finally:
        if temporary is not None:
            for file in temporary.iterdir():
                file.unlink()
            temporary.rmdir()


def _write_nifti(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(data, affine)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    sheared = np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=0 if sheared else 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _write_mgh(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    if data.dtype not in _MGH_TYPES:
        raise InputError(f"{path.name} cannot hold {data.dtype} voxels: write NIfTI, or choose another type.")
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4:
        raise InputError(f"{path.name} cannot hold a sheared grid: write NIfTI.")
    nib.save(nib.MGHImage(data, affine), path)


def _write_nrrd(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    import nrrd

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "space units": ["mm", "mm", "mm"],
        "kinds": ["domain", "domain", "domain"],
        "encoding": "gzip",
    }
    nrrd.write(str(path), np.asfortranarray(data), header, compression_level=4)


_WRITERS: dict[str, Callable[[Path, np.ndarray, np.ndarray], None]] = {
    ".nii.gz": _write_nifti,
    ".nii": _write_nifti,
    ".mgz": _write_mgh,
    ".mgh": _write_mgh,
    ".nrrd": _write_nrrd,
}
