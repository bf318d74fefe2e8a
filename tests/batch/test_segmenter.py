"""What a process does: one network for all of its scans, and the next one read while one is computed."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from napari_synthseg.batch import segmenter
from napari_synthseg.batch.plan import Task, made_with
from napari_synthseg.batch.segmenter import Segmenter, Settings
from napari_synthseg.errors import InputError
from napari_synthseg.inference import qc_regressor
from napari_synthseg.weights import store
from tests import keras_files as files
from tests.batch.fakes import QUICK, load_fake, write_scan


def test_the_next_scan_is_read_meanwhile_and_the_network_loaded_once(tmp_path, monkeypatch):
    loads, reads, next_is_read = [], [], threading.Event()
    read = segmenter.read_with_header

    def counted_load(options):
        loads.append(options)
        model = load_fake(options)
        forward = model.forward

        def waits(image):
            assert next_is_read.wait(60) or len(reads) == 3  # computing goes on only when the other was read
            return forward(image)

        model.forward = waits
        return model

    def counted_read(path, **more):
        volume = read(path, **more)
        reads.append(path.name)
        if len(reads) > 1:
            next_is_read.set()
        return volume

    monkeypatch.setattr(segmenter, "read_with_header", counted_read)
    one = Segmenter(Settings("t", QUICK, made_with(QUICK), load=counted_load))
    tasks = [Task(n, write_scan(tmp_path / f"{n}.nii.gz", n), tmp_path / f"{n}_dseg.nii.gz") for n in range(3)]
    for task, then in zip(tasks, [*tasks[1:], None], strict=True):
        outcome = one.do(task, then)
        assert outcome.reason == "" and outcome.record["scan"] == str(task.scan)
    one.close()
    assert reads == ["0.nii.gz", "1.nii.gz", "2.nii.gz"] and len(loads) == 1


def test_networks_that_help_are_loaded_once_too(tmp_path, monkeypatch):
    loaded, load_model = [], store.load_model
    monkeypatch.setattr(store, "load_model", lambda name, *rest: loaded.append(name) or load_model(name, *rest))
    monkeypatch.setattr(qc_regressor.score_steps, "__defaults__", (32,))
    path = files.write_keras(tmp_path / "qc.h5", files.random_arrays(files.regressor_shapes()))
    options = replace(QUICK, regressor=path)
    one = Segmenter(Settings("t", options, made_with(options), load=load_fake))
    for n in range(2):
        task = Task(n, write_scan(tmp_path / f"{n}.nii.gz", n), tmp_path / f"{n}_dseg.nii.gz")
        assert one.do(task).reason == ""
    one.close()
    assert loaded == [str(path)]


def test_weights_that_are_missing_are_missed_before_the_first_scan():
    options = replace(QUICK, parcellation="nowhere.h5")
    with pytest.raises(InputError, match=r"nowhere\.h5"):
        Segmenter(Settings("t", options, {}, load=load_fake))


def test_what_another_process_finished_in_this_batch_is_not_done_twice(tmp_path):
    settings = Settings("t", QUICK, made_with(QUICK), load=load_fake)
    task = Task(0, write_scan(tmp_path / "0.nii.gz"), tmp_path / "0_dseg.nii.gz")
    first = Segmenter(settings).do(task)
    changed = task.target.stat().st_mtime_ns
    again = Segmenter(settings).do(task)
    assert not first.found and again.found and again.record == first.record
    assert task.target.stat().st_mtime_ns == changed
