"""Label maps as napari layers: our colours, and a features table so that hovering shows structure and volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg import anatomy

if TYPE_CHECKING:
    import pandas as pd

OPACITY = 0.5
INDEX, NAME, SIDE, VOLUME = "index", "name", "side", "volume (mL)"  # columns of the features; napari wants "index"

_OTHER_COLOR = (0.75, 0.75, 0.75, 1.0)


def label_colormap(values: Iterable[int] = ()) -> DirectLabelColormap:
    """The table's colours, and steady ones for other `values`; background transparent.

    A value painted later that is in neither is grey: nothing that is there is hidden.
    """
    rows = {s.value for s in anatomy.table()} | {int(value) for value in values}
    colors: dict[int | None, Any] = {value: (*(c / 255 for c in anatomy.color(value)), 1.0) for value in rows}
    colors[0] = (0.0, 0.0, 0.0, 0.0)
    colors[None] = _OTHER_COLOR
    return DirectLabelColormap(color_dict=colors)


def label_features(values: Iterable[int], volumes_mm3: Mapping[int, float] | None = None) -> pd.DataFrame:
    """One row for each value, background first: `index`, `name`, `side`, `volume (mL)`.

    Args:
        values: FreeSurfer values; 0 is added where missing.
        volumes_mm3: volume of each value in mm^3; where it has none the volume is left empty (NaN).
    """
    import pandas as pd  # here, since it is slow to import and a widget opens without it

    rows = sorted({0, *(int(value) for value in values)})
    volumes = volumes_mm3 or {}
    millilitres = [round(float(volumes[v]) / 1000, 3) if v and v in volumes else np.nan for v in rows]
    return pd.DataFrame(
        {
            INDEX: rows,
            NAME: ["Background" if v == 0 else anatomy.name(v) for v in rows],
            SIDE: [anatomy.structure(v).side if v and anatomy.known(v) else "" for v in rows],
            VOLUME: millilitres,
        }
    )


def labels_array(array: np.ndarray) -> np.ndarray:
    """A label array as uint16, which napari draws quickly and which leaves room for new labels; int32 where it must."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return np.ascontiguousarray(array, dtype=np.uint16 if low >= 0 and high < 2**16 else np.int32)


def counted_volumes(array: np.ndarray, voxel_mm3: float) -> dict[int, float]:
    """Volume of each value in mm^3: its number of voxels times `voxel_mm3`."""
    values, counts = np.unique(array, return_counts=True)
    return {int(value): float(count) * voxel_mm3 for value, count in zip(values, counts, strict=True)}


def labels_kwargs(values: Iterable[int], volumes_mm3: Mapping[int, float] | None = None) -> dict[str, Any]:
    """Keyword arguments that give a Labels layer our colours, names and volumes."""
    values = [int(value) for value in values]
    return {
        "colormap": label_colormap(values),
        "features": label_features(values, volumes_mm3),
        "opacity": OPACITY,
    }
