"""What the *Segment brain* widget runs in its thread, and the layer that comes of it. No Qt here."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_synthseg.progress import Progress
from napari_synthseg.widgets.geometry import METADATA_KEY, LayerScan, copied_geometry, volume_to_layer
from napari_synthseg.widgets.labels_layer import labels_array, labels_kwargs

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_synthseg.segmentation.pipeline import Segmentation
    from napari_synthseg.volume import Volume

Steps = Callable[..., "Generator[Progress, None, Segmentation]"]


@dataclass(frozen=True)
class Outcome:
    """A finished run: the segmentation, and its labels as an array in the order of the input layer's axes."""

    segmentation: Segmentation
    array: np.ndarray


def pipeline_steps(volume: Volume, *, name: str, **options: Any) -> Generator[Progress, None, Segmentation]:
    """The pipeline of `napari_synthseg.segmentation`; torch is imported here, in the thread that runs it.

    Args:
        volume: the scan.
        name: what messages call it.
        **options: fields of `SegmentOptions`.
    """
    yield Progress("Loading the program")
    from napari_synthseg.segmentation.pipeline import SegmentOptions, segment_steps

    return (yield from segment_steps(volume, SegmentOptions(**options), name=name))


def segment_scan(scan: LayerScan, options: dict[str, Any], steps: Steps) -> Generator[Progress, None, Outcome]:
    """Segment a layer's scan.

    Args:
        scan: taken of the layer on the main thread.
        options: fields of `SegmentOptions`.
        steps: see `pipeline_steps`.

    Raises:
        InputError: if the scan cannot be read or segmented.
    """
    yield Progress("Reading the scan")
    volume = scan.read()
    segmentation = yield from steps(volume, name=f'The layer "{scan.name}"', **options)
    return Outcome(segmentation, labels_array(segmentation.labels.data.transpose(2, 1, 0)))


def outcome_to_layer(outcome: Outcome, image: Layer) -> Labels:
    """A Labels layer of the result: on the image's own grid and geometry, or on its own if the grid is another."""
    result = outcome.segmentation
    if outcome.array.shape == tuple(image.data.shape[-3:]):
        array, geometry = outcome.array, copied_geometry(image)
    else:
        array, geometry = volume_to_layer(result.labels)
        array = labels_array(array)
    geometry["metadata"][METADATA_KEY] |= {
        "intracranial_mm3": float(result.intracranial_mm3),
        "warnings": tuple(result.warnings),
        "record": result.record,
    }
    return Labels(array, name=f"{image.name} segmentation", **geometry, **labels_kwargs(result.volumes, result.volumes))
