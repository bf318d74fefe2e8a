"""Geometry of napari layers and `Volume`s.

napari shows an array in the order it is stored, so a layer holds the closest-canonical (R, A, S) array transposed to
(S, A, R), and its world axes are RAS mm in reversed order. With P the axis reversal, the affine of the array
`data.transpose(2, 1, 0)` is `P @ W @ P`, where W is the layer's data-to-world matrix.

napari draws oblique affines wrongly, so the *shown* matrix is diagonal (voxel sizes, and a translation that keeps the
center of the scan); the exact affine of the file is in `layer.metadata["napari_synthseg"]`. `resliced` shows oblique
scans in place, and `writer` converts back to files. Slow modules are imported where they are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import numpy as np
import pint

from napari_synthseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from napari.components import Dims, ViewerModel
    from napari.layers import Layer

    from napari_synthseg.volume import Volume

METADATA_KEY = "napari_synthseg"
MEASURED, SOFT, VOXELS = "measured", "soft", "voxels"
"""Key in the metadata for how volumes were measured: as sums of the network's probabilities, or by counting voxels."""
AXIS_LABELS = ("S", "A", "R")
TIME = "time"
UNITS = ("mm", "mm", "mm")

_P = np.eye(4)[[2, 1, 0, 3]]
_SAME_MM = 1e-5


@dataclass(frozen=True)
class LayerScan:
    """The content of a layer, taken on the main thread; `read` may run on any thread."""

    name: str
    """For messages."""
    data: Any
    """(S, A, R) array-like of the last three dimensions, possibly lazy."""
    affine: np.ndarray
    """(4, 4) from voxel index of the transposed (R, A, S) array to RAS mm."""

    def read(self) -> Volume:
        """Return the volume; see `computed`."""
        from napari_synthseg.volume import Volume

        return Volume(computed(self.data, self.name).transpose(2, 1, 0), self.affine)


def computed(data: Any, name: str, part: Any = None) -> np.ndarray:
    """Return the array of a layer of that name, which may be lazy, or a part of it by its index.

    Raises:
        InputError: it does not fit into memory, or cannot be read: a file that is gone, a broken chunk.
    """
    from napari_synthseg.io.checks import check_memory

    try:
        data = data if part is None else data[part]
        if not isinstance(data, np.ndarray):
            check_memory(f'Layer "{name}"', data.shape, np.dtype(data.dtype).itemsize)
        return np.asarray(data)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f'The data of layer "{name}" cannot be read ({error}); open it again.') from error


def kept_with(layer: Layer) -> Mapping[str, Any]:
    """Return what this plugin keeps in a layer's metadata."""
    return layer.metadata.get(METADATA_KEY, {})


def file_name(name: str, otherwise: str = "layer") -> str:
    """Make a layer's name fit for a file, without an ending."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_.") or otherwise


def unique_names(names: Iterable[str], join: str = "_") -> list[str]:
    """Return names with a number behind those that stood before: "a", "a_2"."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}{join}{number}" for number in count(2))
        found.append(next(one for one in chain([name], numbered) if one not in found))
    return found


def layer_problem(layer: Layer) -> str | None:
    """Return why a layer is not a 3D scan, in one sentence, or None."""
    name = f'Layer "{layer.name}"'
    if getattr(layer, "rgb", False):
        return f"{name} is a color (RGB) image; choose a grayscale scan."
    if getattr(layer, "multiscale", False):
        return f"{name} is multiscale; choose a layer with one resolution, or open the scan as a single array."
    if np.dtype(layer.dtype).kind == "c":
        return f"{name} holds complex numbers; choose their magnitude."
    shape = tuple(layer.data.shape)
    if len(shape) < 3:
        return f"{name} is {len(shape)}D; choose a 3D scan."
    if len(shape) > 4:
        return f"{name} has {len(shape)} dimensions; choose a 3D scan, or a series of 3D scans with time as first axis."
    if min(shape) == 0:
        return f"{name} is empty; choose a 3D scan."
    if _is_flat(world_matrix(layer)[:3, :3]):
        return f"{name} is flattened by its scale or affine; give it its voxel size in mm."
    return None


def layer_matrix(layer: Layer) -> np.ndarray:
    """Return the (n + 1, n + 1) matrix from the index in a layer's array to its world, in its own units."""
    n = layer.ndim
    matrix = np.eye(n + 1)
    matrix[:n, n] = layer.data_to_world(np.zeros(n))
    for axis, unit in enumerate(np.eye(n)):
        matrix[:n, axis] = np.asarray(layer.data_to_world(unit), dtype=float) - matrix[:n, n]
    return matrix


def world_matrix(layer: Layer) -> np.ndarray:
    """Return the (4, 4) matrix from the index of a layer's last three axes to its world, in mm; pixels count as mm."""
    matrix = layer_matrix(layer)[-4:, -4:]
    matrix[:3] *= np.array([_millimetres(unit) for unit in layer.units[-3:]])[:, None]
    return matrix


def has_length_units(layer: Layer) -> bool:
    return all(unit.dimensionality == {"[length]": 1} for unit in layer.units[layer.ndim - 3 :])


def layer_scan(layer: Layer, step: int | None = None) -> LayerScan:
    """Take the content of a 3D Image or Labels layer of any reader, or of one `step` of the first axis of a 4D layer.

    Raises:
        InputError: if the layer is not a 3D scan, or is 4D and no step was chosen.
    """
    problem = layer_problem(layer)
    if problem is not None:
        raise InputError(problem)
    data = layer.data
    if data.ndim == 4:
        if step is None or not 0 <= step < data.shape[0]:
            raise InputError(
                f'Layer "{layer.name}" is 4D; choose one of its {data.shape[0]} volumes (0 to {data.shape[0] - 1}).'
            )
        data = data[step]
    return LayerScan(layer.name, data, layer_affine(layer))


def shown_volume(layer: Layer, dims: Dims) -> int:
    """Return the index of the volume of a 4D layer that the viewer shows; its own step is in the unit of all layers."""
    place = float(layer.world_to_data(dims.point)[0])
    return int(np.clip(np.rint(place), 0, layer.data.shape[0] - 1))


def shown_scan(layer: Layer, dims: Dims) -> LayerScan:
    """Take the content of a layer, of a 4D one the volume that is shown; see `layer_scan`."""
    return layer_scan(layer, shown_volume(layer, dims) if layer.ndim == 4 else None)


def voxel_mm3(layer: Layer) -> float:
    """Return the volume of a voxel of a layer's last three axes, mm^3."""
    return float(abs(np.linalg.det(world_matrix(layer)[:3, :3])))


def connect_edits(layer: Layer, slot: Callable[[Any], Any], on: bool = True) -> None:
    """Call a function when voxels of a layer change, or no longer."""
    for event in edits_of(layer):
        (event.connect if on else event.disconnect)(slot)


def edits_of(layer: Layer) -> list[Any]:
    """Return the events of voxels that change, by strokes or as a whole."""
    return [layer.events.data, *([layer.events.paint] if hasattr(layer.events, "paint") else [])]


def add_unselected(viewer: ViewerModel, layer: Layer, index: int | None = None) -> Layer:
    """Add a layer, on top or at an index, and keep the user's selection; the first layer of a viewer is selected."""
    selected, active = set(viewer.layers.selection), viewer.layers.selection.active
    viewer.layers.insert(len(viewer.layers) if index is None else index, layer)
    if len(viewer.layers) > 1:
        viewer.layers.selection = selected
        viewer.layers.selection.active = active
    return layer


def layer_to_volume(layer: Layer, step: int | None = None) -> Volume:
    """Convert a layer to a `Volume` (R, A, S order), with the exact affine of its file; see `layer_scan`."""
    return layer_scan(layer, step).read()


def copied_geometry(layer: Layer) -> dict[str, Any]:
    """Return keyword arguments that place a new 3D layer on the last three axes of this one."""
    last = slice(layer.ndim - 3, None)
    exact = kept_with(layer)
    return {
        "scale": np.asarray(layer.scale)[last],
        "translate": np.asarray(layer.translate)[last],
        "rotate": np.asarray(layer.rotate)[last, last],
        "shear": _last_shear(np.asarray(layer.shear), layer.ndim),
        "affine": np.asarray(layer.affine)[-4:, -4:],
        "units": tuple(layer.units)[last],
        "axis_labels": tuple(layer.axis_labels)[last],
        "metadata": {METADATA_KEY: {key: exact[key] for key in ("affine", "shape", "header") if key in exact}},
    }


def volume_to_layer(volume: Volume) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the (S, A, R) array of a volume and keyword arguments that show it in RAS mm, see `shown_kwargs`."""
    return shown_array(volume.data, volume.affine), shown_kwargs(volume.shape, volume.affine)


def shown_array(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the (S, A, R) or (T, S, A, R) view of an array (X, Y, Z) or (X, Y, Z, T)."""
    from napari_synthseg.volume import canonical_array

    return canonical_array(data, affine).T


def shown_kwargs(shape: tuple[int, ...], affine: np.ndarray, **kept: Any) -> dict[str, Any]:
    """Return keyword arguments of a layer that shows a volume (X, Y, Z) in RAS mm; `kept` goes into the metadata."""
    canonical = canonical_grid(affine, shape)
    shown = _shown_matrix(canonical.affine, canonical.shape)
    exact = {"affine": np.array(affine, dtype=float), "shape": tuple(int(n) for n in shape)}
    return {
        "scale": np.diag(shown)[:3].copy(),
        "translate": shown[:3, 3].copy(),
        "units": UNITS,
        "axis_labels": AXIS_LABELS,
        "metadata": {METADATA_KEY: exact | kept},
    }


def series_kwargs(kwargs: dict[str, Any], step: float | None) -> dict[str, Any]:
    """Return the result of `shown_kwargs` with a time axis of that `step` (s) in front; if None, it counts volumes."""
    return kwargs | {
        "scale": np.array([step or 1.0, *kwargs["scale"]]),
        "translate": np.array([0.0, *kwargs["translate"]]),
        "units": ("s" if step else "pixel", *kwargs["units"]),
        "axis_labels": (TIME, *kwargs["axis_labels"]),
    }


def kept_grid(layer: Layer) -> tuple[np.ndarray, tuple[int, ...]] | None:
    """Return affine (4, 4) and shape (X, Y, Z) of a layer's file, or of the file it was made from, if known."""
    kept = kept_with(layer)
    if "affine" not in kept or "shape" not in kept:
        return None
    return np.asarray(kept["affine"], dtype=float), tuple(int(n) for n in kept["shape"])


def layer_affine(layer: Layer) -> np.ndarray:
    """Return the RAS affine (4, 4) of the transposed (R, A, S) array of a layer's last three axes.

    It is exact if the metadata are, and includes moves made in napari. A layer of another shape was cropped or
    subsampled: it lies where these voxels lie in the file, which in an oblique scan is not where napari shows them. A
    layer of another reader lies in its own world.
    """
    world = world_matrix(layer)
    kept = kept_grid(layer)
    if kept is None:
        return _P @ world @ _P
    canonical = canonical_grid(*kept)
    shown = _shown_matrix(canonical.affine, canonical.shape)
    if canonical.shape != tuple(layer.data.shape[::-1][:3]):
        return canonical.affine @ _P @ np.linalg.solve(shown, world) @ _P
    if np.allclose(world, shown, rtol=0, atol=_SAME_MM):
        return canonical.affine
    return _P @ world @ np.linalg.inv(shown) @ _P @ canonical.affine


def _is_flat(matrix: np.ndarray) -> bool:
    lengths = np.linalg.norm(matrix, axis=0)
    return bool((lengths == 0).any() or abs(np.linalg.det(matrix / lengths)) < 1e-6)


def _millimetres(unit: Any) -> float:
    if unit.dimensionality != {"[length]": 1}:
        return 1.0
    return float(pint.get_application_registry().Quantity(1.0, unit).to("mm").magnitude)


def _shown_matrix(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the diagonal (4, 4) matrix, in (S, A, R) order, that shows a canonical array at its center."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    middle = (np.asarray(shape) - 1) / 2
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = affine[:3, :3] @ middle + affine[:3, 3] - spacing * middle
    return _P @ matrix @ _P


def canonical_grid(affine: np.ndarray, shape: tuple[int, ...]) -> Volume:
    from napari_synthseg.volume import Volume, to_canonical

    return to_canonical(Volume(np.broadcast_to(np.uint8(0), shape), affine))


def _last_shear(shear: np.ndarray, ndim: int) -> np.ndarray:
    """Return the three upper-triangular shears of the last three of `ndim` axes."""
    if ndim == 3:
        return shear
    upper = np.zeros((ndim, ndim))
    upper[np.triu_indices(ndim, 1)] = shear
    return upper[-3:, -3:][np.triu_indices(3, 1)]
