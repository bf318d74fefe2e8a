"""Slice spacing and thickness with partial volume (eq. 20-26), as one small matrix along each axis.

Blurring, sampling at the slice positions and interpolating back are all linear and act along one axis, so together
they are one matrix as long as the axis: exact, and a thousandth of the cost of convolving.
"""

from __future__ import annotations

import torch

from napari_synthseg.synthesis.deformation import interpolation_matrix


def blur_matrix(n: int, sigma: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """Gaussian blur along an axis of `n` voxels; rows sum to 1, so edges do not darken.

    Args:
        n: length of the axis.
        sigma: standard deviation in voxels; 0 is the identity.
    """
    if sigma <= 0:
        return torch.eye(n, device=device)
    at = torch.arange(n, device=device, dtype=torch.float32)
    matrix = torch.exp(-0.5 * ((at[:, None] - at[None, :]) / sigma) ** 2)
    return matrix / matrix.sum(1, keepdim=True)


def slice_matrix(
    n: int, spacing_mm: float, slice_spacing_mm: float, sigma_mm: float, device: torch.device | str = "cpu"
):
    """What an acquisition in slices does along its axis: blur (eq. 24), sample (25), interpolate back (26).

    Args:
        n: length of the axis, voxels.
        spacing_mm: voxel size.
        slice_spacing_mm: distance between slices; at most the voxel size means one slice a voxel.
        sigma_mm: standard deviation of the slice profile.

    Returns:
        (n, n) matrix whose rows sum to 1.
    """
    matrix = blur_matrix(n, sigma_mm / spacing_mm, device)
    step = slice_spacing_mm / spacing_mm
    if step <= 1.0:
        return matrix
    slices = int((n - 1) / step) + 1
    positions = torch.arange(slices, dtype=torch.float64) * step
    positions = positions + ((n - 1) - positions[-1]) / 2  # the stack lies in the middle of the axis
    down = interpolation_matrix(positions, n).to(device)
    back = (torch.arange(n, dtype=torch.float64) - positions[0]) / step
    return interpolation_matrix(back, slices).to(device) @ (down @ matrix)
