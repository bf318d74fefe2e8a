"""What a comparison shows in layers: the layer of errors on the voxels of the truth, and one structure alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg.widgets.layers.geometry import METADATA_KEY
from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME, OTHER_COLOR, VOLUME

if TYPE_CHECKING:
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


class Highlight:
    """Show one structure alone in several Labels layers by napari's "show selected"; remembers what it changed."""

    def __init__(self) -> None:
        self._before: dict[Labels, bool] = {}

    def show(self, layers: Iterable[Labels], value: int, alone: bool) -> None:
        """Select a label in layers.

        Args:
            layers: all of them; others are let go.
            value: the label, which is also the one to paint with from now on.
            alone: whether all others are hidden.
        """
        kept = list(layers)
        for layer in [one for one in self._before if one not in kept]:
            self._release(layer)
        for layer in kept:
            layer.selected_label = value
            if alone:
                self._before.setdefault(layer, layer.show_selected_label)
                layer.show_selected_label = True
            else:
                self._release(layer)

    def clear(self) -> None:
        """Show everything as it was shown before."""
        for layer in list(self._before):
            self._release(layer)

    def forget(self, layer: Labels) -> None:
        """Of a layer that was removed nothing is kept; it is left as it was."""
        self._release(layer)

    def _release(self, layer: Labels) -> None:
        before = self._before.pop(layer, None)
        if before is not None:
            layer.show_selected_label = before


def _colormap() -> DirectLabelColormap:
    return DirectLabelColormap(color_dict={0: (0.0, 0.0, 0.0, 0.0), **COLORS, None: OTHER_COLOR})


def _features(errors: np.ndarray, voxel_mm3: float):
    import pandas as pd  # here, since it is slow to import and a widget opens without it

    from napari_synthseg.evaluation.locations import ERRORS

    counts = np.bincount(errors.ravel(), minlength=max(ERRORS) + 1)
    millilitres = [round(float(counts[value]) * voxel_mm3 / 1000, 3) for value in ERRORS]
    return pd.DataFrame({INDEX: [0, *ERRORS], NAME: ["agrees", *ERRORS.values()], VOLUME: [np.nan, *millilitres]})
