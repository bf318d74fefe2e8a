"""Slice spacing and thickness with partial volume (eq. 20-26), as one small matrix along each axis.

Blurring, sampling at the slice positions and interpolating back are all linear and act along one axis, so together
they are one matrix as long as the axis: exact, and a thousandth of the cost of convolving.
"""

from __future__ import annotations

import torch

from napari_synthseg.generator.deformation import interpolation_matrix


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


def slice_positions(n: int, spacing_mm: float, slice_spacing_mm: float) -> torch.Tensor:
    """(slices,) float64 positions of an acquisition's slices along an axis of `n` voxels, in voxels.

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
    """From voxels to slices: blur by the slice profile (eq. 24), sample at the slices (eq. 25).

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
    """From slices back to voxels (eq. 26): (n, slices), or None where every voxel has its slice."""
    if slice_spacing_mm <= spacing_mm:
        return None
    positions = slice_positions(n, spacing_mm, slice_spacing_mm)
    step = slice_spacing_mm / spacing_mm
    at = (torch.arange(n, dtype=torch.float64) - positions[0]) / step
    return interpolation_matrix(at, len(positions)).to(device)


def slice_matrix(
    n: int, spacing_mm: float, slice_spacing_mm: float, sigma_mm: float, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """What an acquisition in slices does along its axis: blur (eq. 24), sample (25), interpolate back (26).

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
    """One matrix (m, n) along one of the axes of (X, Y, Z)."""
    return torch.tensordot(image, matrix, dims=([axis], [1])).movedim(-1, axis)  # type: ignore[arg-type]
