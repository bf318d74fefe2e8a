"""Oblique scans resliced along the patient's axes, so that two scans of one head overlay.

napari shows an oblique scan along its own axes (see `geometry`). A resliced layer shows it where it lies: slices are
interpolated from the layer's array when they are looked at, so that opening one takes neither time nor memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_synthseg.widgets.layers.geometry import layer_affine, layer_problem, shown_kwargs

if TYPE_CHECKING:
    from collections.abc import Sequence

RESLICED = "napari_synthseg_resliced"
"""Key in the metadata of a resliced layer: the name of the layer that it shows."""
OBLIQUE = np.sin(np.deg2rad(0.1))
"""Sine of the largest angle between an axis of a scan and one of the patient that is ignored."""
MOST_POINTS = 1 << 21
"""Points interpolated at once."""


class Resliced:
    """An array (S, A, R) along the patient's axes, interpolated from an oblique one on access.

    Args:
        data: (S, A, R) array of the layer.
        affine: (4, 4) from voxel index of the transposed (R, A, S) array to RAS mm.
        order: of the interpolation: 0 for labels, 1 for images.
    """

    ndim = 3

    def __init__(self, data: np.ndarray, affine: np.ndarray, order: int) -> None:
        self._data, self._order, self.dtype = data, order, data.dtype
        spacing = np.linalg.norm(affine[:3, :3], axis=0).min()
        ends = np.array([(-0.5, n - 0.5) for n in data.shape[::-1]])
        corners = affine[:3, :3] @ np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1) + affine[:3, 3:]
        low, size = corners.min(axis=1), np.ptp(corners, axis=1)
        count = np.ceil(size / spacing - 1e-6).astype(int)
        self.affine = np.diag([spacing, spacing, spacing, 1.0])
        self.affine[:3, 3] = low + (size - (count - 1) * spacing) / 2
        self.shape = tuple(int(n) for n in count[::-1])
        self._to_data = (np.linalg.inv(affine) @ self.affine)[[2, 1, 0]][:, [2, 1, 0, 3]]
        """(3, 4) from index (S, A, R) here to index (S, A, R) of the data."""

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> np.ndarray:
        key = (key if isinstance(key, tuple) else (key,)) + (slice(None),) * 3
        axes = [np.arange(n)[one] for n, one in zip(self.shape, key, strict=False)]
        shape = [len(axis) for axis in axes if axis.ndim]
        return self._at([np.atleast_1d(axis) for axis in axes]).reshape(shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _at(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        first, others = axes[0], len(axes[1]) * len(axes[2])
        if len(first) > 1 and len(first) * others > MOST_POINTS:
            slabs = np.array_split(first, min(len(first), -(-len(first) * others // MOST_POINTS)))
            return np.concatenate([self._at([slab, *axes[1:]]) for slab in slabs])
        index = np.ix_(*axes)
        places = [sum(m * i for m, i in zip(row[:3], index, strict=True)) + row[3] for row in self._to_data]
        return map_coordinates(self._data, np.broadcast_arrays(*places), self.dtype, self._order, prefilter=False)


def is_oblique(layer: Layer) -> bool:
    """Return whether a layer is a 3D scan or label map that does not lie along the patient's axes."""
    if not isinstance(layer, (Image, Labels)) or layer.ndim != 3 or layer_problem(layer) or RESLICED in layer.metadata:
        return False
    axes = layer_affine(layer)[:3, :3]
    return bool((np.abs(axes / np.linalg.norm(axes, axis=0))[~np.eye(3, dtype=bool)] > OBLIQUE).any())


def reslice(layer: Layer) -> Layer:
    """Return a layer that shows an oblique one along the patient's axes; it follows its array and colormap."""

    def resliced() -> Resliced:
        return Resliced(np.asarray(layer.data), layer_affine(layer), int(isinstance(layer, Image)))

    def follow(event: object = None) -> None:
        made.data = resliced()

    def follow_colors(event: object = None) -> None:
        made.colormap = layer.colormap

    _, attributes, kind = layer.as_layer_data_tuple()
    data = resliced()
    place = shown_kwargs(data.shape[::-1], data.affine)
    place["metadata"] |= {RESLICED: layer.name}
    kept = {name: value for name, value in attributes.items() if name not in ("rotate", "shear", "affine")}
    made = Layer.create(data, {**kept, **place, "name": f"{layer.name} (resliced)", "visible": True}, kind)
    made.editable = False
    layer.events.data.connect(follow)
    layer.events.colormap.connect(follow_colors)
    if isinstance(layer, Labels):
        layer.events.paint.connect(follow)
    return made
