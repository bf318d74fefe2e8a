"""Figures of studies as files: effect sizes, corrected volumes, trajectories, Bland-Altman plots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_synthseg.atomic_io import placed
from napari_synthseg.evaluation.studies.ageing import AgeingStudy, Trajectory
from napari_synthseg.evaluation.studies.groups import Comparison, GroupStudy
from napari_synthseg.evaluation.studies.report import Study
from napari_synthseg.evaluation.studies.retest import Reproducibility, RetestStudy

PANELS = 12
"""Most panels on a page."""
DOTS = 3000
"""Most scans drawn in a panel."""
BLUE, RED, GREY = "#2b6cb0", "#c05621", "#8a8f98"


def save(figure: Any, folder: Path, name: str, form: Literal["png", "svg"] = "png") -> Path:
    """Write a matplotlib figure atomically.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.{form}"
    with placed(path) as part:
        figure.savefig(part, format=form, dpi=110)
    return path


def write_figures(study: Study, folder: Path, form: Literal["png", "svg"] = "png") -> list[Path]:
    """Draw a study and return the files.

    Groups: effect sizes of all structures and the corrected volumes of the largest ones, for each comparison. Ageing:
    trajectories (SynthSeg+, figures 6 and S5). Retest: differences of all structures and Bland-Altman plots.
    """

    def pages(ones: Sequence[Any]) -> dict[int, Sequence[Any]]:
        return {1 + i // PANELS: ones[i : i + PANELS] for i in range(0, len(ones), PANELS)}

    named: dict[str, Any] = {}
    if isinstance(study, GroupStudy):
        for one in study.comparisons:
            named[f"effects_{one.reference}-{one.group}"] = effects_figure(one, study.options.confidence)
            named[f"volumes_{one.reference}-{one.group}"] = volumes_figure(one)
    elif isinstance(study, AgeingStudy):
        named |= {f"trajectories_{n}": trajectories_figure(page) for n, page in pages(study.trajectories).items()}
    else:
        named["differences"] = differences_figure(study)
        named |= {f"bland_altman_{n}": bland_altman_figure(page) for n, page in pages(study.structures).items()}
    return [save(figure, folder, name, form) for name, figure in named.items()]


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _rows(titles: Sequence[str], label: str) -> tuple[Any, Any]:
    figure = _figure(6.4, 1.2 + 0.2 * len(titles))
    axis = figure.subplots()
    axis.set_yticks(range(len(titles)), titles, fontsize=8)
    axis.set_ylim(-0.8, len(titles) - 0.2)
    axis.set_xlabel(label)
    axis.grid(axis="x", alpha=0.3)
    return figure, axis


def _panels(titles: Sequence[str], xlabel: str, ylabel: str) -> tuple[Any, list[Any]]:
    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = _figure(3.1 * columns, 2.4 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axis in axes[len(titles) :]:
        axis.set_visible(False)
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(xlabel, fontsize=8)
        axis.set_ylabel(ylabel, fontsize=8)
        axis.tick_params(labelsize=8)
    return figure, axes[: len(titles)]


def effects_figure(one: Comparison, confidence: float) -> Any:
    """Draw a forest plot: Cohen's d with its bootstrap interval, largest on top."""
    found = sorted((e for e in one.effects if np.isfinite(e.cohens_d)), key=lambda e: abs(e.cohens_d))
    label = f"Cohen's d with {100 * confidence:g} % bootstrap interval (left: smaller in {one.group})"
    figure, axis = _rows([e.structure for e in found], label)
    for row, e in enumerate(found):
        color = BLUE if e.q < 0.05 else GREY
        axis.plot(e.ci, [row, row], color=color, lw=1.6)
        axis.plot([e.cohens_d], [row], "o", color=color, ms=4.5)
    axis.axvline(0, color="black", lw=0.8)
    sizes = f"{one.reference} (n={one.sizes[0]}) against {one.group} (n={one.sizes[1]})"
    axis.set_title(f"{sizes}; blue: q < 0.05 (HC3)", fontsize=9)
    return figure


def volumes_figure(one: Comparison, count: int = 6) -> Any:
    """Draw everybody's corrected volumes, for the structures with the largest effects."""
    order = sorted(range(len(one.effects)), key=lambda i: -abs(np.nan_to_num(one.effects[i].cohens_d)))[:count]
    titles = [f"{one.effects[i].structure}\nd = {one.effects[i].cohens_d:+.2f}" for i in order]
    figure, axes = _panels(titles, "", "corrected volume / 1000")
    rng = np.random.default_rng(0)
    for axis, i in zip(axes, order, strict=True):
        parts = [one.corrected[~one.is_other, i], one.corrected[one.is_other, i]]
        parts = [part[np.isfinite(part)] / 1000 for part in parts]
        axis.boxplot(parts, widths=0.5, showfliers=False, medianprops={"color": "black"})
        for place, (part, color) in enumerate(zip(parts, (BLUE, RED), strict=True), 1):
            shown = part if len(part) <= DOTS else rng.choice(part, DOTS, replace=False)
            axis.plot(place + rng.uniform(-0.18, 0.18, len(shown)), shown, ".", color=color, ms=3, alpha=0.5)
        axis.set_xticks([1, 2], [one.reference, one.group])
    return figure


def trajectories_figure(trajectories: Sequence[Trajectory]) -> Any:
    """Draw scans as dots (without the linear terms), the curve and its band."""
    figure, axes = _panels([t.structure for t in trajectories], "age, years", "volume / 1000")
    rng = np.random.default_rng(0)
    for axis, t in zip(axes, trajectories, strict=True):
        some = rng.permutation(len(t.points[0]))[:DOTS]
        ages, volumes = t.points[0][some], t.points[1][some] / 1000
        axis.plot(ages, volumes, ".", color=GREY, ms=2.5, alpha=0.35, rasterized=True)
        axis.fill_between(t.ages, t.band[0] / 1000, t.band[1] / 1000, color=BLUE, alpha=0.3, lw=0)
        axis.plot(t.ages, t.curve / 1000, color=BLUE, lw=2)
        low, high = np.quantile(volumes, [0.002, 0.998])
        axis.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        axis.grid(alpha=0.25)
    return figure


def differences_figure(study: RetestStudy) -> Any:
    """Draw absolute symmetrized volume differences with intervals, largest on top."""
    found = sorted(study.structures, key=lambda r: r.difference_percent)
    label = f"absolute symmetrized volume difference, % ({study.people} people)"
    figure, axis = _rows([r.structure for r in found], label)
    for row, r in enumerate(found):
        axis.barh(row, r.difference_percent, color=BLUE, alpha=0.75)
        axis.plot(r.difference_ci, [row, row], color="black", lw=1.2)
    return figure


def bland_altman_figure(structures: Sequence[Reproducibility]) -> Any:
    """Draw second minus first scans over their mean, with bias and limits of agreement."""
    titles = [f"{r.structure}\nICC {r.icc:.3f}" for r in structures]
    figure, axes = _panels(titles, "mean volume / 1000", "second - first")
    for axis, r in zip(axes, structures, strict=True):
        first, second = (part / 1000 for part in r.pairs)
        axis.plot((first + second) / 2, second - first, ".", color=BLUE, ms=4, alpha=0.6)
        for key, style in (("bias", "-"), ("lower", "--"), ("upper", "--")):
            axis.axhline(float(r.bland_altman[key]) / 1000, color=RED, ls=style, lw=1.2)  # type: ignore[arg-type]
        axis.axhline(0, color="black", lw=0.6)
    return figure
