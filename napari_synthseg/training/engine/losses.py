"""Losses: the paper's soft Dice (eq. 27), and weighted cross-entropy with Dice for the fast network."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from napari_synthseg.training.engine.distributed import process_group

RUN = 4096
"""Voxels whose values are added one after the other."""


def soft_dice_loss(posteriors: torch.Tensor, target: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
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
    return process_group().sum((1.0 - ((top + eps) / (bottom + eps)).mean()) / process_group().size)


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
    k = logits.shape[1]
    flat = logits.float().movedim(1, -1).reshape(-1, k)
    index = target.reshape(-1).long()
    log_p = F.log_softmax(flat, -1)
    entropy = mean_of_all(F.nll_loss(log_p, index, weights, reduction="sum"), index, weights)
    p = log_p.exp()
    own = p.gather(1, index[:, None])[:, 0]
    size = torch.bincount(index, minlength=k).to(p.dtype)
    overlap = torch.zeros(k, dtype=p.dtype, device=p.device).index_add(0, index, own)
    size, overlap, predicted = process_group().sum(torch.stack([size, overlap, p.sum(0)]))
    dice = (2.0 * overlap + 1.0) / (predicted + size + 1.0)
    present = size > 0
    present[0] = False
    return entropy, 1.0 - dice[present].mean() if bool(present.any()) else flat.sum() * 0.0


def mean_of_all(own: torch.Tensor, index: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return the weighted mean over the voxels of all processes, given the sum over this one's.

    Args:
        own: sum over the voxels of this process.
        index: (N,) their classes.
        weights: (K,) of the classes.
    """
    count = torch.tensor(float(len(index)), device=own.device) if weights is None else weights[index].sum()
    return process_group().sum(own) / process_group().sum(count)
