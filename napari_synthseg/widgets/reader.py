"""Open scans and label maps in napari: NIfTI, MGZ, NRRD, DICOM folders, through `napari_synthseg.files`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.files import SeveralVolumes, is_label_like, paths, read_volume
from napari_synthseg.volume import Volume
from napari_synthseg.widgets.geometry import volume_to_layer

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """The reader for a path or several, or None where one of them is not ours (npe2's reader contribution)."""
    return read_layers if all(_is_ours(Path(one)) for one in _paths(path)) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """One layer for each path: Labels for label maps, Image for the rest.

    Raises:
        InputError: if a file cannot be read.
    """
    return [_layer(Path(one)) for one in _paths(path)]


def _layer(path: Path) -> LayerData:
    try:
        return volume_layer(read_volume(path), paths.stem(path))
    except SeveralVolumes as several:
        return series_layer(path, several.count)


def series_layer(path: Path, count: int) -> LayerData:
    """A 4D layer (time first) of a file with several volumes; each is read when it is first shown."""
    import dask
    import dask.array as da

    first, kwargs = volume_to_layer(read_volume(path, index=0))
    rest = [dask.delayed(_shown)(path, index) for index in range(1, count)]
    array = da.stack([da.from_array(first), *(da.from_delayed(one, first.shape, first.dtype) for one in rest)])
    return (
        array,
        {
            **kwargs,
            "scale": (1.0, *kwargs["scale"]),
            "translate": (0.0, *kwargs["translate"]),
            "units": ("pixel", *kwargs["units"]),
            "axis_labels": ("volume", *kwargs["axis_labels"]),
            "name": paths.stem(path),
            "colormap": "gray",
            "contrast_limits": contrast_limits(first) or (0.0, 1.0),
        },
        "image",
    )


def _shown(path: Path, index: int) -> np.ndarray:
    return volume_to_layer(read_volume(path, index=index))[0]


def volume_layer(volume: Volume, name: str) -> LayerData:
    """A layer that shows a volume where it lies: closest-canonical, (S, A, R), diagonal scale, in mm."""
    if is_label_like(volume):
        return labels_layer(volume, name)
    array, kwargs = volume_to_layer(volume)
    limits = contrast_limits(array)
    return array, kwargs | {"name": name, "colormap": "gray"} | ({"contrast_limits": limits} if limits else {}), "image"


def labels_layer(volume: Volume, name: str) -> LayerData:
    """A Labels layer with our names, colours and the volumes of its voxels."""
    from napari_synthseg.widgets.labels_layer import counted_volumes, labels_array, labels_kwargs

    array, kwargs = volume_to_layer(volume)
    array = labels_array(array)
    volumes = counted_volumes(array, abs(float(np.linalg.det(volume.affine[:3, :3]))))
    return array, kwargs | {"name": name} | labels_kwargs(volumes, volumes), "labels"


def contrast_limits(array: np.ndarray) -> tuple[float, float] | None:
    """Display range: from the least to the 99.8th percentile of about a million voxels; None for a constant array."""
    step = max(round((array.size / 1e6) ** (1 / 3)), 1)
    sample = np.asarray(array[::step, ::step, ::step], dtype=np.float32)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return None
    low, high = float(sample.min()), float(np.percentile(sample, 99.8))
    high = high if high > low else float(sample.max())
    return (low, high) if high > low else None


def _paths(path: str | Sequence[str]) -> list[str]:
    return [str(path)] if isinstance(path, (str, Path)) else [str(one) for one in path]


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return any(_is_dicom(file) for file in sorted(path.iterdir())[:20])
    return paths.suffix(path) in paths.READABLE


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"
