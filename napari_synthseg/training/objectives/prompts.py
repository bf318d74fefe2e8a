"""SynthFM's objectives on synthetic scenes: the fast one (many targets a step, corrections) and the paper's."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.devices import bfloat16_where_quick, quick_kind
from napari_synthseg.networks.prompt_decoding import decode_windows
from napari_synthseg.networks.prompt_layers import PromptTensors
from napari_synthseg.networks.promptable import STRIDE
from napari_synthseg.training.data.prompts import BOX_SHARE, Plan, correction, draw_plan
from napari_synthseg.training.data.scenes import FAINTEST, EncodedScene, TargetBatch, Targets
from napari_synthseg.training.data.synthetic import Newest, random_index, step_generator
from napari_synthseg.training.engine.loop import Objective, freeze_norms, labelled_picture

WINDOWS = ((0.15, 1), (0.3, 2), (0.2, 3), (0.35, 4))
"""Fraction of the steps that see their targets through a window, and its width in quarters of the frame.
A smaller one costs a decoder less and is exact: its embedding and its positions are cut from the whole."""
USUAL, MOST = 2, 3
"""Width of the window through which a batch is seen, and how many batches go through a smaller one."""
POINTING = 3.0
"""Gain of the projections with which a fast recipe's cross-attentions start."""
CORRECTED = 0.4
"""Fraction of the steps that correct their answers too."""
FOCUS, FOCAL_WEIGHT = 2.0, 5.0
"""Exponent of the focal loss, and its weight beside the Dice loss. It begins as plain cross-entropy of weight 1: all
that a decoder which knows nothing learns from a focal loss is to call everything background."""
FOCUS_STEPS = 4000
"""Steps until then."""


@dataclass(eq=False, repr=False)
class DecoderObjective(Objective):
    """Base of both objectives; `model` is promptable, and its encoder stays as it is."""

    pool: Newest[EncodedScene]
    """Scenes with their embeddings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.model.image_encoder.requires_grad_(self.trained is self.model)
        self.targets = Targets(self.model, self.device)

    def part(self) -> nn.Module:
        return self.model.parts()


@dataclass(eq=False, repr=False)
class PromptObjective(DecoderObjective):
    """The fast objective: one encoding serves several targets, every target is prompted, then corrected.

    `batch` targets a step are seen through a window of half the frame; others get as many as cost the same.
    """

    _: KW_ONLY
    boxes: bool = True
    """Prompt with boxes too."""
    masks: bool = True
    """Prompt with masks too."""
    box_share: float = BOX_SHARE
    """Fraction of the prompts that are boxes."""
    edge_share: float = 0.0
    """Fraction of the prompts whose points inside lie near the edge."""
    from_nothing: bool = True
    """Whether the decoder knows nothing yet: its loss begins as plain cross-entropy."""
    stay_close: float = 0.0
    """Weight of the squared change of the parameters since the start, relative to their squares then (L2-SP, arXiv
    1802.01483), so that the decoder does not forget its earlier training."""
    encoder_lr_scale: float = 0.0
    """Learning rate of the encoder as a fraction of the decoder's; 0: the encoder stays as it is.
    A step then takes all its targets from one scene, which is encoded anew; norms keep their statistics, for those of
    one image at a time would be noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.start = [tensor.detach().clone() for tensor in self.model.parts().parameters()] if self.stay_close else []

    def part(self) -> nn.Module:
        return self.model if self.encoder_lr_scale else super().part()

    def change(self) -> torch.Tensor:
        """Return the squared change of the decoder's parameters since the start, relative to their squares then."""
        pairs = list(zip(self.model.parts().parameters(), self.start, strict=True))
        moved = torch.stack([(now - start).square().sum() for now, start in pairs]).sum()
        return moved / torch.stack([start.square().sum() for _, start in pairs]).sum()

    def groups(self) -> list[dict[str, Any]]:
        if not self.encoder_lr_scale:
            return super().groups()
        encoder = list(self.model.image_encoder.parameters())
        decoder = {"params": list(self.model.parts().parameters())}
        return [decoder, {"params": encoder, "lr_scale": self.encoder_lr_scale}]

    def draw(
        self, held: list[EncodedScene], cells: int, count: int, g: torch.Generator, faintest: float
    ) -> TargetBatch:
        """Draw the targets of a step, of one scene encoded anew if the encoder learns."""
        if not self.encoder_lr_scale:
            return self.targets.draw(held, cells, count, g, faintest)
        chosen = held[random_index(len(held), g)]
        batch = self.targets.draw([chosen], cells, count, g, faintest)
        freeze_norms(self.model.image_encoder)
        embedding = self.model.encode(chosen.grey(self.device), quick_kind(self.device))[0]
        return replace(batch, embeddings=torch.stack([window.of(embedding, STRIDE) for window in batch.windows]))

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 11, step)
        held = self.pool.at(step)
        quarters = window_of(float(torch.rand(1, generator=g)))
        count = max(1, round(self.batch * min(MOST, (USUAL / quarters) ** 2)))
        weight = (count / self.batch) ** 0.25  # gradients of many targets count more
        cells = self.targets.cells * quarters // 4
        plan = draw_plan(g, self.boxes, self.masks, self.box_share, self.edge_share)
        batch = self.draw(held, cells, count, g, faintest_of(plan))
        prompts, covered = batch.prompts(plan, g), batch.covered
        focus = min(1.0, step / FOCUS_STEPS) if self.from_nothing else 1.0
        first, logits, dice = self.answer_loss(batch, prompts, covered, focus)
        figures = {"dice": float(dice)}
        kept: torch.Tensor | float = 0.0
        if self.stay_close:
            change = self.change()
            kept, figures["change"] = self.stay_close * change, float(change.detach())
        if float(torch.rand(1, generator=g)) >= CORRECTED:
            return weight * first + kept, figures
        corrected = self.corrected(batch, prompts, covered, logits.detach(), g)
        second, _, better = self.answer_loss(batch, corrected, covered, focus)
        return 0.5 * weight * (first + second) + kept, {**figures, "corrected": float(better)}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a scene of the pool, one target in it, and the answer to a random prompt through the whole frame."""
        g = step_generator(self.seed + 11, step)
        held = self.pool.at(max(0, step - 1))  # those of the step before: no scene is made for this
        chosen = held[random_index(len(held), g)]
        plan = draw_plan(g, self.boxes, False)
        batch = self.targets.draw([chosen], self.targets.cells, 1, g, faintest_of(plan))
        with bfloat16_where_quick(self.device):
            logits, _ = decode_windows(self.model, *batch.tensors, batch.prompts(plan, g))
        rows, columns = chosen.scene.extent
        found = F.interpolate(logits.float(), tuple(batch.targets.shape[1:]), mode="bilinear")[0, 0] > 0
        part = (slice(0, rows), slice(0, columns))
        return labelled_picture(chosen.image[part], batch.targets[0][part].long(), found[part].long(), (0, 1))

    def corrected(
        self,
        batch: TargetBatch,
        prompts: PromptTensors,
        covered: torch.Tensor,
        logits: torch.Tensor,
        g: torch.Generator,
    ) -> PromptTensors:
        """Return the prompts and a point amid the error; half of the time the answer itself is a mask prompt too."""
        found = [correction(answer, truth, g) for answer, truth in zip(logits[:, 0], covered[:, 0], strict=True)]
        points = torch.stack([at for at, _ in found]).flip(-1) + batch.offsets
        more = prompts.with_points(points, torch.tensor([sign for _, sign in found], device=self.device))
        if not (self.masks and float(torch.rand(1, generator=g)) < 0.5):
            return more
        return more._replace(masks=logits.clamp(-32, 32))

    def answer_loss(
        self, batch: TargetBatch, prompts: PromptTensors, covered: torch.Tensor, focus: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss of an answer, its logits (B, 1, 4h, 4w), and its mean Dice score.

        `focus` goes from 0, plain cross-entropy, to 1, the full focal loss.
        """
        with bfloat16_where_quick(self.device):
            logits, expected = decode_windows(self.model, *batch.tensors, prompts)
        logits, expected = logits.float(), expected.float()
        with torch.no_grad():
            answer, truth = logits > 0, covered > 0.5
            both = (answer & truth).sum((1, 2, 3))
            total = (answer.sum((1, 2, 3)) + truth.sum((1, 2, 3))).clamp(min=1)
            iou, dice = both / (total - both).clamp(min=1), 2 * both / total
        focal = (1 + focus * (FOCAL_WEIGHT - 1)) * focal_loss(logits, covered, focus * FOCUS)
        return focal + dice_loss(logits, covered) + F.mse_loss(expected, iou), logits, dice.mean()


class PaperPrompts(DecoderObjective):
    """The paper's objective: one image a step, one target in it, points inside and just outside, the Dice loss."""

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 11, step)
        u = torch.rand(2, generator=g).tolist()
        plan = Plan(inside=(1, 3)[int(2 * u[0])], outside=(0, 2)[int(2 * u[1])])
        batch = self.targets.draw(self.pool.at(step), self.targets.cells, self.batch, g)
        prompts, covered = batch.prompts(plan, g), batch.covered
        exact = replace(batch, embeddings=batch.embeddings.float(), positions=batch.positions.float())
        logits, _ = decode_windows(self.model, *exact.tensors, prompts)
        loss = dice_loss(logits, covered)
        return loss, {"dice": 1.0 - float(loss.detach())}


def faintest_of(plan: Plan) -> float:
    """Return the least visibility of the targets of a step: prompts that say where a thing ends need less of it."""
    tells = plan.box or plan.mask or plan.outside or plan.inside > 2
    return 1.0 if tells else FAINTEST


def window_of(u: float) -> int:
    """Return the width of a step's windows in quarters of the frame; `u` is uniform in [0, 1)."""
    for fraction, quarters in WINDOWS:
        if u < fraction:
            return quarters
        u -= fraction
    return WINDOWS[-1][1]


def look_where_pointed(decoder: Any) -> None:
    """Initialize a decoder's cross-attentions so that a token attends to the place with its own positional encoding.

    Queries and keys get one random orthogonal projection, so that they match where positions do. A decoder that starts
    so finds the place of a click from its first steps; it took many hundred to learn that.
    """
    transformer = decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        nn.init.orthogonal_(attention.q_proj.weight, POINTING)
        nn.init.zeros_(attention.q_proj.bias)
        attention.k_proj.load_state_dict(attention.q_proj.state_dict())


def focal_loss(logits: torch.Tensor, target: torch.Tensor, exponent: float) -> torch.Tensor:
    """Return the binary cross-entropy that counts sure pixels less, averaged over pixels and masks.

    Args:
        logits: (B, 1, H, W).
        target: (B, 1, H, W) in [0, 1].
        exponent: 0 is plain cross-entropy.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    off = (logits.sigmoid() - target).abs().clamp(min=1e-3)  # the slope of a root is infinite at 0
    return (off**exponent * entropy).mean() if exponent else entropy.mean()


def dice_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return one minus the soft Dice score of each (1, H, W) mask, averaged."""
    p = logits.sigmoid()
    top = 2 * (p * target).sum((1, 2, 3)) + 1
    return 1 - (top / (p.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)).mean()
