"""The training loop: schedule, checkpoints, resuming to the same numbers, stopping."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.training.engine.checkpoints import (
    atomic_save,
    load_checkpoint,
    load_newest,
    save_newest,
    trained_state,
)
from napari_synthseg.training.engine.loop import LoopOptions, fit, rate
from napari_synthseg.training.folder import checkpoint
from tests.training.builders import Line, events

OPTIONS = LoopOptions(
    steps=40, learning_rate=0.1, warmup=4, decay_fraction=0.5, ema_decay=0.9, validate_every=10, checkpoint_every=20
)


def finish(out: Path, options: LoopOptions = OPTIONS, **kwargs) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in run(fit(Line(), options, out, **kwargs)).state_dict().items()}


def test_it_learns_and_keeps_what_it_promises(tmp_path) -> None:
    options = replace(OPTIONS, steps=300, warmup=0, validate_every=100, checkpoint_every=100)
    weights = finish(tmp_path, options)
    assert weights["weight"].item() == pytest.approx(3.0, abs=0.05)
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoints", "events.jsonl"}
    kinds = {path.stem.partition("-")[2] for path in (tmp_path / "checkpoints").iterdir()}
    assert kinds == {"", "stable", "best", "100", "200", "300"}
    assert [line["step"] for line in events(tmp_path)] == list(range(1, 301))
    assert [line["step"] for line in events(tmp_path) if "score" in line] == [100, 200, 300]


def test_a_resumed_run_ends_at_the_same_numbers(tmp_path) -> None:
    whole, reports, newest = finish(tmp_path / "whole"), [], checkpoint(tmp_path / "parts", "train")
    with pytest.raises(Stopped):
        run(fit(Line(), OPTIONS, tmp_path / "parts"), reports.append, lambda: len(reports) == 17)
    before = load_checkpoint(newest)
    assert before["step"] == 17
    resumed = finish(tmp_path / "parts", resume=True)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert load_checkpoint(newest)["cpu_seconds"] >= before["cpu_seconds"] >= 0


def test_a_gradient_that_is_not_finite_moves_nothing(tmp_path) -> None:
    class Infinite(Line):
        def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
            return (0.0 * self.model.weight).sqrt().sum(), {}

    before = Line().model.state_dict()
    after = run(fit(Infinite(), replace(OPTIONS, steps=1, ema_decay=0.0), tmp_path)).state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [rate(s, OPTIONS) for s in range(41)]
    assert rates[0] == pytest.approx(0.025)
    assert rates[4:20] == pytest.approx([0.1] * 16)
    assert rates[30] == pytest.approx(0.05)
    assert rates[40] == pytest.approx(0.0, abs=1e-9)


def test_checkpoints_hold_no_pickled_code(tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return (print, ("run!",))

    (tmp_path / "train.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError):
        load_checkpoint(tmp_path / "train.pt")


def test_a_finished_run_made_longer_goes_on_from_before_its_rate_fell(tmp_path) -> None:
    finish(tmp_path / "short")
    best = load_checkpoint(checkpoint(tmp_path / "short", "train"))["best"]
    longer = replace(OPTIONS, steps=80)
    went_on = finish(tmp_path / "short", longer, resume=True)
    at_once = finish(tmp_path / "long", longer)
    assert load_checkpoint(checkpoint(tmp_path / "short", "train"))["best"] >= best
    assert all(torch.equal(went_on[k], at_once[k]) for k in went_on)


def test_a_run_never_goes_back_behind_a_fall_that_it_has_gone_back_on(tmp_path) -> None:
    finish(tmp_path)
    constant = replace(OPTIONS, steps=80, decay_fraction=0.0)
    finish(tmp_path, constant, resume=True)
    (tmp_path / "events.jsonl").unlink()
    finish(tmp_path, replace(constant, steps=90), resume=True)
    assert [line["step"] for line in events(tmp_path) if "event" not in line] == list(range(81, 91))


@pytest.mark.parametrize("resume", [True, False], ids=["stays", "starts-anew"])
def test_a_finished_run_stays_as_it_is_or_starts_anew(tmp_path, resume) -> None:
    first = finish(tmp_path)
    again = finish(tmp_path, resume=resume)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert len([line for line in events(tmp_path) if "event" not in line]) == (40 if resume else 80)


def test_parts_can_learn_at_rates_of_their_own(tmp_path) -> None:
    class Slow(Line):
        def groups(self) -> list[dict]:
            return [{"params": [self.model.weight]}, {"params": [self.model.bias], "lr_scale": 0.0}]

    recipe = Slow()
    before = {k: v.clone() for k, v in recipe.model.state_dict().items()}
    after = run(fit(recipe, replace(OPTIONS, ema_decay=0.0), tmp_path)).state_dict()
    assert torch.equal(before["bias"], after["bias"])
    assert not torch.equal(before["weight"], after["weight"])


# Checkpoints


def test_a_checkpoint_that_is_not_there_is_said_to_be_missing_for_its_reason(tmp_path) -> None:
    with pytest.raises(InputError, match="train that stage first"):
        trained_state(tmp_path, "locate", best=True)
    atomic_save({"step": 4}, checkpoint(tmp_path, "locate"))
    with pytest.raises(InputError, match=r"stage locate of .* has no validation score.*leave out --best"):
        trained_state(tmp_path, "locate", best=True)
    assert trained_state(tmp_path, "locate")["step"] == 4
    atomic_save({"step": 2}, checkpoint(tmp_path, "locate", "best"))
    assert trained_state(tmp_path, "locate", best=True)["step"] == 2


def test_the_newest_good_checkpoint_stands_in_for_a_damaged_one(tmp_path, caplog) -> None:
    for step in (1, 2, 3):
        save_newest({"step": step}, tmp_path, "locate")
    assert load_newest(tmp_path, "locate") == ({"step": 3}, "")
    atomic_save({"step": 1}, checkpoint(tmp_path, "locate", "best"))
    atomic_save({"step": 9}, checkpoint(tmp_path, "locate-deep"))  # another stage
    checkpoint(tmp_path, "locate").write_bytes(b"PK half of it")
    state, damage = load_newest(tmp_path, "locate")
    assert state["step"] == 2 and "locate-previous.pt is used in its place, from step 2" in damage
    assert trained_state(tmp_path, "locate")["step"] == 2 and "damaged" in caplog.text
    for kind in ("previous", "best"):
        checkpoint(tmp_path, "locate", kind).write_bytes(b"")
    with pytest.raises(InputError, match=r"locate.pt .*damaged"):
        load_newest(tmp_path, "locate")
