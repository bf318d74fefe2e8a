"""Simulated prompts of targets: points of both signs, boxes, masks of a neighboring slice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from napari_synthseg.generator.shapes.curves import widest
from napari_synthseg.generator.shapes.scenes import outside_near
from napari_synthseg.networks.prompt_layers import PromptTensors

CELL = 4
"""Pixels of the image for one of the decoder's masks."""
BOX_SHARE = 0.2
"""Fraction of the prompts that are boxes."""
EDGE = 12
"""Pixels from the edge of a target within which a click is near it."""
SURE = 10.0
"""Logit inside a mask prompt, as in a session."""


@dataclass(frozen=True)
class Window:
    """A square part of the model's frame, on the grid of the embedding: all in pixels, multiples of 16."""

    row: int
    """First row."""
    column: int
    """First column."""
    side: int

    def of(self, x: torch.Tensor, pixels: int = 1) -> torch.Tensor:
        """Return the window's part of (..., H, W), one of whose cells stands for `pixels` pixels of the frame."""
        r, c, n = self.row // pixels, self.column // pixels, self.side // pixels
        return x[..., r : r + n, c : c + n]


@dataclass(frozen=True)
class Plan:
    """Number and kinds of prompts of each target of a step."""

    inside: int = 1
    """Points inside."""
    outside: int = 0
    """Points outside."""
    box: bool = False
    """The box around the target."""
    mask: bool = False
    """The mask of something like the target: a neighboring slice's, or one that needs repair."""
    tight: bool = True
    """Whether boxes touch the target; else their sides are off by some percent."""
    far: bool = False
    """Whether points outside lie anywhere, in place of a band around the target."""
    edge: bool = False
    """Whether points inside lie near the target's edge."""


def draw_plan(
    generator: torch.Generator,
    boxes: bool = True,
    masks: bool = True,
    box_share: float = BOX_SHARE,
    edge_share: float = 0.0,
) -> Plan:
    """Draw a plan: mostly one to three points inside and none to two outside, else boxes and masks.

    `box_share` and `edge_share` are the fractions of plans with a box, and of points inside that lie near the edge.
    """
    u = torch.rand(6, generator=generator).tolist()
    inside = (1, 1, 1, 1, 1, 2, 3, 3, 3, 5)[int(u[1] * 10)]
    outside = (0, 0, 0, 1, 1, 2, 2, 2, 2, 3)[int(u[2] * 10)]
    far = u[4] < 0.2
    if boxes and u[0] < box_share:
        extra = u[3] < 0.3
        return Plan(inside=int(extra), outside=int(extra and u[3] < 0.15), box=True, tight=u[5] < 0.5, far=far)
    if masks and u[0] > 0.87:
        return Plan(inside=int(u[1] * 4), outside=int(u[2] * 5), box=u[3] < 0.3, mask=True, tight=False, far=far)
    edge = edge_share > 0 and float(torch.rand(1, generator=generator)) < edge_share
    return Plan(inside=inside, outside=outside, far=far, edge=edge)


def draw_prompts(
    targets: list[torch.Tensor],
    windows: list[Window],
    extents: list[tuple[int, int]],
    plan: Plan,
    generator: torch.Generator,
) -> PromptTensors:
    """Draw prompts for targets, each seen through its window.

    Args:
        targets: (side, side) bool each: the window's part of the target.
        windows: where they lie.
        extents: rows and columns of the frame that hold each image.
        plan: number and kinds.
        generator: a CPU generator.
    """
    device = targets[0].device
    points, signs, boxes, masks = [], [], [], []
    for target, window, extent in zip(targets, windows, extents, strict=True):
        offset = torch.tensor([window.row, window.column], device=device)
        found, sign = draw_points(target, window, extent, plan, generator)
        points.append((found + offset).flip(-1).float())
        signs.append(sign)
        if plan.box:
            boxes.append(draw_box(target, plan.tight, generator) + offset.flip(0).repeat(2))
        if plan.mask:
            masks.append(similar_mask(target, generator))
    given = plan.inside + plan.outside > 0
    return PromptTensors(
        torch.stack(points) if given else None,
        torch.stack(signs) if given else None,
        torch.stack(boxes) if boxes else None,
        torch.stack(masks)[:, None] if masks else None,
    )


def draw_points(
    target: torch.Tensor, window: Window, extent: tuple[int, int], plan: Plan, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw points inside, then outside.

    Returns:
        (N, 2) int64 (row, column) of the window, and (N,) 1 inside, 0 outside.
    """
    within = target
    if plan.edge:
        rim = target & (widest((~target)[None, None].float(), EDGE)[0, 0] > 0)
        within = rim if rim.any() else target
    inside = pick(within, plan.inside, generator)
    if not plan.outside:
        return inside, torch.ones(plan.inside, device=target.device)
    seen = torch.zeros_like(target)
    seen[: max(0, extent[0] - window.row), : max(0, extent[1] - window.column)] = True
    where = seen & ~target if plan.far else outside_near(target, near=CELL) & seen
    if not where.any():
        where = ~target
    # A target that fills its window leaves no place outside: then points inside take their place.
    some = bool(where.any())
    outside = pick(where if some else target, plan.outside, generator)
    signs = torch.ones(plan.inside + plan.outside, device=target.device)
    signs[plan.inside :] = 0.0 if some else 1.0
    return torch.cat([inside, outside]), signs


def pick(where: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw random pixels of a mask: (count, 2) int64 (row, column). The mask must not be empty."""
    index = where.flatten().nonzero()[:, 0]
    chosen = index[(torch.rand(count, generator=generator, dtype=torch.float64) * len(index)).long().to(index.device)]
    return torch.stack([chosen // where.shape[1], chosen % where.shape[1]], 1)


def draw_box(target: torch.Tensor, tight: bool, generator: torch.Generator) -> torch.Tensor:
    """Return a target's box, (4,) x0, y0, x1, y1 in pixels of its window; sides are off by up to 10 % unless tight."""
    rows, columns = target.any(1).nonzero()[:, 0], target.any(0).nonzero()[:, 0]
    low, high = torch.stack([columns[0], rows[0]]), torch.stack([columns[-1], rows[-1]])
    box = torch.cat([low, high]).float()
    if tight:
        return box
    off = (2 * torch.rand(4, generator=generator) - 1).to(target.device) * 0.1
    size = (high - low).float().repeat(2)
    moved = box + off * size
    return torch.stack([*torch.minimum(moved[:2], moved[2:]), *torch.maximum(moved[:2], moved[2:])])


def similar_mask(target: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a mask like a (side, side) target, moved, grown, shrunk, or a part off: (side / 4, side / 4) logits."""
    u = torch.rand(9, generator=generator).tolist()
    x = F.avg_pool2d(target[None, None].float(), CELL)
    size = float(x.sum()) ** 0.5
    radius = round((u[0] * 2 - 1) * 0.15 * size)
    if radius > 0:
        x = widest(x, radius)
    elif radius < 0:
        smaller = -widest(-x, -radius)
        x = smaller if bool((smaller > 0.5).any()) else x
    shift = tuple(round((v * 2 - 1) * 0.12 * size) for v in u[1:3])
    x = x.roll(shift, (2, 3))
    if u[3] < 0.4:  # a surplus part, or a missing one
        n = x.shape[-1]
        grid = torch.arange(n, device=x.device, dtype=torch.float32)
        at = pick(x[0, 0] > 0.5, 1, generator)[0].tolist() if bool((x > 0.5).any()) else [n // 2, n // 2]
        reach = (0.15 + 0.35 * u[4]) * size
        disc = (
            (grid[:, None] - at[0] - (u[5] - 0.5) * size) ** 2 + (grid - at[1] - (u[6] - 0.5) * size) ** 2
        ) < reach**2
        x = torch.where(disc, 1.0 if u[7] < 0.5 else 0.0, x)
    return ((x * 2 - 1) * SURE)[0, 0]


def correction(logits: torch.Tensor, target: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, float]:
    """Draw a point where (h, w) logits are wrong, rather amid an error than at a border.

    `target` is the (h, w) fraction of each cell that is covered.

    Returns:
        (2,) float32 (row, column) in pixels of the window, and its sign: 1 inside the target, 0 outside.
    """
    truth = target > 0.5
    wrong = (logits > 0) != truth
    amid = F.avg_pool2d(wrong[None, None].float(), 5, 1, 2)[0, 0] > 0.7
    place = next((where for where in (wrong & amid, wrong, truth) if bool(where.any())), None)
    if place is None:
        place = torch.ones_like(truth)
    at = pick(place, 1, generator)[0]
    return at.float() * CELL + 0.5 * (CELL - 1), float(truth[at[0], at[1]])
