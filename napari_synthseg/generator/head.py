"""A head in the making: what the steps of a generative model work on, and the grid that it is seen on.

A record does not know about voxels: it can be applied to a whole head at 2 mm, to a crop at 1 mm, or to both, and they
show the same head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from napari_synthseg.anatomy import LESION
from napari_synthseg.generator.deformation import Transform, interpolation_matrix, nearest, sampled
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
    """The label map as it was given; None for a real scan."""
    label_map: LabelMap = None  # type: ignore[assignment]
    """The same after steps that changed it."""
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
            axes=(grid.axis(0), grid.axis(1), grid.axis(2)),
            spacing=(grid.spacing,) * 3,
            field_mm=label_map.field_mm,
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
            index = self.label_map.index
            spacing = (self.label_map.spacing,) * 3
            at = transform.coordinates(self.axes, spacing, self.label_map.center, self.field_mm, index.device)
            self.labels = nearest(index, at, self.shape)
            partners = self.label_map.partners
        else:
            self.image = self._looked_up(self.scan, transform, "bilinear")
            if self.scan_labels is not None:
                self.labels = self._looked_up(self.scan_labels, transform, "nearest")
            partners = tuple(self.partners)
        if transform.flip and partners:
            self.labels = replaced(self.labels, partners).to(self.labels.dtype)

    def _looked_up(self, source: ScanArray, transform: Transform, mode: str) -> torch.Tensor:
        voxels = source.voxels
        at = transform.coordinates(self.axes, source.spacing, source.center, self.field_mm, voxels.device)
        return sampled(voxels, at, self.shape, mode)

    def target_table(self, values: Sequence[int] | None = None) -> list[int]:
        """Return the target of each row of the table (section 3.1.5), or its channel among a network's sorted labels.

        Visible lesions are lesions (77) for a network that knows them, or, without `values`, if some are painted;
        else they are white matter.
        """
        targets = list(self.targets)
        if self.painted if values is None else LESION in values:
            for row in self.lesions:
                targets[row] = LESION
        if values is None:
            return targets
        channel = {v: i for i, v in enumerate(values)}
        return [channel.get(t, 0) for t in targets]

    def target(self, values: Sequence[int]) -> torch.Tensor:
        """Return (X, Y, Z) uint8 channels of the network's sorted `values`."""
        return replaced(self.labels, self.target_table(values))


def replaced(labels: torch.Tensor, table: Sequence[int]) -> torch.Tensor:
    """Replace each label by the table's entry; labels beyond the table stay. The result is uint8 if it holds that."""
    t = torch.arange(max(256, len(table)), dtype=torch.uint8 if len(table) <= 256 else torch.int32)
    t[: len(table)] = torch.tensor(table, dtype=t.dtype)
    return t.to(labels.device).index_select(0, labels.reshape(-1).int()).reshape(labels.shape)
