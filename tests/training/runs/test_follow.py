"""Curves, Dice and pictures of a run, as a window and TensorBoard read them."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.training import runs
from napari_synthseg.training.engine.events import EventLog, save_picture
from napari_synthseg.training.runs.follow import Curves


def test_curves_grow_and_forget_what_is_done_again(tmp_path) -> None:
    log, follower = EventLog(tmp_path), runs.Follower(tmp_path)
    assert not follower.read()
    for at in (1, 2, 3):
        log.append({"stage": "s1", "step": at, "loss": 4.0 - at, "rate": 0.1})
    log.append({"stage": "s1", "step": 4, "loss": 0.5, "score": 0.7, "dice": {"thalamus": 0.8, "none": None}})
    assert follower.read() and not follower.read()
    steps, values = follower.curves["s1"].series("loss")
    assert steps.tolist() == [1, 2, 3, 4] and values.tolist() == [3, 2, 1, 0.5]
    assert follower.dice == {"thalamus": 0.8} and follower.figures["score"] == 0.7
    log.append({"event": "resumed", "stage": "s1", "step": 2})
    log.append({"stage": "s1", "step": 3, "loss": 9.0})
    follower.read()
    assert follower.curves["s1"].series("loss")[1].tolist() == [3, 2, 9]
    assert follower.dice_history == [] and len(follower.curves["s1"].series("score")[0]) == 0


def test_long_curves_are_thinned_by_means(tmp_path) -> None:
    log, follower = EventLog(tmp_path), runs.Follower(tmp_path)
    log.waiting = [f'{{"stage": "a", "step": {i + 1}, "loss": {i % 2}}}' for i in range(10_000)]
    log.append({"stage": "a", "step": 10_001, "loss": 0.5})
    while follower.read():
        pass
    steps, values = follower.curves["a"].series("loss", points=1_000)
    assert len(steps) == 1_000 and np.all(np.diff(steps) > 0)
    assert abs(values.mean() - 0.5) < 0.01 and values.std() < 0.1


def test_a_step_told_again_replaces_what_came_after_it() -> None:
    curves = Curves()
    for at, value in ((1, 1.0), (4, 4.0), (2, 2.0), (4, 5.0)):
        curves.add(at, "loss", value)
    steps, values = curves.series("loss")
    assert steps.tolist() == [1, 2, 4] and values.tolist() == [1, 2, 5]


def test_a_long_run_is_looked_at_quickly() -> None:
    """What a window waits for must not grow with every step: 100,000 of them took 70 ms as dictionaries, 3 ms now."""
    curves = Curves()
    for at in range(100_000):
        for name in ("loss", "rate", "gradient", "took"):
            curves.add(at, name, 0.5)
    spent = []
    for _ in range(5):
        before = time.thread_time()
        for name in curves.names:
            curves.series(name)
        spent.append(time.thread_time() - before)
    assert min(spent) < 0.02


def test_pictures(tmp_path) -> None:
    assert runs.pictures(tmp_path) is None
    save_picture(
        tmp_path, "refine", 12, {"image": np.zeros((2, 3, 4), np.float32), "truth": np.ones((2, 3, 4), np.uint8)}
    )
    picture = runs.pictures(tmp_path)
    assert (picture.stage, picture.step, picture.image.shape) == ("refine", 12, (2, 3, 4))
    assert picture.truth.max() == 1 and picture.prediction is None
    (tmp_path / "picture.npz").write_bytes(b"broken")
    assert runs.pictures(tmp_path) is None


def test_a_run_shows_what_it_learns_from_when_asked(tiny) -> None:
    path = runs.create("synthseg", tiny(steps=3))
    job = runs.train_run(path)
    for report in job:
        if report.stage == "unet":
            break
    runs.request_pictures(path, 1)
    run(job)
    picture = runs.pictures(path)
    assert picture.stage == "unet" and picture.step == 3
    assert picture.image.shape == picture.truth.shape == picture.prediction.shape == (32, 32, 32)
    assert set(np.unique(picture.truth)) <= set(range(100)) and picture.image.std() > 0


def test_figures_and_dice_become_scalars(tiny, tmp_path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    path = runs.create("synthseg", tiny())
    log = EventLog(path)
    log.append({"event": "start"})
    log.append({"stage": "unet", "step": 1, "loss": 0.9})
    log.append({"stage": "unet", "step": 2, "loss": 0.5, "score": None, "dice": {"thalamus": 0.7}})
    assert run(runs.to_tensorboard(path, tmp_path / "board")) == 3
    read = accumulator.EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"unet/loss", "unet/dice/thalamus"}
    assert [(one.step, round(one.value, 3)) for one in read.Scalars("unet/loss")] == [(1, 0.9), (2, 0.5)]


def test_without_the_package_it_says_what_to_install(tiny, tmp_path, monkeypatch) -> None:
    path = runs.create("synthseg", tiny())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install"):
        run(runs.to_tensorboard(path, tmp_path))
