"""Scores of a promptable model on synthetic scenes that no step sees: Dice for each kind of prompt."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from napari_synthseg.generator.shapes.scenes import pick_target
from napari_synthseg.networks.promptable import SINGLE, Promptable
from napari_synthseg.training.synthfm.scene_encodings import EncodedScene, EncodedScenes
from napari_synthseg.training.synthfm.simulated_prompts import CELL, GivenPrompts, Plan, Window, draw_prompts

SETTINGS = {
    "1+0": Plan(1, 0),
    "1+2": Plan(1, 2),
    "3+0": Plan(3, 0),
    "3+2": Plan(3, 2),
    "box": Plan(0, 0, box=True),
}
"""The paper's prompts, points inside + outside, and the tight box."""


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
        """Scenes, targets (T, side, side) and their prompts; made when first asked for."""
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
        """Mean Dice of each setting, on the decoder's own grid, and "score", their mean."""
        promptable: Promptable = model  # type: ignore[assignment]
        sums = dict.fromkeys(self.settings, 0.0)
        for encoded, targets, prompts in self.cases():
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
