"""Patients and controls, of whom Cohen's d is known."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohorts.tables import Figures, noise_of, table, write_csv
from napari_synthseg.evaluation.studies import GroupOptions, study_groups

NOISE = 0.09
"""Standard deviation of volumes at equal age, sex and head size, as a share of the mean."""
EFFECTS = {
    "Left-Hippocampus": (4000, -1.2), "Right-Hippocampus": (4100, -0.8), "Left-Amygdala": (1700, -0.5),
    "Right-Amygdala": (1750, -0.5), "Left-Putamen": (5000, -0.2), "Brain-Stem": (21000, 0.0),
    "Left-Pallidum": (1900, 0.0), "Left-Lateral-Ventricle": (12000, 0.8),
}  # fmt: skip
"""Mean volume, mm^3, and Cohen's d, patients minus controls."""


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


def true_effects(setting: GroupSetting) -> dict[str, float]:
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
    volumes = means * (1 + shared[:, None] + NOISE * (own + d * patient[:, None]))
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
            made = NOISE * EFFECTS[e.structure][0] * EFFECTS[e.structure][1]
            figures["difference"].append(low <= made <= high)
            if true == 0:
                figures["false"].append(e.p < 0.05)
                figures["false student"].append(e.p_student < 0.05)
            if e.structure.endswith("Amygdala"):
                figures["power"].append(e.p < 0.05)
            if e.structure == "Left-Hippocampus":
                figures["d -1.2"].append(e.cohens_d - true)
        figures["any false, Holm"].append(any(e.p_holm < 0.05 for e in found.effects if truth[e.structure] == 0))
        hits = [truth[e.structure] == 0 for e in found.effects if e.q < 0.05]
        figures["false discoveries"].append(float(np.mean(hits)) if hits else 0.0)
    return {name: float(np.mean(values)) for name, values in figures.items()}


def groups_table(names: Sequence[str], cohorts: int, seed: int) -> tuple[str, Figures]:
    columns = {
        "coverage of d": "coverage", "width": "width", "coverage of the difference": "difference",
        "bias of d = -1.2": "d -1.2", "bias of g": "g", "power, d = -0.5": "power", "false p": "false",
        "false p (Student)": "false student",
        "any false by Holm": "any false, Holm", "false discoveries": "false discoveries",
    }  # fmt: skip
    return table(names, columns, lambda name: measure_groups(GROUPS[name], cohorts, seed))
