"""Are studies right? Simulated cohorts with known effects: how often is the truth inside the interval?

    python benchmarks/studies.py groups [--cohorts 300] [--seed 0] [--only NAME ...] [--json FILE]
    python benchmarks/studies.py ageing [--cohorts 40]
    python benchmarks/studies.py retest [--cohorts 300]
    python benchmarks/studies.py example FOLDER      (tables of one cohort, which the tutorial uses)
    python benchmarks/studies.py figures FOLDER      (its figures: docs/images)
    python benchmarks/studies.py cost                (CPU-seconds and memory for 10,000 scans with 101 volumes)

Every cohort is written as tables and read by the same job as `napari-synthseg study`, `study ageing` and `study
retest`. Volumes depend on age, sex and head size, with noise of 9 % of the mean; the groups differ by known Cohen's d.
Prints Markdown: coverage (share of the intervals that hold the truth), bias, power at p < 0.05, false positives, errors
of curves. Cohorts need no data, no network and no GPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import (
    AgeingOptions,
    GroupOptions,
    RetestOptions,
    study_ageing,
    study_groups,
    study_retest,
)

NOISE = 0.09
"""Standard deviation of volumes at equal age, sex and head size, as a share of the mean."""
EFFECTS = {
    "Left-Hippocampus": (4000, 1.2), "Right-Hippocampus": (4100, 0.8), "Left-Amygdala": (1700, 0.5),
    "Right-Amygdala": (1750, 0.5), "Left-Putamen": (5000, 0.2), "Brain-Stem": (21000, 0.0),
    "Left-Pallidum": (1900, 0.0), "Left-Lateral-Ventricle": (12000, -0.8),
}  # fmt: skip
"""Mean volume, mm^3, and Cohen's d between the groups."""
Figures = dict[str, dict[str, float]]


# Groups


@dataclass(frozen=True)
class GroupSetting:
    """One kind of cohort, and how it is analysed."""

    controls: int = 50
    patients: int = 50
    older: float = 0.0
    """Years that patients are older."""
    wider: float = 1.0
    """How many times more the patients vary."""
    noise: str = "normal"
    missing: float = 0.0
    fit: str = "within"
    interval: str = "bca"


GROUPS = {
    "15 + 15": GroupSetting(15, 15),
    "25 + 25": GroupSetting(25, 25),
    "50 + 50": GroupSetting(),
    "50 + 50, percentile intervals": GroupSetting(interval="percentile"),
    "200 + 200": GroupSetting(200, 200),
    "patients 8 years older": GroupSetting(older=8),
    "the same, model of the controls": GroupSetting(older=8, fit="reference"),
    "the same, model of everybody": GroupSetting(older=8, fit="all"),
    "80 + 30, patients vary 1.5 times more": GroupSetting(80, 30, wider=1.5),
    "skewed volumes (log-normal)": GroupSetting(noise="skewed"),
    "heavy tails (t, 5 df)": GroupSetting(noise="heavy"),
    "10 % of the volumes missing": GroupSetting(missing=0.1),
}


def noise_of(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise with mean 0 and standard deviation 1."""
    if kind == "heavy":
        return rng.standard_t(5, shape) / np.sqrt(5 / 3)
    if kind == "skewed":
        s = 0.5
        return (rng.lognormal(0, s, shape) - np.exp(s**2 / 2)) / np.sqrt((np.exp(s**2) - 1) * np.exp(s**2))
    return rng.normal(size=shape)


def true_effects(setting: GroupSetting) -> dict[str, float]:
    """Cohen's d (eq. 28) of the cohort's making."""
    n, m = setting.controls, setting.patients
    pooled = np.sqrt((n - 1 + (m - 1) * setting.wider**2) / (n + m - 2))
    return {name: d / pooled for name, (_, d) in EFFECTS.items()}


def write_groups(folder: Path, setting: GroupSetting, rng: np.random.Generator) -> tuple[Path, Path]:
    """Tables of one cohort: volumes as `segment --volumes` writes them, and participants."""
    n = setting.controls + setting.patients
    patient = np.arange(n) >= setting.controls
    age = rng.normal(70, 7, n) + setting.older * patient
    male = rng.random(n) < 0.5
    icv = 1.45e6 + 1.5e5 * male + 1.0e5 * rng.normal(size=n)
    means = np.array([mean for mean, _ in EFFECTS.values()])
    d = np.array([d for _, d in EFFECTS.values()])
    own = noise_of(setting.noise, (n, len(d)), rng) * np.where(patient, setting.wider, 1.0)[:, None]
    shared = -0.006 * (age - 70) * 1.0 + 0.5 * (icv / 1.5e6 - 1) + 0.01 * male
    volumes = means * (1 + shared[:, None] + NOISE * (own - d * patient[:, None]))
    scans = [f"/scans/sub-{i:04d}/anat/sub-{i:04d}_T1w.nii.gz" for i in range(n)]
    texts = np.where(rng.random(volumes.shape) < setting.missing, "", volumes.round(1).astype(str))
    table, people = folder / "volumes.csv", folder / "participants.tsv"
    rows = [[s, f"{v:.1f}", *line] for s, v, line in zip(scans, icv, texts.tolist(), strict=True)]
    write_csv(table, ["scan", "intracranial", *EFFECTS], rows)
    rows = [[f"sub-{i:04d}", f"{age[i]:.1f}", "FM"[int(male[i])], ("CN", "AD")[int(patient[i])]] for i in range(n)]
    write_csv(people, ["participant_id", "age", "sex", "diagnosis"], rows)
    return table, people


def measure_groups(setting: GroupSetting, cohorts: int, seed: int, resamples: int = 1000) -> dict[str, float]:
    """Coverage of the intervals of d, bias, power and false positives over many cohorts."""
    truth = true_effects(setting)
    figures: dict[str, list[float]] = defaultdict(list)
    for number in range(cohorts):
        with tempfile.TemporaryDirectory() as folder:
            table, people = write_groups(Path(folder), setting, np.random.default_rng([seed, number]))
            options = GroupOptions(
                group="diagnosis", participants=people, fit=setting.fit, interval=setting.interval, resamples=resamples
            )
            (found,) = study_groups([table], options).comparisons
        for e in found.effects:
            true = truth[e.structure]
            figures["coverage"].append(e.ci[0] <= true <= e.ci[1])
            figures["width"].append(e.ci[1] - e.ci[0])
            figures["d"].append(e.cohens_d - true)
            figures["g"].append(e.hedges_g - true)
            low, high = e.difference_ci
            made = -NOISE * EFFECTS[e.structure][0] * EFFECTS[e.structure][1]
            figures["difference"].append(low <= made <= high)
            if true == 0:
                figures["false"].append(e.p < 0.05)
                figures["false student"].append(e.p_student < 0.05)
            if e.structure.endswith("Amygdala"):
                figures["power"].append(e.p < 0.05)
            if e.structure == "Left-Hippocampus":
                figures["d 1.2"].append(e.cohens_d - true)
        figures["any false, Holm"].append(any(e.p_holm < 0.05 for e in found.effects if truth[e.structure] == 0))
        hits = [truth[e.structure] == 0 for e in found.effects if e.q < 0.05]
        figures["false discoveries"].append(float(np.mean(hits)) if hits else 0.0)
    return {name: float(np.mean(values)) for name, values in figures.items()}


def groups_table(names: Sequence[str], cohorts: int, seed: int) -> tuple[str, Figures]:
    """A line for each setting, and their figures."""
    columns = {
        "coverage of d": "coverage", "width": "width", "coverage of the difference": "difference",
        "bias of d = 1.2": "d 1.2", "bias of g": "g", "power, d = 0.5": "power", "false p": "false",
        "false p (Student)": "false student",
        "any false by Holm": "any false, Holm", "false discoveries": "false discoveries",
    }  # fmt: skip
    lines = [f"| cohort | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    figures: Figures = {}
    for name in names:
        found = figures[name] = measure_groups(GROUPS[name], cohorts, seed)
        lines.append(f"| {name} | {' | '.join(f'{found[key]:.3f}' for key in columns.values())} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines), figures


# Ageing

SHAPES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "falls ever faster": ("Left-Hippocampus", lambda age: -2.2 * (np.clip(age - 25, 0, None) / 65) ** 2),
    "falls steadily": ("Left-Cerebral-Cortex", lambda age: -0.025 * (age - 20)),
    "rises ever faster": ("Left-Lateral-Ventricle", lambda age: 2.5 * np.exp((age - 90) / 22)),
    "rises, then falls": ("Left-Cerebral-White-Matter", lambda age: -1.5 * ((age - 40) / 45) ** 2),
    "stays": ("Brain-Stem", lambda age: 0.0 * age),
}
"""Curves in standard deviations of the volumes about them."""
LINEAR = {"sex=M": 0.5, "spacing_x": -0.03, "spacing_y": 0.02, "spacing_z": -0.05}
"""In the same unit, per mm of slice spacing."""
SIZE, SPREAD = 10_000.0, 800.0
OF_PEOPLE = 0.8
"""Share of the standard deviation that is the person's own: scans of one person are alike."""


@dataclass(frozen=True)
class AgeingSetting:
    """One kind of cohort, and how it is fitted."""

    people: int = 500
    scans: int = 1
    """Most scans of a person."""
    softness: float = 0.1
    resamples: int = 400


AGEING = {
    "200 people": AgeingSetting(200),
    "500 people": AgeingSetting(),
    "500 people, no constraint": AgeingSetting(softness=0.0),
    "500 people, constraint 10 times harder": AgeingSetting(softness=1.0),
    "500 people, 1 to 4 scans each": AgeingSetting(scans=4),
    "2000 people": AgeingSetting(2000),
}


def write_ageing(folder: Path, setting: AgeingSetting, rng: np.random.Generator) -> tuple[Path, Path]:
    """Tables of one cohort with slice spacing of 1 to 7 mm in one direction of each scan."""
    n = setting.people
    age = np.where(rng.random(n) < 0.5, rng.uniform(18, 90, n), np.clip(rng.normal(60, 14, n), 18, 90))
    male = rng.random(n) < 0.5
    own = rng.normal(size=(n, len(SHAPES)))
    rows = []
    for person in range(n):
        for scan in range(rng.integers(1, setting.scans + 1)):
            spacing = np.ones(3)
            spacing[rng.integers(3)] = rng.choice([1.0, 3.0, 5.0, 7.0])
            linear = sum(LINEAR[f"spacing_{axis}"] * (mm - 1) for axis, mm in zip("xyz", spacing, strict=True))
            linear += LINEAR["sex=M"] * (male[person] - 0.5)
            noise = OF_PEOPLE * own[person] + np.sqrt(1 - OF_PEOPLE**2) * rng.normal(size=len(SHAPES))
            curves = np.array([float(shape(age[person])) for _, shape in SHAPES.values()])
            volumes = SIZE + SPREAD * (curves + linear + noise)
            rows.append([f"sub-{person:04d}_run-{scan}_T1w.nii.gz", *spacing, *volumes.round(1)])
    table, people = folder / "volumes.csv", folder / "participants.tsv"
    write_csv(table, ["scan", "spacing_x", "spacing_y", "spacing_z", *(name for name, _ in SHAPES.values())], rows)
    rows = [[f"sub-{i:04d}", f"{age[i]:.3f}", "FM"[int(male[i])]] for i in range(n)]
    write_csv(people, ["participant_id", "age", "sex"], rows)
    return table, people


def measure_ageing(setting: AgeingSetting, cohorts: int, seed: int) -> dict[str, float]:
    """Errors of the curves (root mean square, in standard deviations of the volumes) and coverage over many cohorts."""
    figures: dict[str, list[float]] = defaultdict(list)
    shapes = {structure: (name, shape) for name, (structure, shape) in SHAPES.items()}
    for number in range(cohorts):
        with tempfile.TemporaryDirectory() as folder:
            table, people = write_ageing(Path(folder), setting, np.random.default_rng([seed, number]))
            options = AgeingOptions(participants=people, softness=setting.softness, resamples=setting.resamples)
            study = study_ageing([table], options)
        for t in study.trajectories:
            name, shape = shapes[t.structure]
            true = SIZE + SPREAD * shape(t.ages)
            inner = (t.ages > 25) & (t.ages < 85)
            figures[name].append(float(np.sqrt(np.mean((t.curve - true)[inner] ** 2))) / SPREAD)
            inside = (t.band[0] <= true) & (true <= t.band[1])
            figures["curve coverage"].append(float(inside[inner].mean()))
            figures["converged"].append(t.converged)
            for term in t.terms:
                low, high = (end / SPREAD for end in term.ci)
                figures["sex coverage" if "sex" in term.name else "spacing coverage"].append(
                    low <= LINEAR[term.name] <= high
                )
            for age, rate, low, high in t.change:
                if 30 <= age <= 80:
                    made = float(shape(np.array(age + 0.5)) - shape(np.array(age - 0.5))) * SPREAD
                    made *= 100 / (SIZE + SPREAD * float(shape(np.array(age))))
                    figures["rate coverage"].append(low <= made <= high)
                    figures["rate error"].append(abs(rate - made))
    return {name: float(np.mean(values)) for name, values in figures.items()}


def ageing_table(names: Sequence[str], cohorts: int, seed: int) -> tuple[str, Figures]:
    """A line for each setting, and their figures."""
    columns = [
        *SHAPES,
        "curve coverage",
        "sex coverage",
        "spacing coverage",
        "rate coverage",
        "rate error",
        "converged",
    ]
    lines = [f"| cohort | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    figures: Figures = {}
    for name in names:
        found = figures[name] = measure_ageing(AGEING[name], cohorts, seed)
        lines.append(f"| {name} | {' | '.join(f'{found[key]:.3f}' for key in columns)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines), figures


# Test-retest


@dataclass(frozen=True)
class RetestSetting:
    """One kind of cohort: volumes of people, and what scanning them again adds."""

    people: int = 40
    scans: tuple[int, int] = (2, 2)
    between: float = 0.10
    within: float = 0.02
    bias: float = 0.005
    """The second scans are larger by this share of the mean."""
    noise: str = "normal"


RETEST = {
    "15 people": RetestSetting(15),
    "40 people": RetestSetting(),
    "100 people": RetestSetting(100),
    "40 people, worse scans": RetestSetting(within=0.06),
    "40 people, 2 to 4 scans, no bias": RetestSetting(scans=(2, 4), bias=0.0),
    "40 people, skewed, no bias": RetestSetting(noise="skewed", bias=0.0),
}
RETEST_STRUCTURES = {
    "Left-Hippocampus": 4000.0,
    "Left-Thalamus": 7000.0,
    "Brain-Stem": 21000.0,
    "Left-Amygdala": 1700.0,
}


def write_retest(folder: Path, setting: RetestSetting, rng: np.random.Generator) -> Path:
    """A table of one cohort."""
    means = np.array(list(RETEST_STRUCTURES.values()))
    own = noise_of(setting.noise, (setting.people, len(means)), rng)
    rows = []
    for person in range(setting.people):
        for scan in range(rng.integers(setting.scans[0], setting.scans[1] + 1)):
            noise = setting.within * noise_of(setting.noise, means.shape, rng) + setting.bias * (scan == 1)
            volumes = means * (1 + setting.between * own[person] + noise)
            rows.append([f"sub-{person:03d}_ses-{scan + 1}_T1w.nii.gz", *volumes.round(2)])
    table = folder / "volumes.csv"
    write_csv(table, ["scan", *RETEST_STRUCTURES], rows)
    return table


def true_retest(setting: RetestSetting) -> dict[str, float]:
    """What the measures would be with endlessly many people (two scans; by simulation of a million)."""
    rng = np.random.default_rng(12345)
    own = 1 + setting.between * noise_of(setting.noise, (1_000_000,), rng)
    a, b = (own + setting.within * noise_of(setting.noise, own.shape, rng) for _ in range(2))
    b = b + setting.bias
    error = np.sqrt(((a - b) ** 2).mean() / 2)
    return {
        "difference": float((200 * np.abs(a - b) / (a + b)).mean()),
        "variation": float(100 * np.sqrt((((a - b) ** 2 / 2) / ((a + b) / 2) ** 2).mean())),
        "error": float(error),
        "icc": float(setting.between**2 / (setting.between**2 + setting.within**2)),
        "bias": setting.bias,
        "upper": setting.bias + 1.96 * np.sqrt(2) * setting.within,
    }


def measure_retest(setting: RetestSetting, cohorts: int, seed: int, resamples: int = 1000) -> dict[str, float]:
    """Coverage of the intervals over many cohorts."""
    truth = true_retest(setting)
    figures: dict[str, list[float]] = defaultdict(list)
    for number in range(cohorts):
        with tempfile.TemporaryDirectory() as folder:
            table = write_retest(Path(folder), setting, np.random.default_rng([seed, number]))
            study = study_retest([table], RetestOptions(resamples=resamples))
        for r in study.structures:
            size = RETEST_STRUCTURES[r.structure]
            limits = r.bland_altman
            found = {
                "difference": r.difference_ci, "variation": r.variation_ci, "icc": r.icc_ci,
                "error": tuple(end / size for end in r.error_ci),
                "bias": tuple(end / size for end in limits["bias_ci"]),
                "upper": tuple(end / size for end in limits["upper_ci"]),
            }  # fmt: skip
            for name, (low, high) in found.items():
                figures[name].append(low <= truth[name] <= high)
            figures["icc error"].append(abs(r.icc - truth["icc"]))
    return {name: float(np.mean(values)) for name, values in figures.items()}


def retest_table(names: Sequence[str], cohorts: int, seed: int) -> tuple[str, Figures]:
    """A line for each setting, and their figures."""
    columns = {
        "difference %": "difference", "CV": "variation", "error": "error", "ICC(1,1)": "icc", "bias": "bias",
        "upper limit": "upper", "mean error of the ICC": "icc error",
    }  # fmt: skip
    lines = [f"| cohort | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    figures: Figures = {}
    for name in names:
        found = figures[name] = measure_retest(RETEST[name], cohorts, seed)
        lines.append(f"| {name} | {' | '.join(f'{found[key]:.3f}' for key in columns.values())} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines), figures


# All of it


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV, or with tabs where the name ends in .tsv."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_example(folder: Path, seed: int = 7) -> None:
    """The tables of the tutorial (docs/studies.md): groups, ageing and retest, one folder each."""
    for name in ("groups", "ageing", "retest"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    write_groups(folder / "groups", GroupSetting(90, 60, older=4, missing=0.01), rng)
    write_ageing(folder / "ageing", AgeingSetting(1200, scans=2), rng)
    write_retest(folder / "retest", replace(RETEST["40 people"]), rng)


def write_figures(folder: Path) -> None:
    """The figures of the tutorial."""
    from napari_synthseg.evaluation.studies import figures

    with tempfile.TemporaryDirectory() as made:
        example = Path(made)
        write_example(example)
        people = {kind: example / kind / "participants.tsv" for kind in ("groups", "ageing")}
        found = study_groups(
            [example / "groups/volumes.csv"], GroupOptions(group="diagnosis", participants=people["groups"])
        )
        ages = study_ageing([example / "ageing/volumes.csv"], AgeingOptions(participants=people["ageing"]))
        again = study_retest([example / "retest/volumes.csv"])
    figures.save(figures.effects_figure(found.comparisons[0], 0.95), folder, "study_effects", "png")
    figures.save(figures.volumes_figure(found.comparisons[0], 3), folder, "study_volumes", "png")
    figures.save(figures.trajectories_figure(ages.trajectories[:3]), folder, "study_trajectories", "png")
    figures.save(figures.bland_altman_figure(again.structures[:3]), folder, "study_retest", "png")


def keep(path: Path | None, found: Figures) -> None:
    """Write figures, if a file is asked for."""
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure_cost(people: int = 2500, scans: int = 4) -> Figures:
    """CPU-seconds of a group study and of trajectories of many scans with all structures, and the peak memory, GiB."""
    from napari_synthseg import anatomy

    rng = np.random.default_rng(0)
    values = [*anatomy.predicted_values()[1:], *anatomy.parcels()]
    names = ["intracranial", *(anatomy.name(value) for value in values)]
    rows, persons = [], []
    for person in range(people):
        age, own = rng.uniform(18, 90), rng.normal(size=len(names))
        persons.append([f"sub-{person:05d}", f"{age:.1f}", "FM"[person % 2], ("CN", "AD")[person // 2 % 2]])
        for scan in range(scans):
            volumes = 5000 * (1.2 - 0.003 * age + 0.08 * own + 0.04 * rng.normal(size=len(names)))
            rows.append([f"sub-{person:05d}_run-{scan}_T1w.nii.gz", *rng.choice([1, 3, 5], 3), *volumes.round(1)])
    found: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        table, list_of = Path(folder) / "volumes.csv", Path(folder) / "participants.tsv"
        write_csv(table, ["scan", "spacing_x", "spacing_y", "spacing_z", *names], rows)
        write_csv(list_of, ["participant_id", "age", "sex", "diagnosis"], persons)
        del rows
        for name, job in (
            ("groups", lambda: study_groups([table], GroupOptions(group="diagnosis", participants=list_of))),
            ("trajectories", lambda: study_ageing([table], AgeingOptions(participants=list_of))),
        ):
            start = time.process_time()
            job()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            found[name] = {"cpu_s": round(time.process_time() - start, 1), "peak_gib": round(peak, 2)}
    return found


def main() -> int:
    """Measures one kind of study, or writes the example."""
    kinds = {
        "groups": (GROUPS, groups_table, 300),
        "ageing": (AGEING, ageing_table, 40),
        "retest": (RETEST, retest_table, 300),
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=[*kinds, "example", "figures", "cost"])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("example"))
    parser.add_argument("--cohorts", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="names of cohorts")
    parser.add_argument("--json", type=Path, help="the figures of the table")
    args = parser.parse_args()
    if args.what in ("example", "figures"):
        {"example": write_example, "figures": write_figures}[args.what](args.folder)
        return 0
    if args.what == "cost":
        found = measure_cost()
        for name, row in found.items():
            print(f"{name}: {row['cpu_s']:.1f} CPU-seconds, peak so far {row['peak_gib']:.2f} GiB")
        keep(args.json, found)
        return 0
    settings, table, usual = kinds[args.what]
    names = args.only or list(settings)
    try:
        if unknown := [name for name in names if name not in settings]:
            raise InputError(f"There is no cohort {unknown[0]!r}: there are {', '.join(settings)}.")
    except InputError as error:
        print(f"studies: {error}", file=sys.stderr)
        return 2
    text, found = table(names, args.cohorts or usual, args.seed)
    print(text)
    keep(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
