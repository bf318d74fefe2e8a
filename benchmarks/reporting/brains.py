"""Sections about segmentations of brains: accuracy, scans made worse, resolution and contrast, consistency, quality."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from harness import markdown

from reporting.sections import FAST, MAPS, ROBUST, TRAINING, VALIDATION, Section, benchmark, rounded

OFF = 0.1
"""A volume that is off by less than this share of the truth is called right."""
CALIBRATION = ("synthseg-fast.quality.json",)
HELD_OUT = "training_seg_19 training_seg_20"
KINDS = 'noise blur "sagittal slices" "coronal slices" "axial slices" bias contrast'
QUALITY = 'none=0 noise=75 noise=200 blur=3 blur=8 "coronal slices=7" contrast=0.25 contrast=0.1 bias=1.5'

# Accuracy


def accuracy_rows(scores: dict[str, Any]) -> dict[str, Any]:
    """What of `evaluate --json` the table needs: no paths, and no structures of single scans."""
    scans = [{"scan": Path(scan["truth"]).name.split(".")[0], **scan["mean"]} for scan in scores["scans"]]
    structures = {v: s for v, s in scores["structures"].items() if None not in (s["dice"], s["sd95_mm"])}
    return {"mean": scores["mean"], "structures": structures, "scans": scans}


def methods_table(plain: dict[str, Any], flips: dict[str, Any], robust: dict[str, Any]) -> str:
    ways = {
        "synthseg-fast, flips (the default)": ("", flips["mean"]),
        "synthseg-fast, no flips": (" --no-flip", plain["mean"]),
        "synthseg-robust, flips": (" --robust", robust["mean"]),
    }
    lines = [
        [name, mean["dice"], f"{mean['sd95_mm']:.2f}", f"`python benchmarks/accuracy.py {VALIDATION}{options}`"]
        for name, (options, mean) in ways.items()
    ]
    return markdown(["method", "Dice", "SD95 (mm)", "command"], lines)


def accuracy_table(scores: dict[str, Any]) -> str:
    """Means over scans, and every structure."""
    mean, scored = scores["mean"], [s for s in scores["structures"].values() if s["scored"]]
    least = sorted(scored, key=lambda s: s["dice"])[:5]
    off = sorted(scored, key=lambda s: -abs(s["difference_percent"]))[:5]
    said = (
        f"Mean of {mean['scans']} scans: Dice {mean['dice']:.3f}, SD95 {mean['sd95_mm']:.2f} mm, mean surface distance "
        f"{mean['msd_mm']:.2f} mm, volumes {mean['absolute_difference_percent']:.0f} % off. Single scans: "
        f"{', '.join(format(scan['dice'], '.3f') for scan in scores['scans'])}. "
        f"Least overlap: {', '.join('{name} {dice:.3f}'.format(**s) for s in least)}. "
        f"Volumes farthest off: {', '.join('{name} {difference_percent:+.0f} %'.format(**s) for s in off)}."
    )
    header = ["structure", "Dice", "SD95 (mm)", "mean distance (mm)", "volume, % off", "in the mean"]
    row = "{name}|{dice:.3f}|{sd95_mm:.2f}|{msd_mm:.2f}|{difference_percent:+.0f}"
    lines = [[*row.format(**s).split("|"), "yes" if s["scored"] else "no"] for s in scores["structures"].values()]
    return f"{said}\n\n{markdown(header, lines)}"


def random_contrasts_table(found: dict[str, dict[str, float]]) -> str:
    seeds = [f"seed {seed}" for seed in next(iter(found.values()))]
    rows = [[name, *by_seed.values(), statistics.mean(by_seed.values())] for name, by_seed in found.items()]
    return markdown(["weights", *seeds, "mean"], rows)


# Scans made worse


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of benchmarks/robustness.py in the order of its kinds and levels."""
    levels = {"none": (0.0,), **benchmark("robustness").LEVELS}
    return sorted(rows, key=lambda row: (list(levels).index(row["kind"]), levels[row["kind"]].index(row["level"])))


# One brain in several contrasts


def consistency_rows(scores: dict[str, Any]) -> dict[str, Any]:
    """Without times; figures to six digits."""
    kept = ("anatomy", "contrast", "dice", "by_structure", "volumes_mm3", "truth_mm3")
    rows = [{name: rounded(row.get(name, {}), 1 if "mm3" in name else 6) for name in kept} for row in scores["rows"]]
    return {"rows": rows, "pairs": rounded(scores["pairs"])}


def people_rows(scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By structure: name, volumes relative to the truth, and the correlation of both over people."""
    return {
        value: {"name": s["name"], "ratio": 1 + s["difference_percent"] / 100, "r": s["correlation"]}
        for value, s in scores["structures"].items()
        if s["scored"]
    }


def volumes_table(people: dict[str, dict[str, Any]], drawn: dict[str, Any]) -> str:
    """A line for each structure: volumes against manual labels, and against labels of the protocol that was learned."""
    heads = [row for row in drawn["rows"] if row["contrast"] == "T1"]
    lines = []
    for value, one in people.items():
        ratio = statistics.mean(row["volumes_mm3"][value] / row["truth_mm3"][value] for row in heads)
        learned, manual = abs(ratio - 1) > OFF, abs(one["ratio"] - 1) > OFF
        cause = "network" if learned else "protocol" if manual else ""
        lines.append([one["name"], f"{one['ratio']:.2f}", f"{one['r']:.2f}", f"{ratio:.2f}", cause])
    return markdown(["structure", "people: ratio", "r", "drawn T1: ratio", "what differs"], lines)


SECTIONS: dict[str, Section] = {
    "accuracy": Section(
        f"python benchmarks/accuracy.py {VALIDATION} --out OUT", "scores.json", 1.5, FAST, accuracy_table, accuracy_rows
    ),
    "accuracy-no-flip": Section(
        f"python benchmarks/accuracy.py {VALIDATION} --no-flip --out OUT",
        "scores.json", 1, FAST, methods_table, accuracy_rows, ("accuracy", "accuracy-robust"), says=False,
    ),
    "accuracy-robust": Section(
        f"python benchmarks/accuracy.py {VALIDATION} --robust --out OUT", "scores.json", 3, ROBUST, rows=accuracy_rows
    ),
    "random-contrasts": Section(
        f"python benchmarks/random_contrasts.py {MAPS} --hold-out {HELD_OUT} --json OUT/dice.json",
        "dice.json", 2, FAST, random_contrasts_table,
    ),
    "robustness-all": Section(
        f'python benchmarks/robustness.py {VALIDATION} --robust synthseg-robust --kinds "all at once" --fast '
        "--threads 1 --out OUT",
        "rows.json", 20, FAST + ROBUST, lambda rows: benchmark("robustness").table(rows), in_order,
    ),
    "robustness-kinds": Section(
        f"python benchmarks/robustness.py {VALIDATION} --robust synthseg-robust --kinds {KINDS} --only 1002 1110 "
        "--fast --threads 1 --out OUT",
        "rows.json", 60, FAST + ROBUST, lambda rows: benchmark("robustness").table(rows), in_order,
        figure=lambda rows, path: benchmark("robustness").draw_figure(rows, path), picture="robustness.png",
    ),
    "resolution": Section(
        f"python benchmarks/resolution.py {VALIDATION} --what resolution --fast --threads 1 --out OUT",
        "rows.json", 25, FAST, lambda rows: benchmark("resolution").as_markdown(rows),
        lambda rows: benchmark("resolution").complete(rows, "resolution"),
        figure=lambda rows, path: benchmark("resolution").draw_figure(rows, path), picture="resolution.png",
    ),
    "contrast": Section(
        f"python benchmarks/resolution.py {VALIDATION} --what contrast --fast --threads 1 --out OUT",
        "rows.json", 27, FAST, lambda rows: benchmark("resolution").as_markdown(rows),
        lambda rows: benchmark("resolution").complete(rows, "contrast"),
        figure=lambda rows, path: benchmark("resolution").draw_figure(rows, path), picture="contrast.png",
    ),
    "consistency": Section(
        f"python benchmarks/consistency.py {MAPS} --maps {HELD_OUT} --fast --threads 1 --out OUT",
        "scores.json", 2, FAST, lambda found: benchmark("consistency").table(found), consistency_rows,
    ),
    "volumes": Section(
        f"python benchmarks/accuracy.py {TRAINING} --out OUT",
        "scores.json", 2, FAST, volumes_table, people_rows, ("consistency",),
    ),
    "consistency-inverted": Section(
        f"python benchmarks/consistency.py {VALIDATION} --scans --fast --threads 1 --out OUT",
        "scores.json", 2, FAST, lambda found: benchmark("consistency").table(found), consistency_rows,
    ),
    "consistency-lesions": Section(
        f"python benchmarks/consistency.py {MAPS} --maps {HELD_OUT} --lesions 15 --threads 1 --out OUT",
        "scores.json", 3, FAST, lambda found: benchmark("consistency").table(found), consistency_rows,
    ),
    "quality": Section(
        f"python benchmarks/quality.py {VALIDATION} --levels {QUALITY} --threads 1 --out OUT",
        "summary.json", 8, FAST + CALIBRATION, lambda found: benchmark("quality").table(found),
    ),
}  # fmt: skip
