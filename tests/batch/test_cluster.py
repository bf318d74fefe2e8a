"""A dask.distributed cluster of real processes: a worker is killed in the middle, and nothing is lost."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from napari_synthseg.batch import executors, workers
from napari_synthseg.batch.job import segment_many
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.batch.segmenter import Settings
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from tests.batch.fakes import QUICK, Here, load_fake, load_shaken, write_scan
from tests.sockets import listening, needs_linux

BROKEN = (1, 4, 7, 10, 13)
COUNT = 16


@contextmanager
def cluster(count: int):
    """The address of a cluster of processes, and a client of it."""
    distributed = pytest.importorskip("distributed")
    how = {"threads_per_worker": 1, "processes": True, "host": "127.0.0.1", "dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=count, **how) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield local.scheduler_address, client


@pytest.fixture
def scans(tmp_path) -> Path:
    """16 scans, 5 of them broken in one way or another."""
    folder = tmp_path / "scans"
    for number in range(COUNT):
        path = write_scan(folder / f"sub-{number:02}/anat/sub-{number:02}_T1w.nii.gz", number)
        if number in BROKEN:
            content = path.read_bytes()
            path.write_bytes((b"", b"junk", content[:2000], content[:-300], content[5:])[BROKEN.index(number)])
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_killed_worker_loses_nothing(scans, tmp_path):
    with cluster(2) as (address, client):
        killed: list[int] = []

        def kill_one(report):
            if report.done >= 3 and not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        options = BatchOptions(scheduler=address)
        job = segment_many(scans, tmp_path / "cluster", QUICK, options, load=load_fake)
        result = run(job, kill_one)
    assert killed
    alone = run(segment_many(scans, tmp_path / "alone", QUICK, load=load_fake, workers=Here))
    for one in (result, alone):
        failed = {int(Path(entry.input).parts[-3][4:]) for entry in one.entries if entry.status == "failed"}
        assert failed == set(BROKEN) and one.count("ok") == COUNT - len(BROKEN) and one.exit_code == 1
        assert all(entry.reason for entry in one.entries if entry.status == "failed")
    labels = Counter(path.name for path in (tmp_path / "cluster").rglob("*_dseg.nii.gz"))
    assert len(labels) == COUNT - len(BROKEN) and set(labels.values()) == {1}
    for path in (tmp_path / "alone").rglob("*_dseg.*"):
        if path.suffix != ".json":  # which says how long it took
            assert path.read_bytes() == (tmp_path / "cluster" / path.relative_to(tmp_path / "alone")).read_bytes()
    assert not list((tmp_path / "cluster").rglob(".segment-*"))


@needs_linux
def test_a_worker_that_is_shaken_is_renewed_and_nobody_listens_here(tmp_path):
    names = ("1_deadly.nii.gz", "2.nii.gz", "3.nii.gz")
    scans = [write_scan(tmp_path / name, number) for number, name in enumerate(names)]
    with cluster(1) as (address, client):
        first = next(iter(client.run(os.getpid).values()))
        before, heard = listening([os.getpid()]), set()
        options = BatchOptions(scheduler=address, retries=1)
        job = segment_many(scans, tmp_path / "out", QUICK, options, load=load_shaken)
        result = run(job, lambda report: heard.update(listening([os.getpid()])))
        last = next(iter(client.run(os.getpid).values()))
    assert result.count("ok") == 2
    reasons = [entry.reason for entry in result.entries if entry.status == "failed"]
    assert len(reasons) == 1 and "no memory left" in reasons[0]
    assert last != first and f"process {first} " not in reasons[0]  # tried again in another process
    assert before and heard == before  # the scheduler's own port, which is there on purpose


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def refuse(*args, **more):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(InputError, match="No dask.distributed scheduler answers at 'tcp://127.0.0.1:1'"):
        executors.Cluster("tcp://127.0.0.1:1", Settings("t", QUICK, {}), tmp_path)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="cluster"):
        executors.Cluster("tcp://127.0.0.1:1", Settings("t", QUICK, {}), tmp_path)


def test_a_worker_that_cannot_segment_says_why(tmp_path):
    settings = Settings("t", QUICK, {}, load=load_fake)
    assert "does not exist" in workers.begin(settings, workers.__version__, str(tmp_path / "none"), 1)[0]
    assert "install the same" in workers.begin(settings, "0.0.0", str(tmp_path), 1)[0]
    assert workers.begin(settings, workers.__version__, str(tmp_path), 1) is None
    with pytest.raises(workers.NotBegun):
        workers.segment_one("another", None, None)
    workers.forget("t")
    assert not workers._segmenters
