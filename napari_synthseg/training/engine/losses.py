"""Losses: the paper's soft Dice (eq. 27), and weighted cross-entropy with Dice, of channels or of groups of them.

Each is that of the samples of all processes together, see `engine.distributed`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from napari_synthseg.training.engine.distributed import process_group

EPS = 1e-7
IGNORED = 255
"""Target of voxels that are left out of the loss."""
RUN = 4096
"""Voxels whose values are added one after the other."""


def soft_dice_loss(posteriors: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the average soft Dice loss with squares in the denominator (eq. 27), over all labels, background included.

    Args:
        posteriors: (B, K, X, Y, Z).
        target: (B, X, Y, Z) channel indices.
    """
    index = target.long()
    own = posteriors.gather(1, index[:, None]).flatten(1)  # of the true label; no one-hot target is made
    top = 2.0 * _sums_of_labels(own, index.flatten(1), posteriors.shape[1])
    size = _sums_of_labels(torch.ones_like(own), index.flatten(1), posteriors.shape[1])
    bottom = posteriors.square().sum((2, 3, 4)) + size
    return process_group().sum((1.0 - ((top + EPS) / (bottom + EPS)).mean()) / process_group().size)


def _sums_of_labels(values: torch.Tensor, index: torch.Tensor, k: int) -> torch.Tensor:
    """(B, N) values with the labels of each -> (B, K) sums; in runs, which are exact enough in float32."""
    b, n = values.shape
    runs = -(-n // RUN)
    place = torch.arange(n, device=values.device) // RUN * k + index
    return values.new_zeros(b, runs * k).scatter_add(1, place, values).view(b, runs, k).sum(1)


def dice_and_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weighted cross-entropy and Dice loss, computed from one softmax.

    Args:
        logits: (B, K, X, Y, Z).
        target: (B, X, Y, Z) channel indices.
        weights: (K,) of the cross-entropy.

    Returns:
        Cross-entropy, and one minus the soft Dice averaged over the foreground labels present in the batch.
    """
    k, group = logits.shape[1], process_group()
    flat = logits.float().movedim(1, -1).reshape(-1, k)
    index = target.reshape(-1).long()
    log_p = F.log_softmax(flat, -1)
    count = torch.tensor(float(len(index)), device=flat.device) if weights is None else weights[index].sum()
    entropy = group.sum(F.nll_loss(log_p, index, weights, reduction="sum")) / group.sum(count)
    p = log_p.exp()
    own = p.gather(1, index[:, None])[:, 0]
    size = torch.bincount(index, minlength=k).to(p.dtype)
    overlap = torch.zeros(k, dtype=p.dtype, device=p.device).index_add(0, index, own)
    size, overlap, predicted = group.sum(torch.stack([size, overlap, p.sum(0)]))
    dice = (2.0 * overlap + 1.0) / (predicted + size + 1.0)
    present = size > 0
    present[0] = False
    return entropy, 1.0 - dice[present].mean() if bool(present.any()) else flat.sum() * 0.0


def grouped(logits: torch.Tensor, groups: Sequence[int]) -> torch.Tensor:
    """Turn (B, K, ...) logits of channels into (B, G, ...) logits of groups, by the sum of probabilities."""
    if tuple(groups) == tuple(range(logits.shape[1])):
        return logits
    members = [[k for k, g in enumerate(groups) if g == n] for n in range(max(groups) + 1)]
    return torch.stack([logits[:, m[0]] if len(m) == 1 else logits[:, m].logsumexp(1) for m in members], 1)


def target_losses(
    logits: torch.Tensor, target: torch.Tensor, groups: Sequence[int], weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cross-entropy and one minus the soft Dice of targets, without ignored voxels.

    Args:
        logits: (B, K, X, Y, Z) of the network's channels.
        target: (B, X, Y, Z) targets, or `IGNORED`.
        groups: (K,) target of each channel.
        weights: (G,) of the cross-entropy.
    """
    logits = grouped(logits.float(), groups)
    kept = target != IGNORED
    if not bool(kept.all()):
        if not bool(kept.any()):
            nothing = logits.sum() * 0.0
            return nothing, nothing
        logits = logits.movedim(1, -1)[kept].T[None, :, :, None, None]
        target = target[kept][None, :, None, None]
    return dice_and_cross_entropy(logits, target, weights)


def figures_of(entropy: torch.Tensor, dice: torch.Tensor) -> dict[str, float]:
    """Return both losses for the log."""
    return {"cross_entropy": float(entropy.detach()), "soft_dice": 1.0 - float(dice.detach())}
