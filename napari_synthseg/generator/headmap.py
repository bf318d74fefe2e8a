"""Label maps of whole heads from a segmentation of the brain and its scan (SynthSeg, section 4.2 and Supplement 6).

The generative model needs a label for all that is seen on a scan; FreeSurfer's aseg covers the brain only. SynthSeg's
own maps got their extra-cerebral labels from a Bayesian segmentation; here the intensities around the brain are
clustered, as in its section 5.4. What lies between the folds of the cortex is CSF, by geometry; near the brain, so is
what is as bright as it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cc3d
import edt
import fill_voids
import numpy as np
from scipy import ndimage

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.fields import Info, check
from napari_synthseg.generator.subregions import FEWEST, clusters, gray_levels
from napari_synthseg.jobs import Progress
from napari_synthseg.volume import Volume, check_extent, resample_to

CSF, VENTRICLES = 24, (4, 43, 14, 15)
HEAD = (515, 512, 509, 508, 507, 511, 530, 514, 506, 516)
"""Values of the classes around the brain, in the order of their brightness on T1: cortical bone, ..., marrow and fat.
Few classes take some, evenly spaced. Skull stripping removes all of them, and none is predicted."""
SULCI_MM = 5.0
"""Gaps between parts of the brain of up to twice this are CSF."""
SHELL_MM = 4.0
"""Thickness of the layer around the brain in which CSF is looked for by its intensity."""
AIR = 0.15
"""Where the head ends: from the intensity of air (0) to that of the brain (1)."""
LEAST_HEAD = 0.25
"""Volume of the head around the brain that a scan must show, in volumes of the brain."""
LEAST_SEEN = 0.9
"""Fraction of the brain that must lie within the scan."""
MOST_OF_FACES = 0.9
"""Fraction of the outermost voxels that may be brighter than air."""
SMOOTH_MM = 0.7
"""Standard deviation of the blur that keeps noise from speckling the classes."""


@dataclass(frozen=True)
class HeadmapOptions:
    """How the surroundings of a brain are labelled."""

    classes: Annotated[int, Info(low=3, high=len(HEAD))] = 6
    """Classes around the brain, besides CSF: SynthSeg used 3 to 10, maps of several numbers make images more varied."""
    seed: int = 0
    """Seed of the clustering."""

    def __post_init__(self) -> None:
        check(self)


def headmap_file(
    scan: Path, aseg: Path, out: Path, options: HeadmapOptions | None = None, *, overwrite: bool = False
) -> Generator[Progress, None, Path]:
    """Write the label map of a head; see `head_map`.

    Raises:
        InputError: as `head_map`, a file cannot be read, or the label map is there already.
    """
    from napari_synthseg.io import read_labels, read_volume, write_labels
    from napari_synthseg.io.formats import format_to_write

    format_to_write(out)
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already: give another name, or --overwrite.")
    yield Progress("Reading", 0, 3)
    image, labels = read_volume(scan), read_labels(aseg)
    yield Progress("Clustering", 1, 3)
    made = head_map(image, labels, options, names=(str(scan), str(aseg)))
    yield Progress("Writing", 2, 3)
    write_labels(out, made)
    return out


def head_map(
    scan: Volume,
    labels: Volume,
    options: HeadmapOptions | None = None,
    *,
    names: tuple[str, str] = ("The scan", "the segmentation"),
) -> Volume:
    """Label what surrounds a segmented brain, by clustering the intensities of its scan.

    Args:
        scan: of the whole head, any contrast, on any grid.
        labels: of the brain, in values of FreeSurfer or of the label table; labels outside the brain stay.
        options: see `HeadmapOptions`.
        names: how messages call the two.

    Returns:
        int32 labels on the grid of `labels`, all of them values of the label table.

    Raises:
        InputError: a value is unknown, the two do not show the same head, or the scan shows the brain alone.
    """
    options = options or HeadmapOptions()
    for volume, name in zip((scan, labels), names, strict=True):
        check_extent(volume, name=name)
    data = _in_table(labels.data, names[1])
    brain = (data > 0) & ~np.isin(data, [s.value for s in anatomy.table() if s.extra_cerebral])
    if not brain.any():
        raise InputError(f"{names[1]} holds no structure of the brain: give FreeSurfer's aseg, or labels of SynthSeg.")
    image = _on_grid(scan, labels, brain, names)
    head = _head(image, brain, names[0])
    around = head & (data == 0)
    if around.sum() < LEAST_HEAD * brain.sum():
        raise InputError(f"{names[0]} shows hardly more than the brain: give the scan before skull stripping.")
    levels = gray_levels(np.where(head, image, np.median(image[around])))
    csf = _csf(levels, data, brain, around, labels.spacing)
    around &= ~csf
    found = clusters(levels[around], options.classes, np.random.default_rng(options.seed))
    values = np.array(HEAD)[np.linspace(0, len(HEAD) - 1, int(found.max()) + 1).round().astype(int)]
    data[csf] = CSF
    data[around] = values[found[levels[around]]]
    return Volume(data, labels.affine)


def _in_table(labels: np.ndarray, name: str) -> np.ndarray:
    """Return a copy of labels in values of the label table, int32."""
    data = np.array(anatomy.from_freesurfer(labels)[0], np.int32)
    if unknown := sorted({int(value) for value in np.unique(data)} - {s.value for s in anatomy.table()}):
        raise anatomy.unknown_error(name, unknown, "or give FreeSurfer's aseg")
    return data


def _on_grid(scan: Volume, labels: Volume, brain: np.ndarray, names: tuple[str, str]) -> np.ndarray:
    """Return the scan on the grid of the labels, float32, a little blurred; as dark as can be beyond its edge."""
    image = resample_to(scan, labels.shape, labels.affine, fill=np.nan).data.astype(np.float32)
    seen = np.isfinite(image)
    if np.mean(seen[brain]) < LEAST_SEEN:
        raise InputError(
            f"{names[0]} shows {100 * np.mean(seen[brain]):.0f}% of the brain in {names[1]}: give the scan that was "
            "segmented."
        )
    image[~seen] = image[seen].min()
    return ndimage.gaussian_filter(image, SMOOTH_MM / labels.spacing)


def _head(image: np.ndarray, brain: np.ndarray, name: str) -> np.ndarray:
    """Return the piece of all that is brighter than air that holds the brain, with what it encloses (bone, airways)."""
    outside = image[~brain]
    air = np.median(outside[outside <= np.percentile(outside, 20)])
    seen = image > air + AIR * (np.median(image[brain]) - air)
    if np.mean([np.mean(seen.take([0, -1], axis)) for axis in range(3)]) > MOST_OF_FACES:
        raise InputError(f"{name} shows no air around the head, or air that is not dark: give another scan.")
    pieces = cc3d.connected_components(seen | brain, connectivity=6)
    head = pieces == np.bincount(pieces[brain]).argmax()
    for axis in range(3):
        for plane in np.moveaxis(head, axis, 0):
            plane[...] = fill_voids.fill(np.ascontiguousarray(plane))
    return head


def _csf(
    levels: np.ndarray, data: np.ndarray, brain: np.ndarray, around: np.ndarray, spacing: np.ndarray
) -> np.ndarray:
    """Return what lies in the folds of the brain, or close around it and is as bright as the ventricles."""
    size = tuple(float(one) for one in spacing)
    distance = edt.edt(~brain, anisotropy=size, black_border=False)
    folds = around & (edt.edt(distance <= SULCI_MM, anisotropy=size, black_border=False) > SULCI_MM)
    known = levels[np.isin(data, VENTRICLES)]
    known = known if len(known) >= FEWEST else levels[folds]
    if not len(known):
        return folds
    low, middle, high = np.percentile(known, (10, 50, 90))
    alike = (levels >= 2 * low - middle) & (levels <= 2 * high - middle)
    return folds | (around & alike & (distance <= SHELL_MM))
