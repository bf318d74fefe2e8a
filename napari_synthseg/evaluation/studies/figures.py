"""Figures of studies as files: effect sizes, corrected volumes, trajectories, Bland-Altman plots."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies.ageing import AgeingStudy, Trajectory
from napari_synthseg.evaluation.studies.groups import Comparison, GroupStudy
from napari_synthseg.evaluation.studies.retest import Reproducibility, RetestStudy
from napari_synthseg.evaluation.studies.saving import write

FORMS = ("png", "svg")
PANELS = 12
"""Most panels on a page."""
DOTS = 3000
"""Most scans drawn in a panel."""
BLUE, RED, GREY = "#2b6cb0", "#c05621", "#8a8f98"


def save(figure: Any, folder: Path, name: str, form: str) -> Path:
    """Write a matplotlib figure; the file appears complete or not at all.

    Raises:
        InputError: the form is none of `FORMS`, or the folder cannot be written to.
    """
    if form not in FORMS:
        raise InputError(f"Pictures are png or svg, not {form!r}.")
    path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.{form}"
    write(path, lambda file: figure.savefig(file, format=form, dpi=110))
    return path


def group_figures(study: GroupStudy, folder: Path, form: str = "png") -> list[Path]:
    """Of each comparison the effect sizes of all structures, and the corrected volumes of the largest effects."""
    written = []
    for one in study.comparisons:
        name = f"{one.reference}-{one.group}"
        written.append(save(effects_figure(one, study.options.confidence), folder, f"effects_{name}", form))
        written.append(save(volumes_figure(one), folder, f"volumes_{name}", form))
    return written


def ageing_figures(study: AgeingStudy, folder: Path, form: str = "png") -> list[Path]:
    """Trajectories of all structures, some on a page (SynthSeg+, figures 6 and S5)."""
    return [
        save(trajectories_figure(page), folder, f"trajectories_{number}", form)
        for number, page in enumerate(_pages(study.trajectories, 3), 1)
    ]


def retest_figures(study: RetestStudy, folder: Path, form: str = "png") -> list[Path]:
    """Differences of all structures, and Bland-Altman plots, some on a page."""
    written = [save(differences_figure(study), folder, "differences", form)]
    for number, page in enumerate(_pages(study.structures, 3), 1):
        written.append(save(bland_altman_figure(page), folder, f"bland_altman_{number}", form))
    return written


def _pages(items: Sequence[Any], columns: int) -> Iterator[Sequence[Any]]:
    step = PANELS // columns * columns
    for start in range(0, len(items), step):
        yield items[start : start + step]


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _panels(count: int, columns: int, size: tuple[float, float] = (3.1, 2.4)) -> tuple[Any, list[Any]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = _figure(size[0] * columns, size[1] * rows)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel().tolist()
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def effects_figure(one: Comparison, confidence: float) -> Any:
    """A forest plot: Cohen's d with its interval, largest on top."""
    found = sorted((e for e in one.effects if np.isfinite(e.cohens_d)), key=lambda e: abs(e.cohens_d))
    figure = _figure(6.4, 1.2 + 0.2 * len(found))
    axis = figure.subplots()
    for row, e in enumerate(found):
        color = BLUE if e.q < 0.05 else GREY
        axis.plot(e.ci, [row, row], color=color, lw=1.6)
        axis.plot([e.cohens_d], [row], "o", color=color, ms=4.5)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(found)), [e.structure for e in found], fontsize=8)
    axis.set_ylim(-0.8, len(found) - 0.2)
    axis.set_xlabel(f"Cohen's d with {100 * confidence:g} % interval (right: smaller in {one.group})")
    axis.set_title(
        f"{one.reference} (n={one.sizes[0]}) against {one.group} (n={one.sizes[1]}); blue: q < 0.05", fontsize=9
    )
    axis.grid(axis="x", alpha=0.3)
    return figure


def volumes_figure(one: Comparison, count: int = 6) -> Any:
    """Corrected volumes of everybody, for the structures with the largest effects."""
    order = sorted(range(len(one.effects)), key=lambda i: -abs(np.nan_to_num(one.effects[i].cohens_d)))[:count]
    figure, axes = _panels(len(order), 3)
    rng = np.random.default_rng(0)
    for axis, i in zip(axes, order, strict=True):
        parts = [one.corrected[~one.is_other, i], one.corrected[one.is_other, i]]
        parts = [part[np.isfinite(part)] / 1000 for part in parts]
        axis.boxplot(parts, widths=0.5, showfliers=False, medianprops={"color": "black"})
        for place, (part, color) in enumerate(zip(parts, (BLUE, RED), strict=True), 1):
            shown = part if len(part) <= DOTS else rng.choice(part, DOTS, replace=False)
            axis.plot(place + rng.uniform(-0.18, 0.18, len(shown)), shown, ".", color=color, ms=3, alpha=0.5)
        axis.set_xticks([1, 2], [one.reference, one.group])
        axis.set_title(f"{one.effects[i].structure}\nd = {one.effects[i].cohens_d:.2f}", fontsize=9)
        axis.set_ylabel("corrected volume / 1000", fontsize=8)
        axis.tick_params(labelsize=8)
    return figure


def trajectories_figure(trajectories: Sequence[Trajectory]) -> Any:
    """Scans as dots (linear terms taken out), the curve and its band."""
    figure, axes = _panels(len(trajectories), 3)
    rng = np.random.default_rng(0)
    for axis, t in zip(axes, trajectories, strict=True):
        ages, volumes = t.points
        if len(ages) > DOTS:
            some = rng.choice(len(ages), DOTS, replace=False)
            ages, volumes = ages[some], volumes[some]
        axis.plot(ages, volumes / 1000, ".", color=GREY, ms=2.5, alpha=0.35, rasterized=True)
        axis.fill_between(t.ages, t.band[0] / 1000, t.band[1] / 1000, color=BLUE, alpha=0.3, lw=0)
        axis.plot(t.ages, t.curve / 1000, color=BLUE, lw=2)
        low, high = np.quantile(volumes / 1000, [0.002, 0.998])
        axis.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        axis.set_title(t.structure, fontsize=9)
        axis.set_xlabel("age, years", fontsize=8)
        axis.set_ylabel("volume / 1000", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
    return figure


def differences_figure(study: RetestStudy) -> Any:
    """Absolute symmetrised volume differences with intervals, largest on top."""
    found = sorted(study.structures, key=lambda r: r.difference_percent)
    figure = _figure(6.4, 1.2 + 0.2 * len(found))
    axis = figure.subplots()
    for row, r in enumerate(found):
        axis.barh(row, r.difference_percent, color=BLUE, alpha=0.75)
        axis.plot(r.difference_ci, [row, row], color="black", lw=1.2)
    axis.set_yticks(range(len(found)), [r.structure for r in found], fontsize=8)
    axis.set_ylim(-0.8, len(found) - 0.2)
    axis.set_xlabel(f"absolute symmetrised volume difference, % ({study.people} people)")
    axis.grid(axis="x", alpha=0.3)
    return figure


def bland_altman_figure(structures: Sequence[Reproducibility]) -> Any:
    """Second less first scans over their mean, with bias and limits of agreement."""
    figure, axes = _panels(len(structures), 3)
    for axis, r in zip(axes, structures, strict=True):
        first, second = (part / 1000 for part in r.pairs)
        axis.plot((first + second) / 2, second - first, ".", color=BLUE, ms=4, alpha=0.6)
        for key, style in (("bias", "-"), ("lower", "--"), ("upper", "--")):
            value = r.bland_altman[key]
            axis.axhline((value if isinstance(value, float) else value[0]) / 1000, color=RED, ls=style, lw=1.2)
        axis.axhline(0, color="black", lw=0.6)
        axis.set_title(f"{r.structure}\nICC {r.icc:.3f}", fontsize=9)
        axis.set_xlabel("mean volume / 1000", fontsize=8)
        axis.set_ylabel("second - first", fontsize=8)
        axis.tick_params(labelsize=8)
    return figure
