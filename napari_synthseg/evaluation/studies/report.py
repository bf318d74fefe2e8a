"""Results of studies as text for a terminal, tables, JSON and files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from napari_synthseg.atomic_io import write_text
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies.ageing import AgeingStudy
from napari_synthseg.evaluation.studies.groups import Comparison, Effect, GroupStudy
from napari_synthseg.evaluation.studies.retest import Reproducibility, RetestStudy
from napari_synthseg.evaluation.studies.tables import Note, Notes

TABLES = (".tsv", ".csv", ".md")
MOST_NOTES = 25
Study = GroupStudy | AgeingStudy | RetestStudy
Rows = list[dict[str, Any]]


def report_table(study: Study) -> pd.DataFrame:
    """Return a study's figures as a table: a row for each structure (and comparison, or every fifth age)."""
    if isinstance(study, GroupStudy):
        rows = [_effect_row(e, one) for one in study.comparisons for e in one.effects]
    elif isinstance(study, RetestStudy):
        rows = []
        for r in study.structures:
            figures = {"structure": r.structure, **_fields(r, "structure", "pairs", "bland_altman"), **r.bland_altman}
            row: dict[str, Any] = {}
            for name, value in figures.items():
                pair = isinstance(value, tuple)
                stem = name.removesuffix("_ci")
                row |= {f"{stem}_low": value[0], f"{stem}_high": value[1]} if pair else {name: value}
            rows.append(row)
    else:
        rows = [
            {
                "structure": t.structure, "age": t.ages[i], "volume": t.curve[i], "low": t.band[0][i],
                "high": t.band[1][i], "scans": t.scans, "people": t.people,
            }
            for t in study.trajectories for i in range(0, len(t.ages), 5)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _effect_row(e: Effect, one: Comparison) -> dict[str, Any]:
    return {
        "structure": e.structure, "reference": one.reference, "group": one.group,
        "n_reference": e.n[0], "n_group": e.n[1], "mean_reference": e.means[0], "mean_group": e.means[1],
        "difference": e.difference, "difference_low": e.difference_ci[0], "difference_high": e.difference_ci[1],
        "difference_percent": e.difference_percent, "p": e.p, "p_student": e.p_student, "p_holm": e.p_holm, "q": e.q,
        "cohens_d": e.cohens_d, "d_low": e.ci[0], "d_high": e.ci[1], "hedges_g": e.hedges_g,
    }  # fmt: skip


def corrected_table(study: GroupStudy) -> pd.DataFrame:
    """Return a row for each comparison and person: volumes at the mean of the covariates over both groups."""
    parts = []
    for one in study.comparisons:
        volumes = pd.DataFrame(one.corrected, columns=[e.structure for e in one.effects]).round(1)
        groups = [one.group if other else one.reference for other in one.is_other]
        who = {"participant_id": one.people.who["#subject"], "group": groups}
        parts.append(pd.concat([pd.DataFrame({**who, "comparison": f"{one.reference}-{one.group}"}), volumes], axis=1))
    return pd.concat(parts, ignore_index=True)


def _fields(one: Any, *hidden: str) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one) if field.name not in hidden}


def report_json(study: Study) -> dict[str, Any]:
    """Return all figures; `structures` of a group study are those of the first comparison."""
    frame = {"options": asdict(study.options), "scans": study.scans, "notes": [asdict(n) for n in study.notes.all]}
    if isinstance(study, GroupStudy):
        comparisons = []
        for one in study.comparisons:
            groups, structures = (one.reference, one.group), {}
            for e in one.effects:
                pairs = {name: dict(zip(groups, getattr(e, name), strict=True)) for name in ("n", "means", "raw_means")}
                percent = {"difference_percent": e.difference_percent}
                structures[e.structure] = {**_fields(e, "structure"), **pairs, **percent}
            sizes, covariates = dict(zip(groups, one.sizes, strict=True)), list(one.covariates)
            own = {"reference": one.reference, "group": one.group, "n": sizes, "covariates": covariates}
            comparisons.append({**own, "structures": structures})
        first = comparisons[0]["structures"]
        return {"study": "groups", **frame, "structures": first, "comparisons": comparisons}
    if isinstance(study, RetestStudy):
        structures = {r.structure: _fields(r, "structure", "pairs") for r in study.structures}
        return {"study": "retest", **frame, "people": study.people, "structures": structures}
    structures = {
        t.structure: {
            **_fields(t, "structure", "points", "band", "terms", "change"),
            "low": t.band[0],
            "high": t.band[1],
            "terms": {term.name: {"value": term.value, "ci": term.ci} for term in t.terms},
            "change_percent_a_year": [{"age": a, "value": v, "ci": (low, high)} for a, v, low, high in t.change],
        }
        for t in study.trajectories
    }
    return {"study": "ageing", **frame, "structures": structures}


# Text


def report_text(study: Study) -> str:
    """Describe a study for a terminal: its tables, and everything left out."""
    if isinstance(study, GroupStudy):
        tables = [_groups_text(one, study) for one in study.comparisons]
    else:
        tables = [_ageing_text(study) if isinstance(study, AgeingStudy) else _retest_text(study)]
    blocks = []
    for title, rows in tables:
        align = ["left", *["right"] * (len(rows[0]) - 1)]
        cells = tabulate(rows, headers="keys", tablefmt="plain", disable_numparse=True, colalign=align)
        blocks.append(f"{title}\n\n{cells}")
    return "\n\n".join([*blocks, *([text] if (text := notes_text(study.notes)) else [])])


def _groups_text(one: Comparison, study: GroupStudy) -> tuple[str, Rows]:
    how = {"within": "both groups", "reference": one.reference, "all": "everybody as one group"}[study.options.fit]
    percent = f"{100 * study.options.confidence:g} %"
    model = f"{', '.join(one.covariates)} (linear model of {how})" if one.covariates else "nothing"
    title = (
        f"{one.reference} ({one.sizes[0]} people, the reference) against {one.group} ({one.sizes[1]} people)\n"
        f"corrected for {model}\n"
        f"difference: {one.group} minus {one.reference}, adjusted, in percent of {one.reference}; its {percent} "
        "interval, p and q (false discovery rate over the structures): linear model, HC3\n"
        f"d: Cohen's d, {one.group} minus {one.reference} (negative: smaller in {one.group}); its {percent} interval: "
        f"bootstrap ({study.options.interval})"
    )
    rows = []
    for e in sorted(one.effects, key=lambda e: -abs(e.cohens_d) if math.isfinite(e.cohens_d) else 0.0):
        ends = [100 * end / e.means[0] if e.means[0] else math.nan for end in e.difference_ci]
        rows.append({
            "structure": e.structure, "n": f"{e.n[0]}+{e.n[1]}", one.reference: f"{e.means[0]:.0f}",
            f"{one.group} ": f"{e.means[1]:.0f}", "difference %": f"{e.difference_percent:+.1f}",
            "interval": interval_text(ends, "+.1f"), "p": p_text(e.p), "q": p_text(e.q), "d": f"{e.cohens_d:+.2f}",
            "bootstrap": interval_text(e.ci),
        })  # fmt: skip
    return title, rows


def _ageing_text(study: AgeingStudy) -> tuple[str, Rows]:
    first = study.trajectories[0]
    marks = [row[0] for row in first.change]
    chosen = [marks[round(i * (len(marks) - 1) / 3)] for i in range(4)] if len(marks) > 4 else marks
    rows = []
    for t in study.trajectories:
        rate = {row[0]: f"{row[1]:+.2f}" for row in t.change}
        linear = {term.name: f"{100 * term.value / float(t.curve.mean()):+.2f}" for term in t.terms}
        rows.append({
            "structure": t.structure, "scans": t.scans, "people": t.people,
            **{f"{age:g} y": rate.get(age, "-") for age in chosen},
            **{name: linear.get(name, "-") for name in study.terms},
            "R2": f"{t.explained:.2f}", "outliers": len(t.outliers),
        })  # fmt: skip
    return (
        f"Trajectories from {first.ages[0]:g} to {first.ages[-1]:g} years; change in percent a year at each age, "
        "linear terms in percent of the mean volume"
    ), rows


def _retest_text(study: RetestStudy) -> tuple[str, Rows]:
    def row(r: Reproducibility) -> dict[str, Any]:
        bias, low, high = (100 * float(r.bland_altman[key]) / r.mean for key in ("bias", "lower", "upper"))  # type: ignore[arg-type]
        return {
            "structure": r.structure, "people": r.people, "difference %": f"{r.difference_percent:.2f}",
            "interval": interval_text(r.difference_ci, ".2f"), "CV %": f"{r.variation_percent:.2f}",
            "ICC(1,1)": f"{r.icc:.3f}", "its interval": interval_text(r.icc_ci, ".3f"), "bias %": f"{bias:+.2f}",
            "limits %": interval_text((low, high), "+.1f"),
        }  # fmt: skip

    return (
        f"{study.people} people with {study.scans} scans; difference: absolute symmetrized volume difference; "
        "CV: within people; bias and limits: second minus first scans (Bland-Altman), percent of the mean"
    ), [row(r) for r in study.structures]


def p_text(p: float) -> str:
    """Format a p-value with three decimals, or as below 0.001."""
    return "-" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def interval_text(ends: Sequence[float], form: str = "+.2f") -> str:
    """Format an interval as `[low, high]`."""
    return "-" if any(math.isnan(end) for end in ends) else f"[{ends[0]:{form}}, {ends[1]:{form}}]"


def notes_text(notes: Notes) -> str:
    """List the notes, a line each; the same one about many columns in one line."""
    merged: dict[tuple[str, tuple[str, ...]], list[Note]] = {}
    for note in notes.all:
        merged.setdefault((note.what, note.examples), []).append(note)
    lines = []
    for same in merged.values():
        where = ", ".join(note.where for note in same[:2]) + (f" and {len(same) - 2} more" if len(same) > 2 else "")
        lines.append(f"- {Note(where, same[0].what, max(note.count for note in same), same[0].examples)}")
    more = [f"- and {len(lines) - MOST_NOTES} more notes (--json has them all)"] if len(lines) > MOST_NOTES else []
    return "\n".join(["What was left out or changed:", *lines[:MOST_NOTES], *more]) if lines else ""


# Files


def check_table_name(path: Path) -> None:
    """Refuse the name of a table without a known ending."""
    if path.suffix.lower() not in TABLES:
        raise InputError(f"{path} cannot be written: the name of a table must end with one of {', '.join(TABLES)}.")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as TSV, CSV or Markdown, by the ending of the name; six digits, n/a if missing."""
    check_table_name(path)
    if path.suffix.lower() == ".md":
        text = tabulate(table, "keys", "github", floatfmt=".6g", missingval="n/a", showindex=False) + "\n"
    else:
        separator = "," if path.suffix.lower() == ".csv" else "\t"
        text = table.to_csv(sep=separator, index=False, float_format="%.6g", na_rep="n/a", lineterminator="\n")
    write_text(path, text)


def write_json(path: Path, study: Study) -> None:
    """Write all figures as JSON: lists for tuples and arrays, null for figures that do not exist, text for paths."""

    def clean(content: Any) -> Any:
        if isinstance(content, dict):
            return {str(key): clean(value) for key, value in content.items()}
        if hasattr(content, "tolist"):
            return clean(content.tolist())
        if isinstance(content, (list, tuple)):
            return [clean(value) for value in content]
        if isinstance(content, float):
            return content if math.isfinite(content) else None
        return str(content) if isinstance(content, Path) else content

    write_text(path, json.dumps(clean(report_json(study)), indent=1, allow_nan=False, ensure_ascii=False) + "\n")
