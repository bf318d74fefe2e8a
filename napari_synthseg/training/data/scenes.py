"""Synthetic scenes with their embeddings, to train a promptable decoder on, and held-out ones to score it on."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from napari_synthseg.devices import quick_kind
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.shapes.scenes import Scene, apply_scene, pick_target
from napari_synthseg.networks.prompt_layers import PromptTensors
from napari_synthseg.networks.promptable import SINGLE, STRIDE, FrozenEncoder, Promptable
from napari_synthseg.training.data.prompts import CELL, Plan, Window, draw_prompts
from napari_synthseg.training.data.synthetic import Newest, random_index, step_generator
from napari_synthseg.training.engine.events import each

SETTINGS = {"1+0": Plan(1, 0), "1+2": Plan(1, 2), "3+0": Plan(3, 0), "3+2": Plan(3, 2), "box": Plan(0, 0, box=True)}
"""The paper's prompts, points inside + outside, and the tight box."""
FAINTEST = 1.4
"""Least visibility of a target that one or two clicks inside should find."""
WIDE = 0.45
"""Least length of a target as a fraction of the excess of its window over the smallest one."""
TRIES = 12
"""Targets tried until one fits the window."""


@dataclass(frozen=True)
class EncodedScene:
    """A scene and the embedding of its image."""

    embedding: torch.Tensor
    """(256, h, w) bfloat16."""
    objects: torch.Tensor
    """(side, side) int16, 0 outside of all targets."""
    boxes: tuple[tuple[int, int, int, int], ...]
    """Of each object, from the first on: its first row and column, and the ones after its last."""
    image: torch.Tensor
    """(side, side) uint8."""
    scene: Scene
    """The scene without its image and objects."""

    def grey(self, device: torch.device) -> torch.Tensor:
        """Return the image as `Promptable.encode` takes it: (1, 3, rows, columns), 0-255, without its padding."""
        rows, columns = self.scene.extent
        return self.image[None, None, :rows, :columns].to(device).float().expand(-1, 3, -1, -1)


@dataclass
class EncodedScenes(Dataset):
    """An endless row of encoded scenes; number i is always the same."""

    encoder: FrozenEncoder
    priors: GenerativeModel
    seed: int
    device: torch.device

    def __getitem__(self, index: int) -> EncodedScene:
        record = self.priors.sample(seed=step_generator(self.seed, index))
        made = apply_scene(record, self.device, self.encoder.image_size)
        rows, columns = made.extent
        embedding = self.encoder(made.image[None, :rows, :columns])[0]
        image = (made.image * 255).round().to(torch.uint8)
        empty = torch.empty(0)
        facts = Scene(empty, empty, made.count, made.visibility, made.extent, made.record)
        return EncodedScene(embedding.clone(), made.objects, boxes_of(made.objects), image, facts)

    def pool(self, size: int, steps: int = 1, workers: int = 0) -> Newest[EncodedScene]:
        """Return the newest scenes: a step takes targets from any of them, so one encoding serves several.

        Args:
            size: number of scenes held.
            steps: steps from one new scene to the next.
            workers: processes that make scenes ahead; 0 makes them in this one.
        """

        def made_from(first: int) -> Iterator[EncodedScene]:
            if not workers:
                return map(self.__getitem__, itertools.count(first))
            loader = DataLoader(
                self,
                batch_size=None,
                sampler=Numbers(first),
                num_workers=workers,
                multiprocessing_context="spawn",  # a forked process would hang in OpenMP
                worker_init_fn=ignore_signals,
            )
            return iter(loader)

        return Newest("drawing scenes", made_from, size, steps)


def boxes_of(objects: torch.Tensor) -> tuple[tuple[int, int, int, int], ...]:
    """Return the box of each object of a scene: first row and column, and the ones after the last."""
    found = ndimage.find_objects(objects.cpu().numpy())
    return tuple((at[0].start, at[1].start, at[0].stop, at[1].stop) for at in found)


@dataclass
class Numbers(Sampler[int]):
    """Endless scene numbers from a first one on."""

    first: int

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


def ignore_signals(_: int) -> None:
    """Ignore signals in a worker: a terminal's Ctrl+C reaches it too, and the process that trains decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@dataclass(frozen=True)
class TargetBatch:
    """Targets of a step, each seen through its window."""

    embeddings: torch.Tensor
    """(B, 256, h, w) bfloat16, or float32 if the device is not quick at that."""
    positions: torch.Tensor
    """(B, 256, h, w), the positional encoding of the windows."""
    targets: torch.Tensor
    """(B, side, side) bool."""
    windows: list[Window]
    extents: list[tuple[int, int]]
    """Rows and columns of the frame that hold each image."""

    @property
    def offsets(self) -> torch.Tensor:
        """(B, 2) x and y of the windows' first pixels."""
        return torch.tensor([[window.column, window.row] for window in self.windows], device=self.targets.device)

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Embeddings, positions and offsets, as `decode_windows` takes them."""
        return self.embeddings, self.positions, self.offsets

    @property
    def covered(self) -> torch.Tensor:
        """(B, 1, 4h, 4w) fraction of each cell of the decoder's masks that the target covers."""
        return F.avg_pool2d(self.targets[:, None].float(), CELL)

    def prompts(self, plan: Plan, g: torch.Generator) -> PromptTensors:
        return draw_prompts(list(self.targets), self.windows, self.extents, plan, g)


class Targets:
    """Random targets of scenes, each seen through a window of a model's frame."""

    def __init__(self, model: Promptable, device: torch.device) -> None:
        self.side, self.device = model.image_size, device
        with torch.no_grad():
            self.positions = model.prompt_encoder.get_dense_pe()[0].to(quick_kind(device))

    @property
    def cells(self) -> int:
        """Cells of the embedding along a side of the frame."""
        return self.positions.shape[-1]

    def draw(
        self, held: list[EncodedScene], cells: int, count: int, g: torch.Generator, faintest: float = FAINTEST
    ) -> TargetBatch:
        """Draw random targets of random scenes that fit windows of `cells` x `cells`, visible enough (see `Scene`)."""
        embeddings, positions, targets, windows, extents = [], [], [], [], []
        side = cells * STRIDE
        for _ in range(count):
            for _ in range(TRIES):
                encoded = held[random_index(len(held), g)]
                number = pick_target(encoded.scene, g, faintest)
                box = encoded.boxes[number - 1]
                longer = max(box[2] - box[0], box[3] - box[1])
                # Wide windows are for large targets: the small ones are seen well enough through small windows.
                if WIDE * (side - self.side // 4) <= longer <= 0.95 * side:
                    break
            window = self.place(box, side, g)
            embeddings.append(window.of(encoded.embedding, STRIDE))
            positions.append(window.of(self.positions, STRIDE))
            targets.append(window.of(encoded.objects) == number)
            windows.append(window)
            extents.append(encoded.scene.extent)
        found, truth = torch.stack(embeddings).to(self.device), torch.stack(targets).to(self.device)
        return TargetBatch(found, torch.stack(positions), truth, windows, extents)

    def place(self, box: tuple[int, ...], side: int, g: torch.Generator) -> Window:
        """Return a random window that holds a box, or its beginning if it is too large."""
        corner = []
        for low, high in ((box[0], box[2]), (box[1], box[3])):
            most = min(low // STRIDE, (self.side - side) // STRIDE)
            least = min(max(0, -((side - high) // STRIDE)), most)
            corner.append(STRIDE * int(torch.randint(least, most + 1, (1,), generator=g)))
        return Window(corner[0], corner[1], side)


class PromptValidation:
    """Scores on held-out scenes of a seed that training does not use, each with a few targets.

    With `boxes`, boxes are scored too; with `anew`, scenes are encoded by the model that is scored.
    """

    def __init__(
        self, scenes: EncodedScenes, count: int = 24, targets: int = 4, boxes: bool = True, anew: bool = False
    ) -> None:
        self.scenes, self.count, self.targets, self.anew = scenes, count, targets, anew
        self.settings = {name: plan for name, plan in SETTINGS.items() if boxes or not plan.box}
        self._cases: list[tuple[EncodedScene, torch.Tensor, dict[str, PromptTensors]]] | None = None

    def cases(self) -> list[tuple[EncodedScene, torch.Tensor, dict[str, PromptTensors]]]:
        """Return scenes, targets (T, side, side) and their prompts, made on first use."""
        if self._cases is None:
            self._cases = [self._case(index) for index in range(self.count)]
        return self._cases

    def _case(self, index: int) -> tuple[EncodedScene, torch.Tensor, dict[str, PromptTensors]]:
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
        for encoded, targets, prompts in each("validating", self.cases()):
            truth = F.avg_pool2d(targets[:, None].float(), CELL) > 0.5
            embedding = encoded.embedding[None].float()
            if self.anew:
                embedding = promptable.encode(encoded.grey(embedding.device))
            for name, given in prompts.items():
                logits, _ = promptable.decode(embedding, *given)
                answer = logits[:, SINGLE : SINGLE + 1] > 0
                both = (answer & truth).sum((1, 2, 3)).float()
                total = (answer.sum((1, 2, 3)) + truth.sum((1, 2, 3))).clamp(min=1)
                sums[name] += float((2 * both / total).mean())
        figures = {f"dice {name}": total / self.count for name, total in sums.items()}
        return {**figures, "score": sum(figures.values()) / len(figures)}
