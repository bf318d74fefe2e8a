"""Sections about time and memory, and about studies, whose cohorts are simulated."""

from __future__ import annotations

from typing import Any

from harness import markdown

from reporting.sections import Section, benchmark

Figures = dict[str, dict[str, float]]


# The faces


def faces_table(said: list[dict[str, Any]]) -> str:
    first = "the first draw of a window, with importing torch and napari's first layer"
    cancel = "a click on *Cancel* at random moments of a run to the end of its thread: median, largest"
    lines = []
    for one in said:
        if one["job"] == "opening":
            torch = "with" if one["torch"] else "without"
            lines.append([f"opening *{one['widget']}*, {torch} torch", f"{one['seconds']:.2f}"])
        elif one["job"] == "preview" and one.get("change") == "first draw":
            lines.append([first, f"{one['full']:.1f}"])
        elif one["job"] == "preview" and "half_median" in one:
            waited = f"{one['wait_before']:g} s of waiting for further changes included"
            half = f"{one['half_median']:.2f}, {one['half_largest']:.2f}"
            lines.append([f"a changed prior to the half-size picture, {waited}: median, largest", half])
            lines.append(["the same to the full size: median", f"{one['full_median']:.2f}"])
        elif one["job"] == "clicks":
            of = "the first click of a slice, which is encoded," if one["of_a_slice"] == "first" else "a further click"
            lines.append([f"{of} to its mask in the picture: median, largest", spread_of(one)])
        elif one["job"] == "cancel" and "median" in one:
            lines.append([cancel, spread_of(one)])
    return markdown(["what", "seconds"], lines)


def spread_of(one: dict[str, Any]) -> str:
    return f"{one['median']:.2f}, {one['largest']:.2f}"


# Studies

BY_DESIGN = "the same, model of everybody"
"""A cohort that is analysed in a way that is known to miss the truth, to show that it does."""


def studies_table(groups: Figures, ageing: Figures, retest: Figures, cost: Figures) -> str:
    """A line for each kind of study: how often the truth is inside, and what else there is to say."""
    from cohorts.ageing import SHAPES  # not above: it takes the program's imports, which few sections need

    usual = {name: row for name, row in groups.items() if name != BY_DESIGN}
    skewed = {name: row for name, row in retest.items() if "skewed" in name}
    normal = {name: row for name, row in retest.items() if name not in skewed}
    curves = [[ageing[name][shape] for shape in SHAPES] for name in ("500 people", "500 people, no constraint")]
    seconds = [f"{name} {row['cpu_s']:.0f} CPU-seconds" for name, row in cost.items()]
    missed = percent(groups[BY_DESIGN]["coverage"])
    student = percent(max(row["false student"] for row in groups.values()))
    soft, free = (f"{min(figures):.2f}-{max(figures):.2f}" for figures in curves)
    script = "`python benchmarks/studies.py"
    lines = [
        "| what | command | how often 95 % intervals hold the truth, % | else |",
        "|---|---|---|---|",
        f"| Cohen's d, cohorts of {len(groups)} kinds, 8 structures | {script} groups` | {spread(usual, 'coverage')} "
        f"({missed} with a model of everybody while patients are 8 years older, which is why `--fit within` is the "
        f"default) | false positives at p < 0.05: {spread(groups, 'false')} % (Student's test: up to {student} % where "
        "the smaller group varies more) |",
        f"| ageing, cohorts of {len(ageing)} kinds | {script} ageing` | {spread(ageing, 'curve coverage')} along the "
        f"curve; linear terms and rates {spread(ageing, 'sex coverage', 'spacing coverage', 'rate coverage')} | error "
        f"of curves with 500 people: {soft} standard deviations ({free} without the soft constraint) |",
        f"| test and retest, cohorts of {len(retest)} kinds | {script} retest` | ICC, error, bias, limits "
        f"{spread(normal, 'icc', 'error', 'bias', 'upper')} ({spread(skewed, 'icc', 'error', 'upper')} for ICC, error "
        f"and limits where noise is skewed); percent difference {spread(retest, 'difference')}; CV "
        f"{spread(retest, 'variation')} | |",
        f"| 10,000 scans of 101 volumes | {script} cost` | | {', '.join(seconds)}; "
        f"{max(row['peak_gib'] for row in cost.values()):.1f} GiB |",
    ]
    return "\n".join(lines)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def spread(rows: Figures, *columns: str) -> str:
    """The least and the most of some columns, percent."""
    found = [row[column] for row in rows.values() for column in columns]
    return f"{percent(min(found))}-{percent(max(found))}"


OFFICIAL = "python benchmarks/official.py --scan SHARED/data/scans/t1_crop.nii.gz --network v1"
WINDOW = "python benchmarks/speed.py window --model"
SECTIONS: dict[str, Section] = {
    "studies-groups": Section(
        "python benchmarks/studies.py groups --json OUT/rows.json", "rows.json", 60, (), studies_table,
        beside=("studies-ageing", "studies-retest", "studies-cost"), says=False,
    ),
    "studies-ageing": Section("python benchmarks/studies.py ageing --json OUT/rows.json", "rows.json", 60),
    "studies-retest": Section("python benchmarks/studies.py retest --json OUT/rows.json", "rows.json", 15),
    "studies-cost": Section("python benchmarks/studies.py cost --json OUT/rows.json", "rows.json", 1, times=True),
    "cost": Section(
        "python benchmarks/cost.py SHARED --json OUT/rows.json", "rows.json", 3, (),
        lambda found: benchmark("cost").table(found), times=True,
    ),
    "throughput": Section(
        "python benchmarks/batch.py throughput -n 4 --json OUT/rows.json", "rows.json", 5, times=True
    ),
    "official": Section(
        "\n".join(OFFICIAL + way for way in (" --threads 1", " --threads 1 --bfloat16", " --size 256 --threads 2")),
        "", 6, times=True,
    ),
    "windows": Section(f"{WINDOW} unetr --threads 1\n{WINDOW} swin-unetr --threads 1", "", 1, times=True),
    "train-window": Section(
        'xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/train_window.py --seconds 45', "", 4, times=True
    ),
    "faces": Section(
        'xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/faces.py -n 6 --json OUT/rows.json'
        " opening preview clicks cancel window",
        "rows.json", 5, (), faces_table, times=True,
    ),
}  # fmt: skip
