"""What the lesion network sees: intensities relative to the scan's own white matter, and where which tissue is.

Whether lesions are bright or dark, and how much, depends on the sequence; that they differ from the white matter around
them does not. So intensities count in standard deviations of that white matter, with slow changes (bias) taken out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from napari_synthseg.anatomy import LESION, WHITE_MATTER

GROUPS: tuple[tuple[int, ...], ...] = (
    WHITE_MATTER,
    (3, 42),
    (10, 11, 12, 13, 17, 18, 26, 28, 49, 50, 51, 52, 53, 54, 58, 60),
    (4, 5, 14, 43, 44),
    (24,),
    (7, 8, 15, 16, 46, 47),
)
"""FreeSurfer values of each tissue channel: white matter, cortex, deep nuclei, ventricles, CSF outside, hindbrain."""
INTENSITIES = 4
"""Channels of the input that intensities make; they come first."""
CHANNELS = INTENSITIES + len(GROUPS)
"""Of the network's input."""
CORTEX, VENTRICLES = 1, 3
"""Their places among the tissues."""
POOL = 4
"""Voxels of 1 mm across one of the coarse grid on which the local mean is found."""
SIGMA = 3.0
"""Standard deviation of the neighbourhood of that mean, coarse voxels: 12 mm."""
SURE = 0.7
"""White matter from this probability on counts in its statistics."""
OUTLIER = 2.5
"""Robust standard deviations from the median beyond which white matter is left out of the local mean."""
LEAST_SPREAD = 0.03
"""The deviation of white matter is at least this share of that of the brain: images without noise exist."""
FEW = 0.02
"""Weight of the scan's median in the local mean, which counts where there is little white matter around."""
DEGREE = 4
"""Of the polynomial that bias is taken to be."""
_POWERS = [(i, j, k) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i) for k in range(DEGREE + 1 - i - j)]
TERMS = len(_POWERS)
FITTED = 20_000
"""Voxels that the polynomial is fitted to."""
ROUNDS = 6
"""Of the fit; outliers of one weigh less in the next."""
RIDGE = 1e-4
"""Keeps the polynomial's terms small where little white matter tells them."""
MOST = 200_000
"""Voxels that a median is taken over."""


def tissue_channels(posteriors: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """Sum the posteriors of a segmentation by tissue; lesions, where a network knows them, are white matter.

    Args:
        posteriors: (K, X, Y, Z).
        values: FreeSurfer value of each channel.

    Returns:
        (len(GROUPS), X, Y, Z) float32 probabilities; what is missing to 1 is background.
    """
    out = posteriors.new_zeros((len(GROUPS), *posteriors.shape[1:]), dtype=torch.float32)
    for value, channel in zip(values, posteriors, strict=True):
        group = group_of(value)
        if group is not None:
            out[group] += channel
    return out


def group_of(value: int) -> int | None:
    """The tissue channel of a FreeSurfer value; None for background."""
    if value == LESION:
        return 0
    return next((g for g, values in enumerate(GROUPS) if value in values), None)


def lesion_inputs(image: torch.Tensor, tissues: torch.Tensor) -> torch.Tensor:
    """The channels that the network sees; a change of the image's scale or offset changes nothing.

    Args:
        image: (X, Y, Z) at 1 mm, any unit.
        tissues: (len(GROUPS), X, Y, Z) probabilities.

    Returns:
        (CHANNELS, X, Y, Z) float32: standard deviations of white matter from the mean of that around, as their asinh;
        those of the brain from the medians of white matter, of cortex and of ventricles; the tissues.
    """
    white = tissues[0]
    image = without_bias(image.float(), white)
    median, own, whole = _statistics(image, tissues)
    inlier = white * ((image - median).abs() < OUTLIER * own)
    local = _local_mean(image - median, inlier)
    relative = image - median - local
    sure = relative[(white > SURE) & (inlier > 0)]
    spread = max(_deviation(sure), LEAST_SPREAD * whole) if len(sure) > 1 else own
    near = torch.asinh(relative / spread)
    others = [_median(image[tissues[group] > SURE], median) for group in (CORTEX, VENTRICLES)]
    far = [((image - middle) / whole).clamp(-4, 4) for middle in (median, *others)]
    return torch.cat([torch.stack([near, *far]), tissues.float()])


def without_bias(image: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
    """The image without the smooth change that white matter shows: a polynomial, lesions weighing little.

    Under a strong bias field most white matter of some region lies beyond any threshold that the whole head gives.
    """
    where = (white > SURE).nonzero()
    where = where[:: max(1, len(where) // FITTED)]
    if len(where) < 10 * TERMS:
        return image
    middle, half = [0.5 * (n - 1) for n in image.shape], 0.5 * max(image.shape)
    axes = [(torch.arange(n, device=image.device) - m) / half for n, m in zip(image.shape, middle, strict=True)]
    terms = _terms(*(axis[at] for axis, at in zip(axes, where.T, strict=True)))
    values = image[tuple(where.T)]
    level = values.median()
    values = values - level
    weight = torch.ones_like(values)
    for _ in range(ROUNDS):
        weighted = terms * weight[:, None]
        ridge = RIDGE * len(values) * torch.eye(TERMS, device=image.device)
        # On the CPU, since Apple's GPUs know no float64; a system of TERMS unknowns is nothing to it.
        sides = [one.cpu().double() for one in (terms.T @ weighted + ridge, weighted.T @ values)]
        solved = torch.linalg.solve(*sides).float().to(image.device)
        rest = values - terms @ solved
        scale = 1.4826 * float(rest.abs().median()) * OUTLIER
        weight = 1 / (1 + (rest / max(scale, 1e-6 * float(values.abs().max()) + 1e-12)) ** 2) ** 2
    fitted = terms @ solved
    coarse = [
        axis[: len(axis) // POOL * POOL].reshape(-1, POOL).mean(1) if len(axis) >= POOL else axis[:1] for axis in axes
    ]
    field = _terms(coarse[0][:, None, None], coarse[1][:, None], coarse[2]) @ solved
    return image - _finer(field.clamp(fitted.min(), fitted.max())[None, None], image.shape)


def _finer(coarse: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """(X, Y, Z) of what was found on every `POOL`th voxel."""
    size = [POOL * n for n in coarse.shape[2:]]
    fine = F.interpolate(coarse, size=size, mode="trilinear", align_corners=False)[0, 0]
    missing = [max(0, n - m) for n, m in zip(shape, size, strict=True)]
    if any(missing):
        pads = [pad for one in reversed(missing) for pad in (0, one)]
        fine = F.pad(fine[None, None], pads, mode="replicate")[0, 0]
    return fine[tuple(slice(0, n) for n in shape)]


def _terms(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(..., TERMS) powers of three coordinates that broadcast, up to `DEGREE` in all."""
    return torch.stack(torch.broadcast_tensors(*(x**i * y**j * z**k for i, j, k in _POWERS)), -1)


def _median(values: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """The median of some voxels, or another figure where there are next to none."""
    return _some(values).median() if len(values) > 20 else otherwise


def _statistics(image: torch.Tensor, tissues: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """Median and robust deviation of white matter, and the deviation of the brain's intensities."""
    brain = _some(image[tissues.sum(0) > 0.5])
    if len(brain) < 2:
        brain = _some(image.reshape(-1))
    whole = max(float(brain.std()), 1e-6)
    white = _some(image[tissues[0] > SURE])
    if len(white) < 2:
        return brain.median(), whole, whole
    return white.median(), max(_deviation(white), LEAST_SPREAD * whole), whole


def _some(values: torch.Tensor) -> torch.Tensor:
    return values[:: max(1, len(values) // MOST)]


def _deviation(values: torch.Tensor) -> float:
    """Standard deviation as the median absolute deviation tells it."""
    some = _some(values)
    return 1.4826 * float((some - some.median()).abs().median())


def _local_mean(offset: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted mean of the surroundings of each voxel, 0 where nothing near has a weight."""
    pair = torch.stack([offset * weight, weight])[None]
    pair = F.avg_pool3d(pair, POOL, ceil_mode=True, count_include_pad=False)
    reach = round(3 * SIGMA)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=pair.device) / SIGMA) ** 2)
    kernel = (kernel / kernel.sum()).expand(2, 1, -1)
    for axis in range(3):
        shape = [2, 1, 1, 1, 1]
        shape[2 + axis] = kernel.shape[-1]
        padding = [reach if i == axis else 0 for i in range(3)]
        pair = F.conv3d(pair, kernel.reshape(shape), padding=padding, groups=2)
    mean = pair[:, :1] / (pair[:, 1:] + FEW)
    return _finer(mean, offset.shape)
