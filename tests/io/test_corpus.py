"""Broken scans on the command line: one sentence that names the file, exit code 2, bounded memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_synthseg import cli
from napari_synthseg.prompting import one_object
from tests.io.corpus import CORPUS, FINE, SAYS
from tests.prompting.tracer import Tracer
from tests.training.builders import fast_weights

MOST_MEMORY = 400 << 20
"""Bytes that a refusal may take."""
PROCESS = Path("/proc/self")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that has learned nothing."""
    return fast_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", (0, 2, 41))


def memory(which: str) -> int:
    """Bytes of this process: now (VmRSS), or at most since `forget_the_peak` (VmHWM); 0 where Linux does not say."""
    found = re.search(rf"{which}:\s+(\d+) kB", (PROCESS / "status").read_text()) if PROCESS.exists() else None
    return int(found[1]) << 10 if found else 0


def forget_the_peak() -> None:
    """An earlier test's peak would hide that of this one."""
    if PROCESS.exists():
        (PROCESS / "clear_refs").write_text("5")


def test_there_are_enough_of_them():
    assert len(CORPUS) >= 90 and all(any(part in kind for kind in CORPUS) for part in SAYS)
    assert set().union(*FINE.values()) < set(CORPUS)


@pytest.mark.parametrize("kind", CORPUS)
def test_one_sentence_exit_code_2_and_bounded_memory(kind, weights, tmp_path, capsys, monkeypatch):
    if kind.startswith("DICOM"):
        pytest.importorskip("pydicom")
    monkeypatch.setattr(one_object, "Session", lambda *_, **__: Tracer())
    path, out = str(CORPUS[kind](tmp_path)), tmp_path / "out" / "labels.nii.gz"
    for command, *words in (
        ("segment", path, "-o", str(out), "--weights", str(weights)),
        ("evaluate", path, path),
        ("prompt", path, "--inside", "1", "1", "1", "-o", str(out)),
    ):
        forget_the_peak()
        before = memory("VmRSS")
        code = cli.main([command, *words])
        assert memory("VmHWM") - before < MOST_MEMORY
        printed = capsys.readouterr()
        if kind in FINE[command]:
            assert code == cli.DONE
            continue
        lines = [line for line in printed.err.splitlines() if "error:" in line]
        assert code == cli.BAD_INPUT and len(lines) == 1 and printed.out == "" and not out.exists()
        sentence = lines[0].partition("error: ")[2]
        said = sentence.replace(path, "")
        assert Path(path).stem in sentence and sentence.endswith(".") and ". " not in said
        assert command != "segment" or all(words in said for part, words in SAYS.items() if part in kind)
