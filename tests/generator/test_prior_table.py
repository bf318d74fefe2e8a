"""The table of priors: complete, in the paper's order, and wide enough for every preset."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import pytest

from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.prior_table import GROUPS, PriorInfo, degradation_rows, rows
from napari_synthseg.generator.priors import PRESETS, Priors

ROWS = {row.name: row for row in rows()}
KINDS = {"range": tuple, "number": float, "probability": float, "count": int}


def test_every_prior_has_one_row() -> None:
    assert len(rows()) == len(ROWS)
    assert set(ROWS) == {f.name for f in fields(Priors)} - {"class_means", "class_stds"}


def test_every_prior_of_the_degradation_model_has_one_row() -> None:
    assert [row.name for row in degradation_rows()] == [f.name for f in fields(DegradationPriors)]
    groups = list(dict.fromkeys(row.group for row in degradation_rows()))
    assert groups == [group for group in GROUPS if group in groups]


@pytest.mark.parametrize("row", degradation_rows(), ids=lambda row: row.name)
def test_rows_of_the_degradation_model_fit_it(row: PriorInfo) -> None:
    value = getattr(DegradationPriors(), row.name)
    assert row.kind == {tuple: "range", int: "count", type(None): "direction"}[type(value)]
    assert all(row.low <= n <= row.high for n in (value if isinstance(value, tuple) else (value or 0,)))
    for end in (row.low, row.high):
        whole = int(end) if row.kind in ("count", "direction") else float(end)
        replace(DegradationPriors(), **{row.name: (whole, whole) if row.kind == "range" else whole})


def test_groups_come_in_the_paper_s_order() -> None:
    assert list(dict.fromkeys(row.group for row in rows())) == list(GROUPS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_a_kind_is_that_of_the_prior(row: PriorInfo) -> None:
    value = getattr(Priors(), row.name)
    if row.kind in KINDS:
        assert type(value) is KINDS[row.kind]
    else:
        assert value is None
    assert (row.start is not None) == (row.kind == "optional range")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_every_preset_fits_into_the_controls(row: PriorInfo) -> None:
    values = [getattr(priors, row.name) for priors in PRESETS.values()] + [row.start]
    numbers = [n for v in values if v is not None for n in (v if isinstance(v, tuple) else (v,))]
    assert all(row.low <= n <= row.high for n in numbers)
    assert 0 < row.step <= row.high - row.low


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_both_ends_of_a_control_can_be_used(row: PriorInfo) -> None:
    for value in (row.low, row.high):
        whole = int(value) if row.kind in ("count", "direction") else float(value)
        replace(Priors(), **{row.name: (whole, whole) if "range" in row.kind else whole})


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_a_tip_says_symbol_and_unit(row: PriorInfo) -> None:
    sentence, facts = row.tip.splitlines()
    assert sentence.endswith(".")
    assert row.symbol in facts and row.unit in facts


@pytest.mark.parametrize("module", ["prior_table", "priors", "prior_settings", "degradation_priors"])
def test_the_priors_need_no_torch(module: str) -> None:
    code = f"import sys, napari_synthseg.generator.{module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
