"""Showing and hiding single structures of a Labels layer: hidden ones are transparent in its colormap, nothing else.

So what is hidden is the layer's own state, which every widget (and napari) sees, and no voxel is touched.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg import anatomy
from napari_synthseg.widgets.layers.labels_layer import OTHER_COLOR, label_colormap

if TYPE_CHECKING:
    from napari.layers import Labels


def is_visible(layer: Labels, value: int) -> bool:
    """Whether a structure is drawn."""
    return float(_color(layer, value)[3]) > 0


def visible_among(layer: Labels, values: Collection[int]) -> set[int]:
    """Those of some values that are drawn."""
    return {value for value in values if is_visible(layer, value)}


def set_visible(layer: Labels, values: Collection[int], visible: bool) -> None:
    """Show or hide structures and leave all others as they are."""
    _change(layer, dict.fromkeys(values, visible))


def show_only(layer: Labels, values: Collection[int], among: Collection[int]) -> None:
    """Show some structures and hide all others, what has no row in the table too.

    Args:
        layer: the layer; it is made visible itself.
        values: what is shown.
        among: all values of the layer that have a row.
    """
    layer.visible = True
    _change(layer, {value: value in values for value in {*among, *values}}, others=False)


def show_all(layer: Labels, among: Collection[int]) -> None:
    """Show every structure."""
    _change(layer, dict.fromkeys(among, True), others=True)


def rgb(layer: Labels, value: int) -> tuple[int, int, int]:
    """The color a structure has in the layer (0-255), whether it is hidden or not."""
    red, green, blue = (round(255 * float(part)) for part in _color(layer, value)[:3])
    return red, green, blue


def _change(layer: Labels, wanted: dict[int, bool], others: bool | None = None) -> None:
    colors = _colors(layer, wanted)
    if others is not None:  # the colormap holds structures that have no row, too
        wanted = {value: others for value in colors if value} | wanted
    for value, visible in wanted.items():
        color = np.array(_color(layer, value), dtype=float)
        color[3] = float(visible)
        colors[value] = color
    if others is not None:
        color = np.array(colors.get(None, OTHER_COLOR), dtype=float)
        color[3] = float(others)
        colors[None] = color
    layer.colormap = DirectLabelColormap(color_dict=colors)


def _colors(layer: Labels, values: Collection[int]) -> dict[int | None, Any]:
    """A copy of the colors of a layer; ours where napari's automatic ones were chosen, which cannot hide."""
    if isinstance(layer.colormap, DirectLabelColormap):
        return dict(layer.colormap.color_dict)
    return dict(label_colormap(values).color_dict)


def _color(layer: Labels, value: int) -> Any:
    if isinstance(layer.colormap, DirectLabelColormap):
        if value in layer.colormap.color_dict:
            return layer.colormap.color_dict[value]
        if layer.colormap.color_dict.get(None) is not None and value:
            return layer.colormap.color_dict[None]
    elif value:
        return layer.colormap.map(value)
    return (*(part / 255 for part in anatomy.color(value)), 1.0)
