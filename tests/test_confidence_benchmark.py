"""`benchmarks/confidence.py`: how sure a network is of scans as they are and turned, and what it proposes."""

from __future__ import annotations

import sys

import pytest

from napari_synthseg.io import write_volume
from tests.inference.fakes import FakeLocateRefine, ball_scan
from tests.test_benchmarks import BENCHMARKS, script


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # it uses what makes scans worse
    return script("confidence")


@pytest.mark.parametrize(
    ("upright", "turned", "expected"),
    [((0.8, 0.82), (0.39, 0.2), 0.5), ((0.45,), (0.41,), 0.42), ((0.5, 0.3), (0.3,), None)],
)
def test_a_proposal_lies_between_turned_and_ordinary_scans(bench, upright, turned, expected) -> None:
    assert bench.proposal(upright, turned) == expected


def test_every_scan_is_scored_as_it_is_worse_and_turned(bench, tmp_path, monkeypatch, capsys) -> None:
    write_volume(tmp_path / "a_t1.nii.gz", ball_scan()[0])
    write_volume(tmp_path / "a_labels.nii.gz", ball_scan()[0])  # no scan
    monkeypatch.setattr(bench, "load_model", lambda _: FakeLocateRefine())
    monkeypatch.setattr(sys, "argv", ["confidence.py", str(tmp_path), "--turns", "2", "--worse"])
    assert bench.main() == 0
    out = capsys.readouterr().out
    assert out.count("a_t1, turned: ") == 2 and out.count("a_t1, as it is: ") == 1
    assert "axial slices 7: " in out and "a_labels" not in out
