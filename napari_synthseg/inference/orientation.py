"""Orientation of a scan: score the 24 right-angle rotations by how much the posteriors look like a brain."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np
import torch

from napari_synthseg.inference.grid import Reorientation, reorientations
from napari_synthseg.inference.locate_refine import glance
from napari_synthseg.inference.plausibility import adult_range
from napari_synthseg.inference.preprocess import brain_center
from napari_synthseg.jobs import Progress

CONFIDENT = 0.22
"""Below this score (see `score`) the locator is asked whether another orientation fits better. How sure a network is of
ordinary scans depends on its training: its card may hold a `confident_score` of its own."""
BETTER_BY = 0.1


def score(coarse: torch.Tensor, values: Sequence[int], voxel_mm3: float = 8.0) -> float:
    """Score how much posteriors look like a whole, sure brain: 0 (not at all) to 1.

    The mean over structures of (mean posterior where it is high) x (closeness of the volume to the usual one).

    Args:
        coarse: (K, X, Y, Z) posteriors of the locator.
        values: FreeSurfer value of each channel.
        voxel_mm3: volume of a voxel.
    """
    total = [float(channel.sum(dtype=torch.float32)) for channel in coarse]
    squares = [float(channel.float().square().sum()) for channel in coarse]
    parts = []
    for k, value in enumerate(values):
        usual = adult_range(value)
        if k == 0 or usual is None or value == 24:
            continue
        sure = squares[k] / max(total[k], 1e-6)
        middle = np.sqrt(usual[0] * usual[1])
        width = np.log(usual[1] / usual[0]) / 2
        off = np.log(max(total[k] * voxel_mm3 / 1000, 1e-3) / middle) / width
        parts.append(sure * np.exp(-0.5 * max(0.0, abs(off) - 0.5) ** 2))
    return float(np.mean(parts)) if parts else 0.0


def orientation_steps(
    model, image: np.ndarray, device: torch.device
) -> Generator[Progress, None, dict[Reorientation, float]]:
    """Score the 24 right-angle rotations of a prepared scan with the locator, best first.

    Reflections are not tried: the two halves of a brain look alike, so a swap of left and right cannot be seen. The
    four best of a first look are looked at again around the brain they showed.
    """

    def look(rotation: Reorientation, center: np.ndarray | None = None) -> tuple[float, np.ndarray | None]:
        reoriented = np.ascontiguousarray(rotation.apply(image))
        found = glance(model, reoriented, brain_center(reoriented) if center is None else center, device)
        return score(found.posteriors, model.labels, found.spacing**3), found.middle(model.labels)

    model = model.to(device)
    every = reorientations()
    first: dict[Reorientation, tuple[float, np.ndarray | None]] = {}
    for number, rotation in enumerate(every):
        yield Progress("Trying orientations", number, len(every) + 4)
        first[rotation] = look(rotation)
    scores = {rotation: value for rotation, (value, _) in first.items()}
    for number, rotation in enumerate(sorted(every, key=lambda one: -scores[one])[:4]):
        yield Progress("Trying orientations", len(every) + number, len(every) + 4)
        middle = first[rotation][1]
        if middle is not None:
            scores[rotation] = max(scores[rotation], look(rotation, middle)[0])
    yield Progress("Trying orientations", len(every) + 4, len(every) + 4)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def choose_reorientation(scores: Mapping[Reorientation, float]) -> tuple[Reorientation, list[str]]:
    """Choose the best rotation, with a sentence; the header's own is kept unless another is clearly better."""
    best = max(scores, key=lambda rotation: scores[rotation])
    if best.is_identity or scores[best] < scores[Reorientation()] + BETTER_BY / 2:
        return Reorientation(), []
    sentence = (
        f"The header does not match the anatomy and was overruled: {best.describe()}. Left and right follow from that "
        "rotation; if the header is mirrored, they are swapped."
    )
    return best, [sentence]


def question_orientation(
    model, image: np.ndarray, coarse: torch.Tensor, device: torch.device, values: Sequence[int] | None = None
) -> Generator[Progress, None, list[str]]:
    """Warn if the locator is unsure and another orientation makes it sure.

    Args:
        model: a network with a locator.
        image: (X, Y, Z), as in `Prepared`.
        coarse: (K, X, Y, Z) posteriors of the locator.
        device: where to run.
        values: FreeSurfer value of each channel of `coarse`; default the model's labels.
    """
    card = getattr(model, "card", None) or {}
    if score(coarse, values or model.labels) >= float(card.get("confident_score", CONFIDENT)):
        return []
    scores = yield from orientation_steps(model, image, device)
    best = max(scores, key=lambda rotation: scores[rotation])
    if best.is_identity or scores[best] < scores[Reorientation()] + BETTER_BY:
        return ["The network is unsure about this scan; look at the result before using it."]
    return [
        f"The header may not match the anatomy: the scan looks more like a head if {best.describe()}; "
        "turn on 'Fix orientation' (--fix-orientation) to use that."
    ]
