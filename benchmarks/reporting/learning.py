"""Sections about training: synthesis that learns, fine-tuning and pre-training."""

from __future__ import annotations

from typing import Any

from harness import markdown

from reporting.sections import FAST, MAPS, TRAINING, VALIDATION, Section, benchmark, rounded

Figures = dict[str, dict[str, Any]]

# Learn2Synth in 2D


def learn2synth_table(found: Figures) -> str:
    """What was inferred, and the Dice of each network where the test has the noise of the "real" images."""
    script = benchmark("learn2synth")
    levels, kinds = script.LEVELS, ("naive", "learned", "oracle")
    names = {level: [kind if kind in found else f"{kind}-{level}" for kind in kinds] for level in levels}
    dice = {level: [found[name]["dice"][level] for name in three] for level, three in names.items()}
    rows = [[script.title(level), *three] for level, three in dice.items()]
    off = {level: found[f"learned-{level}"]["sigma"] - low for level, (low, high) in levels.items() if low == high}
    gains = [learned - naive for level, (naive, learned, _) in dice.items() if levels[level] != (0.0, 0.0)]
    behind = max(oracle - learned for _, learned, oracle in dice.values())
    said = (
        f"The fixed deviations are off by {', '.join(f'{v:+.3f} ({level})' for level, v in off.items())}. Where there "
        f"is noise, the learned networks gain {min(gains):.2f} to {max(gains):.2f} on those without any, and come "
        f"within {behind:.3f} of those that were given it."
    )
    table = markdown(["noise of the real images, and of the test", *kinds], rows)
    return "\n\n".join((script.table1(found), table, said))


# Fine-tuning


def forgetting_table(rows: Figures) -> str:
    """The network as it was, and what became of it."""
    columns = {"scans": "T1 scans", "inverted": "inverted", "synthetic": "synthetic heads"}
    names = {None: "nothing (as shipped)", 0.5: "scans and synthetic images, half and half", 0.0: "scans alone"}
    before, *after = sorted(rows.values(), key=lambda row: -9 if row["share"] is None else -row["share"])
    columns = {name: text for name, text in columns.items() if name in before}
    lines = [[names.get(row["share"], row["share"]), *(row[c] for c in columns)] for row in (before, *after)]
    said = [
        f"{names.get(row['share'])}: {', '.join(f'{text} {row[c] - before[c]:+.3f}' for c, text in columns.items())}"
        for row in after
    ]
    table = markdown(["learned from", *columns.values()], lines)
    return f"{table}\n\nGained or lost in {after[0]['steps']} steps, from {'; from '.join(said)}." if after else table


def masks_rows(rows: Figures) -> Figures:
    """Without what a cell scored on its way."""
    return {name: {k: v for k, v in row.items() if k != "curve"} for name, row in rows.items()}


def masks_table(rows: Figures, task: str = "four") -> str:
    """Dice by number of labelled scans, at 3 mm and segmented at 1 mm."""
    lines = []
    for count in sorted({row["count"] for name, row in rows.items() if name.startswith(f"{task}-")}):
        pair = (rows.get(f"{task}-{kind}-{count}") for kind in ("without", "with"))
        lines.append([count, *(row and "{dice_3mm:.3f} ({dice_1mm:.3f})".format(**row) for row in pair)])
    seconds = [row["cpu_s"] for name, row in rows.items() if name.startswith(f"{task}-")]
    said = f"Fine-tuning took {min(seconds):.0f} to {max(seconds):.0f} CPU-seconds"
    if "pretraining" in rows:
        said += f", pre-training {rows['pretraining']['cpu_s']:.0f}"
    return f"{markdown(['labelled scans', 'random weights', 'pre-trained'], lines)}\n\n{said}."


SECTIONS: dict[str, Section] = {
    "learn2synth": Section(
        f"python benchmarks/learn2synth.py {MAPS} OUT --seed 2 --threads 1 --json OUT/figures.json",
        "figures.json", 35, (), learn2synth_table, rounded,
    ),
    "learn2synth-others": Section(
        f"python benchmarks/learn2synth.py {MAPS} OUT --seed 2 --teachers others --threads 1 --json OUT/figures.json",
        "figures.json", 35, (), learn2synth_table, rounded,
    ),
    "learn2synth-long": Section(
        f"python benchmarks/learn2synth.py {MAPS} OUT --seed 2 --teachers others --steps 9000 --teach-from 6000 "
        "--only learned-0.10 learned-0.15 --threads 1 --json OUT/figures.json",
        "figures.json", 25, (), lambda found: benchmark("learn2synth").table1(found), rounded,
    ),
    "other-anatomies": Section("python benchmarks/other_anatomies.py OUT --threads 1", "figures.json", 120),
    "learn2synth-3d": Section(
        f"python benchmarks/learn2synth_3d.py {MAPS} {TRAINING} {VALIDATION} OUT --only naive noise supervised "
        "--threads 1 --json OUT/figures.json",
        "figures.json", 45, (), lambda found: benchmark("learn2synth_3d").table(found),
    ),
    "finetuning-forgetting": Section(
        f"python benchmarks/finetuning.py forgetting {TRAINING} {VALIDATION} OUT --counts 8 --steps 40 --threads 1 "
        f"--label-maps {MAPS} --maps training_seg_01 training_seg_02 training_seg_03 --heads training_seg_19 "
        "--json OUT/cells.json",
        "cells.json", 12, FAST, forgetting_table,
    ),
    "finetuning-masks": Section(
        f"python benchmarks/finetuning.py masks {TRAINING} {VALIDATION} OUT --counts 8 1 2 4 --steps 150 --every 15 "
        f"--pretrain-steps 300 --threads 1 --label-maps {MAPS} --maps training_seg_01 training_seg_02 "
        "--json OUT/cells.json",
        "cells.json", 20, (), masks_table, masks_rows,
    ),
    "finetuning-same-rate": Section(
        f"python benchmarks/finetuning.py masks {TRAINING} {VALIDATION} OUT --counts 8 --steps 150 --every 15 "
        f"--pretrain-steps 300 --encoder-share 1 --threads 1 --label-maps {MAPS} --maps training_seg_01 "
        "training_seg_02 --json OUT/cells.json",
        "cells.json", 6, (), masks_table, masks_rows,
    ),
}  # fmt: skip
