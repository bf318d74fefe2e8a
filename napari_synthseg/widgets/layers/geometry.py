"""Between napari layers and `Volume`s: one convention, no silent change of geometry.

napari shows an array in the order it is stored, so a layer of ours holds the closest-canonical (R, A, S) array
transposed to (S, A, R), and its world axes are RAS mm in reversed order. With P the axis reversal, the affine of the
array `data.transpose(2, 1, 0)` is therefore `P @ W @ P`, where W is the layer's own data-to-world matrix.

napari draws oblique affines wrongly, so what is *shown* is diagonal (voxel sizes and a translation that keeps the
centre of the scan where it is); the exact affine of the file waits in `layer.metadata["napari_synthseg"]`.

The modules below are imported where they are used, since they are slow to import and a widget opens without them.
The way back to a file is in `writer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pint

from napari_synthseg.errors import InputError

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Layer

    from napari_synthseg.volume import Volume

METADATA_KEY = "napari_synthseg"
MEASURED, SOFT, VOXELS = "measured", "soft", "voxels"
"""Key in our metadata of how volumes were measured: as sums of the network's probabilities, or by counting voxels."""
AXIS_LABELS = ("S", "A", "R")
TIME = "time"
UNITS = ("mm", "mm", "mm")

_P = np.eye(4)[[2, 1, 0, 3]]
_SAME_MM = 1e-5


@dataclass(frozen=True)
class LayerScan:
    """What a run needs to know of a layer, taken on the main thread; `read` may then run on any thread.

    Attributes:
        name: the layer's name, for messages.
        data: (S, A, R) array-like of the last three dimensions, possibly lazy.
        affine: (4, 4) float64, from voxel index of the transposed (R, A, S) array to RAS mm.
    """

    name: str
    data: Any
    affine: np.ndarray

    def read(self) -> Volume:
        """Compute the array (it may be lazy) and return it with its affine.

        Raises:
            InputError: if the array cannot be read.
        """
        from napari_synthseg.volume import Volume

        try:
            array = np.asarray(self.data)
        except Exception as error:
            raise InputError(
                f'The data of layer "{self.name}" cannot be read ({error}); open the scan again.'
            ) from error
        return Volume(array.transpose(2, 1, 0), self.affine)


def layer_problem(layer: Layer) -> str | None:
    """Say in one sentence why a layer is not a 3D scan; None when it is one."""
    name = f'Layer "{layer.name}"'
    if getattr(layer, "rgb", False):
        return f"{name} is a colour (RGB) image; choose a greyscale scan."
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


def world_matrix(layer: Layer) -> np.ndarray:
    """The (4, 4) matrix from the index of a layer's last three axes to its world, in mm.

    Composed from scale, rotate, shear, translate and affine. Units of length are converted to mm; other units
    (pixels) are taken as mm.
    """
    n = layer.ndim
    origin = np.asarray(layer.data_to_world(np.zeros(n)), dtype=float)
    columns = [np.asarray(layer.data_to_world(axis), dtype=float) - origin for axis in np.eye(n)[n - 3 :]]
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([column[n - 3 :] for column in columns], axis=1)
    matrix[:3, 3] = origin[n - 3 :]
    matrix[:3] *= np.array([_millimetres(unit) for unit in layer.units[n - 3 :]])[:, None]
    return matrix


def has_length_units(layer: Layer) -> bool:
    """Whether the last three axes are measured in a unit of length (and not in pixels)."""
    return all(unit.dimensionality == {"[length]": 1} for unit in layer.units[layer.ndim - 3 :])


def layer_scan(layer: Layer, step: int | None = None) -> LayerScan:
    """Take what is needed of a layer to make a `Volume` of it later.

    Args:
        layer: any 3D image or labels layer, whichever reader made it; of a 4D layer one step of the first axis.
        step: index along the first axis of a 4D layer.

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
    """Which volume of a 4D layer the viewer shows.

    The viewer's own step does not say it: that counts in the finest step of all layers, and the volumes of one may be
    2 s apart where another's first axis just counts.
    """
    place = float(layer.world_to_data(dims.point)[0])
    return int(np.clip(np.rint(place), 0, layer.data.shape[0] - 1))


def layer_to_volume(layer: Layer, step: int | None = None) -> Volume:
    """Turn a layer into a `Volume` (R, A, S order) with its affine in RAS mm; see `layer_scan`.

    A layer of our own reader gets the exact affine of its file, together with any move made in napari since.

    Raises:
        InputError: if the layer is not a 3D scan.
    """
    return layer_scan(layer, step).read()


def copied_geometry(layer: Layer) -> dict[str, Any]:
    """Keyword arguments that put a new 3D layer exactly where the last three axes of this one lie."""
    last = slice(layer.ndim - 3, None)
    exact = layer.metadata.get(METADATA_KEY, {})
    return {
        "scale": np.asarray(layer.scale)[last],
        "translate": np.asarray(layer.translate)[last],
        "rotate": np.asarray(layer.rotate)[last, last],
        "shear": _last_shear(np.asarray(layer.shear), layer.ndim),
        "affine": _last_affine(np.asarray(layer.affine)),
        "units": tuple(layer.units)[last],
        "axis_labels": tuple(layer.axis_labels)[last],
        "metadata": {METADATA_KEY: {key: exact[key] for key in ("affine", "shape", "header") if key in exact}},
    }


def volume_to_layer(volume: Volume) -> tuple[np.ndarray, dict[str, Any]]:
    """The (S, A, R) array of a volume and the keyword arguments that show it in RAS mm.

    Returns:
        The closest-canonical array, transposed, and scale, translate, units, axis labels and metadata with the
        volume's exact affine and shape.
    """
    return shown_array(volume.data, volume.affine), shown_kwargs(volume.shape, volume.affine)


def shown_array(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The view that napari shows, (S, A, R) or (T, S, A, R), of an array (X, Y, Z) or (X, Y, Z, T) of that affine."""
    from napari_synthseg.volume import canonical_array

    return canonical_array(data, affine).T


def shown_kwargs(shape: tuple[int, ...], affine: np.ndarray, **kept: Any) -> dict[str, Any]:
    """Keyword arguments of a layer that shows a volume of that shape and affine in RAS mm.

    Args:
        shape: (X, Y, Z)
        affine: (4, 4) voxel index to RAS mm.
        kept: what else to remember of the file in the layer's metadata.
    """
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
    """The geometry of a 4D layer whose volumes have that of `kwargs`: a time axis before the three of space.

    Args:
        kwargs: from `shown_kwargs`.
        step: from one volume to the next, s; without it the axis counts the volumes.
    """
    return kwargs | {
        "scale": np.array([step or 1.0, *kwargs["scale"]]),
        "translate": np.array([0.0, *kwargs["translate"]]),
        "units": ("s" if step else "pixel", *kwargs["units"]),
        "axis_labels": (TIME, *kwargs["axis_labels"]),
    }


def kept_grid(layer: Layer) -> tuple[np.ndarray, tuple[int, ...]] | None:
    """Affine (4, 4) and shape (X, Y, Z) of the file that a layer, or the layer it was made on, came from, if known."""
    kept = layer.metadata.get(METADATA_KEY, {})
    if "affine" not in kept or "shape" not in kept:
        return None
    return np.asarray(kept["affine"], dtype=float), tuple(int(n) for n in kept["shape"])


def layer_affine(layer: Layer) -> np.ndarray:
    """RAS affine (4, 4) of the transposed (R, A, S) array of a layer's last three axes.

    Exact where our metadata is. A layer that was moved in napari carries the move. One that has another shape was
    cropped or thinned out along the axes of its array: it lies where these voxels lie in the file, which in an oblique
    scan is not where napari shows them. Any other reader's layer lies where its world says.
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
    """The diagonal (4, 4) matrix, in (S, A, R) order, that shows a canonical array centred where its affine puts it."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    middle = (np.asarray(shape) - 1) / 2
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = affine[:3, :3] @ middle + affine[:3, 3] - spacing * middle
    return _P @ matrix @ _P


def canonical_grid(affine: np.ndarray, shape: tuple[int, ...]) -> Volume:
    """A volume without voxels of its own on the closest-canonical grid of that affine and shape."""
    from napari_synthseg.volume import Volume, to_canonical

    return to_canonical(Volume(np.broadcast_to(np.uint8(0), shape), affine))


def _last_affine(affine: np.ndarray) -> np.ndarray:
    """The (4, 4) part of an (n + 1, n + 1) affine that concerns the last three axes."""
    keep = [*range(affine.shape[0] - 4, affine.shape[0])]
    return affine[np.ix_(keep, keep)]


def _last_shear(shear: np.ndarray, ndim: int) -> np.ndarray:
    """The three upper-triangular shears of the last three of `ndim` axes."""
    if ndim == 3:
        return shear
    upper = np.zeros((ndim, ndim))
    upper[np.triu_indices(ndim, 1)] = shear
    return upper[-3:, -3:][np.triu_indices(3, 1)]
