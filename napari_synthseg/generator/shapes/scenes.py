"""From a shape record to a scene: an image, its objects, and the target under a click (SynthFM, arXiv 2504.08177).

The image is made at the size it was acquired in and enlarged, as a real one would be, to SAM's 1024 x 1024. Objects are
connected, disjoint, and each of them can be a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.presets import shape_preset
from napari_synthseg.generator.shapes import looks
from napari_synthseg.generator.shapes.curves import (
    FIELD_GRID,
    curve,
    diffeomorphism,
    fill,
    gaps,
    moved,
    touching_regions,
    widest,
)
from napari_synthseg.generator.shapes.drawing import FIRST, GAP, GROUND, OUTSIDE, DrawnScene

SIDE = 1024
SMALLEST, LARGEST = 0.0008, 0.4
"""Smallest and largest part of the image that a target may take."""
COARSE = 4
"""Pixels of the grid on which bands around targets are found."""


@dataclass(frozen=True)
class Scene:
    """A synthetic image with its objects.

    Attributes:
        image: (side, side) float32 in [0, 1]; 0 beyond the extent.
        objects: (side, side) int16 on the same device; 0 is what no target holds, every other value is one connected
            region, from 1 on.
        count: how many objects there are; never 0.
        visibility: (count,) how far each object's border stands out: the mean squared difference across it over that
            within the object, see `visibility_of`. 1 is what cannot be seen; 2 is plain.
        extent: rows and columns of the square that hold the image, from the first on; the rest is padding.
        record: the parameters it was made with.
    """

    image: torch.Tensor
    objects: torch.Tensor
    count: int
    visibility: tuple[float, ...]
    extent: tuple[int, int]
    record: Record

    def target(self, number: int) -> torch.Tensor:
        """(side, side) bool mask of one object, from 1."""
        return self.objects == number


def scene(
    priors: GenerativeModel | None = None, seed: int = 0, device: str | torch.device = "cpu", side: int = SIDE
) -> Scene:
    """Draw and apply in one call."""
    return apply_scene((priors or shape_preset("both")).sample(seed=seed), device, side)


def apply_scene(record: Record, device: str | torch.device = "cpu", side: int = SIDE) -> Scene:
    """Make the image of a record.

    Args:
        record: drawn by a model of scenes, see `presets.shape_preset`.
        device: where to compute; regions are the same everywhere but for single pixels at borders, white noise is each
            device's own.
        side: of the square, pixels.

    Raises:
        InputError: if the device is not there, or `side` is below 64.
    """
    if side < 64:
        raise InputError(f"A scene needs a side of at least 64 pixels, not {side}.")
    where = resolve_device(device) if isinstance(device, str) else device
    drawn = DrawnScene.of(record)
    regions = region_map(drawn, where)
    image = render(drawn, regions)
    found, count = connected_objects(drawn, regions)
    longer = max(drawn.rows, drawn.columns)
    extent = (round(drawn.rows * side / longer), round(drawn.columns * side / longer))
    large = F.interpolate(image[None, None], size=extent, mode="bilinear", antialias=longer > side)[0, 0]
    numbers = F.interpolate(found[None, None].float(), size=extent, mode="nearest")[0, 0].to(torch.int16)
    pad = (0, side - extent[1], 0, side - extent[0])
    seen = visibility_of(image, found.masked_fill(regions == OUTSIDE, -1), count)
    return Scene(F.pad(large.clamp_(0, 1), pad), F.pad(numbers, pad), count, seen, extent, record)


def region_map(record: DrawnScene, device: torch.device | str = "cpu") -> torch.Tensor:
    """Paint the regions of a record.

    Returns:
        (rows, columns) uint8 as acquired: 0 outside, 1 ground, 2 gaps, from 3 on labels or parts.
    """
    shape = (record.rows, record.columns)
    longer = max(shape)
    extent = (shape[0] / longer, shape[1] / longer)
    grid = tuple(max(8, round(FIELD_GRID * e)) for e in extent)
    bending = diffeomorphism(record.warp, record.warp_points, record.warp_seed, grid)  # type: ignore[arg-type]

    def filled(outline, scale: float = 1.0):
        return fill(moved(curve(outline, scale), bending, extent) * longer, shape, device)

    regions = torch.full(shape, GROUND, dtype=torch.uint8, device=device)
    if record.regions:
        labels = touching_regions(record.regions, record.region_grid, record.region_seed, bending, shape, device)
        regions = labels + FIRST
        if record.gaps:
            reach = torch.tensor([max(1, round(width * longer)) if width else 0 for width in record.gaps])
            regions.masked_fill_((reach == 0).to(device)[labels.int()], GROUND)
            regions.masked_fill_(gaps(labels, reach), GAP)
    for index, part in enumerate(record.parts, start=FIRST):
        found = filled(part.outline, part.scale)
        if found is None:
            continue
        place, inside = found
        if record.setting == "cells" and record.gaps and part.scale == 1.0:
            rim = widest(inside[None, None].float(), max(1, round(record.gaps[0] * longer)))[0, 0] > 0
            regions[place].masked_fill_(rim, GAP)
        regions[place].masked_fill_(inside, index)
    if record.body is not None:
        found = filled(record.body)
        outside = torch.ones(shape, dtype=torch.bool, device=device)
        if found is not None:
            outside[found[0]] = ~found[1]
        regions.masked_fill_(outside, 0)
    if record.look == "ultrasound":
        seen = looks.field_of_view(*shape, record.look_values, device)
        if seen is not None:
            regions.masked_fill_(~seen, 0)
    return regions


def connected_objects(record: DrawnScene, regions: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Number the connected parts of every label or object that have the size of a target.

    Returns:
        (rows, columns) int32 on the regions' device, and how many there are. If nothing has the right size, the largest
        part is the one object.
    """
    owner = np.zeros(256, np.uint8)
    if record.regions:
        labels = np.arange(1, record.regions + 1)
        if not record.gaps:  # nothing parts labels of the same intensity
            labels = np.unique(record.means[FIRST:], return_inverse=True)[1] + 1
        owner[FIRST : FIRST + record.regions] = labels
    else:
        owner[FIRST : FIRST + len(record.parts)] = [part.object for part in record.parts]
    painted = regions.cpu().numpy()
    if not owner[painted].any():  # all shapes lie outside the body or the fan: the body is what there is
        owner[GROUND:] = 1
    found = cc3d.connected_components(owner[painted], connectivity=4)
    sizes = np.bincount(found.ravel())
    sizes[0] = 0
    kept = (sizes >= SMALLEST * found.size) & (sizes <= LARGEST * found.size)
    if not kept.any():
        kept[sizes.argmax()] = sizes.max() > 0
    table = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return torch.from_numpy(table[found]).to(regions.device), int(kept.sum())


def render(record: DrawnScene, regions: torch.Tensor) -> torch.Tensor:
    """Intensities of the regions, then what the modality, the lens and the noise make of them.

    Returns:
        (rows, columns) float32 in [0, 1], as acquired.
    """
    shape, device = (record.rows, record.columns), regions.device
    table = torch.tensor([record.means, record.noise_stds, record.textures, record.row_gradients,
                          record.column_gradients], device=device)  # fmt: skip
    mean, std, texture, down, right = table.index_select(1, regions.flatten().int()).view(5, *shape)
    rows, columns = looks.ramps(shape, device)
    image = mean + down * rows + right * columns
    image += texture * looks.fractal(shape, record.texture_cells, record.texture_seed, device)
    image += std * looks.grainy(shape, record.grain, record.noise_seed, device)
    image = looks.blur(image, record.blur_px)
    if record.look == "ultrasound":
        image = looks.ultrasound(image, record.look_values, record.look_seed)
    elif record.look in _LOOKS:
        seen = _LOOKS[record.look](image, record.look_values, record.look_seed)
        if record.look == "xray":  # no ribs in the air
            seen = torch.lerp(image, seen, looks.blur((regions != OUTSIDE).float(), record.blur_px))
        image = seen
    if record.shading > 0:
        image *= (record.shading * looks.smooth_field(shape, record.shading_points, record.shading_seed, device)).exp_()
    for i, (name, strength) in enumerate(zip(record.noises, record.noise_strengths, strict=True), start=2):
        image = looks.add_noise(image, name, strength, record.noise_seed + 2 * i, record.grain)
    if record.look == "ct":  # the window cuts noise off as well: air stays black
        image = image.clamp(0, 1)
    image = looks.windowed(image).pow_(record.gamma)
    if record.look == "ultrasound":  # a scanner shows nothing beside the fan, not even noise
        fan = looks.field_of_view(*shape, record.look_values, device)
        return image if fan is None else image.masked_fill_(~fan, 0)
    return 1 - image if record.inverted else image


_LOOKS = {"ct": looks.ct, "xray": looks.xray, "microscopy": looks.microscopy}


def visibility_of(image: torch.Tensor, objects: torch.Tensor, count: int) -> tuple[float, ...]:
    """How far each object's border stands out of noise and texture, on a grid of about 256 pixels.

    Args:
        image: (rows, columns).
        objects: (rows, columns) numbers, 0 to `count`; below 0 outside the body or the fan, whose edge does not count.
        count: how many objects there are.

    Returns:
        (count,) mean squared difference between neighbours on both sides of the border over that between neighbours
        within the object. Neighbours lie 2 or 4 pixels apart, whichever shows more: one of them ends in a narrow gap.
    """
    grid = tuple(min(n, max(8, round(256 * n / max(image.shape)))) for n in image.shape)
    values = F.interpolate(image[None, None], size=grid, mode="area")[0, 0].cpu().numpy().astype(np.float64)
    numbers = F.interpolate(objects[None, None].float(), size=grid, mode="nearest")[0, 0].cpu().numpy().astype(np.intp)
    best = np.ones(count)
    for away in (2, 4):
        sums, pairs = np.zeros((2, 2, count + 1))
        for a, b in ((np.s_[away:], np.s_[:-away]), (np.s_[:, away:], np.s_[:, :-away])):
            difference = (values[a] - values[b]) ** 2
            inside = (numbers[a] >= 0) & (numbers[b] >= 0)
            across = numbers[a] != numbers[b]
            for which, ends in ((0, (a,)), (1, (a, b))):
                chosen = inside & (across if which else ~across)
                for end in ends:
                    number = numbers[end][chosen]
                    sums[which] += np.bincount(number, difference[chosen], count + 1)
                    pairs[which] += np.bincount(number, minlength=count + 1)
        within, between = (sums / np.maximum(pairs, 1) + 1e-5)[:, 1:]
        best = np.maximum(best, between / within)
    return tuple(best.tolist())


def pick_target(made: Scene, generator: torch.Generator, faintest: float = 1.4) -> int:
    """A random object's number, from 1: small ones as often as large ones.

    Args:
        made: a scene.
        generator: a CPU generator; its state moves on.
        faintest: least visibility; if no object has it, the most visible one is taken.
    """
    able = [i for i, seen in enumerate(made.visibility, start=1) if seen >= faintest]
    u = float(torch.rand(1, generator=generator, dtype=torch.float64))
    if not able:
        return 1 + max(range(made.count), key=made.visibility.__getitem__)
    return able[min(int(u * len(able)), len(able) - 1)]


def outside_near(
    target: torch.Tensor, extent: tuple[int, int] | None = None, near: int = 8, far: int | None = None
) -> torch.Tensor:
    """The band around a target in which negative points are drawn.

    Args:
        target: (side, side) bool.
        extent: rows and columns that hold the image; None: all.
        near: distance in pixels up to which a point might still be meant as the target.
        far: width of the band; None: a third of the target's diameter (of a disc of its area), at least 24 pixels.

    Returns:
        (side, side) bool; the band is made of blocks of 4 x 4 pixels, and never touches the target.
    """
    if far is None:
        far = max(24, round(0.38 * float(target.sum()) ** 0.5))
    coarse = F.max_pool2d(target[None, None].float(), COARSE, ceil_mode=True)
    close = widest(coarse, max(1, round(near / COARSE)))
    band = (widest(close, max(1, round(far / COARSE))) > close)[0, 0]
    band = band.repeat_interleave(COARSE, 0).repeat_interleave(COARSE, 1)[: target.shape[0], : target.shape[1]]
    if extent is not None:
        band[extent[0] :] = False
        band[:, extent[1] :] = False
    return band
