"""What studies found, as text for a terminal, as rows of a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from napari_synthseg.evaluation.studies.ageing import AgeingStudy, Trajectory
from napari_synthseg.evaluation.studies.groups import Comparison, Effect, GroupStudy
from napari_synthseg.evaluation.studies.notes import Note, Notes
from napari_synthseg.evaluation.studies.retest import Reproducibility, RetestStudy
from napari_synthseg.evaluation.studies.units import unit_of

MOST_NOTES = 25
Rows = tuple[list[str], list[list[object]]]


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = []
    for line in [header, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("  ".join([line[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def p_text(p: float) -> str:
    """A p-value with three decimals, or that it is below 0.001."""
    return "-" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def interval_text(ends: Sequence[float], form: str = ".2f") -> str:
    """`[low, high]`."""
    return "-" if any(math.isnan(end) for end in ends) else f"[{ends[0]:{form}}, {ends[1]:{form}}]"


def notes_text(notes: Notes) -> str:
    """The notes, a line each; the same of many columns in one line."""
    merged: dict[tuple[str, tuple[str, ...]], list[Note]] = {}
    for note in notes.all:
        merged.setdefault((note.what, note.examples), []).append(note)
    lines = []
    for same in merged.values():
        first = same[0]
        if len(same) == 1:
            lines.append(f"- {first}")
            continue
        where = (
            f"{', '.join(note.where for note in same[:2])} and {len(same) - 2} more"
            if len(same) > 2
            else ", ".join(note.where for note in same)
        )
        lines.append(f"- {Note(where, first.what, max(note.count for note in same), first.examples)}")
    more = [f"- and {len(lines) - MOST_NOTES} more notes (--json has them all)"] if len(lines) > MOST_NOTES else []
    return "\n".join(["What was left out or changed:", *lines[:MOST_NOTES], *more]) if lines else ""


# Groups


def group_text(study: GroupStudy) -> str:
    """Each comparison as a table, largest effects first."""
    blocks = [_comparison_text(one, study) for one in study.comparisons]
    return "\n\n".join([*blocks, *([text] if (text := notes_text(study.notes)) else [])])


def _comparison_text(one: Comparison, study: GroupStudy) -> str:
    corrected = ", ".join(one.covariates) or "nothing"
    how = {"within": "both groups", "reference": one.reference, "all": "everybody as one group"}[study.options.fit]
    title = [
        f"{one.reference} ({one.sizes[0]} people, the reference) against {one.group} ({one.sizes[1]} people)",
        f"corrected for {corrected}" + (f" (linear model of {how})" if one.covariates else ""),
        f"Cohen's d with {100 * study.options.confidence:g} % bootstrap interval; d > 0: smaller in {one.group}; "
        "q: p corrected for the number of structures (false discovery rate)",
    ]
    unit = unit_of(one.people.structures, one.people.volumes)
    means = [f"{group} {unit}".rstrip() for group in (one.reference, one.group)]
    header = ["structure", "n", *means, "difference %", "d", "interval", "p", "q"]
    rows = []
    for e in sorted(one.effects, key=lambda e: -abs(e.cohens_d) if math.isfinite(e.cohens_d) else 0.0):
        rows.append([
            e.structure, f"{e.n[0]}+{e.n[1]}", f"{e.means[0]:.0f}", f"{e.means[1]:.0f}", f"{_percent(e):+.1f}",
            f"{e.cohens_d:.2f}", interval_text(e.ci), p_text(e.p), p_text(e.q),
        ])  # fmt: skip
    return "\n".join([*title, "", aligned(header, rows)])


def _percent(e: Effect) -> float:
    return 100 * e.difference / e.means[0] if e.means[0] else float("nan")


def group_rows(study: GroupStudy) -> Rows:
    """A row for each comparison and structure."""
    header = [
        "structure", "reference", "group", "n_reference", "n_group", "mean_reference", "mean_group", "difference",
        "difference_low", "difference_high", "difference_percent", "cohens_d", "d_low", "d_high", "hedges_g", "p",
        "p_student", "p_holm", "q",
    ]  # fmt: skip
    rows: list[list[object]] = []
    for one in study.comparisons:
        for e in one.effects:
            rows.append([
                e.structure, one.reference, one.group, *e.n, *e.means, e.difference, *e.difference_ci, _percent(e),
                e.cohens_d, *e.ci, e.hedges_g, e.p, e.p_student, e.p_holm, e.q,
            ])  # fmt: skip
    return header, rows


def group_json(study: GroupStudy) -> dict[str, Any]:
    """All figures; `structures` are those of the first comparison, which is the only one of two groups."""
    comparisons = [
        {
            "reference": one.reference,
            "group": one.group,
            "n": {one.reference: one.sizes[0], one.group: one.sizes[1]},
            "covariates": list(one.covariates),
            "structures": {e.structure: _effect_json(e, one) for e in one.effects},
        }
        for one in study.comparisons
    ]
    first = {"structures": comparisons[0]["structures"], "comparisons": comparisons}
    return {"study": "groups", **_frame(study), **first}


def _effect_json(e: Effect, one: Comparison) -> dict[str, Any]:
    out = {field.name: getattr(e, field.name) for field in fields(e) if field.name != "structure"}
    for pair in ("n", "means", "raw_means"):
        out[pair] = dict(zip((one.reference, one.group), out[pair], strict=True))
    return {**out, "difference_percent": _percent(e)}


def _frame(study: GroupStudy | AgeingStudy | RetestStudy) -> dict[str, Any]:
    return {"options": asdict(study.options), "scans": study.scans, "notes": study.notes.as_json()}


# Ageing


def ageing_text(study: AgeingStudy) -> str:
    """A line a structure: volumes and change at some ages, and the linear terms."""
    first = study.trajectories[0]
    marks = [row[0] for row in first.change]
    chosen = [marks[round(i * (len(marks) - 1) / 3)] for i in range(4)] if len(marks) > 4 else marks
    title = (
        f"Trajectories from {first.ages[0]:g} to {first.ages[-1]:g} years; change in percent a year at each age, "
        "linear terms in percent of the mean volume"
    )
    header = ["structure", "scans", "people", *[f"{age:g} y" for age in chosen], *study.terms, "R2", "outliers"]
    rows = []
    for t in study.trajectories:
        rate = {row[0]: f"{row[1]:+.2f}" for row in t.change}
        mean = float(t.curve.mean())
        linear = {term.name: f"{100 * term.value / mean:+.2f}" for term in t.terms}
        rows.append([
            t.structure, str(t.scans), str(t.people), *[rate.get(age, "-") for age in chosen],
            *[linear.get(name, "-") for name in study.terms], f"{t.explained:.2f}", str(len(t.outliers)),
        ])  # fmt: skip
    text = notes_text(study.notes)
    return "\n".join([title, "", aligned(header, rows), *(["", text] if text else [])])


def ageing_rows(study: AgeingStudy) -> Rows:
    """A row for each structure and age of its curve (every fifth point)."""
    header = ["structure", "age", "volume", "low", "high", "scans", "people"]
    rows: list[list[object]] = []
    for t in study.trajectories:
        for i in range(0, len(t.ages), 5):
            figures = (t.ages[i], t.curve[i], t.band[0][i], t.band[1][i])
            rows.append([t.structure, *map(float, figures), t.scans, t.people])
    return header, rows


def ageing_json(study: AgeingStudy) -> dict[str, Any]:
    """All figures and curves."""
    return {
        "study": "ageing",
        **_frame(study),
        "structures": {t.structure: _trajectory_json(t) for t in study.trajectories},
    }


def _trajectory_json(t: Trajectory) -> dict[str, Any]:
    left_out = ("structure", "points", "band", "terms", "change")
    return {
        **{field.name: getattr(t, field.name) for field in fields(t) if field.name not in left_out},
        "low": t.band[0],
        "high": t.band[1],
        "terms": {term.name: {"value": term.value, "ci": term.ci} for term in t.terms},
        "change_percent_a_year": [{"age": a, "value": v, "ci": (low, high)} for a, v, low, high in t.change],
    }


# Test-retest


def retest_text(study: RetestStudy) -> str:
    """A line a structure."""
    title = (
        f"{study.people} people with {study.scans} scans; difference: absolute symmetrised volume difference; "
        "CV: within people; bias and limits: second less first scans (Bland-Altman), percent of the mean"
    )
    header = ["structure", "people", "difference %", "interval", "CV %", "ICC(1,1)", "interval", "bias %", "limits %"]
    rows = []
    for r in study.structures:
        bias, low, high = (100 * _number(r.bland_altman[key]) / r.mean for key in ("bias", "lower", "upper"))
        rows.append([
            r.structure, str(r.people), f"{r.difference_percent:.2f}", interval_text(r.difference_ci),
            f"{r.variation_percent:.2f}", f"{r.icc:.3f}", interval_text(r.icc_ci, ".3f"), f"{bias:+.2f}",
            interval_text((low, high), "+.1f"),
        ])  # fmt: skip
    text = notes_text(study.notes)
    return "\n".join([title, "", aligned(header, rows), *(["", text] if text else [])])


def _number(value: float | tuple[float, float]) -> float:
    return value[0] if isinstance(value, tuple) else value


def retest_rows(study: RetestStudy) -> Rows:
    """A row a structure, with every figure."""
    header, rows = [], []
    for r in study.structures:
        flat = _flat({**_retest_json(r), **r.bland_altman})
        header = ["structure", *flat]
        rows.append([r.structure, *flat.values()])
    return header, rows


def _flat(figures: dict[str, Any]) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in figures.items():
        if name == "bland_altman":
            continue
        if isinstance(value, tuple):
            out[f"{name.removesuffix('_ci')}_low"], out[f"{name.removesuffix('_ci')}_high"] = value
        else:
            out[name] = value
    return out


def retest_json(study: RetestStudy) -> dict[str, Any]:
    """All figures."""
    structures = {r.structure: _retest_json(r) for r in study.structures}
    return {"study": "retest", **_frame(study), "people": study.people, "structures": structures}


def _retest_json(r: Reproducibility) -> dict[str, Any]:
    return {field.name: getattr(r, field.name) for field in fields(r) if field.name not in ("structure", "pairs")}
