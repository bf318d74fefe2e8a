"""Makes the bundled label map, `resources/samples/mni152_labels.nii.gz`, from MNI152 (package data of nilearn).

    python benchmarks/make_label_map.py [--model NAME | --weights FILE] [--out FILE]

1. The brain: segmented by this project's own network (`napari_synthseg.inference`).
2. What the network leaves open inside the template's mask, and the lateral ventricles: a Gaussian mixture of the
   intensities (scikit-learn) tells fluid from the brighter sinuses and meninges, and fluid from choroid plexus.
3. The template has no skull: skull, scalp, face and neck are the analytic phantom's (`napari_synthseg.phantom.dress`),
   in layers around the template's mask.

The template: ICBM 2009a nonlinear symmetric, Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033,
Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
University.
"""

from __future__ import annotations

import gzip
import importlib.util
import sys
import tempfile
from pathlib import Path

import cc3d
import numpy as np
from harness import arguments, command
from phantom import dress
from scipy import ndimage

from napari_synthseg.anatomy import resources
from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.pipeline import segment_steps
from napari_synthseg.io import read_volume, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.volume import Volume, crop, pad, to_canonical

TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
LIMIT_BYTES = 400_000
SPECK_VOXELS = 200
SMALL_VOXELS = 5000
SMOOTH_MM = 1.4  # standard deviation
BELOW_MM, ASIDE_MM, BEFORE_MM = 15, 5, 20  # room for the head around the grid of the template, which is 1 mm
CHOROID = {4: 136, 43: 163}
CSF, SINUS = 24, 514


@command
def main() -> None:
    args = arguments(
        __doc__, "--weights", "--out", weights={"default": None, "type": Path}, model={"default": "synthseg-fast"},
        out={"default": resources() / "samples" / "mni152_labels.nii.gz"},
    )  # fmt: skip
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise InputError("The template comes with nilearn: pip install 'napari-synthseg[samples]'.")
    template = to_canonical(read_volume(Path(spec.origin).parent / TEMPLATE))
    options = SegmentOptions(model=args.model, weights=args.weights, grid="input")
    found = run(segment_steps(template, options, name="MNI152"))
    for warning in found.warnings:
        print("warning:", warning)
    head = label_head(template, found.labels)
    write_small(args.out, head)
    values, counts = np.unique(head.data, return_counts=True)
    print(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    size = args.out.stat().st_size
    print(f"{args.out}: {head.shape}, {len(values)} values, {size / 1000:.0f} kB")
    if size > LIMIT_BYTES:
        raise InputError(f"{args.out} is larger than {LIMIT_BYTES / 1000:.0f} kB: crop or smooth it more.")


def label_head(template: Volume, labels: Volume) -> Volume:
    """The label map of a whole head from the template (RAS, 1 mm) and its segmentation on the same grid."""
    mask = ndimage.binary_fill_holes(template.data > 0)
    brain = np.where(mask, labels.data, 0).astype(np.int16)
    brain = np.where(mask, smooth(cluster(template.data.astype(np.float32), brain, mask)), 0)
    room = ((ASIDE_MM, 0, BELOW_MM), (ASIDE_MM, BEFORE_MM, 0))
    padded = pad(labels.with_data(brain), *room)
    inside = pad(labels.with_data(mask.astype(np.uint8)), *room).data > 0
    closed = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    # The template's mask follows the sulci at its rim: the skull is smoother than it.
    distance = ndimage.gaussian_filter(closed.astype(np.float32), 2.0) - 1.5
    head = dress(padded, distance)
    used = np.argwhere(head.data > 0)
    return crop(head, used.min(0).tolist(), (used.max(0) + 1).tolist())


def smooth(labels: np.ndarray) -> np.ndarray:
    """Rounds the borders: a voxel takes the value that weighs most in a Gaussian around it; small structures stay."""
    best, out = np.zeros(labels.shape, np.float32), labels.copy()
    for value in np.unique(labels):
        weight = ndimage.gaussian_filter((labels == value).astype(np.float32), SMOOTH_MM)
        larger = weight > best
        best[larger], out[larger] = weight[larger], value
    values, counts = np.unique(labels, return_counts=True)
    small = np.isin(labels, values[counts < SMALL_VOXELS])
    out[small] = labels[small]
    return out


def cluster(image: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Splits by intensity what the network does not tell apart: around the brain, and in the lateral ventricles."""
    out = labels.copy()
    open_space = mask & np.isin(labels, (0, CSF))
    bright = brighter(image, open_space)
    out[open_space] = CSF
    depth = ndimage.distance_transform_edt(mask)
    sinus = ndimage.binary_opening(bright & (depth < 6) & (labels == 0))
    out[cc3d.dust(sinus, threshold=SPECK_VOXELS, connectivity=6)] = SINUS  # a speck is neither a sinus nor a vessel
    for ventricle, plexus in CHOROID.items():
        inner = labels == ventricle
        out[ndimage.binary_opening(brighter(image, inner) & ndimage.binary_erosion(inner))] = plexus
    return out


def brighter(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The voxels of a mask that belong to the brighter one of two Gaussians."""
    from sklearn.mixture import GaussianMixture

    bright = np.zeros(where.shape, bool)
    values = image[where].reshape(-1, 1)
    if len(values) < 100:
        return bright
    mixture = GaussianMixture(2, random_state=0).fit(values[:: max(1, len(values) // 50_000)])
    bright[where] = mixture.predict(values) == int(np.argmax(mixture.means_[:, 0]))
    return bright


def write_small(path: Path, labels: Volume) -> None:
    """Writes int16 NIfTI with its axes running A, S, R and gzip's best level, which makes the smallest file."""
    order = [1, 2, 0]
    turned = Volume(labels.data.transpose(order), labels.affine[:, [*order, 3]])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "labels.nii"
        write_volume(plain, turned, dtype=np.int16)
        path.write_bytes(gzip.compress(plain.read_bytes(), 9, mtime=0))


if __name__ == "__main__":
    sys.exit(main())
