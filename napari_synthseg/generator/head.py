"""A head in the making, the grid that it is seen on, and imaging: mixture, bias field, exponent, slices.

A record does not know about voxels: it can be applied to a whole head at 2 mm, to a crop at 1 mm, or to both, and they
show the same head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from napari_synthseg.anatomy import LESION
from napari_synthseg.generator.deformation import Transform, interpolation_matrix, nearest, sampled, separable
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.step import Triple


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: axis-aligned, mm relative to the label map's center."""

    shape: tuple[int, int, int]
    spacing: float = 1.0
    """Voxel size, mm."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Position of voxel (0, 0, 0)'s center, mm."""

    @classmethod
    def centered(cls, shape: Sequence[int], spacing: float = 1.0, center: Sequence[float] = (0.0, 0.0, 0.0)) -> Grid:
        """Return a grid whose middle lies at `center` (mm)."""
        origin = tuple(c - 0.5 * (n - 1) * spacing for c, n in zip(center, shape, strict=True))
        return cls(tuple(shape), float(spacing), origin)  # type: ignore[arg-type]

    def axis(self, i: int) -> torch.Tensor:
        """Return (n,) float64 positions along axis `i`, mm, on the CPU (Apple's GPUs know no float64)."""
        return self.origin[i] + self.spacing * torch.arange(self.shape[i], dtype=torch.float64)

    @property
    def noise_scale(self) -> float:
        """Factor on the deviation of white noise in voxels that average several of 1 mm."""
        return max(self.spacing, 1.0) ** -1.5

    @property
    def pool_mm(self) -> float:
        """Standard deviation of the box of a voxel larger than 1 mm, which averages what lies in it."""
        return (max(self.spacing**2 - 1.0, 0.0) / 12.0) ** 0.5


def full_grid(label_map: LabelMap, spacing: float | None = None) -> Grid:
    """Return the grid of the array the label map was made from, or the same field of view at another spacing."""
    own = label_map.spacing
    s = spacing or own
    shape = tuple(max(1, round(n * own / s)) for n in label_map.shape)
    first = [-(c + o) * own for c, o in zip(label_map.center, label_map.offset, strict=True)]
    return Grid(shape, s, tuple(f + 0.5 * (s - own) for f in first))  # type: ignore[arg-type]


def crop_grid(label_map: LabelMap, shape: Sequence[int], crop: Sequence[float], spacing: float = 1.0) -> Grid:
    """Return the grid of a crop: `crop` (0 to 1 an axis) places it in the room the label map leaves (section 4.2)."""
    whole = full_grid(label_map, spacing)
    room = [(w - n) * spacing for w, n in zip(whole.shape, shape, strict=True)]
    return Grid(tuple(shape), spacing, tuple(o + r * c for o, r, c in zip(whole.origin, room, crop, strict=True)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScanArray:
    """An array that a spatial transform looks up."""

    voxels: torch.Tensor
    """(X, Y, Z)."""
    spacing: Triple
    center: Triple
    """Voxel coordinates about which transforms act."""


@dataclass
class HeadState:
    """State of the pipeline; steps change it in place."""

    axes: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """Float64 positions of the voxels along each axis, mm from the center, on the CPU."""
    spacing: Triple
    field_mm: Triple
    """Field of view over which the velocity and bias fields are drawn."""
    image: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """(X, Y, Z) float32; intensities in [0, 255], in [0, 1] once they are rescaled."""
    labels: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """(X, Y, Z) deformed labels: indices into the table of `label_map`, or the values of a real scan."""
    soft: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """(T, X, Y, Z) tissue maps with errors."""
    source_map: LabelMap = None  # type: ignore[assignment]
    label_map: LabelMap = None  # type: ignore[assignment]
    """The label map as it was given, and after steps that changed it; None for a real scan."""
    scan: ScanArray | None = None
    scan_labels: ScanArray | None = None
    """Image and labels of a real scan, in place of a label map."""
    partners: Sequence[int] = ()
    """For labels of a real scan, the label of the other side by value; for the rest `label_map` has them."""
    painted: tuple[tuple[float, float], ...] = ()
    """Gaussians (mean, standard deviation) of the rows that painted lesions add to the table."""
    shown: Sequence[int] = ()
    """For each row of the table, the row whose intensity it shows."""
    targets: Sequence[int] = ()
    """For each row, its value in the segmentation target if the network does not know lesions (77)."""
    lesions: Sequence[int] = ()
    """Rows that are visible lesions."""
    limits: tuple[float, float] | None = None
    """Intensities that become 0 and 1 before gamma."""
    noise_scale: float = 1.0
    pool_mm: float = 0.0
    """See `Grid`."""
    stops_at_slices: bool = False
    """Leave the image as acquired, in slices."""

    @classmethod
    def of_map(cls, label_map: LabelMap, grid: Grid, limits: tuple[float, float] | None = None) -> HeadState:
        """Return a head to be made from a label map, on the map's device."""
        return cls(
            (grid.axis(0), grid.axis(1), grid.axis(2)),
            (grid.spacing,) * 3,
            label_map.field_mm,
            source_map=label_map,
            label_map=label_map,
            limits=limits,
            noise_scale=grid.noise_scale,
            pool_mm=grid.pool_mm,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(len(axis) for axis in self.axes)  # type: ignore[return-value]

    def knots(self, points: int) -> list[torch.Tensor]:
        """Return the interpolation along each axis from control points over the field of view to the voxels."""
        at = [(axis / f + 0.5) * (points - 1) for axis, f in zip(self.axes, self.field_mm, strict=True)]
        return [interpolation_matrix(a, points).to(self.image.device) for a in at]

    def deform(self, transform: Transform) -> None:
        """Look up the label map by nearest neighbor, or the scan linearly and its labels by nearest neighbor."""
        if self.scan is None:
            m = self.label_map
            at = transform.coordinates(self.axes, (m.spacing,) * 3, m.center, self.field_mm, m.index.device)
            self.labels, partners = nearest(m.index, at, self.shape), m.partners
        else:
            self.image = self._looked_up(self.scan, transform, "bilinear")
            if self.scan_labels is not None:
                self.labels = self._looked_up(self.scan_labels, transform, "nearest")
            partners = tuple(self.partners)
        if transform.flip and partners:
            self.labels = replaced(self.labels, partners).to(self.labels.dtype)

    def _looked_up(self, source: ScanArray, transform: Transform, mode: str) -> torch.Tensor:
        at = transform.coordinates(self.axes, source.spacing, source.center, self.field_mm, source.voxels.device)
        return sampled(source.voxels, at, self.shape, mode)

    def target_table(self, values: Sequence[int] | None = None) -> list[int]:
        """Return the target of each row of the table (section 3.1.5), or its channel among a network's sorted labels.

        Visible lesions are lesions (77) for a network that knows them, or, without `values`, if some are painted;
        else they are white matter.
        """
        targets = list(self.targets)
        if self.painted if values is None else LESION in values:
            for row in self.lesions:
                targets[row] = LESION
        channel = {v: i for i, v in enumerate(values or ())}
        return targets if values is None else [channel.get(t, 0) for t in targets]

    def target(self, values: Sequence[int]) -> torch.Tensor:
        """Return (X, Y, Z) uint8 channels of the network's sorted `values`."""
        return replaced(self.labels, self.target_table(values))


def replaced(labels: torch.Tensor, table: Sequence[int]) -> torch.Tensor:
    """Replace each label by the table's entry; labels beyond the table stay. The result is uint8 if it holds that."""
    t = torch.arange(max(256, len(table)), dtype=torch.uint8 if len(table) <= 256 else torch.int32)
    t[: len(table)] = torch.tensor(table, dtype=t.dtype)
    return t.to(labels.device).index_select(0, labels.reshape(-1).int()).reshape(labels.shape)


def gaussian_mixture(
    labels: torch.Tensor, means: Sequence[float], stds: Sequence[float], seed: int, noise_scale: float = 1.0
) -> torch.Tensor:
    """Sample the Gaussian (K means and stds) of each voxel's label (eq. 13): (X, Y, Z) float32 intensities.

    White noise is drawn on the labels' device; `noise_scale` is a factor on it for voxels that average several of 1 mm.
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

    `std` is the deviation of its logarithm at the control points, `points` along each axis, drawn on the CPU; matrices
    interpolate from these to the voxels.
    """
    small = std * torch.randn(points, points, points, generator=torch.Generator().manual_seed(seed))
    return separable(small.to(matrices[0].device), matrices).exp_()


def rescale_and_gamma(image: torch.Tensor, gamma: float, limits: tuple[float, float] | None = None) -> torch.Tensor:
    """Rescale from the limits (default the extremes) to [0, 1] and apply the exponent, exp(gamma) of eq. 19.

    A constant image becomes 0.
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
    """Return the blur by the slice profile (eq. 24) and the sampling at the slices (eq. 25) as (slices, n) matrix."""
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
    at = (torch.arange(n, dtype=torch.float64) - positions[0]) / (slice_spacing_mm / spacing_mm)
    return interpolation_matrix(at, len(positions)).to(device)


def slice_matrix(
    n: int, spacing_mm: float, slice_spacing_mm: float, sigma_mm: float, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return blur (eq. 24), sampling (25) and interpolation back to voxels (26) along the slice axis of `n` voxels.

    Rows of the (n, n) matrix sum to 1. A slice spacing of at most the voxel size means one slice a voxel.
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

    Slices are interpolated back to voxels (eq. 26), unless the head stops at them. `blurs_mm` are the deviations of the
    slice profile and across the other axes; noise (intensities in [0, 255]) is drawn on the image's device.
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
    given = [m for m in matrices if m is not None]
    image = separable(head.image, given) if len(given) == 3 else head.image
    if len(given) < 3:
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
