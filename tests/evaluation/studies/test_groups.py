"""Group studies from tables: known effects are found, and what cannot be used is told."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import GroupOptions, study_groups
from napari_synthseg.evaluation.studies.report import report_text
from tests.evaluation.studies.tables import PEOPLE, cohort, write, write_cohort


def study(table, people, **options):
    return study_groups([table], GroupOptions(group="diagnosis", participants=people, **{"resamples": 200, **options}))


def said(found):
    return [str(note) for note in found.notes.all]


def test_known_effects_are_found(tmp_path):
    (found,) = study(*write_cohort(tmp_path, n=300)).comparisons
    assert (found.reference, found.group, found.sizes) == ("CN", "AD", (150, 150))
    assert found.covariates == ("age", "sex=M", "icv")
    for e, d in zip(found.effects, (-1.5, -0.8, 0.0), strict=True):
        assert e.ci[0] < d < e.ci[1] and e.cohens_d == pytest.approx(d, abs=0.3)
    assert found.effects[0].q < 1e-6 and found.effects[2].p > 0.01
    assert found.effects[0].difference == pytest.approx(-0.08 * 1.5 * 4000, rel=0.25)


def test_the_same_seed_gives_the_same_intervals(tmp_path):
    tables = write_cohort(tmp_path)
    one, again, other = (study(*tables, seed=seed).comparisons[0].effects[0].ci for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(("n", "covariates", "bounded"), [(12, "age,sex,icv", False), (16, "none", True)])
def test_a_tiny_study_has_no_interval_rather_than_an_absurd_one(tmp_path, n, covariates, bounded):
    found = study(*write_cohort(tmp_path, n=n), covariates=covariates)
    e = found.comparisons[0].effects[0]
    assert np.isfinite([e.cohens_d, *e.difference_ci]).all() and np.isfinite(e.ci).all() == bounded
    assert bounded or "too few people for a bootstrap" in " ".join(said(found)) and "nan" not in report_text(found)
    assert not bounded or max(np.abs(e.ci)) < 6


def test_effects_are_not_those_of_age(tmp_path):
    """Patients who are ten years older lose nothing but what age takes: d is 0 after correction, and not before."""
    tables = write_cohort(tmp_path, n=200, d=(0, 0, 0), older=16)
    corrected, raw = (study(*tables, covariates=names).comparisons[0] for names in ("age,sex,icv", "none"))
    assert abs(corrected.effects[0].cohens_d) < 0.5 < 0.6 < -raw.effects[1].cohens_d
    assert study(*tables, fit="all").comparisons[0].effects[0].ci != corrected.effects[0].ci


def test_corrected_volumes_do_not_depend_on_the_covariates(tmp_path):
    (found,) = study(*write_cohort(tmp_path, n=100)).comparisons
    age = found.people.cells["age"].to_numpy(float)
    for rows in (found.is_other, ~found.is_other):
        age[rows] -= age[rows].mean()
        found.corrected[rows] -= found.corrected[rows].mean(0)
    assert abs(np.corrcoef(age, found.corrected[:, 0])[0, 1]) < 1e-6


def test_scans_of_one_person_count_once(tmp_path):
    rows, people = cohort(20)
    again = [[row[0].replace("_T1w", "_run-2_T1w"), *row[1:]] for row in rows[:5]]
    tables = write_cohort(tmp_path, [*rows, *again], people)
    found = study(*tables)
    assert sum(found.comparisons[0].sizes) == 20 and any("several scans: the mean" in note for note in said(found))
    alone = study(*write_cohort(tmp_path, rows, people))
    assert found.comparisons[0].effects[0].ci == pytest.approx(alone.comparisons[0].effects[0].ci)


def test_more_groups_are_compared_with_the_reference(tmp_path):
    rows, people = cohort(30)
    for person in people[1::6]:
        person[3] = "MCI"
    found = study(*write_cohort(tmp_path, rows, people))
    assert [(one.reference, one.group) for one in found.comparisons] == [("CN", "AD"), ("CN", "MCI")]
    for person in people[1::6]:
        person[2] = "M"
    for person in people[::2]:
        person[2] = "F"
    left = study(*write_cohort(tmp_path, rows, people), covariates="sex")
    assert [one.group for one in left.comparisons] == ["AD"] and "cannot be separated" in "".join(said(left))
    assert study(*write_cohort(tmp_path, rows, people), reference="ad").comparisons[0].reference == "AD"


def test_what_is_missing_or_wrong_is_left_out_and_told(tmp_path):
    rows, people = cohort(40)
    rows[0][2], rows[1][2], rows[2][3] = "", "broken", "-5"
    people[3][1], people[4][1], people[5][2], people[6][3] = "n/a", "old", "", ""
    people[7][1], people[8][2] = "700", "X"
    found = study(*write_cohort(tmp_path, rows, people))
    (one,) = found.comparisons
    assert sum(one.sizes) == 34 and sum(one.effects[0].n) == 32 and sum(one.effects[1].n) == 33
    text = "\n".join(said(found))
    for part in ("Left-Hippocampus: 1 cells are no numbers", "(broken)", "negative", "age: 1 cells are no numbers",
                 "(old)", "between 0 and 120", "age: 3 scans lack it", "sex: 1 scans lack it",
                 "diagnosis: 1 scans lack it",
                 "only ones with 'X'"):  # fmt: skip
        assert part in text


def test_useless_covariates_are_left_out_of_the_model(tmp_path):
    rows, people = cohort(30)
    more = [[*row, "1", f"{2 * float(row[1]) + 3}", "s1" if i < 15 else "s2"] for i, row in enumerate(people)]
    other = write(tmp_path / "p.tsv", [*PEOPLE, "field", "months", "site"], more, "\t")
    table, _ = write_cohort(tmp_path, rows)
    found = study(table, other, covariates="age,field,months,site")
    assert found.comparisons[0].covariates == ("age", "site=s2")
    assert any(note.startswith("field: 1 covariate is the same") for note in said(found))
    assert any("collinear" in note and "months" in note for note in said(found))


def test_structures_of_too_few_people_or_without_variation_are_left_out(tmp_path):
    rows, people = cohort(20)
    for i, row in enumerate(rows):
        row[2], row[4] = row[2] if i < 4 else "", "20000"
    found = study(*write_cohort(tmp_path, rows, people))
    assert [e.structure for e in found.comparisons[0].effects] == ["Right-Hippocampus"]
    notes = "\n".join(said(found))
    assert "fewer than 3 people of a group have them (Left-Hip" in notes and "the same volume everywhere" in notes


def spoiled(place, value):
    """People with the same, or a computed, cell in one column."""
    return lambda people: [
        p.__setitem__(place, value(i, p) if callable(value) else value) for i, p in enumerate(people)
    ]


@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        (spoiled(3, "AD"), {}, "needs two groups .* AD"),
        (spoiled(2, lambda i, p: "M" if p[3] == "AD" else "F"), {}, "cannot be separated from the covariates"),
        (None, {"covariates": "age,iq"}, "no column 'iq'"),
        (None, {"covariates": "diagnosis"}, "among the covariates too"),
        (None, {"reference": "MCI"}, "'MCI' is no group of 'diagnosis': there are AD, CN"),
        (None, {"covariates": "participant_id"}, "30 different values"),
        (spoiled(3, lambda i, p: p[0]), {}, "has 30 different values"),
        (spoiled(1, "x"), {}, "no usable number"),
        (spoiled(1, ""), {}, "'age' is empty"),
        (spoiled(0, lambda i, p: f"other{i}"), {}, "No scan of volumes.csv"),
    ],
)
def test_what_cannot_be_compared(tmp_path, spoil, options, says):
    rows, people = cohort(30)
    (spoil or list)(people)
    with pytest.raises(InputError, match=says):
        study(*write_cohort(tmp_path, rows, people), **options)
