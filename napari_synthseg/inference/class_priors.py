"""Class priors for SynthSeg-RC (SynthSeg, section 5.2), estimated on scans of one contrast.

The intensities of each generation class are a Gaussian, fitted by expectation-maximization with the network's
posteriors as the prior of every voxel; its mean and deviation vary from scan to scan.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation import normalized
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import preset
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.pipeline import segment_steps
from napari_synthseg.inference.posteriors import Posteriors
from napari_synthseg.jobs import Progress
from napari_synthseg.volume import Volume, to_canonical

PRESET = "synthseg-rc"
ITERATIONS = 5
SAMPLE = 300_000
"""Voxels of the brain, at most, that Gaussians are fitted to."""
FEWEST = 20.0
"""Voxels that a class needs."""
THICK = 1.5
"""Slices this much thicker than voxels are wide have a direction."""

Gaussians = dict[int, tuple[float, float]]
"""Mean and standard deviation by generation class, intensities in [0, 255]."""


def estimate_priors(
    scans: Sequence[Path], options: SegmentOptions | None = None
) -> Generator[Progress, None, GenerativeModel]:
    """Segment scans, and return the preset synthseg-rc with their classes, slice spacing and slice direction.

    Args:
        scans: of one contrast.
        options: of the segmentation.

    Raises:
        InputError: a scan cannot be read or segmented, or its network knows no structure of the brain.
    """
    from napari_synthseg.io import read_volume

    options = replace(options or SegmentOptions(), posteriors=True, grid="input")
    found: list[Gaussians] = []
    spacings: list[np.ndarray] = []
    for number, path in enumerate(scans):
        yield Progress("priors", number, len(scans), {"file": path.name})
        scan = read_volume(path)
        result = yield from segment_steps(scan, options, name=path.name)
        assert result.posteriors is not None
        found.append(class_gaussians(scan, result.posteriors))
        spacings.append(np.asarray(to_canonical(scan).spacing, float))
    yield Progress("priors", len(scans), len(scans))
    return combined(found, spacings)


def class_gaussians(scan: Volume, posteriors: Posteriors) -> Gaussians:
    """Fit a Gaussian to each generation class of one scan, given posteriors on its grid.

    Raises:
        InputError: there is no structure of the brain.
    """
    image = normalized(scan.data)
    brain = np.flatnonzero(posteriors.channel(posteriors.values[0]).data < 0.5)
    classes: dict[int, np.ndarray] = {}
    chosen = brain[:: max(1, len(brain) // SAMPLE)]
    for value in (v for v in posteriors.values[1:] if anatomy.known(v)):
        own = posteriors.channel(value).data.reshape(-1)[chosen]
        c = anatomy.structure(value).generation_class
        classes[c] = classes[c] + own if c in classes else own
    if not classes or not len(chosen):
        raise InputError("No structure of the brain was found: class priors need scans of the brain.")
    means, stds, counts = fit(image.reshape(-1)[chosen], np.stack(list(classes.values())))
    found = zip(classes, means, stds, counts, strict=True)
    return {c: (float(m), float(s)) for c, m, s, n in found if n >= FEWEST * len(chosen) / len(brain)}


def fit(x: np.ndarray, prior: np.ndarray, iterations: int = ITERATIONS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit Gaussians by expectation-maximization with a prior for every voxel.

    Args:
        x: (N,) intensities.
        prior: (C, N) probabilities of the classes.
        iterations: of the two steps; the first uses the prior alone.

    Returns:
        (C,) means, standard deviations and voxels of each class.
    """
    x, prior = x.astype(np.float64), prior.astype(np.float64)
    weights = prior
    for iteration in range(iterations):
        counts = np.maximum(weights.sum(1), 1e-6)
        means = weights @ x / counts
        variances = np.maximum((weights @ x**2) / counts - means**2, 0.25)  # half a gray level is known of any scan
        if iteration + 1 < iterations:
            distance = (x - means[:, None]) ** 2 / variances[:, None]
            weights = prior * np.exp(-0.5 * distance) / np.sqrt(variances)[:, None]
            weights /= np.maximum(weights.sum(0), 1e-12)
    return means, np.sqrt(variances), counts


def combined(found: Sequence[Gaussians], spacings: Sequence[np.ndarray]) -> GenerativeModel:
    """Return the preset with the mean and deviation of each class over scans, and the resolution of the scans.

    `spacings` are the (3,) voxel sizes of each scan along right, anterior, superior, mm.
    """
    count = max(s.generation_class for s in anatomy.table()) + 1
    priors: list[list[tuple[float, float] | None]] = [[None] * count, [None] * count]
    for c in range(count):
        own = np.array([gaussians[c] for gaussians in found if c in gaussians])
        for which in (0, 1) if len(own) else ():
            priors[which][c] = float(own[:, which].mean()), float(own[:, which].std(ddof=min(1, len(own) - 1)))
    thickest = [max(float(s.max()), 1.0) for s in spacings]
    directions = {int(s.argmax()) if s.max() > THICK * s.min() else None for s in spacings}
    slices = (min(thickest), max(thickest))
    direction = directions.pop() if len(directions) == 1 else None
    means, stds = (tuple(each) for each in priors)
    model = preset(PRESET).with_values(class_means=means, class_stds=stds, slice_direction=direction)
    return model.with_values(slice_spacing_mm=slices, slice_thickness_mm=slices)
