"""Sections about segmentations of brains: accuracy, scans made worse, resolution and contrast, consistency, quality."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

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
    lines = ["| method | Dice | SD95 (mm) | command |", "|---|---|---|---|"]
    for name, options, scores in (
        ("synthseg-fast, flips (the default)", "", flips),
        ("synthseg-fast, no flips", " --no-flip", plain),
        ("synthseg-robust, flips", " --robust", robust),
    ):
        mean, command = scores["mean"], f"`python benchmarks/accuracy.py {VALIDATION}{options}`"
        lines.append(f"| {name} | {mean['dice']:.3f} | {mean['sd95_mm']:.2f} | {command} |")
    return "\n".join(lines)


def accuracy_table(scores: dict[str, Any]) -> str:
    """Means over scans, and every structure."""
    mean = scores["mean"]
    lines = [
        f"Mean of {mean['scans']} scans: Dice {mean['dice']:.3f}, SD95 {mean['sd95_mm']:.2f} mm, mean surface distance "
        f"{mean['msd_mm']:.2f} mm, volumes {mean['absolute_difference_percent']:.0f} % off. Single scans: "
        f"{', '.join(format(scan['dice'], '.3f') for scan in scores['scans'])}. {weakest(scores)}",
        "",
        "| structure | Dice | SD95 (mm) | mean distance (mm) | volume, % off | in the mean |",
        "|---|---|---|---|---|---|",
    ]
    for s in scores["structures"].values():
        figures = f"{s['dice']:.3f} | {s['sd95_mm']:.2f} | {s['msd_mm']:.2f} | {s['difference_percent']:+.0f}"
        lines.append(f"| {s['name']} | {figures} | {'yes' if s['scored'] else 'no'} |")
    return "\n".join(lines)


def weakest(scores: dict[str, Any], count: int = 5) -> str:
    """Which scored structures overlap least, and which volumes are farthest off."""
    scored = [s for s in scores["structures"].values() if s["scored"]]
    least = sorted(scored, key=lambda s: s["dice"])[:count]
    off = sorted(scored, key=lambda s: -abs(s["difference_percent"]))[:count]
    overlap = ", ".join("{name} {dice:.3f}".format(**s) for s in least)
    volumes = ", ".join("{name} {difference_percent:+.0f} %".format(**s) for s in off)
    return f"Least overlap: {overlap}. Volumes farthest off: {volumes}."


def random_contrasts_table(found: dict[str, dict[str, float]]) -> str:
    seeds = list(next(iter(found.values())))
    lines = [f"| weights | {' | '.join(f'seed {s}' for s in seeds)} | mean |", "|---" * (len(seeds) + 2) + "|"]
    for name, by_seed in found.items():
        cells = [*by_seed.values(), statistics.mean(by_seed.values())]
        lines.append(f"| {name} | {' | '.join(f'{v:.3f}' for v in cells)} |")
    return "\n".join(lines)


# Scans made worse


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of benchmarks/robustness.py in the order of its kinds and levels."""
    kinds = ["none", *benchmark("robustness").LEVELS]
    return sorted(rows, key=lambda row: (kinds.index(row["kind"]), _place(row)))


def _place(row: dict[str, Any]) -> int:
    levels = benchmark("robustness").LEVELS.get(row["kind"], (0.0,))
    return [float(level) for level in levels].index(row["level"])


def denoiser_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the names of folders: Dice of S1, of the denoiser from synthetic images and of that from real scans."""
    kept = []
    for row in rows:
        (s1, synthetic), (_, real) = (pair for name, pair in row.items() if name not in ("kind", "images"))
        figures = {"s1": s1, "synthetic": synthetic, "real": real}
        kept.append(rounded({"kind": row["kind"], "images": row["images"], **figures}))
    return kept


def denoiser_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| degradation | S1 | D from synthetic images | D from real scans |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['kind']} | {row['s1']:.3f} | {row['synthetic']:.3f} | {row['real']:.3f} |")
    return "\n".join(lines)


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
    lines = ["| structure | people: ratio | r | drawn T1: ratio | what differs |", "|---|---|---|---|---|"]
    for value, one in people.items():
        ratio = statistics.mean(row["volumes_mm3"][value] / row["truth_mm3"][value] for row in heads)
        learned, manual = abs(ratio - 1) > OFF, abs(one["ratio"] - 1) > OFF
        cause = "network" if learned else "protocol" if manual else ""
        lines.append(f"| {one['name']} | {one['ratio']:.2f} | {one['r']:.2f} | {ratio:.2f} | {cause} |")
    return "\n".join(lines)


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
    "denoisers": Section(
        f"python benchmarks/denoisers.py RUN REAL --labelled {VALIDATION} --out OUT/rows.json",
        "rows.json", 10, (), denoiser_table, denoiser_rows,
        given={"RUN": "a run of `train robust` on synthetic images", "REAL": "the same with its D from real scans"},
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
