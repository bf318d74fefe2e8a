"""From a record to a scene: an image, its objects, and the target under a click (SynthFM, arXiv 2504.08177).

The image is made at the size it was acquired in and enlarged, as a real one would be, to SAM's 1024 x 1024. Objects are
connected, disjoint, and each of them can be a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cc3d
import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import GenerativeModel, Record, run
from napari_synthseg.generator.presets import shape_preset
from napari_synthseg.generator.shapes import curves, looks
from napari_synthseg.generator.shapes.layout import FIRST, GAP, GROUND, OUTSIDE, Floats, Outline, Part

if TYPE_CHECKING:
    from napari_synthseg.generator.steps.scene_structures import Piece

SIDE = 1024
SMALLEST, LARGEST = 0.0008, 0.4
"""Smallest and largest part of the image that a target may take."""
LARGEST_PIECE = 0.65
"""The same where pieces are painted over a scene."""
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
        return self.shape[0] / self.longer, self.shape[1] / self.longer

    def begin(self, shape: tuple[int, int]) -> None:
        """Fill the frame with ground."""
        self.regions = torch.full(shape, GROUND, dtype=torch.uint8, device=self.device)

    def bend(self, std: float, points: int, seed: int) -> None:
        grid = tuple(max(8, round(curves.FIELD_GRID * e)) for e in self.extent)
        self.bending = curves.diffeomorphism(std, points, seed, grid)  # type: ignore[arg-type]

    def paint_labels(self, count: int, grid: float, seed: int) -> None:
        """Paint a label map; its labels are objects, parted by the gaps."""
        labels = curves.touching_regions(count, grid, seed, self.bending, self.shape, self.device)
        self.regions = labels + FIRST
        self.labels = count
        self.owner[FIRST : FIRST + count] = np.arange(1, count + 1)
        if self.gaps:
            reach = torch.tensor([max(1, round(width * self.longer)) if width else 0 for width in self.gaps])
            self.regions.masked_fill_((reach == 0).to(self.device)[labels.int()], GROUND)
            self.regions.masked_fill_(curves.gaps(labels, reach), GAP)

    def paint_shapes(self, body: dict[str, Any] | None, parts: Sequence[dict[str, Any]]) -> None:
        """Paint shapes in their order, and nothing outside the body or an ultrasound probe's fan."""
        for index, part in enumerate(map(Part.of, parts), start=FIRST):
            self.owner[index] = part.object
            found = self._filled(part.outline, part.scale)
            if found is None:
                continue
            place, inside = found
            if self.setting == "cells" and self.gaps and part.scale == 1.0:
                rim = curves.widest(inside[None, None].float(), max(1, round(self.gaps[0] * self.longer)))[0, 0] > 0
                self.regions[place].masked_fill_(rim, GAP)
            self.regions[place].masked_fill_(inside, index)
        if body is not None:
            found = self._filled(Outline(**body))
            outside = torch.ones(self.shape, dtype=torch.bool, device=self.device)
            if found is not None:
                outside[found[0]] = ~found[1]
            self.regions.masked_fill_(outside, OUTSIDE)
        fan = self._fan()
        if fan is not None:
            self.regions.masked_fill_(~fan, OUTSIDE)

    def _filled(self, outline: Outline, scale: float = 1.0) -> tuple[tuple[slice, slice], torch.Tensor] | None:
        points = curves.moved(curves.curve(outline, scale), self.bending, self.extent)
        return curves.fill(points * self.longer, self.shape, self.device)

    def _fan(self) -> torch.Tensor | None:
        """(rows, columns) bool: what an ultrasound probe sees; None for all."""
        if self.look != "ultrasound":
            return None
        return looks.field_of_view(*self.shape, self.look_values, self.device)

    def join_levels(self, means: Floats) -> None:
        """Make labels of one intensity one object if no gaps part them."""
        if self.labels and not self.gaps:
            self.owner[FIRST : FIRST + self.labels] = np.unique(means[FIRST:], return_inverse=True)[1] + 1

    def fill(self, table: Sequence[Floats], cells: float, texture_seed: int, grain: float, noise_seed: int) -> None:
        """Fill regions with their intensity, gradients, texture and noise.

        Args:
            table: (5, R) mean, deviation of noise, deviation of texture, gradient down and to the right.
            cells: of the texture, along the longer side.
            texture_seed, noise_seed: of both.
            grain: correlation of the noise, pixels.
        """
        values = torch.tensor(table, device=self.device)
        mean, std, texture, down, right = values.index_select(1, self.regions.flatten().int()).view(5, *self.shape)
        rows, columns = looks.ramps(self.shape, self.device)
        self.image = mean + down * rows + right * columns
        self.image += texture * looks.fractal(self.shape, cells, texture_seed, self.device)
        self.image += std * looks.grainy(self.shape, grain, noise_seed, self.device)

    def paint_over(self, pieces: Sequence[Piece]) -> None:
        """Paint pieces of further objects over the image, in their order."""
        first, self.largest = int(self.owner.max()), LARGEST_PIECE
        for region, piece in enumerate(pieces, start=256 - len(pieces)):
            found = self._filled(piece.outline, piece.scale)
            if found is None or not found[1].any():
                continue
            place, inside = found
            below = self.image[place][inside]
            painted = piece.mean + piece.kept * (below - below.mean())
            self.image[place][inside] = torch.lerp(below, painted, piece.opacity)
            self.regions[place].masked_fill_(inside, region)
            self.owner[region] = first + piece.object

    def look_through(self, blur_px: float, shading: float, shading_points: int, shading_seed: int) -> None:
        """Blur, then what the modality makes of the image, then shading."""
        self.image = looks.blur(self.image, blur_px)
        if self.look in looks.MODALITIES:
            seen = looks.MODALITIES[self.look](self.image, self.look_values, self.look_seed)
            if self.look == "xray":  # no ribs in the air
                seen = torch.lerp(self.image, seen, looks.blur((self.regions != OUTSIDE).float(), blur_px))
            self.image = seen
        if shading > 0:
            field = looks.smooth_field(self.shape, shading_points, shading_seed, self.device)
            self.image *= (shading * field).exp_()

    def add_noises(self, names: Sequence[str], strengths: Floats, grain: float, seed: int) -> None:
        """Add noises of the library."""
        for i, (name, strength) in enumerate(zip(names, strengths, strict=True), start=2):
            self.image = looks.LIBRARY[name](self.image, strength, seed + 2 * i, grain)
        if self.look == "ct":  # the window cuts noise off as well: air stays black
            self.image = self.image.clamp(0, 1)

    def display(self, gamma: float, inverted: bool) -> None:
        """Rescale and raise to a power; an ultrasound scanner shows nothing beside the fan, not even noise."""
        self.image = looks.windowed(self.image).pow_(gamma)
        fan = self._fan()
        if fan is not None:
            self.image.masked_fill_(~fan, 0)
        elif inverted and self.look != "ultrasound":
            self.image = 1 - self.image

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
    """Measure how far each object's border stands out of noise and texture, on a grid of about 256 pixels.

    Args:
        image: (rows, columns).
        objects: (rows, columns) numbers, 0 to `count`; below 0 outside the body or the fan, whose edge does not count.
        count: how many objects there are.

    Returns:
        (count,) mean squared difference between neighbors on both sides of the border over that between neighbors
        within the object. Neighbors lie 2 or 4 pixels apart, whichever shows more: one of them ends in a narrow gap.
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
    """Draw an object's number, from 1: small ones as often as large ones.

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


def outside_near(target: torch.Tensor, extent: tuple[int, int] | None = None, near: int = 8) -> torch.Tensor:
    """Return the band around a target in which negative points are drawn.

    It is a third of the target's diameter (of a disc of its area) wide, at least 24 pixels.

    Args:
        target: (side, side) bool.
        extent: rows and columns that hold the image; None: all.
        near: distance in pixels up to which a point might still be meant as the target.

    Returns:
        (side, side) bool; the band is made of blocks of 4 x 4 pixels, and never touches the target.
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
