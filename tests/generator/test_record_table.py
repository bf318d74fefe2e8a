"""Records as rows of a table."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_synthseg.generator.priors import Priors
from napari_synthseg.generator.record_table import TIPS, summary
from tests.generator.builders import record


def test_numbers_are_those_of_the_record() -> None:
    row = summary(record(slice_spacing_mm=4.126, slice_thickness_mm=2.0, gamma=1.5, bias_std=0.25, velocity_std=2.5))
    assert (row["spacing (mm)"], row["thickness (mm)"]) == (4.13, 2.0)
    assert (row["gamma"], row["bias"], row["deformation (mm)"]) == (1.5, 0.25, 2.5)


@pytest.mark.parametrize(("direction", "word"), [(0, "sagittal"), (1, "coronal"), (2, "axial")])
def test_directions_are_words(direction: int, word: str) -> None:
    assert summary(record(direction=direction))["slices"] == word


@pytest.mark.parametrize(("kind", "words"), [("none", "no"), ("all", "yes"), ("keep-csf", "yes, CSF stays")])
def test_skull_stripping_is_words(kind: str, words: str) -> None:
    assert summary(record(skull_strip=kind))["skull strip"] == words


def test_the_whole_transform_in_three_numbers() -> None:
    row = summary(record(rotation_deg=(3.0, -12.04, 5.0), scaling=(1.1, 1.0, 0.9), translation_mm=(3.0, 0.0, -4.0)))
    assert (row["rotation (°)"], row["scaling"], row["shift (mm)"]) == (-12.0, 0.99, 5.0)


def test_every_column_is_explained() -> None:
    assert list(summary(record(Priors()))) == list(TIPS)


def test_the_table_needs_no_torch() -> None:
    code = "import sys, napari_synthseg.generator.record_table; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
