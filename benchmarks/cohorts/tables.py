"""What the cohorts share: noise, and tables as files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from harness import markdown

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


def table(
    names: Sequence[str], columns: Mapping[str, str], measure: Callable[[str], dict[str, float]]
) -> tuple[str, Figures]:
    """Markdown with a line for each cohort, told on the way, and the figures.

    Args:
        names: of the cohorts.
        columns: figure by the title of its column.
        measure: the figures of a cohort.
    """
    figures: Figures = {}
    for name in names:
        found = figures[name] = measure(name)
        print(f"{name}: {found}", file=sys.stderr, flush=True)
    rows = [[name, *(one[key] for key in columns.values())] for name, one in figures.items()]
    return markdown(["cohort", *columns], rows), figures
