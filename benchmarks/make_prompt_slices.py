"""Images and masks for `evaluate-prompts` from labelled scans: one slice for each structure, with a manifest.

    python benchmarks/make_prompt_slices.py FOLDER OUT [--labels VALUE ...] [--scans N]

FOLDER holds scans with label files beside them (`1001_t1.nii.gz`, `1001_labels.nii.gz`). Of each structure the slice is
taken in which its largest connected part is largest; axial, coronal and sagittal slices take turns. The image is the
scan's whole slice, its 0.5 and 99.5 percentiles black and white. Nothing is random.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from harness import arguments, command, finish, labelled_pairs
from PIL import Image

from napari_synthseg import anatomy
from napari_synthseg.inference.postprocess import largest_component
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.volume import to_canonical

LABELS = (4, 10, 11, 12, 16, 17)
"""Left lateral ventricle, thalamus, caudate, putamen and hippocampus, and the brain stem."""
LEAST = 40
"""Pixels of a structure worth pointing at."""


@command
def main() -> int:
    args = arguments(__doc__, "folder", "out", "--scans", labels={"type": int, "nargs": "+", "default": list(LABELS)})
    rows = []
    for number, (scan, labels) in enumerate(labelled_pairs(args.folder, args.scans)):
        rows += slices(scan, labels, args.labels, number, args.out)
    with (args.out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["modality", "dataset", "structure", "image", "mask"])
        table.writeheader()
        table.writerows(rows)
    return finish(f"{len(rows)} structures: {args.out / 'manifest.csv'}")


def slices(scan: Path, labels: Path, values: Sequence[int], number: int, out: Path) -> list[dict[str, str]]:
    """Lines of the manifest for one scan, whose images and masks are written."""
    image, truth = to_canonical(read_volume(scan)).data, to_canonical(read_labels(labels)).data
    low, high = np.percentile(image, [0.5, 99.5])
    grey = (255 * np.clip((image - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for turn, value in enumerate(values):
        axis = (number + turn) % 3
        planes = np.moveaxis(truth == value, axis, 0)
        best = max(range(len(planes)), key=lambda i: planes[i].sum())
        mask = largest_component(planes[best][None])[0]
        if mask.sum() < LEAST:
            continue
        name = f"{stem(scan)}_{value}"
        save(np.moveaxis(grey, axis, 0)[best], out / f"{name}.image.png")
        save(mask.astype(np.uint8) * 255, out / f"{name}.mask.png")
        rows.append({"modality": "MRI", "dataset": "brain", "structure": anatomy.name(value),
                     "image": f"{name}.image.png", "mask": f"{name}.mask.png"})  # fmt: skip
    return rows


def save(plane: np.ndarray, path: Path) -> None:
    """Write a slice with its second axis upwards, as people look at it."""
    Image.fromarray(np.ascontiguousarray(plane.T[::-1])).save(path)


if __name__ == "__main__":
    sys.exit(main())
