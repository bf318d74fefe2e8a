"""People scanned more than once, of whom the reproducibility is known."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohorts.tables import Figures, noise_of, table, write_csv
from napari_synthseg.evaluation.studies import RetestOptions, study_retest


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
RETEST_STRUCTURES = {"Left-Hippocampus": 4e3, "Left-Thalamus": 7e3, "Brain-Stem": 21e3, "Left-Amygdala": 1.7e3}


def write_retest(folder: Path, setting: RetestSetting, rng: np.random.Generator) -> Path:
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
    columns = {
        "difference %": "difference", "CV": "variation", "error": "error", "ICC(1,1)": "icc", "bias": "bias",
        "upper limit": "upper", "mean error of the ICC": "icc error",
    }  # fmt: skip
    return table(names, columns, lambda name: measure_retest(RETEST[name], cohorts, seed))
