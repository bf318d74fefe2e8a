"""What the cohorts share: noise, and tables as files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

Figures = dict[str, dict[str, float]]
"""By name of a cohort."""


def noise_of(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise with mean 0 and standard deviation 1."""
    if kind == "heavy":
        return rng.standard_t(5, shape) / np.sqrt(5 / 3)
    if kind == "skewed":
        s = 0.5
        return (rng.lognormal(0, s, shape) - np.exp(s**2 / 2)) / np.sqrt((np.exp(s**2) - 1) * np.exp(s**2))
    return rng.normal(size=shape)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV, or with tabs where the name ends in .tsv."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
