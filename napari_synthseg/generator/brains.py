"""SynthSeg's generative model for brains (section 3.1, Figure 3): from a record and a label map to an image and target.

A record does not know about voxels: it can be applied to a whole head at 2 mm, to a crop at 1 mm, or to both, and they
show the same head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from napari_synthseg.anatomy import LESION, WHITE_MATTER
from napari_synthseg.generator.acquisition import along, back_matrix, blur_matrix, slice_matrix, stack_matrix
from napari_synthseg.generator.appearance import bias_field, gaussian_mixture, rescale_and_gamma
from napari_synthseg.generator.deformation import affine_matrix, displacement_field, interpolation_matrix, separable
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.lesion_painting import OF_THE_MAP, table_with_lesions, with_lesions
from napari_synthseg.generator.record import Record
from napari_synthseg.jobs import checkpoint

EXTRA_CSF = 24


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: axis-aligned, mm relative to the label map's centre.

    Attributes:
        shape: (X, Y, Z).
        spacing: voxel size, mm.
        origin: position of voxel (0, 0, 0)'s centre, mm.
    """

    shape: tuple[int, int, int]
    spacing: float = 1.0
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def centred(cls, shape: Sequence[int], spacing: float = 1.0, centre: Sequence[float] = (0.0, 0.0, 0.0)) -> Grid:
        """A grid whose middle lies at `centre` (mm)."""
        origin = tuple(c - 0.5 * (n - 1) * spacing for c, n in zip(centre, shape, strict=True))
        return cls(tuple(shape), float(spacing), origin)  # type: ignore[arg-type]

    def axis(self, i: int) -> torch.Tensor:
        """(n,) float64 positions along axis `i`, mm, on the CPU (Apple's GPUs know no float64)."""
        return self.origin[i] + self.spacing * torch.arange(self.shape[i], dtype=torch.float64)


@dataclass(frozen=True)
class Sample:
    """What one record makes of one label map on one grid.

    Attributes:
        image: (X, Y, Z) float32 in [0, 1], the network's input.
        labels: (X, Y, Z) uint8 indices into the label map's table (`table_of`) after deformation, before anything is
            reset.
        limits: the intensities that became 0 and 1 before gamma.
    """

    image: torch.Tensor
    labels: torch.Tensor
    limits: tuple[float, float]


def full_grid(label_map: LabelMap, spacing: float | None = None) -> Grid:
    """The grid of the array the label map was made from, or the same field of view at another spacing."""
    own = label_map.spacing
    s = spacing or own
    shape = tuple(max(1, round(n * own / s)) for n in label_map.shape)
    first = [-(c + o) * own for c, o in zip(label_map.centre, label_map.offset, strict=True)]
    return Grid(shape, s, tuple(f + 0.5 * (s - own) for f in first))  # type: ignore[arg-type]


def crop_grid(label_map: LabelMap, shape: Sequence[int], crop: Sequence[float], spacing: float = 1.0) -> Grid:
    """A random crop: `crop` (0 to 1 an axis) says where it lies in the room the label map leaves it (section 4.2)."""
    whole = full_grid(label_map, spacing)
    room = [(w - n) * spacing for w, n in zip(whole.shape, shape, strict=True)]
    return Grid(tuple(shape), spacing, tuple(o + r * c for o, r, c in zip(whole.origin, room, crop, strict=True)))  # type: ignore[arg-type]


def table_of(record: Record, label_map: LabelMap) -> LabelMap:
    """The map with the table that deformed labels point into: its own, or with the rows of painted lesions."""
    return label_map if record.drawn_lesions is None else table_with_lesions(label_map)


def deform(record: Record, label_map: LabelMap, grid: Grid) -> torch.Tensor:
    """Labels of the transformed map, with the record's lesions, on a grid, by nearest neighbour (eq. 10).

    Returns:
        (X, Y, Z) uint8 indices into the table of `table_of`.
    """
    if record.drawn_lesions is not None:
        label_map = with_lesions(label_map, record.drawn_lesions)
    device = label_map.index.device
    axes = [grid.axis(i) for i in range(3)]
    matrix = affine_matrix(record.rotation_deg, record.scaling, record.shearing)
    sign = torch.tensor([-1.0 if record.flip else 1.0, 1.0, 1.0], dtype=torch.float64)
    matrix = sign[:, None] * matrix / label_map.spacing
    shift = sign * torch.tensor(record.translation_mm, dtype=torch.float64) / label_map.spacing
    shift = shift + torch.tensor(label_map.centre, dtype=torch.float64)
    moved = None
    if record.velocity_std > 0:
        u = displacement_field(
            record.velocity_std, record.velocity_grid, record.velocity_seed, label_map.field_mm, device
        )
        n = u.shape[-1]
        back = [interpolation_matrix((a / f + 0.5) * (n - 1), n) for a, f in zip(axes, label_map.field_mm, strict=True)]
        u = torch.einsum("ij,jxyz->ixyz", matrix.float().to(device), u)
        moved = separable(u, [b.to(device) for b in back])
    index = None
    for i, size in enumerate(label_map.index.shape):
        checkpoint()
        lines = [(matrix[i, j] * axes[j]).float().to(device) for j in range(3)]
        at = lines[0][:, None, None] + float(shift[i]) + lines[1][None, :, None] + lines[2][None, None, :]
        if moved is not None:
            at += moved[i]
        at = at.round_().clamp_(0, size - 1).int()
        index = at if index is None else index.mul_(size).add_(at)
    assert index is not None
    labels = label_map.index.reshape(-1).index_select(0, index.reshape(-1)).reshape(grid.shape)
    return _lookup(labels, label_map.partners) if record.flip else labels


def _lookup(labels: torch.Tensor, table: Sequence[int]) -> torch.Tensor:
    """Replace each index by the table's."""
    t = torch.tensor(table, dtype=torch.uint8, device=labels.device)
    return t.index_select(0, labels.reshape(-1).int()).reshape(labels.shape)


def imaged_labels(record: Record, label_map: LabelMap) -> list[int]:
    """Which label's intensity each label shows: skull stripping (Table S2) and dropped lesions lend some another's.

    Where lesions are painted, those of the map look like them.
    """
    shown = list(range(len(table_of(record, label_map).values)))
    slot = {v: i for i, v in enumerate(label_map.values)}
    if record.skull_strip != "none":
        for i, gone in enumerate(label_map.removed):
            if gone and not (record.skull_strip == "keep-csf" and label_map.values[i] == EXTRA_CSF):
                shown[i] = 0
    for lesion, tissue in OF_THE_MAP.items():
        if lesion in slot and not record.lesions and tissue in slot:
            shown[slot[lesion]] = slot[tissue]
        elif lesion in slot and record.lesions and record.drawn_lesions is not None:
            shown[slot[lesion]] = len(label_map.values)
    return shown


def target_table(record: Record, label_map: LabelMap, values: Sequence[int] | None = None) -> list[int]:
    """What each label becomes in the target (section 3.1.5).

    Lesions that can be seen are lesions (77) for a network that knows them, or where the record paints some and
    values are asked for; else they are white matter.

    Args:
        record: its skull stripping removes labels from the target too.
        label_map: the map.
        values: the network's sorted labels; the table then holds channels instead of values.
    """
    shown, whole = imaged_labels(record, label_map), table_of(record, label_map)
    targets = [whole.targets[s] if s == 0 or whole.removed[i] else whole.targets[i] for i, s in enumerate(shown)]
    apart = record.drawn_lesions is not None if values is None else LESION in values
    k = len(label_map.values)
    for i, value in enumerate(label_map.values):
        if apart and record.lesions and value in OF_THE_MAP:
            targets[i] = LESION
    if not apart:
        targets[k:] = WHITE_MATTER[: len(targets) - k]
    if values is None:
        return targets
    channel = {v: i for i, v in enumerate(values)}
    return [channel.get(t, 0) for t in targets]


def mixture(record: Record, label_map: LabelMap, labels: torch.Tensor, noise_scale: float = 1.0) -> torch.Tensor:
    """(X, Y, Z) image of deformed labels before anything is done to it (eq. 11-13)."""
    checkpoint()
    shown = imaged_labels(record, label_map)
    means, stds = record.means, record.stds
    if record.drawn_lesions is not None:
        means, stds = means + (record.drawn_lesions.mean,) * 2, stds + (record.drawn_lesions.std,) * 2
    means, stds = tuple(means[s] for s in shown), tuple(stds[s] for s in shown)
    return gaussian_mixture(labels, means, stds, record.noise_seed, noise_scale)


def biased(record: Record, label_map: LabelMap, image: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The image with its bias field, clipped (eq. 14-17); changed in place."""
    checkpoint()
    if record.bias_std > 0:
        n = record.bias_grid
        at = [(grid.axis(i) / label_map.field_mm[i] + 0.5) * (n - 1) for i in range(3)]
        matrices = [interpolation_matrix(a, n).to(image.device) for a in at]
        image *= bias_field(record.bias_std, n, record.bias_seed, matrices)
    return image.clamp_(0.0, record.ceiling)


def averaging(grid: Grid) -> float:
    """Factor on the deviation of white noise in voxels that average several of 1 mm."""
    return max(grid.spacing, 1.0) ** -1.5


def intensity_limits(record: Record, label_map: LabelMap, labels: torch.Tensor, grid: Grid) -> tuple | None:
    """Limits for `render` that make voxels larger than 1 mm as bright as those of 1 mm; None where they are not larger.

    Averaged voxels are less noisy and have milder extremes, so their own would stretch the contrast.
    """
    if grid.spacing <= 1.0:
        return None
    n = max(labels.numel(), 2)
    fewer = (math.log(n * grid.spacing**3) / math.log(n)) ** 0.5  # how far out the extremes of that many normals lie
    image = biased(record, label_map, mixture(record, label_map, labels, fewer), grid)
    return image.min().item(), image.max().item()


def render(
    record: Record, label_map: LabelMap, labels: torch.Tensor, grid: Grid, limits=None
) -> tuple[torch.Tensor, tuple]:
    """Image of deformed labels: mixture, bias field, gamma, acquisition (eq. 11-26).

    Args:
        limits: intensities before gamma that become 0 and 1; default the image's own extremes.

    Returns:
        (X, Y, Z) float32 image in [0, 1] and the limits used.
    """
    device = labels.device
    image = biased(record, label_map, mixture(record, label_map, labels, averaging(grid)), grid)
    if limits is None:
        limits = (image.min().item(), image.max().item())
    checkpoint()
    image = rescale_and_gamma(image, record.gamma, limits)
    checkpoint()
    if record.noise_std > 0:
        return resampled(record, acquired(record, image, grid), grid), limits
    return separable(image, acquisition_matrices(record, grid, device)), limits  # the same, in one go


def acquired(record: Record, image: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The slices that an acquisition would give: blurred, sampled, noisy (eq. 24-25; eq. 2 of SynthSeg+).

    Returns:
        (X, Y, Z) with as many slices along the record's direction as `slice_positions` says.
    """
    stack = separable(image, acquisition_matrices(record, grid, image.device, stack_matrix))
    if record.noise_std > 0:
        g = torch.Generator(device=image.device).manual_seed(record.noise_seed + 1)
        stack += record.noise_std / 255.0 * averaging(grid) * torch.empty_like(stack).normal_(generator=g)
        stack.clamp_(0, 1)
    return stack


def resampled(record: Record, stack: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Slices interpolated back to the grid they were acquired from (eq. 26)."""
    axis = record.direction
    back = back_matrix(grid.shape[axis], grid.spacing, record.slice_spacing_mm, stack.device)
    return stack if back is None else along(stack, axis, back)


def acquisition_matrices(
    record: Record, grid: Grid, device: torch.device | str = "cpu", slices: Callable[..., torch.Tensor] = slice_matrix
) -> list[torch.Tensor]:
    """The three matrices of eq. 24-26 on a grid.

    Args:
        slices: what makes the one along the slice direction: `slice_matrix`, or `stack_matrix` to stop at the slices.
    """
    # A voxel larger than 1 mm averages what lies in it: a box of that width has this standard deviation.
    pool = (max(grid.spacing**2 - 1.0, 0.0) / 12.0) ** 0.5
    matrices = []
    for i, n in enumerate(grid.shape):
        if i == record.direction:
            sigma = (record.slice_blur_mm**2 + pool**2) ** 0.5
            matrices.append(slices(n, grid.spacing, record.slice_spacing_mm, sigma, device))
        else:
            matrices.append(blur_matrix(n, (record.in_plane_blur**2 + pool**2) ** 0.5 / grid.spacing, device))
    return matrices


def apply(record: Record, label_map: LabelMap, grid: Grid, limits: tuple[float, float] | None = None) -> Sample:
    """Make the sample that a record describes.

    Args:
        record: drawn by `napari_synthseg.generator.record.draw` with this map's table.
        label_map: on the device that is to do the work.
        grid: where the voxels of the sample lie.
        limits: see `render`; pass a whole head's limits to make a crop of it.
    """
    labels = deform(record, label_map, grid)
    image, limits = render(record, label_map, labels, grid, limits)
    return Sample(image, labels, limits)


def target(record: Record, label_map: LabelMap, labels: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """(X, Y, Z) uint8 channels of the network's sorted `values` for deformed labels."""
    return _lookup(labels, target_table(record, label_map, values))


def apply_batch(
    records: Sequence[Record], label_maps: Sequence[LabelMap], grids: Sequence[Grid], values: Sequence[int]
):
    """Several samples of one shape.

    Returns:
        images (B, 1, X, Y, Z) float32 and targets (B, X, Y, Z) uint8 channels of `values`.
    """
    images, targets = [], []
    for record, label_map, grid in zip(records, label_maps, grids, strict=True):
        sample = apply(record, label_map, grid)
        images.append(sample.image)
        targets.append(target(record, label_map, sample.labels, values))
    return torch.stack(images)[:, None], torch.stack(targets)
