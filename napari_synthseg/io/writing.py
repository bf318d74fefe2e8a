"""Writing volumes and label maps: beside their final place first, then moved there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from napari_synthseg.atomic_io import placed_files, writing
from napari_synthseg.errors import InputError
from napari_synthseg.io import checks
from napari_synthseg.io.formats import Format, format_to_write
from napari_synthseg.io.labels import LabelName, check_replaceable, labels_table, table_path
from napari_synthseg.io.scan import FileHeader
from napari_synthseg.volume import Volume

_NO_HEADER = FileHeader("", b"")


def write_volume(
    path: str | Path, volume: Volume, *, dtype: DTypeLike | None = None, header: FileHeader | None = None
) -> None:
    """Write a volume as NIfTI, MGH/MGZ or NRRD, by the ending of the name; missing folders are made.

    NIfTI files get the affine as sform and, if it has no shear, as qform (code 1, scanner space), in mm.

    Args:
        path: the file; one of that name is replaced.
        volume: to write.
        dtype: of the voxels in the file; default the volume's (64-bit and 16-bit floats become float32). Whole types
            are rounded to.
        header: of the file the volume came from: a file of the same format keeps its forms, codes, units and notes.

    Raises:
        InputError: an unknown ending, values that do not fit `dtype`, or a place that cannot be written to.
    """
    form = format_to_write(path := Path(path))
    data = _as_type(path, volume.data, _file_type(path, volume.data, form) if dtype is None else np.dtype(dtype))
    with _placed(path) as (temporary,):
        form.write(temporary, data, volume.affine, header, None)


def write_exactly(
    path: str | Path,
    data: np.ndarray,
    affine: np.ndarray,
    *,
    step: float | None = None,
    header: FileHeader | None = None,
) -> None:
    """Write a scan or a series value for value, in the array's own type or one that holds all of its values.

    Args:
        path, header: as for `write_volume`.
        data: (X, Y, Z), or (X, Y, Z, T) for a series.
        affine: (4, 4) voxel index to RAS mm.
        step: from one volume of a series to the next, s.

    Raises:
        InputError: as `write_volume`, or voxels that are no gray values.
    """
    form = format_to_write(path := Path(path))
    data = _as_type(path, data, _exact_type(path, data, form))
    with _placed(path) as (temporary,):
        form.write(temporary, data, np.asarray(affine, np.float64), header, step)


def write_labels(
    path: str | Path,
    volume: Volume,
    columns: Mapping[str, Mapping[int, object]] | None = None,
    *,
    names: Mapping[int, LabelName] | None = None,
    header: FileHeader | None = None,
) -> None:
    """Write a label map and its table; arguments as for `write_label_series`."""
    write_label_series(path, volume.data, volume.affine, columns, names=names, header=header)


def write_label_series(
    path: str | Path,
    data: np.ndarray,
    affine: np.ndarray,
    columns: Mapping[str, Mapping[int, object]] | None = None,
    *,
    names: Mapping[int, LabelName] | None = None,
    header: FileHeader | None = None,
    step: float | None = None,
    dtype: DTypeLike | None = None,
) -> None:
    """Write labels in the smallest integer type that holds them, and their table `<stem>.tsv` beside them.

    The table is that of a BIDS `dseg.tsv`: index, name and color of each label but background.

    Args:
        path: the file; one of that name, and its table, are replaced.
        data: (X, Y, Z) or (X, Y, Z, T) whole numbers, none negative.
        affine, step: as for `write_exactly`.
        columns: further columns of the table, by name: what each value has in it (`n/a` if it has nothing).
        names: of labels, and their colors, if they are not those of `anatomy`.
        header: of the file the grid is from; as for `write_volume`.
        dtype: an integer type to prefer to the smallest, if it holds the values and the format has it.

    Raises:
        InputError: as `write_volume`, the values are no labels, or the table's name is that of another kind of file.
    """
    form = format_to_write(path := Path(path))
    if data.dtype.kind not in "biu" and not np.array_equal(data, np.rint(data)):
        raise InputError(f"{path} was not written: its values are not whole numbers, so they are no labels.")
    if data.size and data.min() < 0:
        raise InputError(f"{path} was not written: labels cannot be negative.")
    data = _as_type(path, data, _label_type(data, form, dtype))
    table = table_path(path)
    check_replaceable(table)
    with _placed(path, table) as (labels_file, table_file):
        form.write(labels_file, data, np.asarray(affine, np.float64), (header or _NO_HEADER).for_labels(), step)
        table_file.write_text(labels_table(_values(data), columns, names), encoding="utf-8")


def _label_type(data: np.ndarray, form: Format, wanted: DTypeLike | None) -> np.dtype:
    top = int(data.max()) if data.size else 0
    kinds = _whole_types(form)
    small = np.dtype(next((kind for kind in kinds if top <= np.iinfo(kind).max), kinds[-1]))
    if wanted is None:
        return small
    wanted = np.dtype(wanted)
    known = wanted.itemsize <= 4 if form.types is None else wanted in form.types
    return wanted if wanted.kind in "iu" and known and top <= np.iinfo(wanted).max else small


def _whole_types(form: Format) -> list[Any]:
    """The types of whole numbers that a format stores, at most 32 bits, smallest first."""
    return [kind for kind in form.types or (np.uint8, np.int16, np.int32) if np.issubdtype(kind, np.integer)]


def _values(data: np.ndarray) -> list[int]:
    """The sorted distinct values of non-negative whole numbers; counting is much faster than sorting 10^7 voxels."""
    if data.dtype.itemsize > 2:
        return [int(value) for value in np.unique(data)]
    seen = np.zeros(int(data.max(initial=0)) + 1, bool)
    seen[data.ravel(order="K")] = True
    return [int(value) for value in np.flatnonzero(seen)]


def _file_type(path: Path, data: np.ndarray, form: Format) -> np.dtype:
    """The type to store an array in: its own if the format has it, at most 32 bits."""
    checks.check_type(path, data.dtype)
    return np.dtype(np.float32) if data.dtype.kind == "f" else _exact_type(path, data, form)


def _exact_type(path: Path, data: np.ndarray, form: Format) -> np.dtype:
    """The type to store an array in: its own, or another that holds its values."""
    checks.check_type(path, data.dtype)
    kind, size = data.dtype.kind, data.dtype.itemsize
    if kind == "b":
        return np.dtype(np.uint8)
    if kind == "f":
        return np.dtype(np.float64 if size > 4 and (form.types is None or np.float64 in form.types) else np.float32)
    if size <= 4 and (form.types is None or data.dtype in form.types):
        return data.dtype.newbyteorder("=")
    low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
    for fitting in _whole_types(form):
        if np.iinfo(fitting).min <= low and high <= np.iinfo(fitting).max:
            return np.dtype(fitting)
    return data.dtype.newbyteorder("=") if form.types is None else np.dtype(np.float32)


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
    with writing(targets[0]), placed_files(targets[0].parent) as folder:
        yield tuple(folder / target.name for target in targets)
