"""SynthFM's objectives on synthetic scenes: the fast one (many targets a step, corrections) and the paper's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.devices import bfloat16_where_quick, quick_kind
from napari_synthseg.generator.shapes.scenes import pick_target
from napari_synthseg.networks.promptable import STRIDE, Promptable
from napari_synthseg.training.data.prompts import (
    BOX_SHARE,
    CELL,
    GivenPrompts,
    Plan,
    Window,
    correction,
    draw_plan,
    draw_prompts,
)
from napari_synthseg.training.data.scenes import EncodedScene, Pool
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.engine.loop import Objective, Validation, labelled_picture
from napari_synthseg.training.objectives.window_decoding import decode_windows

WINDOWS = ((0.15, 1), (0.3, 2), (0.2, 3), (0.35, 4))
"""Share of the steps that see their targets through a window so many quarters of the frame wide.
A smaller one costs a decoder less and is exact: its embedding and its positions are cut from the whole."""
USUAL, MOST = 2, 3
"""Width of the window through which a batch is seen, and how many batches go through a smaller one."""
FAINTEST = 1.4
"""Least visibility of a target that one or two clicks inside should find."""
WIDE = 0.45
"""Least length of a target as a share of what its window exceeds the smallest one by."""
TRIES = 12
"""Targets looked at until one fits the window."""
POINTING = 3.0
"""Gain of the projections with which a fast recipe's cross-attentions start."""
CORRECTED = 0.4
"""Share of the steps that correct their answers too."""
FOCUS, FOCAL_SHARE = 2.0, 5.0
"""Exponent of the focal loss, and its weight beside the Dice loss. It begins as plain cross-entropy of weight 1: all
that a decoder which knows nothing learns from a focal loss is to call everything background."""
FOCUS_STEPS = 4000
"""Steps until then."""


@dataclass(frozen=True)
class Batch:
    """Targets of a step, each seen through its window.

    Attributes:
        embeddings: (B, 256, h, w) bfloat16, or float32 where the device is not quick at that.
        positions: (B, 256, h, w), the positional encoding of the windows.
        targets: (B, side, side) bool.
        windows: where they lie.
        extents: rows and columns of the frame that hold each image.
    """

    embeddings: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    windows: list[Window]
    extents: list[tuple[int, int]]

    @property
    def offsets(self) -> torch.Tensor:
        """(B, 2) x and y of the windows' first pixels."""
        return torch.tensor([[window.column, window.row] for window in self.windows], device=self.targets.device)


class Targets:
    """Random targets of scenes, each seen through a window."""

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
    ) -> Batch:
        """Draw random targets of random scenes that fit windows of `cells` x `cells`, visible enough (see `Scene`)."""
        embeddings, positions, targets, windows, extents = [], [], [], [], []
        side = cells * STRIDE
        for _ in range(count):
            for _ in range(TRIES):
                encoded = held[int(torch.randint(len(held), (1,), generator=g))]
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
        return Batch(
            torch.stack(embeddings).to(self.device),
            torch.stack(positions),
            torch.stack(targets).to(self.device),
            windows,
            extents,
        )

    def place(self, box: tuple[int, ...], side: int, g: torch.Generator) -> Window:
        """Return a random window that holds a box, or its beginning if it is too large."""
        corner = []
        for low, high in ((box[0], box[2]), (box[1], box[3])):
            most = min(low // STRIDE, (self.side - side) // STRIDE)
            least = min(max(0, -((side - high) // STRIDE)), most)
            corner.append(STRIDE * int(torch.randint(least, most + 1, (1,), generator=g)))
        return Window(corner[0], corner[1], side)


class PromptObjective(Objective):
    """The fast objective: one encoding serves several targets, every target is prompted, then corrected.

    Args:
        pool: scenes with their embeddings.
        batch: targets a step through a window of half the frame; the others get as many as cost the same.
        box_share: fraction of the prompts that are boxes.
        edge_share: fraction of the prompts whose points inside lie near the edge.
        from_nothing: the decoder knows nothing yet: its loss begins as plain cross-entropy.
        stay_close: weight of the squared change of the parameters since the start, relative to their squares then
            (L2-SP, arXiv 1802.01483), so that what the decoder knew already is not forgotten.
        encoder_lr_scale: learning rate of the encoder as a fraction of the decoder's; 0: the encoder stays as it is.
            A step then takes all its targets from one scene, which is encoded anew; norms keep their statistics, for
            those of one image at a time would be noise.
    """

    def __init__(
        self,
        model: Promptable,
        pool: Pool,
        *,
        seed: int,
        batch: int,
        device: torch.device,
        validation: Validation,
        boxes: bool = True,
        masks: bool = True,
        box_share: float = BOX_SHARE,
        edge_share: float = 0.0,
        from_nothing: bool = True,
        stay_close: float = 0.0,
        encoder_lr_scale: float = 0.0,
    ) -> None:
        self.model, self.from_nothing, self.encoder_lr_scale = model.to(device), from_nothing, encoder_lr_scale
        self.pool, self.seed, self.batch, self.device = pool, seed, batch, device
        self.boxes, self.masks, self.validation = boxes, masks, validation
        self.trained: nn.Module = model if encoder_lr_scale else model.parts()
        model.image_encoder.requires_grad_(bool(encoder_lr_scale))
        self.targets = Targets(self.model, device)
        self.box_share, self.edge_share, self.stay_close = box_share, edge_share, stay_close
        self.start = [tensor.detach().clone() for tensor in model.parts().parameters()] if stay_close else []

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

    def draw(self, held: list[EncodedScene], cells: int, count: int, g: torch.Generator, faintest: float) -> Batch:
        """Draw the targets of a step, of one scene encoded anew if the encoder learns."""
        if not self.encoder_lr_scale:
            return self.targets.draw(held, cells, count, g, faintest)
        chosen = held[int(torch.randint(len(held), (1,), generator=g))]
        batch = self.targets.draw([chosen], cells, count, g, faintest)
        for module in self.model.image_encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        embedding = self.model.encode(chosen.grey(self.device), quick_kind(self.device))[0]
        return replace(batch, embeddings=torch.stack([window.of(embedding, STRIDE) for window in batch.windows]))

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 11, step)
        held = self.pool.at(step)
        quarters = window_of(float(torch.rand(1, generator=g)))
        count = max(1, round(self.batch * min(MOST, (USUAL / quarters) ** 2)))
        weight = (count / self.batch) ** 0.25  # what many targets agree on counts more
        cells = self.targets.cells * quarters // 4
        plan = draw_plan(g, self.boxes, self.masks, self.box_share, self.edge_share)
        batch = self.draw(held, cells, count, g, faintest_of(plan))
        prompts = draw_prompts(list(batch.targets), batch.windows, batch.extents, plan, g)
        covered = F.avg_pool2d(batch.targets[:, None].float(), CELL)
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
        held = self.pool.at(max(0, step - 1))  # what the step before used: no scene is made for this
        chosen = held[int(torch.randint(len(held), (1,), generator=g))]
        plan = draw_plan(g, self.boxes, False)
        batch = self.targets.draw([chosen], self.targets.cells, 1, g, faintest_of(plan))
        prompts = draw_prompts(list(batch.targets), batch.windows, batch.extents, plan, g)
        with bfloat16_where_quick(self.device):
            logits, _ = decode_windows(self.model, batch.embeddings, batch.positions, batch.offsets, prompts)
        rows, columns = chosen.scene.extent
        found = F.interpolate(logits.float(), tuple(batch.targets.shape[1:]), mode="bilinear")[0, 0] > 0
        part = (slice(0, rows), slice(0, columns))
        return labelled_picture(chosen.image[part], batch.targets[0][part].long(), found[part].long(), (0, 1))

    def corrected(
        self, batch: Batch, prompts: GivenPrompts, covered: torch.Tensor, logits: torch.Tensor, g: torch.Generator
    ) -> GivenPrompts:
        """Return the prompts and a point amid the error; half of the time the answer itself is a mask prompt too."""
        found = [correction(answer, truth, g) for answer, truth in zip(logits[:, 0], covered[:, 0], strict=True)]
        points = torch.stack([at for at, _ in found]).flip(-1) + batch.offsets
        more = prompts.with_points(points, torch.tensor([sign for _, sign in found], device=self.device))
        if not (self.masks and float(torch.rand(1, generator=g)) < 0.5):
            return more
        return GivenPrompts(more.points, more.signs, more.boxes, logits.clamp(-32, 32))

    def answer_loss(
        self, batch: Batch, prompts: GivenPrompts, covered: torch.Tensor, focus: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss of an answer, its logits (B, 1, 4h, 4w), and its mean Dice score.

        `focus` goes from 0, plain cross-entropy, to 1, the full focal loss.
        """
        with bfloat16_where_quick(self.device):
            logits, expected = decode_windows(self.model, batch.embeddings, batch.positions, batch.offsets, prompts)
        logits, expected = logits.float(), expected.float()
        with torch.no_grad():
            answer, truth = logits > 0, covered > 0.5
            both = (answer & truth).sum((1, 2, 3))
            total = (answer.sum((1, 2, 3)) + truth.sum((1, 2, 3))).clamp(min=1)
            iou, dice = both / (total - both).clamp(min=1), 2 * both / total
        focal = (1 + focus * (FOCAL_SHARE - 1)) * focal_loss(logits, covered, focus * FOCUS)
        return focal + dice_loss(logits, covered) + F.mse_loss(expected, iou), logits, dice.mean()


class PaperPrompts(Objective):
    """The paper's objective: one image a step, one target in it, points inside and just outside, the Dice loss."""

    def __init__(
        self, model: Promptable, pool: Pool, *, seed: int, batch: int, device: torch.device, validation: Validation
    ) -> None:
        self.model, self.trained = model.to(device), model.parts()
        self.pool, self.seed, self.batch, self.validation = pool, seed, batch, validation
        model.image_encoder.requires_grad_(False)
        self.targets = Targets(self.model, device)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 11, step)
        u = torch.rand(2, generator=g).tolist()
        plan = Plan(inside=(1, 3)[int(2 * u[0])], outside=(0, 2)[int(2 * u[1])])
        batch = self.targets.draw(self.pool.at(step), self.targets.cells, self.batch, g)
        prompts = draw_prompts(list(batch.targets), batch.windows, batch.extents, plan, g)
        covered = F.avg_pool2d(batch.targets[:, None].float(), CELL)
        whole = batch.embeddings.float(), batch.positions.float(), batch.offsets
        logits, _ = decode_windows(self.model, *whole, prompts)
        loss = dice_loss(logits, covered)
        return loss, {"dice": 1.0 - float(loss.detach())}


def faintest_of(plan: Plan) -> float:
    """Return the least visibility of the targets of a step.

    A box, a mask, three points or points outside say where a thing ends that can hardly be seen; a decoder that met
    only plain borders would rather believe what it sees inside.
    """
    tells = plan.box or plan.mask or plan.outside or plan.inside > 2
    return 1.0 if tells else FAINTEST


def window_of(u: float) -> int:
    """Return the width of a step's windows in quarters of the frame; `u` is uniform in [0, 1)."""
    for share, quarters in WINDOWS:
        if u < share:
            return quarters
        u -= share
    return WINDOWS[-1][1]


def look_where_pointed(decoder: Any) -> None:
    """Initialize a decoder's cross-attentions so that a token attends to the place with its own positional encoding.

    Queries and keys get one random orthogonal projection, so that they match where positions do. A decoder that starts
    so finds what is pointed at from its first steps; it took many hundred to learn that.
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
    """Return one minus the soft Dice score, averaged over masks: logits and targets (B, 1, H, W), these in [0, 1]."""
    p = logits.sigmoid()
    top = 2 * (p * target).sum((1, 2, 3)) + 1
    return 1 - (top / (p.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)).mean()
