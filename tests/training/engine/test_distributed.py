"""Several processes learn what one does from a batch so many times as large, and end together."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.training import runs
from napari_synthseg.training.engine import distributed
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.engine.events import read_events, steps_that_count
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.engine.losses import dice_and_cross_entropy, soft_dice_loss
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.recipes.synthseg import TrainSynthSegOptions
from tests.sockets import family, listening, reachable
from tests.training.builders import Line


@pytest.fixture(scope="module", autouse=True)
def few_heads():
    """Set positional terms from one head; heads are as large here as in the other process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_synthseg.training.objectives.locate_refine.POSITION_HEADS", 1)
        yield


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def options(maps, tmp_path) -> TrainSynthSegOptions:
    small = {"locator_features": (4,) * 4, "refiner_features": (4,) * 3, "threads": 1, "device": "cpu"}
    steps = {"steps": 3, "locate_fraction": 0.6, "learning_rate": 1e-2}
    return TrainSynthSegOptions(label_maps=maps, out=tmp_path / "one", hold_out=("map1",), **steps, **small)


def losses(folder) -> list[float]:
    return [line["loss"] for line in steps_that_count(read_events(folder))]


def weights_of(folder, stage: str) -> torch.Tensor:
    state = load_checkpoint(checkpoint(folder, stage))["model"]
    return torch.cat([v.flatten().float() for k, v in state.items() if v.dtype.is_floating_point and k != "position"])


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_doubled_batch(options, tmp_path) -> None:
    entry = runs.recipe("synthseg")
    run(runs.train_recorded(entry, replace(options, batch=2)))
    together = replace(options, batch=1, devices=2, out=tmp_path / "two")
    run(runs.train_recorded(entry, together))
    assert losses(together.out) == pytest.approx(losses(options.out), rel=5e-3)
    for stage in ("locate", "refine"):
        one, two = weights_of(options.out, stage), weights_of(together.out, stage)
        assert (one - two).norm() < 0.02 * one.norm()
    assert runs.status(together.out).kind == "finished" and (together.out / "synthseg-fast.safetensors").exists()
    assert distributed.process_group() is distributed.SINGLE and not torch.distributed.is_initialized()


def test_asked_to_stop_all_end(options, tmp_path) -> None:
    together = replace(options, batch=1, devices=2, steps=1_000, out=tmp_path / "two")
    before = listening(family()) if sys.platform == "linux" else set()
    job = runs.train_recorded(runs.recipe("synthseg"), together)
    for report in job:
        if report.stage == "locate":
            break
    if sys.platform == "linux":  # they meet at the loopback, where no other machine comes in
        assert len(family()) > 1 and not reachable(listening(family()) - before)
    job.close()  # waits for the other process
    assert runs.status(together.out).kind == "stopped" and not runs.is_active(together.out)
    assert load_checkpoint(checkpoint(together.out, "locate"))["step"] == 1
    assert not torch.distributed.is_initialized()


def test_recipes_that_cannot_be_shared_say_so(tmp_path, monkeypatch) -> None:
    class Two(distributed.ProcessGroup):
        def __init__(self) -> None:
            super().__init__()
            self.size = 2

    with distributed.joined(Two()), pytest.raises(InputError, match="one process only"):
        run(fit(Line(), LoopOptions(steps=1), tmp_path))


class Half(distributed.ProcessGroup):
    """One of two processes whose sums are known: `others` are handed out in the order they are asked for."""

    def __init__(self, rank: int, others: list[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.rank, self.size, self.sent, self.others = rank, 2, [], others

    def sum(self, own: torch.Tensor) -> torch.Tensor:
        self.sent.append(own.detach())
        return own if self.others is None else own + self.others[len(self.sent) - 1]


@pytest.mark.parametrize("kind", ["fast", "paper"])
def test_losses_are_those_of_all_samples(kind) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(4, 3, 5, 5, 5), torch.randint(3, (4, 5, 5, 5))
    weights = torch.tensor([1.0, 2.0, 3.0])

    def loss(part: slice) -> torch.Tensor:
        if kind == "paper":
            return soft_dice_loss(logits[part].softmax(1), target[part])
        return torch.stack(dice_and_cross_entropy(logits[part], target[part], weights)).sum()

    whole = loss(slice(None))
    with distributed.joined(Half(1)) as _:
        sent = distributed.process_group().sent
        loss(slice(2, 4))
    with distributed.joined(Half(0, sent)):
        first = loss(slice(0, 2))
    assert first.item() == pytest.approx(whole.item(), rel=1e-5)


def test_everybody_has_a_part_of_the_samples() -> None:
    items = list(range(6))
    assert [list(Half(rank).shard(items)) for rank in (0, 1)] == [[0, 1, 2], [3, 4, 5]]
    assert distributed.SINGLE.shard(items) == items
