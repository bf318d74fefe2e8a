"""The network's probabilities as napari layers: of one structure, or of all of them as a stack. No Qt here."""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer

from napari_synthseg import anatomy
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, copied_geometry

if TYPE_CHECKING:
    from napari_synthseg.inference.posteriors import Posteriors

COLORMAP = "inferno"
STACK = " posteriors: "
"""Between the name of the scan and that of the structure in a stack's name."""
KEPT = 3
"""Structures of a stack whose probabilities are kept in memory."""


def structure_name(value: int, result: Layer | None = None) -> str:
    """What the probability of a value is the probability of: what its result calls it, where that is known."""
    features = getattr(result, "features", None)
    if features is not None and {"index", "name"} <= set(features.columns):
        named = dict(zip(features["index"], features["name"], strict=True))
        if value in named:
            return str(named[value])
    return "Background" if value == 0 else anatomy.name(value)


def probability_steps(posteriors: Posteriors, value: int) -> Generator[Progress, None, np.ndarray]:
    """The probability of one structure, (S, A, R) float32 on the labels' grid.

    Raises:
        ValueError: the network does not predict this value.
    """
    yield Progress(f"Probability of {structure_name(value)}")
    return posteriors.channel(value).data.transpose(2, 1, 0)


def probability_layer(array: np.ndarray, value: int, result: Layer) -> Image:
    """A layer of one structure's probability, lying on its result."""
    geometry = _geometry(result)
    return Image(array, name=f"{_scan_name(result)} {structure_name(value, result)} probability", **geometry, **_look())


def posteriors_layer(posteriors: Posteriors, result: Layer) -> Image:
    """A 4D layer of all structures' probabilities, first axis by channel; each is made when it is first shown."""
    import dask
    import dask.array as da

    shape = tuple(posteriors.grid.shape[::-1])

    @lru_cache(maxsize=KEPT)
    def channel(value: int) -> np.ndarray:
        return posteriors.channel(value).data.transpose(2, 1, 0)

    lazy = [da.from_delayed(dask.delayed(channel, pure=False)(value), shape, np.float32) for value in posteriors.values]
    geometry = _geometry(result)
    for name, first in (("scale", 1.0), ("translate", 0.0)):
        geometry[name] = (first, *geometry[name])
    geometry["units"] = ("pixel", *geometry["units"])
    geometry["axis_labels"] = ("structure", *geometry["axis_labels"])
    geometry["rotate"], geometry["affine"] = _widened(geometry["rotate"], 4), _widened(_matrix(geometry["affine"]), 5)
    geometry["shear"] = (0.0, 0.0, 0.0, *geometry["shear"])
    layer = Image(da.stack(lazy), **geometry, **_look())
    layer.metadata["structures"] = [structure_name(value, result) for value in posteriors.values]
    layer.name = stack_name(_scan_name(result), layer, 0)
    return layer


def is_probability(layer: Layer) -> bool:
    """Whether a layer shows probabilities, and is no scan."""
    return bool(layer.metadata.get(METADATA_KEY, {}).get("probability"))


def stack_name(scan: str, layer: Layer, step: int) -> str:
    """The name of a stack of probabilities while one of them is shown."""
    names = layer.metadata["structures"]
    return f"{scan}{STACK}{names[min(max(step, 0), len(names) - 1)]}"


def _geometry(result: Layer) -> dict[str, Any]:
    geometry = copied_geometry(result)
    geometry["metadata"][METADATA_KEY]["probability"] = True
    return geometry


def _look() -> dict[str, Any]:
    return {"colormap": COLORMAP, "contrast_limits": (0.0, 1.0), "opacity": 0.8, "blending": "additive"}


def _scan_name(result: Layer) -> str:
    return result.name.removesuffix(" segmentation")


def _matrix(affine: Any) -> np.ndarray:
    return np.asarray(getattr(affine, "affine_matrix", affine), dtype=float)


def _widened(matrix: np.ndarray, size: int) -> np.ndarray:
    """A matrix with an axis of its own put before the others."""
    out = np.eye(size)
    out[1:, 1:] = matrix
    return out
