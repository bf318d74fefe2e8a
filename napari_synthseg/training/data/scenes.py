"""Synthetic scenes with their embeddings, to train a promptable decoder on, and held-out ones to score it on."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.shapes.scenes import Scene, apply_scene, pick_target
from napari_synthseg.networks.promptable import SINGLE, FrozenEncoder, Promptable
from napari_synthseg.training.data.prompts import CELL, GivenPrompts, Plan, Window, draw_prompts
from napari_synthseg.training.data.validation import told

SETTINGS = {"1+0": Plan(1, 0), "1+2": Plan(1, 2), "3+0": Plan(3, 0), "3+2": Plan(3, 2), "box": Plan(0, 0, box=True)}
"""The paper's prompts, points inside + outside, and the tight box."""


@dataclass(frozen=True)
class EncodedScene:
    """A scene and the embedding of its image.

    Attributes:
        embedding: (256, h, w) bfloat16.
        objects: (side, side) int16, 0 where no target is.
        boxes: of each object, from the first on: its first row and column, and the ones after its last.
        image: (side, side) uint8.
        scene: the scene without its image and objects.
    """

    embedding: torch.Tensor
    objects: torch.Tensor
    boxes: tuple[tuple[int, int, int, int], ...]
    image: torch.Tensor
    scene: Scene

    def grey(self, device: torch.device) -> torch.Tensor:
        """Return the image as `Promptable.encode` takes it: (1, 3, rows, columns), 0-255, without its padding."""
        rows, columns = self.scene.extent
        return self.image[None, None, :rows, :columns].to(device).float().expand(-1, 3, -1, -1)


class EncodedScenes(Dataset):
    """An endless row of encoded scenes; number i is always the same."""

    def __init__(self, encoder: FrozenEncoder, priors: GenerativeModel, seed: int, device: torch.device) -> None:
        self.encoder, self.priors, self.seed, self.device = encoder, priors, seed, device

    def __getitem__(self, index: int) -> EncodedScene:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + index) % 2**62)
        made = apply_scene(self.priors.sample(seed=generator), self.device, self.encoder.image_size)
        rows, columns = made.extent
        embedding = self.encoder(made.image[None, :rows, :columns])[0]
        image = (made.image * 255).round().to(torch.uint8)
        empty = torch.empty(0)
        facts = Scene(empty, empty, made.count, made.visibility, made.extent, made.record)
        return EncodedScene(embedding.clone(), made.objects, boxes_of(made.objects), image, facts)


def boxes_of(objects: torch.Tensor) -> tuple[tuple[int, int, int, int], ...]:
    """Return the box of each object of a scene: first row and column, and the ones after the last."""
    found = ndimage.find_objects(objects.cpu().numpy())
    return tuple((at[0].start, at[1].start, at[0].stop, at[1].stop) for at in found)


class Numbers(torch.utils.data.Sampler[int]):
    """Endless scene numbers from a first one on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        number = self.first
        while True:
            yield number
            number += 1


class Pool:
    """The newest scenes of an endless row: a step takes targets from any of them, so one encoding serves several.

    Args:
        scenes: where they come from.
        size: how many are held.
        steps: steps from one new scene to the next.
        workers: processes that make scenes ahead; 0 makes them in this one.
    """

    def __init__(self, scenes: EncodedScenes, size: int, steps: int = 1, workers: int = 0) -> None:
        self.scenes, self.size, self.steps, self.workers = scenes, size, steps, workers
        self._held: deque[EncodedScene] = deque(maxlen=size)
        self._next = -1
        self._source: Iterator[EncodedScene] | None = None

    def at(self, step: int) -> list[EncodedScene]:
        """Return the scenes of a step: the `size` newest ones up to number `step // steps`.

        Asked for step after step this makes each scene once; after a jump all of them are made again.
        """
        end = step // self.steps + 1
        if self._source is None or not end - 1 <= self._next <= end:
            self._held.clear()
            self._next = max(0, end - self.size)
            self._source = self._made_from(self._next)
        while self._next < end:
            self._held.append(next(self._source))
            self._next += 1
        return list(self._held)

    def _made_from(self, first: int) -> Iterator[EncodedScene]:
        if not self.workers:
            return (self.scenes[number] for number in Numbers(first))
        loader = DataLoader(
            self.scenes,
            batch_size=None,
            sampler=Numbers(first),
            num_workers=self.workers,
            multiprocessing_context="spawn",  # a forked process would hang in OpenMP
            worker_init_fn=leave_signals,
        )
        return iter(loader)


def leave_signals(_: int) -> None:
    """Ignore signals in a worker: a terminal's Ctrl+C reaches it too, and the process that trains decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class PromptValidation:
    """Held-out scenes, each with a few targets.

    Args:
        scenes: where they come from; of a seed that training does not use.
        count: scenes.
        targets: of each.
        boxes: score boxes too.
        anew: encode with the model that is scored, whose encoder learns.
    """

    def __init__(
        self, scenes: EncodedScenes, count: int = 24, targets: int = 4, boxes: bool = True, anew: bool = False
    ) -> None:
        self.scenes, self.count, self.targets, self.anew = scenes, count, targets, anew
        self.settings = {name: plan for name, plan in SETTINGS.items() if boxes or not plan.box}
        self._cases: list[tuple[EncodedScene, torch.Tensor, dict[str, GivenPrompts]]] | None = None

    def cases(self) -> list[tuple[EncodedScene, torch.Tensor, dict[str, GivenPrompts]]]:
        """Return scenes, targets (T, side, side) and their prompts, made on first use."""
        if self._cases is None:
            self._cases = [self._case(index) for index in range(self.count)]
        return self._cases

    def _case(self, index: int) -> tuple[EncodedScene, torch.Tensor, dict[str, GivenPrompts]]:
        encoded = self.scenes[index]
        g = torch.Generator().manual_seed(index)
        numbers = [pick_target(encoded.scene, g) for _ in range(self.targets)]
        targets = torch.stack([encoded.objects == number for number in numbers])
        windows = [Window(0, 0, targets.shape[-1])] * len(numbers)
        extents = [encoded.scene.extent] * len(numbers)
        prompts = {name: draw_prompts(list(targets), windows, extents, plan, g) for name, plan in self.settings.items()}
        return encoded, targets, prompts

    @torch.no_grad()
    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the mean Dice of each setting, on the decoder's own grid, and "score", their mean."""
        promptable: Promptable = model  # type: ignore[assignment]
        sums = dict.fromkeys(self.settings, 0.0)
        for encoded, targets, prompts in told(self.cases()):
            truth = F.avg_pool2d(targets[:, None].float(), CELL) > 0.5
            embedding = encoded.embedding[None].float()
            if self.anew:
                embedding = promptable.encode(encoded.grey(embedding.device))
            for name, given in prompts.items():
                logits, _ = promptable.decode(embedding, given.points, given.signs, given.boxes, given.masks)
                answer = logits[:, SINGLE : SINGLE + 1] > 0
                both = (answer & truth).sum((1, 2, 3)).float()
                total = (answer.sum((1, 2, 3)) + truth.sum((1, 2, 3))).clamp(min=1)
                sums[name] += float((2 * both / total).mean())
        figures = {f"dice {name}": total / self.count for name, total in sums.items()}
        return {**figures, "score": sum(figures.values()) / len(figures)}
