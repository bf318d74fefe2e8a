"""Points and boxes drawn on the mask that a prompt encoder takes, so that a decoder need not learn where they are.

SAM tells its decoder of points and boxes by tokens alone; finding the place that a token means takes long to learn.
Interactive networks trained on little draw them as maps (RITM, nnInteractive). Here both are done with SAM's modules.
"""

from __future__ import annotations

import torch

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


def drawn_prompts(
    side: int,
    points: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    boxes: torch.Tensor | None = None,
    masks: torch.Tensor | None = None,
) -> torch.Tensor:
    """The mask prompt with boxes and points drawn on it: what is unknown is 0.

    Args:
        side: of the square frame (or a window of it), pixels.
        points: (B, N, 2) positions (x, y) in it.
        labels: (B, N), 1 inside, 0 outside, -1 no point.
        boxes: (B, 4) as x0, y0, x1, y1.
        masks: (B, 1, side / 4, side / 4) logits.

    Returns:
        (B, 1, side / 4, side / 4) float32 logits.
    """
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
    """Distance of every cell from the nearest chosen point.

    Args:
        at: (n,) positions of the cells along both axes.
        points: (B, N, 2) positions (x, y).
        chosen: (B, N) bool.

    Returns:
        (B, n, n) pixels, never 0; infinite where no point is chosen.
    """
    x, y = points.float().unbind(-1)
    squares = (at - y[..., None])[..., :, None] ** 2 + (at - x[..., None])[..., None, :] ** 2
    return squares.masked_fill(~chosen[..., None, None], torch.inf).amin(1).sqrt().clamp(min=0.1)
