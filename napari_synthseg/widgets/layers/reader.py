"""Open scans and label maps in napari (NIfTI, MGZ, NRRD, DICOM) through `napari_synthseg.io`, and sample data."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.anatomy import resources
from napari_synthseg.errors import InputError
from napari_synthseg.io import LabelName, ScanFile, is_label_like, read_label_table, read_scans, stem, suffix
from napari_synthseg.io.formats import formats, readable
from napari_synthseg.io.formats.dicom import is_dicom
from napari_synthseg.io.reading import is_whole
from napari_synthseg.io.scan import Series
from napari_synthseg.volume import Volume, same_grid
from napari_synthseg.widgets.layers.geometry import (
    MEASURED,
    METADATA_KEY,
    SOFT,
    VOXELS,
    series_kwargs,
    shown_array,
    shown_kwargs,
)

LayerData = tuple[Any, dict[str, Any], str]

_LOOKED_AT = 5
"""Volumes of a series that determine the kind of layer and the contrast limits."""


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of paths, or None if one of them cannot be read (npe2's reader contribution)."""
    return read_layers if all(_is_ours(Path(one)) for one in _paths(path)) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read label maps as Labels layers, others as Image layers, a series as 4D; several paths become a stack.

    Raises:
        InputError: a file cannot be read, or files to stack have different grids.
    """
    files = _distinct([Path(one) for one in _paths(path)])
    if len(files) > 1:
        return [stacked_layer(files)]
    scans = read_scans(files[0])
    names = _names(files[0], scans)
    table = read_label_table(files[0]) if files[0].is_file() else {}
    return [scan_layer(scan, name, table) for scan, name in zip(scans, names, strict=True)]


def stacked_layer(files: Sequence[Path]) -> LayerData:
    """Read several files as a 4D layer, one volume each.

    Raises:
        InputError: a file cannot be read, holds several scans, or has another grid than the first.
    """
    scans = [scan for file in files for scan in read_scans(file)]
    first = _first_volume(scans[0])
    for file, scan in zip(files, scans, strict=False):
        if len(scans) != len(files) or len(scan.data.shape) != 3:
            raise InputError(f"{file} holds several scans: open it by itself, not in a stack.")
        if not same_grid(_first_volume(scan), first, tolerance=1e-3):
            raise InputError(f"{file} has another grid than {files[0].name}: open the files one by one.")
    data = np.stack([np.asarray(scan.data) for scan in scans], axis=-1)
    return scan_layer(ScanFile(data, first.affine, header=scans[0].header), stem(files[0]))


def volume_layer(volume: Volume, name: str) -> LayerData:
    return scan_layer(ScanFile(volume.data, volume.affine), name)


def labels_layer(volume: Volume, name: str) -> LayerData:
    return scan_layer(ScanFile(volume.data, volume.affine, is_labels=True), name)


def scan_layer(scan: ScanFile, name: str, table: Mapping[int, LabelName] | None = None) -> LayerData:
    """Return the layer of a scan, or of labels with the names and colors of the table beside them."""
    shape = tuple(int(n) for n in scan.data.shape)
    kwargs = shown_kwargs(shape[:3], scan.affine, header=scan.header, dtype=str(scan.data.dtype)) | {"name": name}
    if len(shape) == 4:
        kwargs = series_kwargs(kwargs, scan.step)
    if _are_labels(scan):
        return _labels(shown_array(np.asarray(scan.data), scan.affine), kwargs, scan, table or {})
    array = shown_array(scan.data, scan.affine) if isinstance(scan.data, np.ndarray) else _lazy(scan.data, scan.affine)
    limits = contrast_limits(array)
    return array, kwargs | {"colormap": "gray"} | ({"contrast_limits": limits} if limits else {}), "image"


def _labels(array: np.ndarray, kwargs: dict[str, Any], scan: ScanFile, table: Mapping[int, LabelName]) -> LayerData:
    from napari_synthseg.widgets.layers.labels_layer import counted_volumes, labels_array, labels_kwargs, renamed

    array = labels_array(np.rint(array) if array.dtype.kind == "f" else array)
    voxel_mm3 = abs(float(np.linalg.det(scan.affine[:3, :3])))
    counted = counted_volumes(array, voxel_mm3) if array.ndim == 3 else {}
    values = counted or {int(value): 0.0 for value in np.unique(array)}
    volumes, measured = measured_volumes(counted, table)
    quality = {value: table[value].figures["quality"] for value in values if "quality" in _figures(table, value)}
    kwargs["metadata"][METADATA_KEY][MEASURED] = measured
    return array, kwargs | renamed(labels_kwargs(values, volumes, quality), table), "labels"


def measured_volumes(counted_mm3: Mapping[int, float], table: Mapping[int, LabelName]) -> tuple[dict[int, float], str]:
    """Return the volumes of labels and how they were measured: from the table beside them if near the voxel counts."""
    kept = {}
    for value, count in counted_mm3.items():
        volume = _figures(table, value).get("volume_mm3")
        if volume is not None and abs(volume - count) <= max(0.5 * count, 100.0):
            kept[value] = volume
    soft = any(abs(volume - counted_mm3[value]) > 0.1 for value, volume in kept.items())
    return {**counted_mm3, **kept}, SOFT if soft else VOXELS


def _figures(table: Mapping[int, LabelName], value: int) -> Mapping[str, float]:
    return table[value].figures if value in table else {}


def _are_labels(scan: ScanFile) -> bool:
    """Return whether to show a file as labels: by its own statement or its values."""
    if not isinstance(scan.data, np.ndarray):
        return False
    data = scan.data[..., None] if scan.data.ndim == 3 else scan.data
    volumes = [data[..., t] for t in _some(data.shape[3])]
    if not scan.is_labels and not all(is_label_like(volume) for volume in volumes):
        return False
    low, high = (data.min(), data.max()) if data.size else (0, 0)
    return bool(low >= 0 and high < 2**31 and is_whole(data))


def _lazy(series: Series, affine: np.ndarray) -> Any:
    """Return a dask array (T, S, A, R) of a series that reads volumes on access."""
    import dask
    import dask.array as da

    def shown(index: int) -> np.ndarray:
        return shown_array(series.volume(index), affine)

    shape = shown_array(np.broadcast_to(np.uint8(0), series.shape[:3]), affine).shape
    volumes = [dask.delayed(shown)(index) for index in range(series.shape[3])]
    return da.stack([da.from_delayed(one, shape, series.dtype) for one in volumes])


def contrast_limits(array: Any) -> tuple[float, float] | None:
    """Return minimum and 99.8th percentile of about a million voxels of (S, A, R) or some volumes of (T, S, A, R).

    It is None for a constant array. Of a lazy series the first volume is used.
    """
    some = [...] if array.ndim < 4 else _some(array.shape[0]) if isinstance(array, np.ndarray) else [0]
    volumes = [np.asarray(array[index]) for index in some]
    step = max(round((volumes[0].size * len(volumes) / 1e6) ** (1 / 3)), 1)
    sample = np.concatenate([np.asarray(v[::step, ::step, ::step], np.float32).ravel() for v in volumes])
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return None
    low, high = float(sample.min()), float(np.percentile(sample, 99.8))
    high = high if high > low else float(sample.max())
    return (low, high) if high > low else None


def _some(count: int) -> list[int]:
    """Return at most `_LOOKED_AT` evenly spaced indices of `count`."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, _LOOKED_AT))})


def _first_volume(scan: ScanFile) -> Volume:
    data = np.asarray(scan.data) if isinstance(scan.data, np.ndarray) else scan.data.volume(0)
    return Volume(data if data.ndim == 3 else data[..., 0], scan.affine)


def _names(path: Path, scans: Sequence[ScanFile]) -> list[str]:
    """Return the names of the layers: of the file or folder, or of the scans in it."""
    name = path.name if path.is_dir() else stem(path)
    if len(scans) == 1:
        return [name]
    return [scan.name or f"{name} {number}" for number, scan in enumerate(scans, 1)]


def _distinct(files: list[Path]) -> list[Path]:
    """Return one file for all slices of a DICOM folder, and for the two files of a pair."""
    found: dict[tuple[Path, str], Path] = {}
    for file in files:
        ending = suffix(file)
        own = next((form for form in formats() if ending in form.endings), None)
        is_slice = not file.is_dir() and (is_dicom(file) or (own is not None and own.folders))
        pairs = {} if own is None else own.parts
        is_pair = ending in pairs or any(ending in parts for parts in pairs.values())
        key = "DICOM" if is_slice else stem(file) if is_pair else file.name
        found.setdefault((file.parent, key), file)
    return list(found.values())


def _paths(path: str | Sequence[str]) -> list[str]:
    return [str(path)] if isinstance(path, (str, Path)) else [str(one) for one in path]


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return any(is_dicom(file) for file in sorted(path.iterdir())[:20])
    return suffix(path) in readable() or is_dicom(path)


_MNI152 = Path("datasets", "data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")


def mni152_path() -> Path | None:
    """Return nilearn's template; None if it is not installed."""
    package = importlib.util.find_spec("nilearn")  # found, not imported: nilearn is slow to import
    path = Path(package.origin).parent / _MNI152 if package and package.origin else None
    return path if path is not None and path.is_file() else None


def mni152() -> list[LayerData]:
    """Return the MNI152 T1 template (ICBM 2009a, nonlinear, symmetric) of nilearn's package data.

    Raises:
        InputError: if nilearn is not installed.
    """
    from napari_synthseg.io import read_volume

    path = mni152_path()
    if path is None:
        raise InputError("The MNI152 sample needs nilearn: pip install 'napari-synthseg[samples]'.")
    return [volume_layer(read_volume(path), "MNI152 T1")]


def label_map() -> list[LayerData]:
    return [labels_layer(bundled_label_map(), "Label map")]


def synthetic_head(seed: int | None = None) -> list[LayerData]:
    """Return a sample of SynthSeg's generative model with its (hidden) labels; a random one without a seed."""
    from napari_synthseg import synthesize

    seed = int(np.random.default_rng().integers(10_000)) if seed is None else seed
    sample = synthesize(bundled_label_map(), seed=seed)
    labels, kwargs, kind = labels_layer(sample.labels, f"Synthetic head {seed} labels")
    return [(labels, kwargs | {"visible": False}, kind), volume_layer(sample.image, f"Synthetic head {seed}")]


def bundled_label_map() -> Volume:
    from napari_synthseg.io import read_labels

    return read_labels(resources() / "samples" / "mni152_labels.nii.gz")
