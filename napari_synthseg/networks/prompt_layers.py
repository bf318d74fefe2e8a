"""Layers of promptable networks: SAM's attention in bounded memory, and prompts drawn as maps.

At 1024 pixels one global block of ViT-H holds 16 maps of 4096 x 4096 three times over (3 GiB in float32); here at most
`MAPS` numbers of them exist at once. Same parameters, same results.

SAM tells its decoder of points and boxes by tokens alone; learning where a token's place is takes long. Interactive
networks trained on little data draw them as maps (RITM, nnInteractive). Here both are done with SAM's modules.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []
"""The declarations last as long as this object."""


def import_torchvision() -> None:
    """Import torchvision, which `timm` and `segment-anything` import; declare its operators if they are missing.

    It refuses to be imported when it was built for another torch than the one at hand (a CPU torch beside a CUDA
    torchvision). Nothing here suppresses boxes, so it is enough that `nms` is declared; calling it fails.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
        _declare()
        import torchvision  # noqa: F401


def _declare() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _OPERATORS:
        name = schema.partition("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _declared.append(library)


import_torchvision()

from segment_anything.modeling.image_encoder import Attention, get_rel_pos  # noqa: E402

MAPS = 2**25
"""Numbers in the attention maps at hand: 128 MiB in float32."""


class BoundedAttention(Attention):
    """Multi-head attention with decomposed relative positions, in blocks of query rows.

    Args:
        width: C, channels.
        heads: number of heads.
        grid: H = W of what it reaches over, which sets the number of relative positions.
    """

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__(width, heads, qkv_bias=True, use_rel_pos=True, input_size=(grid, grid))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each (B, heads, H * W, c)
        vertical = get_rel_pos(height, height, self.rel_pos_h)  # (H, H, c)
        horizontal = get_rel_pos(width, width, self.rel_pos_w)
        rows = max(1, MAPS // (batch * self.num_heads * width * height * width))
        parts = []
        for first in range(0, height, rows):
            last = min(first + rows, height)
            part = q[:, :, first * width : last * width]
            grid = part.unflatten(2, (last - first, width))
            bias = (
                torch.einsum("bnhwc,hkc->bnhwk", grid, vertical[first:last])[..., :, None]
                + torch.einsum("bnhwc,wkc->bnhwk", grid, horizontal)[..., None, :]
            )
            parts.append(F.scaled_dot_product_attention(part, k, v, bias.flatten(4).flatten(2, 3), scale=self.scale))
        joined = torch.cat(parts, dim=2)  # (B, heads, H * W, c)
        return self.proj(joined.transpose(1, 2).reshape(batch, height, width, -1))


CELL = 4
"""Pixels of the frame for one of the mask."""
REACH = 10.0
"""Radius of the disc that a point is drawn as, in pixels of the frame."""
SURE = 20.0
"""Logit of a disc: above that of any mask prompt."""
OUTSIDE = -10.0
"""Logit beyond a box."""
NEARER = 8.0
"""Logit of what lies far nearer to a point inside than to any outside; 0 lies half-way."""


class PromptTensors(NamedTuple):
    """Prompts of B targets, as `Promptable.decode` takes them; positions are (x, y) pixels of the frame."""

    points: torch.Tensor | None = None
    """(B, N, 2) float32."""
    labels: torch.Tensor | None = None
    """(B, N), 1 inside, 0 outside, -1 no point."""
    boxes: torch.Tensor | None = None
    """(B, 4) x0, y0, x1, y1."""
    masks: torch.Tensor | None = None
    """(B, 1, 4h, 4w) logits."""

    def with_points(self, points: torch.Tensor, labels: torch.Tensor) -> PromptTensors:
        """Return the prompts with one more point for each target: (B, 2) and (B,)."""
        points, labels = points[:, None], labels[:, None]
        if self.points is not None and self.labels is not None:
            points, labels = torch.cat([self.points, points], 1), torch.cat([self.labels, labels], 1)
        return self._replace(points=points, labels=labels)

    def moved(self, offsets: torch.Tensor) -> PromptTensors:
        """Return the prompts as seen from other origins, (B, 2) x and y."""
        points = None if self.points is None else self.points - offsets[:, None]
        return self._replace(points=points, boxes=None if self.boxes is None else self.boxes - offsets.repeat(1, 2))


def drawn_prompts(side: int, prompts: PromptTensors) -> torch.Tensor:
    """Draw boxes and points in a square frame of some pixels on the mask prompt; where nothing is known it is 0.

    The result is (B, 1, side / 4, side / 4) float32 logits.
    """
    points, labels, boxes, masks = prompts
    given = next(x for x in (points, boxes, masks) if x is not None)
    n, device = side // CELL, given.device
    at = torch.arange(n, device=device) * CELL + 0.5 * (CELL - 1)
    drawn = torch.zeros(len(given), 1, n, n, device=device) if masks is None else masks.float()
    inside = outside = None
    if points is not None and labels is not None:
        inside, outside = (nearest(at, points, labels == sign)[:, None] for sign in (1, 0))
        if masks is None:
            drawn = torch.where((inside + outside).isfinite(), NEARER * (outside - inside) / (outside + inside), 0.0)
    if boxes is not None:
        x0, y0, x1, y1 = (edge[:, None] for edge in boxes.float().unbind(1))
        across, down = (at >= x0 - 2) & (at <= x1 + 2), (at >= y0 - 2) & (at <= y1 + 2)
        drawn = torch.where((down[:, :, None] & across[:, None, :])[:, None], drawn, OUTSIDE)
    if inside is not None and outside is not None:
        drawn = torch.where(inside < REACH, SURE, drawn)
        drawn = torch.where((outside < REACH) & (outside < inside), -SURE, drawn)
    return drawn


def nearest(at: torch.Tensor, points: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return the distance of every cell from the nearest chosen point: (B, n, n) pixels above 0, infinite without one.

    `at` are the (n,) positions of the cells along both axes, `points` (B, N, 2) as (x, y), `chosen` (B, N) bool.
    """
    x, y = points.float().unbind(-1)
    squares = (at - y[..., None])[..., :, None] ** 2 + (at - x[..., None])[..., None, :] ** 2
    return squares.masked_fill(~chosen[..., None, None], torch.inf).amin(1).sqrt().clamp(min=0.1)
