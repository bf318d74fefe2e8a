"""From labels to an acquired image (SynthSeg, section 3.1).

Gaussian mixture (eq. 11-13), bias field (eq. 14-17), rescaling and gamma (eq. 18-19), slices with partial volume (eq.
20-26). Blurring, sampling at the slice positions and interpolating back are all linear and act along one axis, so
together they are one matrix as long as the axis: exact, and a thousandth of the cost of convolving.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from napari_synthseg.generator.deformation import interpolation_matrix, separable

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState


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


def blur_matrix(n: int, sigma: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return a Gaussian blur (n, n) by `sigma` voxels (0: the identity); rows sum to 1, so edges do not darken."""
    if sigma <= 0:
        return torch.eye(n, device=device)
    at = torch.arange(n, device=device, dtype=torch.float32)
    matrix = torch.exp(-0.5 * ((at[:, None] - at[None, :]) / sigma) ** 2)
    return matrix / matrix.sum(1, keepdim=True)


def slice_positions(n: int, spacing_mm: float, slice_spacing_mm: float) -> torch.Tensor:
    """Return the (slices,) float64 positions of an acquisition's slices along an axis of `n` voxels, in voxels.

    The stack lies in the middle of the axis; a slice spacing of at most the voxel size means one slice a voxel.
    """
    step = slice_spacing_mm / spacing_mm
    if step <= 1.0:
        return torch.arange(n, dtype=torch.float64)
    slices = int((n - 1) / step) + 1
    positions = torch.arange(slices, dtype=torch.float64) * step
    return positions + ((n - 1) - positions[-1]) / 2


def stack_matrix(
    n: int, spacing_mm: float, slice_spacing_mm: float, sigma_mm: float, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return the blur by the slice profile (eq. 24) and the sampling at the slices (eq. 25).

    Returns:
        (slices, n) matrix whose rows sum to 1; see `slice_matrix`.
    """
    matrix = blur_matrix(n, sigma_mm / spacing_mm, device)
    if slice_spacing_mm <= spacing_mm:
        return matrix
    return interpolation_matrix(slice_positions(n, spacing_mm, slice_spacing_mm), n).to(device) @ matrix


def back_matrix(
    n: int, spacing_mm: float, slice_spacing_mm: float, device: torch.device | str = "cpu"
) -> torch.Tensor | None:
    """Return the (n, slices) matrix from slices back to voxels (eq. 26), or None if every voxel has its slice."""
    if slice_spacing_mm <= spacing_mm:
        return None
    positions = slice_positions(n, spacing_mm, slice_spacing_mm)
    step = slice_spacing_mm / spacing_mm
    at = (torch.arange(n, dtype=torch.float64) - positions[0]) / step
    return interpolation_matrix(at, len(positions)).to(device)


def slice_matrix(
    n: int, spacing_mm: float, slice_spacing_mm: float, sigma_mm: float, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return blur (eq. 24), sampling (25) and interpolation back to voxels (26) along the slice axis.

    Args:
        n: length of the axis, voxels.
        spacing_mm: voxel size.
        slice_spacing_mm: distance between slices; at most the voxel size means one slice a voxel.
        sigma_mm: standard deviation of the slice profile.

    Returns:
        (n, n) matrix whose rows sum to 1.
    """
    down = stack_matrix(n, spacing_mm, slice_spacing_mm, sigma_mm, device)
    back = back_matrix(n, spacing_mm, slice_spacing_mm, device)
    return down if back is None else back @ down


def along(image: torch.Tensor, axis: int, matrix: torch.Tensor) -> torch.Tensor:
    """Apply one matrix (m, n) along one of the axes of (X, Y, Z)."""
    return torch.tensordot(image, matrix, dims=([axis], [1])).movedim(-1, axis)  # type: ignore[arg-type]


def acquired(
    head: HeadState, axis: int, slice_spacing_mm: float, blurs_mm: tuple[float, float], noise_std: float, seed: int
) -> torch.Tensor:
    """Acquire a head's image in slices: blurred, sampled, noisy (eq. 24-25; eq. 2 of SynthSeg+).

    Args:
        head: whose slices are interpolated back to its voxels (eq. 26), unless it stops at slices.
        axis: across the slices.
        slice_spacing_mm: distance between the slices.
        blurs_mm: standard deviations of the slice profile, and across the other axes.
        noise_std: of white noise on the slices, intensities in [0, 255].
        seed: of that noise, drawn on the image's device.
    """
    noisy = noise_std > 0
    slices = slice_matrix if not noisy and not head.stops_at_slices else stack_matrix
    matrices: list[torch.Tensor | None] = []  # None where nothing changes
    for i, (n, spacing) in enumerate(zip(head.shape, head.spacing, strict=True)):
        sigma = (blurs_mm[i != axis] ** 2 + head.pool_mm**2) ** 0.5
        if sigma == 0 and (i != axis or slice_spacing_mm <= spacing):
            matrices.append(None)
        elif i == axis:
            matrices.append(slices(n, spacing, slice_spacing_mm, sigma, head.image.device))
        else:
            matrices.append(blur_matrix(n, sigma / spacing, head.image.device))
    if all(m is not None for m in matrices):
        image = separable(head.image, [m for m in matrices if m is not None])
    else:
        image = head.image
        for i, matrix in enumerate(matrices):
            image = image if matrix is None else along(image, i, matrix)
        image = image.contiguous()
    if noisy:
        g = torch.Generator(device=image.device).manual_seed(seed)
        noise = torch.empty_like(image).normal_(generator=g)
        image = (image + noise_std / 255.0 * head.noise_scale * noise).clamp_(0, 1)
        back = back_matrix(head.shape[axis], head.spacing[axis], slice_spacing_mm, image.device)
        if back is not None and not head.stops_at_slices:
            image = along(image, axis, back).contiguous()
    return image
