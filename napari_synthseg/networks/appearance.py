"""What each structure looks like in this very scan: a Gaussian per label, fitted by expectation-maximization (ours).

Contrast is unknown, but rough posteriors reveal it: the mean and variance of the intensities under each label's
posterior. A few iterations of EM with the locator's posteriors as prior give every label a Gaussian, whose likelihood
at each voxel tells the refiner what the intensity there speaks for. That is the classical Bayesian segmentation of
section 2.2, as an input to a network that learns how far to trust it.
"""

from __future__ import annotations

import torch

ITERATIONS = 5
STRIDE = 2
"""Every second voxel of the 2 mm grid is enough to estimate a mean and a variance."""
FLOOR = 0.03
"""Smallest standard deviation, intensities in [0, 1]."""
LEAST = -6.0
"""Smallest log likelihood (that of a standard normal at its middle being 0)."""
VAGUE_VOXELS = 10.0
VAGUE_STD = 0.2
"""A label is given this many voxels' worth of a vague Gaussian, so that small or absent ones stay vague."""


def with_evidence(
    start: torch.Tensor, image: torch.Tensor, appearance: torch.Tensor, weight: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Add weighted log likelihoods of each label's Gaussian to a log prior: the E-step before its softmax.

    The quadratic in the intensity is evaluated by Horner's rule. Likelihoods are cut off below, as if a few voxels of
    every label could look like anything: no intensity rules a label out by itself.

    Args:
        start: (B, K, X, Y, Z), logarithms of a prior; also the shape of the result, float32.
        image: (B, 1, X, Y, Z) in [0, 1].
        appearance: (B, K, 2) means and variances.
        weight: of the likelihood.
    """
    mean, variance = appearance.float()[..., 0, None, None, None], appearance.float()[..., 1, None, None, None]
    precision = weight / variance
    constant = -0.5 * (precision * mean.square() + weight * variance.log())
    x = image.float()
    evidence = torch.addcmul(constant, x, torch.addcmul(precision * mean, x, -0.5 * precision))
    return start.float() + evidence.clamp_(min=LEAST)


def sampled(volume: torch.Tensor) -> torch.Tensor:
    """Return every `STRIDE`-th voxel of (B, C, X, Y, Z) along each axis, float32."""
    return volume[..., ::STRIDE, ::STRIDE, ::STRIDE].float()


def fit_appearance(image: torch.Tensor, log_prior: torch.Tensor) -> torch.Tensor:
    """Fit a Gaussian to each label by expectation-maximization with a spatial prior: (B, K, 2) means and variances.

    `image` (B, 1, X, Y, Z) in [0, 1] are the voxels to learn from (`sampled`), with the `log_prior` (B, K, X, Y, Z).
    """
    x, prior = image.float(), log_prior.float()
    posteriors = prior.softmax(1)
    appearance = moments(x.flatten(2), posteriors.flatten(2))
    for _ in range(ITERATIONS - 1):  # the first used the prior alone
        posteriors = with_evidence(prior, x, appearance).softmax(1)
        appearance = moments(x.flatten(2), posteriors.flatten(2))
    return appearance


def moments(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the means and variances of intensities (B, 1, N), given weights (B, K, N) of labels: (B, K, 2)."""
    count = weights.sum(2)
    everywhere = x.mean(2)
    mean = ((weights @ x.transpose(1, 2))[..., 0] + VAGUE_VOXELS * everywhere) / (count + VAGUE_VOXELS)
    square = (weights @ x.square().transpose(1, 2))[..., 0]
    first = (weights @ x.transpose(1, 2))[..., 0]
    spread = square - 2 * mean * first + mean.square() * count
    variance = (spread.clamp(min=0) + VAGUE_VOXELS * VAGUE_STD**2) / (count + VAGUE_VOXELS)
    return torch.stack([mean, variance + FLOOR**2], -1)
