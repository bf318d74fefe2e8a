"""Nothing listens on a port: not while scans are segmented, not while a network is trained.

`tests/batch` asks the same of `batch --jobs`, `tests/training/engine/test_distributed.py` of several processes,
`tests/widgets/test_window.py` of the widgets.
"""

from __future__ import annotations

import socket

import pytest

from napari_synthseg.batch.job import segment_files
from napari_synthseg.generator.labelmap import prepare, save
from napari_synthseg.jobs import run
from napari_synthseg.training import runs
from napari_synthseg.training.recipes.synthseg import TrainSynthSegOptions
from tests.batch.fakes import QUICK, write_scan
from tests.generator.builders import boxes
from tests.inference.fakes import FakeUNet
from tests.sockets import family, listening, needs_linux, reachable
from tests.training.builders import small_heads

pytestmark = [needs_linux, pytest.mark.usefixtures("home")]


def heard_while(job) -> set[str]:
    """Where this process and its children listen during a job, looked up at each of its reports, and not before it."""
    before, found, looks = listening(family()), set(), []

    def look(report) -> None:
        looks.append(report)
        found.update(listening(family()))

    run(job, look)
    assert looks
    return found - before


def test_who_listens_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own, socket.create_server(("0.0.0.0", 0)) as public:
        found = listening(family())
        ports = {f"{one.getsockname()[1]:04X}" for one in (own, public)}
        assert ports <= {address.split(":")[1] for address in found}
        assert f"00000000:{public.getsockname()[1]:04X}" in reachable(found)
        assert f"0100007F:{own.getsockname()[1]:04X}" not in reachable(found)


def test_segmenting_listens_nowhere(tmp_path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    assert heard_while(segment_files([scan], tmp_path / "labels.nii.gz", QUICK, model=FakeUNet())) == set()
    assert (tmp_path / "labels.nii.gz").exists()


def test_training_listens_nowhere(tmp_path, monkeypatch) -> None:
    small_heads(monkeypatch)
    save(tmp_path / "maps.npz", [prepare(boxes(side=24), name=f"map{i}") for i in range(2)])
    small = {"preset": "paper", "crop": 32, "features": 2, "steps": 2, "hold_out": ("map1",), "device": "cpu"}
    options = TrainSynthSegOptions(label_maps=tmp_path / "maps.npz", out=tmp_path / "run", threads=1, **small)
    assert heard_while(runs.train_run(runs.create("synthseg", options), wait=True)) == set()
    assert runs.status(tmp_path / "run").kind == "finished"
