"""Does a segmentation look like a brain? Sentences on what does not: volumes, field of view, orientation.

Warnings report and never change anything. The ranges are wide: they hold nearly all living adults, ageing and moderate
atrophy included, so that what falls outside is worth a look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.io import is_label_like

INTRACRANIAL_ML = (950.0, 2100.0)

ADULT_RANGES_ML: dict[str, tuple[float, float]] = {
    "Cerebral-White-Matter": (110, 350), "Cerebral-Cortex": (120, 360), "Lateral-Ventricle": (1.5, 90),
    "Inf-Lat-Vent": (0.03, 9), "Cerebellum-White-Matter": (6, 28), "Cerebellum-Cortex": (28, 85), "Thalamus": (4, 12),
    "Caudate": (1.7, 6.5), "Putamen": (2.3, 8.5), "Pallidum": (0.7, 3.2), "3rd-Ventricle": (0.25, 6),
    "4th-Ventricle": (0.5, 7), "Brain-Stem": (12, 34), "Hippocampus": (1.3, 6.5), "Amygdala": (0.6, 3.2),
    "CSF": (20, 800), "Accumbens-area": (0.15, 1.4), "VentralDC": (2, 6.5),
}  # fmt: skip
"""Volume of one side in mL; the names are FreeSurfer's without the side. Brain extraction leaves little of the CSF."""

FACE_MM2 = 600.0
"""Brain on a face of the image above this is a brain that was cut."""
BRAIN_MM = (100.0, 125.0, 90.0)
"""An adult's brain, even a small one without its skull, is longer from left to right, back to front, bottom to top."""

FACES = (("left", "right"), ("back", "front"), ("bottom", "top"))


def adult_range(value: int) -> tuple[float, float] | None:
    """Return the plausible volume of a structure in mL, or None if none is known."""
    return ADULT_RANGES_ML.get(anatomy.name(value).removeprefix("Left-").removeprefix("Right-"))


def check_volumes(volumes: Mapping[int, float], intracranial_mm3: float | None = None) -> list[str]:
    """Warn of missing structures, implausible volumes (mm^3) and, where CSF is predicted, an implausible total."""
    missing, odd = [], []
    for value, mm3 in volumes.items():
        usual = adult_range(value)
        if usual is None or (mm3 < 5 and usual[0] < 0.1):
            continue
        name, ml = anatomy.name(value), float(f"{mm3 / 1000:.3g}")  # as it is said
        if ml < 0.05 * usual[0]:
            missing.append(name)
        elif not usual[0] <= ml <= usual[1]:
            odd.append(f"{name} {ml:.3g} mL (usually {usual[0]:g}-{usual[1]:g})")
    sentences = [f"Missing or nearly so: {_listing(missing)}."] if missing else []
    sentences += [f"Unusual volumes for an adult: {_listing(odd)}."] if odd else []
    (low, high), ml = INTRACRANIAL_ML, (intracranial_mm3 or 0) / 1000
    if intracranial_mm3 is not None and 24 in volumes and not low <= ml <= high:
        sentences.append(f"The intracranial volume of {ml:.0f} mL is implausible for an adult ({low:g}-{high:g} mL).")
    return sentences


def _listing(items: Sequence[str], most: int = 6) -> str:
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def check_field_of_view(mask: np.ndarray, start: Sequence[int], shape: Sequence[int]) -> list[str]:
    """Warn if the brain without CSF (X, Y, Z), in RAS at about 1 mm, is cut by the edge of the scan of this shape.

    `start` is the voxel of the scan where the mask begins.
    """
    cut = []
    for axis in range(3):
        for name, at in zip(FACES[axis], (0, shape[axis] - 1), strict=True):
            index = at - start[axis]
            if 0 <= index < mask.shape[axis] and np.count_nonzero(np.take(mask, index, axis)) > FACE_MM2:
                cut.append(name)
    if not cut:
        return []
    return [f"The brain reaches the edge of the scan ({', '.join(cut)}): what lies beyond is missing from the volumes."]


def check_coverage(shape: Sequence[int], spacing_mm: float) -> list[str]:
    """Warn if a scan, (3,) voxels in RAS of one spacing, is too short to show a whole brain."""
    short = [
        f"{n * spacing_mm:.0f} mm from {' to '.join(faces)}"
        for n, usual, faces in zip(shape, BRAIN_MM, FACES, strict=True)
        if n * spacing_mm < usual
    ]
    sentence = (
        f"The scan covers only {', '.join(short)}, less than an adult's brain: the networks know whole heads, "
        "so look at the result; volumes of what is cut mean little."
    )
    return [sentence] if short else []


def check_values(image: np.ndarray) -> list[str]:
    """Return a sentence if a scan looks like a label map."""
    return ["This looks like a label map, not a scan: give the scan itself."] if is_label_like(image) else []


def check_intensities(image: np.ndarray, ct: bool) -> list[str]:
    """Warn if a scan that is not treated as CT looks like one (values near -1000 for air)."""
    some = np.asarray(image)[::4, ::4, ::4]
    if not ct and np.mean(some < -300) > 0.05 and some.max() > 100:
        return ["The intensities look like Hounsfield units: if this is a CT scan, turn on 'CT scan' (--ct)."]
    return []
