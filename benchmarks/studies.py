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

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from cohorts.ageing import AGEING, AgeingSetting, ageing_table, write_ageing
from cohorts.groups import GROUPS, GroupSetting, groups_table, write_groups
from cohorts.retest import RETEST, retest_table, write_retest
from cohorts.tables import Figures, write_csv
from harness import arguments, command, cost, finish, peak_gib, since, write_json

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import AgeingOptions, GroupOptions, study_ageing, study_groups, study_retest


def write_example(folder: Path, seed: int = 7) -> None:
    """The tables of the tutorial (docs/studies.md): groups, ageing and retest, one folder each."""
    for name in ("groups", "ageing", "retest"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    write_groups(folder / "groups", GroupSetting(90, 60, older=4, missing=0.01), rng)
    write_ageing(folder / "ageing", AgeingSetting(1200, scans=2), rng)
    write_retest(folder / "retest", replace(RETEST["40 people"]), rng)


def write_figures(folder: Path) -> None:
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
    figures.save(figures.effects_figure(found.comparisons[0], 0.95), folder, "study_effects")
    figures.save(figures.volumes_figure(found.comparisons[0], 3), folder, "study_volumes")
    figures.save(figures.trajectories_figure(ages.trajectories[:3]), folder, "study_trajectories")
    figures.save(figures.bland_altman_figure(again.structures[:3]), folder, "study_retest")


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
            started = cost()
            job()
            found[name] = {"cpu_s": round(since(started)["cpu_s"], 1), "peak_gib": round(peak_gib(), 2)}
    return found


@command
def main() -> int:
    kinds = {
        "groups": (GROUPS, groups_table, 300),
        "ageing": (AGEING, ageing_table, 40),
        "retest": (RETEST, retest_table, 300),
    }
    args = arguments(
        __doc__, "what", "--seed", "--only", "--json", seed={"default": 0}, cohorts={"type": int},
        what={"choices": [*kinds, "example", "figures", "cost"]},
        folder_={"type": Path, "nargs": "?", "default": Path("example")},
    )  # fmt: skip
    if args.what in ("example", "figures"):
        {"example": write_example, "figures": write_figures}[args.what](args.folder)
        return 0
    if args.what == "cost":
        found = measure_cost()
        text = "\n".join(f"{n}: {r['cpu_s']:.1f} CPU-seconds, peak {r['peak_gib']:.2f} GiB" for n, r in found.items())
    else:
        settings, table, usual = kinds[args.what]
        names = args.only or list(settings)
        if unknown := [name for name in names if name not in settings]:
            raise InputError(f"There is no cohort {unknown[0]!r}: there are {', '.join(settings)}.")
        text, found = table(names, args.cohorts or usual, args.seed)
    write_json(args.json, found)
    return finish(text)


if __name__ == "__main__":
    sys.exit(main())
