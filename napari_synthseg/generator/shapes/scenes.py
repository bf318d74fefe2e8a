"""From a record to a scene: an image, its objects, and the target under a click (SynthFM, arXiv 2504.08177).

The image is made at the size it was acquired in and enlarged, as a real one would be, to SAM's 1024 x 1024. Objects are
connected, disjoint, and each of them can be a target.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cc3d
import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import GenerativeModel, Record, run
from napari_synthseg.generator.presets import shape_preset
from napari_synthseg.generator.shapes import curves, looks
from napari_synthseg.generator.shapes.layout import GROUND, OUTSIDE, Floats, Outline, extent_of

SIDE = 1024
SMALLEST, LARGEST = 0.0008, 0.4
"""Smallest and largest part of the image that a target may take."""
COARSE = 4
"""Pixels of the grid on which bands around targets are found."""


@dataclass(frozen=True)
class Scene:
    """A synthetic image with its objects."""

    image: torch.Tensor
    """(side, side) float32 in [0, 1]; 0 beyond the extent."""
    objects: torch.Tensor
    """(side, side) int16 on the same device; 0 is background, every other value one connected region, from 1 on."""
    count: int
    """Number of objects, never 0."""
    visibility: tuple[float, ...]
    """(count,) how far each object's border stands out, see `visibility_of`: 1 is invisible, 2 is plain."""
    extent: tuple[int, int]
    """Rows and columns of the square that hold the image, from the first on; the rest is padding."""
    record: Record

    def target(self, number: int) -> torch.Tensor:
        """(side, side) bool mask of one object, from 1."""
        return self.objects == number


@dataclass
class SceneState:
    """A scene in the making, at the size it is acquired in; steps change it in place."""

    device: torch.device | str = "cpu"
    setting: str = "ground"
    """"body", "ground" (nothing is empty) or "cells"."""
    look: str = "plain"
    look_values: Floats = ()
    look_seed: int = 0
    gaps: Floats = ()
    labels: int = 0
    """Labels of the label map, 0 without one."""
    bending: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """(2, h, w) displacement of everything, as a fraction of the longer side."""
    regions: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """(rows, columns) uint8: 0 outside, 1 ground, 2 gaps, from 3 on labels or parts."""
    owner: np.ndarray = field(default_factory=lambda: np.zeros(256, np.uint8))
    """Object of each region; 0 for none."""
    image: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """(rows, columns) float32."""
    largest: float = LARGEST
    """Largest part of the image that a target may take."""

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.regions.shape
        return rows, columns

    @property
    def longer(self) -> int:
        """Pixels along the longer side."""
        return max(self.shape)

    @property
    def extent(self) -> tuple[float, float]:
        """Rows and columns as fractions of the longer side."""
        return extent_of(*self.shape)

    def filled(self, outline: Outline, scale: float = 1.0) -> tuple[tuple[slice, slice], torch.Tensor] | None:
        """Return the part of the scene that holds an outline, bent, and a bool mask of that part; None outside."""
        points = curves.moved(curves.curve(outline, scale), self.bending, self.extent)
        return curves.fill(points * self.longer, self.shape, self.device)

    def fan(self) -> torch.Tensor | None:
        """Return (rows, columns) bool: what an ultrasound probe sees; None for all."""
        if self.look != "ultrasound":
            return None
        return looks.field_of_view(*self.shape, self.look_values, self.device)

    def connected_objects(self) -> tuple[torch.Tensor, int]:
        """Number the connected parts of every object that have the size of a target.

        Returns:
            (rows, columns) int32 on the regions' device, and how many there are. If nothing has the right size, the
            largest part is the one object.
        """
        painted, owner = self.regions.cpu().numpy(), self.owner
        if not owner[painted].any():  # all shapes lie outside the body or the fan: the body is what there is
            owner = np.where(np.arange(256) >= GROUND, 1, owner).astype(np.uint8)
        found = cc3d.connected_components(owner[painted], connectivity=4)
        sizes = np.bincount(found.ravel())
        sizes[0] = 0
        kept = (sizes >= SMALLEST * found.size) & (sizes <= self.largest * found.size)
        if not kept.any():
            kept[sizes.argmax()] = sizes.max() > 0
        table = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
        return torch.from_numpy(table[found]).to(self.regions.device), int(kept.sum())


def scene(
    priors: GenerativeModel | None = None, seed: int = 0, device: str | torch.device = "cpu", side: int = SIDE
) -> Scene:
    """Draw and apply in one call; by default with the preset both."""
    return apply_scene((priors or shape_preset("both")).sample(seed=seed), device, side)


def apply_scene(record: Record, device: str | torch.device = "cpu", side: int = SIDE) -> Scene:
    """Make the square image (`side` pixels) of a record.

    Regions are the same on every device but for single pixels at borders; white noise is each device's own.

    Raises:
        InputError: the device is not there, or `side` is below 64.
    """
    if side < 64:
        raise InputError(f"A scene needs a side of at least 64 pixels, not {side}.")
    made = run(record, SceneState(resolve_device(device) if isinstance(device, str) else device))
    found, count = made.connected_objects()
    (rows, columns), longer = made.shape, made.longer
    extent = (round(rows * side / longer), round(columns * side / longer))
    large = F.interpolate(made.image[None, None], size=extent, mode="bilinear", antialias=longer > side)[0, 0]
    numbers = F.interpolate(found[None, None].float(), size=extent, mode="nearest")[0, 0].to(torch.int16)
    pad = (0, side - extent[1], 0, side - extent[0])
    seen = visibility_of(made.image, found.masked_fill(made.regions == OUTSIDE, -1), count)
    return Scene(F.pad(large.clamp_(0, 1), pad), F.pad(numbers, pad), count, seen, extent, record)


def visibility_of(image: torch.Tensor, objects: torch.Tensor, count: int) -> tuple[float, ...]:
    """Measure how far the border of each of `count` objects stands out, on a grid of about 256 pixels.

    `objects` are numbers (rows, columns), below 0 outside the body or the fan, whose edge does not count. Measured is
    the mean squared difference between neighbors on both sides of the border over that within the object. Neighbors
    lie 2 or 4 pixels apart, whichever shows more: one of them ends in a narrow gap.
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
    """Draw an object's number, from 1, of those with the least visibility `faintest`, or take the most visible one."""
    able = [i for i, seen in enumerate(made.visibility, start=1) if seen >= faintest]
    u = float(torch.rand(1, generator=generator, dtype=torch.float64))
    if not able:
        return 1 + max(range(made.count), key=made.visibility.__getitem__)
    return able[min(int(u * len(able)), len(able) - 1)]


def outside_near(target: torch.Tensor, extent: tuple[int, int] | None = None, near: int = 8) -> torch.Tensor:
    """Return the band (side, side) around a target in which negative points are drawn, bool.

    It is a third of the diameter of a disc of the target's area wide, at least 24 pixels, and made of blocks of 4 x 4
    pixels in the image's extent. It begins after `near` pixels, up to which a point might be meant as the target.
    """
    far = max(24, round(0.38 * float(target.sum()) ** 0.5))
    coarse = F.max_pool2d(target[None, None].float(), COARSE, ceil_mode=True)
    close = curves.widest(coarse, max(1, round(near / COARSE)))
    band = (curves.widest(close, max(1, round(far / COARSE))) > close)[0, 0]
    band = band.repeat_interleave(COARSE, 0).repeat_interleave(COARSE, 1)[: target.shape[0], : target.shape[1]]
    if extent is not None:
        band[extent[0] :] = False
        band[:, extent[1] :] = False
    return band
