"""Places and forms of the shapes of a scene: separate organs, crowds, the body (shape-aware module). No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_synthseg.generator.step import Rng

if TYPE_CHECKING:
    from napari_synthseg.generator.steps.scene_layout import Shapes

LOOKS = ("ct", "mr", "ultrasound", "xray", "microscopy")
"""The looks of a modality; the rest of the images are plain, with noise from the whole library."""
MOST_OBJECTS = 16
MOST_CELLS = 64
MOST_REGIONS = 26
OUTSIDE, GROUND, GAP, FIRST = 0, 1, 2, 3
"""Numbers of regions; from `FIRST` on labels or parts."""
Floats = tuple[float, ...]


@dataclass(frozen=True)
class Outline:
    """A closed curve of cubic Bezier segments; lengths are fractions of the image's longer side.

    `radius` is the mean distance of its control points from the center and `roughness` the relative deviation of these
    distances; `elongation` is length over width. `angle` is that of the long axis, `bend` the angle between its ends
    and its middle, radians. `anchors` counts the segments; `seed` is that of distances, angles and handles.
    """

    row: float
    column: float
    radius: float
    elongation: float
    angle: float
    bend: float
    roughness: float
    anchors: int
    seed: int


@dataclass(frozen=True)
class Part:
    """A filled outline (scale 1), or what lies inside it (less), of an object with a number from 1 on."""

    outline: Outline
    scale: float
    object: int

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Part:
        return cls(**{**params, "outline": Outline(**params["outline"])})

    def lies_in(self, before: Part) -> bool:
        """Return whether it lies near the middle of another part."""
        a, b = self.outline, before.outline
        return math.hypot(a.row - b.row, a.column - b.column) < 0.35 * b.radius and self.scale * a.radius < b.radius


def extent_of(rows: int, columns: int) -> tuple[float, float]:
    """Return both as fractions of the longer one."""
    return rows / max(rows, columns), columns / max(rows, columns)


def draw_body(rng: Rng, size: tuple[float, float], priors: Shapes) -> Outline:
    """Draw the outline that everything lies in, upright if the image (rows, columns) is."""
    turn = math.pi / 2 if size[0] > size[1] else 0.0
    row, column = size[0] * rng(0.46, 0.54), size[1] * rng(0.46, 0.54)
    radius = math.sqrt(size[0] * size[1]) * rng(0.38, 0.56)
    elongation, angle = max(size) / min(size) * rng.log(1.0, 1.25), turn + rng(-0.2, 0.2)
    roughness, anchors = 0.35 * rng(*priors.roughness), 8 + round(6 * rng())
    return Outline(row, column, radius, elongation, angle, 0.0, roughness, anchors, rng.seed())


def _shape(rng: Rng, row: float, column: float, radius: float, priors: Shapes) -> Outline:
    elongation = rng.log(*priors.elongation)
    bend, roughness = rng(*priors.bend), rng(*priors.roughness)
    angle, bend = rng(0, math.pi), bend if elongation > 1.4 else 0.0
    return Outline(row, column, radius, elongation, angle, bend, roughness * rng(), 5 + round(9 * rng()), rng.seed())


def draw_objects(rng: Rng, priors: Shapes, size: tuple[float, float], body: Outline | None) -> list[Part]:
    """Draw separate or overlapping shapes, larger ones first, with their walls, inclusions and nested objects."""
    count = max(1, round(rng(*priors.objects)))
    families = []
    for number in range(count):
        dice = rng.stream(str(number))
        radius = dice.log(*priors.object_size)
        away, turn = math.sqrt(dice()), 2 * math.pi * dice()
        u, v = dice(0.04, 0.96), dice(0.04, 0.96)
        if body is None:
            row, column = size[0] * u, size[1] * v
        else:
            a = 0.85 * max(0.1, body.radius - 0.5 * radius) * away
            x, y = a * math.cos(turn) * math.sqrt(body.elongation), a * math.sin(turn) / math.sqrt(body.elongation)
            c, s_ = math.cos(body.angle), math.sin(body.angle)
            row, column = body.row + c * y + s_ * x, body.column - s_ * y + c * x
        families.append((_shape(dice, row, column, radius, priors), dice))
    families.sort(key=lambda family: -family[0].radius)
    parts: list[Part] = []
    number = 0
    for outline, dice in families:
        number = owner = number + 1
        parts.append(Part(outline, 1.0, owner))
        wall, nested, spots = (dice.chance(p) for p in (priors.walls, priors.nested, priors.inclusions))
        thin = dice(0.75, 0.93)
        if wall:
            parts.append(Part(outline, thin, owner))
        inner = outline.radius / math.sqrt(outline.elongation)
        if spots and inner > 0.03:
            for _ in range(2 + round(6 * dice())):
                r = inner * dice(0.05, 0.16)
                a, turn = 0.65 * inner * math.sqrt(dice()), 2 * math.pi * dice()
                spot = _shape(dice, outline.row + a * math.sin(turn), outline.column + a * math.cos(turn), r, priors)
                parts.append(Part(spot, 1.0, owner))
        if nested and inner > 0.03:
            number += 1
            if dice.chance(0.4):  # a ring, like muscle around a ventricle
                parts.append(Part(outline, dice(0.45, 0.75), number))
            else:
                r, a, turn = inner * dice(0.3, 0.6), 0.3 * inner * dice(), 2 * math.pi * dice()
                child = _shape(dice, outline.row + a * math.sin(turn), outline.column + a * math.cos(turn), r, priors)
                parts.append(Part(child, 1.0, number))
    return parts


def draw_cells(rng: Rng, priors: Shapes, size: tuple[float, float]) -> list[Part]:
    """Draw a crowd of similar shapes on a jittered grid; some have a nucleus, which belongs to the cell."""
    across = rng.log(2.5, 9.0)
    radius = rng(0.25, 0.55) / across
    nucleus, present, jitter = rng.chance(0.3), rng(0.5, 1.0), rng(0.2, 0.8)
    parts: list[Part] = []
    for i in range(math.ceil(size[0] * across)):
        for j in range(math.ceil(size[1] * across)):
            if len({p.object for p in parts}) >= MOST_CELLS or not rng.chance(present):
                continue
            row, column = ((k + 0.5 + jitter * rng(-0.5, 0.5)) / across for k in (i, j))
            cell = _shape(rng, row, column, radius * rng(0.8, 1.2), priors)
            number = parts[-1].object + 1 if parts else 1
            parts.append(Part(cell, 1.0, number))
            if nucleus:
                parts.append(Part(cell, rng(0.3, 0.5), number))
    return parts
