"""From labels to intensities: Gaussian mixture (eq. 11-13), bias field (eq. 14-17), rescaling and gamma (eq. 18-19)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_synthseg.generator.deformation import separable


def gaussian_mixture(
    labels: torch.Tensor, means: Sequence[float], stds: Sequence[float], seed: int, noise_scale: float = 1.0
) -> torch.Tensor:
    """Sample the Gaussian of each voxel's label (eq. 13): (X, Y, Z) float32 intensities.

    Args:
        labels: (X, Y, Z) indices, any integer type.
        means, stds: (K,) of each index.
        seed: of the white noise, drawn on the labels' device.
        noise_scale: factor on the standard deviations, for voxels that average several of 1 mm.
    """
    device = labels.device
    table = torch.tensor([means, [noise_scale * s for s in stds]], dtype=torch.float32, device=device)
    flat = labels.reshape(-1).int()
    image = torch.empty(flat.shape, device=device)
    image.normal_(generator=torch.Generator(device=device).manual_seed(seed))
    image *= table[1].index_select(0, flat)
    image += table[0].index_select(0, flat)
    return image.reshape(labels.shape)


def bias_field(std: float, points: int, seed: int, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Draw a smooth multiplicative field (eq. 14-17): (X, Y, Z) positive factors.

    Args:
        std: standard deviation of the logarithm at the control points.
        points: control points along each axis.
        seed: of the control points, drawn on the CPU.
        matrices: interpolation from the control points to the voxels.
    """
    g = torch.Generator().manual_seed(seed)
    small = std * torch.randn(points, points, points, generator=g)
    return separable(small.to(matrices[0].device), matrices).exp_()


def rescale_and_gamma(image: torch.Tensor, gamma: float, limits: tuple[float, float] | None = None) -> torch.Tensor:
    """Rescale to [0, 1] and apply the exponent (eq. 19); a constant image becomes 0.

    Args:
        image: any shape.
        gamma: the exponent itself, exp(gamma) of the paper.
        limits: intensities that become 0 and 1; default the image's own extremes.
    """
    low, high = limits if limits is not None else (image.min().item(), image.max().item())
    if high <= low:
        return torch.zeros_like(image)
    return ((image - low) / (high - low)).clamp_(0, 1).pow_(gamma)
