"""The layer of errors: where a segmentation misses, adds or confuses, on the voxels of the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg.widgets.layers.geometry import METADATA_KEY
from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME, OTHER_COLOR, VOLUME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer

MARK = "errors of"
COLORS = {1: (0.34, 0.71, 0.91, 1.0), 2: (0.90, 0.62, 0.0, 1.0), 3: (0.80, 0.47, 0.65, 1.0)}
"""Missed, added, other label: sky blue, orange and purple, which the colour-blind tell apart (Okabe and Ito)."""
OPACITY = 0.85


def error_layer(errors: np.ndarray, pred: Layer, truth: Layer, geometry: dict[str, Any], voxel_mm3: float) -> Labels:
    """A Labels layer of a map of errors, with names, volumes and colours.

    Args:
        errors: (S, A, R), see `differences.ERRORS`.
        pred: the layer that was compared.
        truth: with this one.
        geometry: of the true layer, from `copied_geometry`.
        voxel_mm3: volume of a voxel.
    """
    kept = geometry["metadata"].get(METADATA_KEY, {}) | {MARK: pair_of(pred, truth)}
    metadata = {**geometry["metadata"], METADATA_KEY: kept}
    looks = {"colormap": _colormap(), "features": _features(errors, voxel_mm3), "opacity": OPACITY}
    return Labels(errors, name=f"{pred.name} errors", **{**geometry, "metadata": metadata}, **looks)


def is_errors(layer: Layer) -> bool:
    """Whether a layer is one of errors."""
    return MARK in layer.metadata.get(METADATA_KEY, {})


def errors_of(layers: Iterable[Layer], pred: Layer, truth: Layer) -> Labels | None:
    """The layer of errors of two layers, if there is one."""
    for layer in layers:
        if isinstance(layer, Labels) and layer.metadata.get(METADATA_KEY, {}).get(MARK) == pair_of(pred, truth):
            return layer
    return None


def pair_of(pred: Layer, truth: Layer) -> tuple[str, str]:
    """How a layer of errors knows what it is of."""
    return str(pred.unique_id), str(truth.unique_id)


def _colormap() -> DirectLabelColormap:
    return DirectLabelColormap(color_dict={0: (0.0, 0.0, 0.0, 0.0), **COLORS, None: OTHER_COLOR})


def _features(errors: np.ndarray, voxel_mm3: float):
    import pandas as pd  # here, since it is slow to import and a widget opens without it

    from napari_synthseg.evaluation.differences import ERRORS

    counts = np.bincount(errors.ravel(), minlength=max(ERRORS) + 1)
    millilitres = [round(float(counts[value]) * voxel_mm3 / 1000, 3) for value in ERRORS]
    return pd.DataFrame({INDEX: [0, *ERRORS], NAME: ["agrees", *ERRORS.values()], VOLUME: [np.nan, *millilitres]})
