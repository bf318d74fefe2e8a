"""What brains look like on T1, T2, PD, FLAIR and CT: the generator's Gaussians, from physics and not from scans.

MR: relaxation times and proton densities at 1.5 T are those of the BrainWeb simulator (Collins et al., IEEE TMI 1998;
Kwan et al., IEEE TMI 1999), and so are the sequences T1 (spoiled gradient echo), T2 and PD (both echoes of one spin
echo), put into the usual signal equations. FLAIR is a spin echo with the inversion time that nulls fluid. Deep nuclei
mix grey and white matter as in `WHITE_FRACTION`. CT: Hounsfield units (white matter 20-30, grey matter 37-45,
fluid 0-15, fat -100 to -50, bone 700 and more), in the window 0-80 in which heads are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from napari_synthseg.anatomy import LESION
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import Record
from napari_synthseg.generator.steps.contrast import WHITE_FRACTION

Relaxation = tuple[float, float, float]

RELAXATION: dict[str, Relaxation] = {
    "fluid": (2569.0, 329.0, 1.0),
    "grey": (833.0, 83.0, 0.86),
    "white": (500.0, 70.0, 0.77),
    "lesion": (752.0, 237.0, 0.76),
    "fat": (350.0, 70.0, 1.0),
    "muscle": (900.0, 47.0, 1.0),
    "nothing": (1.0, 1.0, 0.0),
}
"""T1 and T2 in ms, and proton density, of each tissue; cortical bone, flowing blood and air give no signal."""
HOUNSFIELD = {
    "fluid": 10.0, "grey": 40.0, "white": 27.0, "lesion": 18.0, "fat": -75.0, "muscle": 50.0, "nothing": -1000.0,
    "bone": 1000.0, "blood": 45.0, "marrow": 300.0,
}  # fmt: skip
WINDOW = (0.0, 80.0)
"""Hounsfield units that become 0 and 255."""

MADE_OF: dict[int, str] = {
    **dict.fromkeys((4, 5, 14, 15, 24, 43, 44, 72, 30, 62, 506), "fluid"),
    **dict.fromkeys((3, 42, 8, 47, 136, 137, 163, 164, 509), "grey"),
    **dict.fromkeys((2, 41, 7, 46, 85, 512, 530), "white"),
    **dict.fromkeys((25, 57, LESION), "lesion"),
    **dict.fromkeys((507, 508, 511), "muscle"),
    **dict.fromkeys((502, 514), "blood"),
    515: "bone",
    516: "marrow",
}
"""Tissue of each label that is no deep nucleus; perivascular spaces (30, 62) are fluid, vitreous bodies too."""
MR_OF = {"bone": "nothing", "blood": "nothing", "marrow": "fat"}
"""What gives these their signal on MR."""
BRIGHTEST = 200.0
"""Mean of the brightest of white matter, grey matter and fluid, intensities in [0, 255]."""
MR_NOISE, CT_NOISE = 6.0, 13.0
"""Standard deviation within a tissue: 3 % on MR, 4 Hounsfield units on CT."""


def _spoiled_echo(t1: float, t2: float, density: float) -> float:
    """TR 18 ms, TE 10 ms, 30 degrees."""
    recovered, angle = math.exp(-18.0 / t1), math.radians(30.0)
    return density * math.sin(angle) * (1 - recovered) / (1 - math.cos(angle) * recovered) * math.exp(-10.0 / t2)


def _spin_echo(echo_ms: float) -> Callable[[float, float, float], float]:
    """TR 3,300 ms."""
    return lambda t1, t2, density: density * (1 - math.exp(-3300.0 / t1)) * math.exp(-echo_ms / t2)


def _flair(t1: float, t2: float, density: float) -> float:
    """TR 9,000 ms, TE 120 ms, magnitude."""
    fluid = RELAXATION["fluid"][0]
    inversion = fluid * math.log(2 / (1 + math.exp(-9000.0 / fluid)))
    recovered = 1 - 2 * math.exp(-inversion / t1) + math.exp(-9000.0 / t1)
    return density * abs(recovered) * math.exp(-120.0 / t2)


SEQUENCES: dict[str, Callable[[float, float, float], float]] = {
    "T1": _spoiled_echo,
    "T2": _spin_echo(120.0),
    "PD": _spin_echo(35.0),
    "FLAIR": _flair,
}
NAMES = (*SEQUENCES, "CT")


def tissue_intensities(name: str) -> dict[str, float]:
    """Mean of each tissue, intensities in [0, 255].

    Raises:
        InputError: there is no such sequence.
    """
    if name == "CT":
        low, high = WINDOW
        return {t: 255.0 * (min(max(hu, low), high) - low) / (high - low) for t, hu in HOUNSFIELD.items()}
    if name not in SEQUENCES:
        raise InputError(f"There is no sequence {name!r}: choose one of {', '.join(NAMES)}.")
    signal = {tissue: SEQUENCES[name](*facts) for tissue, facts in RELAXATION.items()}
    scale = BRIGHTEST / max(signal[tissue] for tissue in ("white", "grey", "fluid"))
    means = {tissue: min(one * scale, 300.0) for tissue, one in signal.items()}
    return means | {tissue: means[same] for tissue, same in MR_OF.items()}


def label_mean(name: str, value: int, partner: int | None = None) -> float:
    """Mean of a label on a sequence; labels nobody has named, and background, give no signal."""
    means, key = tissue_intensities(name), min(value, value if partner is None else partner)
    if value in MADE_OF:
        return means[MADE_OF[value]]
    if key in WHITE_FRACTION:
        share = min(max(sum(WHITE_FRACTION[key]) / 2, 0.0), 1.0)
        return means["grey"] + (means["white"] - means["grey"]) * share
    return means["nothing"]


def as_sequence(record: Record, label_map: LabelMap, name: str) -> Record:
    """The record of the same head as a sequence shows it, with its lesions: no gamma; no bias field on CT.

    Raises:
        InputError: there is no such sequence.
    """
    noise = CT_NOISE if name == "CT" else MR_NOISE
    pairs = [(v, label_map.values[p]) for v, p in zip(label_map.values, label_map.partners, strict=True)]
    means = tuple(label_mean(name, value, partner) for value, partner in pairs)
    stds = tuple(noise if value else noise / 2 for value, _ in pairs)
    shown = record.changed("contrast", contrast="given", means=means, stds=stds).changed("gamma", gamma=1.0)
    if "lesions" in record:
        shown = shown.changed("lesions", mean=label_mean(name, LESION), std=noise)
    return shown.changed("bias", bias_std=0.0) if name == "CT" else shown


def inverted(image: np.ndarray) -> np.ndarray:
    """Dark where it was bright, float32; what is 0 or less (no head) becomes 0."""
    inside = image > 0
    top = np.percentile(image[inside], 99.5)
    return np.where(inside, np.clip(top - image, 1e-3 * top, None), 0).astype(np.float32)
