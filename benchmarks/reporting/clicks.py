"""Sections about clicks and boxes: SynthFM's decoder against MobileSAM's, and the choices of its training."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import numpy as np
from harness import markdown

from reporting.sections import CLICKS, PAPER_CLICKS, TRAINING, Section, benchmark, rounded

PROMPTS = "NAPARI_SYNTHSEG_WEIGHTS=SHARED/weights python benchmarks/prompts.py"
IMAGES = "SHARED/data/prompts_dev/manifest.csv"
OUTSIDE = ("(1,2)", "(3,2)")
"""Settings with points outside."""
Comparison = dict[str, dict[str, tuple[float, float, float, float]]]


def far_rows(found: Comparison) -> Any:
    """The settings that have points outside: the others do not depend on where these are drawn."""
    kept = {m: {k: v for k, v in settings.items() if k in OUTSIDE} for m, settings in found.items()}
    return rounded(kept, 5)


def comparison_table(found: Comparison) -> str:
    table = benchmark("prompts").table(found, ["ours", "MobileSAM"])
    settings = [
        (f"{m} {name}", figures) for m, one in found.items() for name, figures in one.items() if "mean" not in name
    ]
    better = [name for name, (_, _, low, _) in settings if low > 0]
    worse = [name for name, (_, _, _, high) in settings if high < 0]
    said = f"Better where the interval leaves no doubt: {', '.join(better) or 'nowhere'}. Worse: "
    return f"{table}\n\n{said}{', '.join(worse) or 'nowhere'}."


def propagation_table(rows: list[dict[str, Any]]) -> str:
    """A line for each structure, the means, and what a slice costs.

    Rows of before the benchmark clicked have one column only.
    """
    heads = {"from_truth": "from its true mask", "vote": "the vote of three axes"}
    heads = {name: head for name, head in heads.items() if name in rows[0]}
    shown = [n for n in benchmark("propagation").SHOWN if n <= len(rows[0].get("clicks", []))]
    titles = ["volume", "structure", *heads.values(), *(f"{n} click{'s' * (n > 1)}" for n in shown)]
    figures = [[*(row[name] for name in heads), *(row["clicks"][n - 1] for n in shown)] for row in rows]
    lines = [[row["scan"], row["name"], *values] for row, values in zip(rows, figures, strict=True)]
    table = markdown(titles, [*lines, ["mean", "", *map(float, np.mean(figures, axis=0))]]).replace("|  |", "| |")
    if "step_s" not in rows[0]:
        return table
    encode, step = (statistics.fmean(row[name] for row in rows) for name in ("encode_s", "step_s"))
    return f"{table}\n\nA slice takes {1 + step / encode:.2f} times the CPU seconds of one encoding ({encode:.2f} s)."


SECTIONS: dict[str, Section] = {
    "prompts": Section(
        f"{PROMPTS} {IMAGES} default mobilesam --draws 4 --json OUT/rows.json",
        "rows.json", 20, CLICKS, comparison_table, partial(rounded, digits=5),
    ),
    "prompts-paper": Section(
        f"{PROMPTS} {IMAGES} synthfm-mobile mobilesam --draws 4 --json OUT/rows.json",
        "rows.json", 20, PAPER_CLICKS, comparison_table, partial(rounded, digits=5),
    ),
    "prompts-far": Section(
        f"{PROMPTS} {IMAGES} default mobilesam --sampling far --draws 2 --json OUT/rows.json",
        "rows.json", 12, CLICKS, comparison_table, far_rows,
    ),
    "prompts-brains": Section(
        f"python benchmarks/make_prompt_slices.py {TRAINING} OUT/slices\n"
        f"{PROMPTS} OUT/slices/manifest.csv default mobilesam --draws 2 --json OUT/rows.json",
        "rows.json", 10, CLICKS, comparison_table, partial(rounded, digits=5),
    ),
    "propagation": Section(
        "python benchmarks/propagation.py SHARED --sources t1 --scans 2 --json OUT/rows.json",
        "rows.json", 16, CLICKS, propagation_table, rounded,
    ),
}  # fmt: skip
