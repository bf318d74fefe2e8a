"""Nothing listens on a port: not while scans are segmented, not while a network is trained, not in the widgets.

`tests/batch` asks the same of `batch --jobs`, `tests/training/engine/test_distributed.py` of several processes.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys

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

pytestmark = needs_linux
WIDGETS = """
import json
import napari.qt
from napari.components import ViewerModel
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from napari_synthseg.widgets.evaluate import EvaluateWidget
from napari_synthseg.widgets.preview import PreviewWidget
from napari_synthseg.widgets.prompt import PromptWidget
from napari_synthseg.widgets.segment import SegmentWidget
from napari_synthseg.widgets.train import TrainWidget
from tests.sockets import family, listening
application, viewer = QApplication([]), ViewerModel()
opened, heard = [], set()
for kind in (SegmentWidget, PreviewWidget, PromptWidget, TrainWidget, EvaluateWidget):
    opened.append(kind(viewer))
    opened[-1].show()
    QTest.qWait(200)
    heard |= listening(family())
for one in opened:
    one.close()
print(json.dumps([len(opened), sorted(heard)]))
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_SYNTHSEG_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("NAPARI_SYNTHSEG_RUNS", raising=False)


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


def test_the_widgets_listen_nowhere() -> None:
    done = subprocess.run([sys.executable, "-c", WIDGETS], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [5, []]
