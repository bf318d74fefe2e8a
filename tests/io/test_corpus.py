"""Broken scans on the command line: one sentence that names the file, exit code 2, bounded memory."""

from __future__ import annotations

import pytest

from napari_synthseg import cli
from tests.io.corpus import CORPUS, SAYS
from tests.training.builders import fast_weights

try:
    from resource import RUSAGE_SELF, getrusage
except ImportError:  # Windows
    getrusage = None
MOST_MEMORY = 400 << 20
"""Bytes that a refusal may take."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that has learned nothing."""
    return fast_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", (0, 2, 41))


def test_there_are_enough_of_them():
    assert len(CORPUS) >= 90 and all(any(part in kind for kind in CORPUS) for part in SAYS)


@pytest.mark.parametrize("kind", CORPUS)
def test_one_sentence_exit_code_2_and_bounded_memory(kind, weights, tmp_path, capsys):
    if kind.startswith("DICOM"):
        pytest.importorskip("pydicom")
    path, out = CORPUS[kind](tmp_path), tmp_path / "out" / "labels.nii.gz"
    before = getrusage(RUSAGE_SELF).ru_maxrss if getrusage else 0
    assert cli.main(["segment", str(path), "-o", str(out), "--weights", str(weights)]) == cli.BAD_INPUT
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if "error:" in line]
    assert len(lines) == 1 and printed.out == "" and not out.exists()
    sentence = lines[0].partition("error: ")[2]
    said = sentence.replace(str(path), "")
    assert path.stem in sentence and sentence.endswith(".") and ". " not in said
    assert all(words in said for part, words in SAYS.items() if part in kind)
    assert getrusage is None or (getrusage(RUSAGE_SELF).ru_maxrss - before) << 10 < MOST_MEMORY
