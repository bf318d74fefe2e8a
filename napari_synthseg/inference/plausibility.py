"""Does a segmentation look like a brain? Sentences on what does not: volumes, field of view, orientation.

Warnings report and never change anything. The ranges are wide: they hold nearly all living adults, ageing and moderate
atrophy included, so that what falls outside is worth a look.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np
import torch

from napari_synthseg import anatomy
from napari_synthseg.inference.grid import Turn, turns
from napari_synthseg.jobs import Progress

INTRACRANIAL_ML = (950.0, 2100.0)

ADULT_RANGES_ML: dict[str, tuple[float, float]] = {
    "Cerebral-White-Matter": (110, 350),
    "Cerebral-Cortex": (120, 360),
    "Lateral-Ventricle": (1.5, 90),
    "Inf-Lat-Vent": (0.03, 9),
    "Cerebellum-White-Matter": (6, 28),
    "Cerebellum-Cortex": (28, 85),
    "Thalamus": (4, 12),
    "Caudate": (1.7, 6.5),
    "Putamen": (2.3, 8.5),
    "Pallidum": (0.7, 3.2),
    "3rd-Ventricle": (0.25, 6),
    "4th-Ventricle": (0.5, 7),
    "Brain-Stem": (12, 34),
    "Hippocampus": (1.3, 6.5),
    "Amygdala": (0.6, 3.2),
    "CSF": (60, 800),
    "Accumbens-area": (0.15, 1.4),
    "VentralDC": (2, 6.5),
}
"""Volume of one side in mL; the names are FreeSurfer's without the side."""

FACE_MM2 = 600.0
"""Brain on a face of the image above this is a brain that was cut."""

CONFIDENT = 0.22
"""Below this score (see `score`) the locator is asked whether another orientation fits better. How sure a network is of
ordinary scans depends on its training: its card may hold a `confident_score` of its own."""
BETTER_BY = 0.1

LIKE_LABELS = 0.8
"""Share of voxels with the value of their neighbour from which on an image looks like labels; in scans it is less."""

BRAIN_MM = (100.0, 125.0, 90.0)
"""An adult's brain, even a small one without its skull, is longer from left to right, back to front, bottom to top."""

FACES = (("left", "right"), ("back", "front"), ("bottom", "top"))


def adult_range(value: int) -> tuple[float, float] | None:
    """Plausible volume of a structure in mL, or None where none is known."""
    name = anatomy.name(value)
    return ADULT_RANGES_ML.get(name.removeprefix("Left-").removeprefix("Right-"))


def check_volumes(volumes: Mapping[int, float], intracranial_mm3: float | None = None) -> list[str]:
    """Sentences on missing structures, implausible volumes and an implausible total.

    Args:
        volumes: mm^3 by FreeSurfer value.
        intracranial_mm3: total; it is judged only where the network predicts CSF.
    """
    missing, odd = [], []
    for value, mm3 in volumes.items():
        usual = adult_range(value)
        if usual is None or (mm3 < 5 and usual[0] < 0.1):
            continue
        name, ml = anatomy.name(value), mm3 / 1000
        if ml < 0.05 * usual[0]:
            missing.append(name)
        elif not usual[0] <= ml <= usual[1]:
            odd.append(f"{name} {ml:.3g} mL (usually {usual[0]:g}-{usual[1]:g})")
    sentences = []
    if missing:
        sentences.append(f"Missing or nearly so: {_listing(missing)}.")
    if odd:
        sentences.append(f"Unusual volumes for an adult: {_listing(odd)}.")
    if intracranial_mm3 is not None and 24 in volumes:
        ml = intracranial_mm3 / 1000
        low, high = INTRACRANIAL_ML
        if not low <= ml <= high:
            sentences.append(
                f"The intracranial volume of {ml:.0f} mL is implausible for an adult ({low:g}-{high:g} mL)."
            )
    return sentences


def _listing(items: Sequence[str], most: int = 6) -> str:
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def check_field_of_view(mask: np.ndarray, start: Sequence[int], shape: Sequence[int]) -> list[str]:
    """A sentence where the brain is cut by the edge of the scan.

    Args:
        mask: (X, Y, Z) brain without CSF, in RAS at about 1 mm.
        start: voxel of the scan where the mask begins.
        shape: voxels of the scan.
    """
    cut = []
    for axis in range(3):
        for end, name in enumerate(FACES[axis]):
            at = 0 if end == 0 else shape[axis] - 1
            index = at - start[axis]
            if 0 <= index < mask.shape[axis] and np.count_nonzero(np.take(mask, index, axis)) > FACE_MM2:
                cut.append(name)
    if not cut:
        return []
    return [f"The brain reaches the edge of the scan ({', '.join(cut)}): what lies beyond is missing from the volumes."]


def check_coverage(shape: Sequence[int], spacing_mm: float) -> list[str]:
    """A sentence where a scan is too short to show a whole brain.

    Args:
        shape: (3,) voxels, in RAS.
        spacing_mm: of them.
    """
    short = [
        f"{n * spacing_mm:.0f} mm from {' to '.join(faces)}"
        for n, usual, faces in zip(shape, BRAIN_MM, FACES, strict=True)
        if n * spacing_mm < usual
    ]
    if not short:
        return []
    return [
        f"The scan covers only {', '.join(short)}, less than an adult's brain: the networks know whole heads, so look "
        "at the result; volumes of what is cut mean little."
    ]


def check_values(image: np.ndarray) -> list[str]:
    """A sentence where a scan looks like a label map: whole numbers, few, and nearly all like their neighbours'."""
    some = np.asarray(image)[::4, ::4]
    inside, same = some[..., 1:] != some.min(), some[..., 1:] == some[..., :-1]
    count = np.count_nonzero(inside)
    if count < 1000 or np.count_nonzero(same & inside) < LIKE_LABELS * count:
        return []
    values = np.unique(some)
    if len(values) > 300 or not np.array_equal(values, np.round(values)):
        return []
    return ["This looks like a label map, not a scan: give the scan itself."]


def check_intensities(image: np.ndarray, ct: bool) -> list[str]:
    """A sentence where a scan that is not treated as CT looks like one (values near -1000 for air)."""
    some = np.asarray(image)[::4, ::4, ::4]
    if not ct and np.mean(some < -300) > 0.05 and some.max() > 100:
        return ["The intensities look like Hounsfield units: if this is a CT scan, turn on 'CT scan' (--ct)."]
    return []


def score(coarse: torch.Tensor, values: Sequence[int], voxel_mm3: float = 8.0) -> float:
    """How much posteriors look like a whole, sure brain: 0 (not at all) to 1.

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


def orientation_steps(model, image: np.ndarray, device: torch.device) -> Generator[Progress, None, dict[Turn, float]]:
    """Score the 24 right-angle rotations of a scan with the locator, best first.

    Reflections are not tried: the two halves of a brain look alike, so a swap of left and right cannot be seen.

    Args:
        model: a network with a locator.
        image: (X, Y, Z), as in `Prepared`.
        device: where to run; the network is moved there.

    Returns:
        The score of every rotation; the four best of a first look were looked at again around the brain they showed.
    """
    from napari_synthseg.inference.locate import glance
    from napari_synthseg.inference.preprocess import brain_centre

    def look(turn: Turn, centre: np.ndarray | None = None) -> tuple[float, np.ndarray | None]:
        turned = np.ascontiguousarray(turn.apply(image))
        found = glance(model, turned, brain_centre(turned) if centre is None else centre, device)
        return score(found.posteriors, model.labels, found.spacing**3), found.middle(model.labels)

    model = model.to(device)
    every = turns()
    first: dict[Turn, tuple[float, np.ndarray | None]] = {}
    for number, turn in enumerate(every):
        yield Progress("Trying orientations", number, len(every) + 4)
        first[turn] = look(turn)
    scores = {turn: value for turn, (value, _) in first.items()}
    for number, turn in enumerate(sorted(every, key=lambda one: -scores[one])[:4]):
        yield Progress("Trying orientations", len(every) + number, len(every) + 4)
        middle = first[turn][1]
        if middle is not None:
            scores[turn] = max(scores[turn], look(turn, middle)[0])
    yield Progress("Trying orientations", len(every) + 4, len(every) + 4)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def choose_turn(scores: Mapping[Turn, float]) -> tuple[Turn, list[str]]:
    """The best rotation, and a sentence on it; the header's own is kept unless another is clearly better."""
    best = max(scores, key=lambda turn: scores[turn])
    if best.is_identity or scores[best] < scores[Turn()] + BETTER_BY / 2:
        return Turn(), []
    sentence = (
        f"The header does not match the anatomy and was overruled: {best.describe()}. Left and right follow from that "
        "rotation; if the header is mirrored, they are swapped."
    )
    return best, [sentence]


def question_orientation(
    model, image: np.ndarray, coarse: torch.Tensor, device: torch.device, values: Sequence[int] | None = None
) -> Generator[Progress, None, list[str]]:
    """Where the locator is unsure, look whether another orientation makes it sure: a sentence if so.

    Args:
        model: a network with a locator.
        image: (X, Y, Z), as in `Prepared`.
        coarse: (K, X, Y, Z) what the locator said.
        device: where to run.
        values: FreeSurfer value of each channel of `coarse`; default the model's labels.
    """
    card = getattr(model, "card", None) or {}
    if score(coarse, values or model.labels) >= float(card.get("confident_score", CONFIDENT)):
        return []
    scores = yield from orientation_steps(model, image, device)
    best = max(scores, key=lambda turn: scores[turn])
    if best.is_identity or scores[best] < scores[Turn()] + BETTER_BY:
        return ["The network is unsure about this scan; look at the result before using it."]
    return [
        f"The header may not match the anatomy: the scan looks more like a head if {best.describe()}; "
        "turn on 'Fix orientation' (--fix-orientation) to use that."
    ]
