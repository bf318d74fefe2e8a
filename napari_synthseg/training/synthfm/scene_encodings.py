"""Synthetic scenes with their embeddings: what a promptable decoder is trained on while its encoder stays as it is."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

from napari_synthseg.generator.shapes.priors import ShapePriors
from napari_synthseg.generator.shapes.scenes import Scene, apply_scene, draw_scene
from napari_synthseg.networks.promptable import FrozenEncoder


@dataclass(frozen=True)
class EncodedScene:
    """A scene and what the encoder makes of its image.

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
        """The image as `Promptable.encode` takes it: (1, 3, rows, columns), 0-255, without its padding."""
        rows, columns = self.scene.extent
        return self.image[None, None, :rows, :columns].to(device).float().expand(-1, 3, -1, -1)


class EncodedScenes(Dataset):
    """Scene number i is the same whoever asks, and whenever.

    Args:
        encoder: of the images.
        priors: of the scenes.
        seed: of all of them.
        device: where to make and encode them.
    """

    def __init__(self, encoder: FrozenEncoder, priors: ShapePriors, seed: int, device: torch.device) -> None:
        self.encoder, self.priors, self.seed, self.device = encoder, priors, seed, device

    def __getitem__(self, index: int) -> EncodedScene:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + index) % 2**62)
        made = apply_scene(draw_scene(self.priors, generator), self.device, self.encoder.image_size)
        rows, columns = made.extent
        embedding = self.encoder(made.image[None, :rows, :columns])[0]
        image = (made.image * 255).round().to(torch.uint8)
        empty = torch.empty(0)
        facts = Scene(empty, empty, made.count, made.visibility, made.extent, made.record)
        return EncodedScene(embedding.clone(), made.objects, boxes_of(made.objects), image, facts)


def boxes_of(objects: torch.Tensor) -> tuple[tuple[int, int, int, int], ...]:
    """Box of each object of a scene: first row and column, and the ones after the last."""
    found = ndimage.find_objects(objects.cpu().numpy())
    return tuple((at[0].start, at[1].start, at[0].stop, at[1].stop) for at in found)


class Numbers(torch.utils.data.Sampler[int]):
    """Scene numbers from one on, without an end."""

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
        """The scenes of a step, counted from 0: the `size` newest ones up to number `step // steps`.

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
    """Let the process that trains decide when to stop: a terminal's Ctrl+C reaches its workers too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
