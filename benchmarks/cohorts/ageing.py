"""People of all ages, of whom the curves are known."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohorts.tables import Figures, table, write_csv
from napari_synthseg.evaluation.studies import AgeingOptions, study_ageing

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
    coverage = [f"{what} coverage" for what in ("curve", "sex", "spacing", "rate")]
    columns = [*SHAPES, *coverage, "rate error", "converged"]
    return table(names, {name: name for name in columns}, lambda name: measure_ageing(AGEING[name], cohorts, seed))
