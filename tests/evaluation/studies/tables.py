"""Small tables for the tests of studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STRUCTURES = ("Left-Hippocampus", "Right-Hippocampus", "Brain-Stem")


def write(path: Path, header, rows, delimiter=",") -> Path:
    """A table as text."""
    lines = [header, *rows]
    path.write_text("\n".join(delimiter.join(str(cell) for cell in line) for line in lines) + "\n", encoding="utf-8")
    return path


def cohort(n=40, d=(-1.5, -0.8, 0.0), seed=0, older=0.0):
    """Rows of volumes (scan, intracranial, structures) and of people (participant_id, age, sex, diagnosis)."""
    rng = np.random.default_rng(seed)
    volumes, people = [], []
    for i in range(n):
        patient, male = i % 2, (i // 2) % 2
        age = 70 + 6 * rng.normal() + older * patient
        icv = 1.5e6 + 1e5 * male + 8e4 * rng.normal()
        shared = 1 - 0.006 * (age - 70) + 0.4 * (icv / 1.5e6 - 1) + 0.02 * male
        own = 0.08 * (rng.normal(size=3) + np.array(d) * patient)
        sizes = np.array([4000, 4200, 21000]) * (shared + own)
        volumes.append([f"/in/sub-{i:03d}/anat/sub-{i:03d}_T1w.nii.gz", f"{icv:.1f}", *[f"{v:.1f}" for v in sizes]])
        people.append([f"sub-{i:03d}", f"{age:.1f}", "FM"[male], ("CN", "AD")[patient]])
    return volumes, people


VOLUMES = ["scan", "intracranial", *STRUCTURES]
PEOPLE = ["participant_id", "age", "sex", "diagnosis"]


def write_cohort(folder: Path, volumes=None, people=None, **how) -> tuple[Path, Path]:
    """volumes.csv and participants.tsv of a cohort, or of rows given."""
    made = cohort(**how)
    table = write(folder / "volumes.csv", VOLUMES, made[0] if volumes is None else volumes)
    return table, write(folder / "participants.tsv", PEOPLE, made[1] if people is None else people, "\t")
