"""Tiny labelled scans and networks for the tests of fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.volume import Volume
from napari_synthseg.weights import store
from tests.generator.builders import boxes

VALUES = (2, 3, 41, 42)
LABELS = (0, 2, 3, 41, 42)


def write_scans(folder: Path, count: int = 3, values: tuple[int, ...] = VALUES, side: int = 24) -> Path:
    """Scans of boxes, each structure with a brightness of its own, with label files beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        labels = boxes(values, side)
        noise = np.random.default_rng(i).normal(0, 1, labels.shape)
        image = (30.0 * (np.searchsorted(sorted({0, *values}), labels)) + noise + 5).clip(0).astype(np.float32)
        write_volume(folder / f"{i}_t1.nii.gz", Volume(image, np.eye(4)))
        write_labels(folder / f"{i}_labels.nii.gz", Volume(labels, np.eye(4)))
    return folder


def fast_weights(path: Path, labels: tuple[int, ...] = LABELS) -> str:
    """A small fast network with random weights."""
    card = {"name": path.stem, "network": "locate-refine", "labels": list(labels), "licence": "Apache-2.0",
            "locator_features": [4, 4, 4, 4], "refiner_features": [4, 4, 4]}  # fmt: skip
    model = LocateRefine(labels, card["locator_features"], card["refiner_features"])
    store.save(path, model.state_dict(), card)
    return str(path)


def unet_weights(path: Path, labels: tuple[int, ...] = LABELS, **more) -> str:
    """A small U-Net with random weights."""
    card = {"name": path.stem, "network": "unet", "labels": list(labels), "features": 2, "levels": 3, **more}
    store.save(path, UNet3d(labels, 2, 3).state_dict(), card)
    return str(path)


def names(values: tuple[int, ...]) -> list[str]:
    return [anatomy.name(v) for v in values]
