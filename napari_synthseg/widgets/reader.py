"""Open scans and label maps in napari: NIfTI, MGZ, NRRD, DICOM folders, through `napari_synthseg.files`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.volume import Volume, to_canonical
from napari_synthseg.widgets.geometry import volume_to_layer

LayerData = tuple[np.ndarray, dict[str, Any], str]

SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".nrrd", ".nhdr")


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """The reader for a path or several, or None where one of them is not ours (npe2's reader contribution)."""
    return read_layers if all(_is_ours(Path(one)) for one in _paths(path)) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """One layer for each path: Labels for label maps, Image for the rest.

    Raises:
        InputError: if a file cannot be read.
    """
    from napari_synthseg.files import read_volume

    return [volume_layer(read_volume(one), layer_name(one)) for one in map(Path, _paths(path))]


def volume_layer(volume: Volume, name: str) -> LayerData:
    """A layer that shows a volume where it lies: closest-canonical, (S, A, R), diagonal scale, in mm."""
    from napari_synthseg.files import is_label_like

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


def layer_name(path: Path) -> str:
    """The file name without its endings (`sub-01_T1w.nii.gz` is `sub-01_T1w`)."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


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
    return path.name.lower().endswith(SUFFIXES) or path.suffix.lower() == ".dcm"


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"
