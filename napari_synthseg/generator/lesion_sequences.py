"""Heads with lesions as a scanner might show them: T1, T2, PD, FLAIR or CT with random settings and tissues (ours).

How far lesions differ from white matter, and to which side, depends on that of grey matter and fluid. Independent
draws never learn it: on FLAIR lesions are far brighter than anything else, on T1 as dark as grey matter. Here echo,
repetition and inversion times and the tissues themselves are random, around what `sequences` says of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.record import Record
from napari_synthseg.generator.sequences import (
    BRIGHTEST,
    CT_NOISE,
    HOUNSFIELD,
    MADE_OF,
    MR_OF,
    RELAXATION,
    WINDOW,
    Relaxation,
)
from napari_synthseg.generator.tissues import WHITE_FRACTION

KINDS = ("T1", "inversion", "T2", "PD", "FLAIR", "CT")
"""Spoiled gradient echo; magnetization-prepared T1; both echoes of a spin echo; fluid suppressed; CT."""
SHARES = (0.22, 0.18, 0.15, 0.12, 0.25, 0.08)
"""How often each is drawn."""
TISSUES_VARY = 0.08
"""Standard deviation of the logarithm of a tissue's relaxation times, and half as much of its density."""
LESIONS_VARY = 0.25
"""The same of lesions: some hold far more water than others."""
HOUNSFIELD_VARY = 3.0
"""Standard deviation of a tissue's Hounsfield units."""
MR_NOISE = (2.0, 12.0)
"""Standard deviation within a tissue, of 255."""
CT_NOISE_RANGE = (0.5 * CT_NOISE, 1.3 * CT_NOISE)
"""The same on CT."""
LARGEST_BIAS = 0.4
"""Standard deviation of the logarithm of the bias field, at most."""


def as_random_sequence(record: Record, label_map: LabelMap, g: torch.Generator) -> Record:
    """The record of the same head, with its lesions, as a random sequence shows it; gamma is near 1.

    Args:
        record: as drawn for this label map.
        label_map: only its table is used.
        g: a CPU generator; its state moves on, always as far.
    """
    take = iter(torch.rand(16, generator=g).tolist())
    vary = torch.randn(32, generator=g).tolist()
    mixes = torch.rand(64, generator=g).tolist()
    kind = _chosen(next(take))
    means = _hounsfield(vary) if kind == "CT" else _signals(kind, take, vary)
    low, high = CT_NOISE_RANGE if kind == "CT" else MR_NOISE
    noise, wild = low + (high - low) * next(take), next(take)
    gamma = math.exp(0.15 * vary[-1])
    slots = zip(label_map.values, label_map.partners, strict=True)
    shown = tuple(_mean(means, min(v, label_map.values[p]), v, mixes) for v, p in slots)
    lesions = record.drawn_lesions
    if lesions is not None:
        lesions = replace(lesions, mean=means["lesion"], std=noise * (1 + 0.5 * wild))
    return replace(
        record,
        contrast="given",
        means=shown,
        stds=tuple(noise if value else noise / 2 for value in label_map.values),
        gamma=gamma,
        bias_std=0.0 if kind == "CT" else min(record.bias_std, LARGEST_BIAS),
        drawn_lesions=lesions,
    )


def _chosen(u: float) -> str:
    """A kind of scan."""
    for kind, share in zip(KINDS, SHARES, strict=True):
        if u < share:
            return kind
        u -= share
    return KINDS[-1]


def _mean(means: dict[str, float], key: int, value: int, mixes: list[float]) -> float:
    """Of a label, with a random share of white matter in deep nuclei, the same on both sides."""
    if value in MADE_OF or key in MADE_OF:
        return means[MADE_OF.get(value) or MADE_OF[key]]
    if key not in WHITE_FRACTION:
        return means["nothing"]
    low, high = WHITE_FRACTION[key]
    share = low + (high - low) * mixes[key % len(mixes)]
    return min(max(means["grey"] + (means["white"] - means["grey"]) * share, 0.0), 300.0)


def _hounsfield(vary: list[float]) -> dict[str, float]:
    """Means on CT, a little different from head to head."""
    low, high = WINDOW
    units = {t: hu + HOUNSFIELD_VARY * z for (t, hu), z in zip(HOUNSFIELD.items(), vary, strict=False)}
    units["white"] = HOUNSFIELD["white"] + 0.3 * (units["white"] - HOUNSFIELD["white"])
    return {t: 255.0 * (min(max(hu, low), high) - low) / (high - low) for t, hu in units.items()}


def _signals(kind: str, take: Iterator[float], vary: list[float]) -> dict[str, float]:
    """Means on a magnetic resonance sequence with random settings, the brightest of the main tissues near 200."""
    numbers = iter(vary)
    facts = {tissue: _varied(tissue, one, numbers) for tissue, one in RELAXATION.items()}
    signal = _sequence(kind, take, facts["fluid"][0])
    found = {tissue: signal(*one) for tissue, one in facts.items()}
    scale = BRIGHTEST * (0.8 + 0.4 * next(take)) / max(max(found[t] for t in ("white", "grey", "fluid")), 1e-6)
    means = {tissue: min(one * scale, 300.0) for tissue, one in found.items()}
    return means | {tissue: means[same] for tissue, same in MR_OF.items()}


def _varied(tissue: str, facts: Relaxation, numbers: Iterator[float]) -> Relaxation:
    """Relaxation times and density of a tissue in one head."""
    spread = LESIONS_VARY if tissue == "lesion" else TISSUES_VARY
    t1, t2, density = facts
    first, second, third = next(numbers), next(numbers), next(numbers)
    return t1 * math.exp(spread * first), t2 * math.exp(spread * second), density * (1 + 0.5 * TISSUES_VARY * third)


def _sequence(kind: str, take: Iterator[float], fluid_t1: float) -> Callable[[float, float, float], float]:
    """Signal of a tissue, given its T1 and T2 in ms and its density, with random settings."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(take)

    if kind == "T1":
        repetition, echo, angle = between(8, 30), between(2, 11), math.radians(between(15, 35))

        def spoiled(t1: float, t2: float, density: float) -> float:
            left = math.exp(-repetition / t1)
            return density * math.sin(angle) * (1 - left) / (1 - math.cos(angle) * left) * math.exp(-echo / t2)

        return spoiled
    repetition, echo, inversion = {
        "inversion": (between(1800, 2600), between(2, 5), between(700, 1100)),
        "T2": (between(2500, 6500), between(75, 140), 0.0),
        "PD": (between(2200, 5000), between(10, 40), 0.0),
        "FLAIR": (between(6500, 11000), between(80, 150), 0.0),
    }[kind]
    if kind == "FLAIR":
        nulls = fluid_t1 * math.log(2 / (1 + math.exp(-repetition / fluid_t1)))
        inversion = nulls * between(0.93, 1.07)
    return lambda t1, t2, density: density * abs(_recovered(repetition, inversion, t1)) * math.exp(-echo / t2)


def _recovered(repetition: float, inversion: float, t1: float) -> float:
    """Longitudinal magnetization, as a share of that at rest."""
    if not inversion:
        return 1 - math.exp(-repetition / t1)
    return 1 - 2 * math.exp(-inversion / t1) + math.exp(-repetition / t1)
