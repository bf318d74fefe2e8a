"""Sample data: the MNI152 head, a synthetic head with a contrast of its own, and a label map."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_synthseg.anatomy import resources
from napari_synthseg.errors import InputError
from napari_synthseg.widgets.layers.reader import LayerData, labels_layer, volume_layer

if TYPE_CHECKING:
    from napari_synthseg.volume import Volume

_MNI152 = Path("datasets", "data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")


def mni152() -> list[LayerData]:
    """The MNI152 T1 template (ICBM 2009a, nonlinear, symmetric) from nilearn's package data.

    Raises:
        InputError: if nilearn is not installed.
    """
    from napari_synthseg.io import read_volume

    package = importlib.util.find_spec("nilearn")  # found, not imported: nilearn is slow to import
    path = Path(package.origin).parent / _MNI152 if package and package.origin else None
    if path is None or not path.is_file():
        raise InputError(
            "The MNI152 sample comes with nilearn, which is missing: pip install 'napari-synthseg[samples]'."
        )
    return [volume_layer(read_volume(path), "MNI152 T1")]


def label_map() -> list[LayerData]:
    """The bundled label map of a whole head."""
    return [labels_layer(bundled_label_map(), "Label map")]


def synthetic_head(seed: int | None = None) -> list[LayerData]:
    """One sample of SynthSeg's generative model from the bundled label map, with its target labels (hidden).

    Args:
        seed: of the sample; without it another head each time.
    """
    from napari_synthseg import synthesize

    seed = int(np.random.default_rng().integers(10_000)) if seed is None else seed
    sample = synthesize(bundled_label_map(), seed=seed)
    labels, kwargs, kind = labels_layer(sample.labels, f"Synthetic head {seed} labels")
    return [(labels, kwargs | {"visible": False}, kind), volume_layer(sample.image, f"Synthetic head {seed}")]


def bundled_label_map() -> Volume:
    """The label map in the resources; the analytic phantom where it is missing."""
    from napari_synthseg.io import read_labels

    path = resources() / "samples" / "mni152_labels.nii.gz"
    if path.is_file():
        return read_labels(path)
    from napari_synthseg.phantom import head_phantom

    return head_phantom()
