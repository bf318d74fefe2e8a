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
    """A closed curve of cubic Bezier segments; lengths are fractions of the image's longer side."""

    row: float
    column: float
    radius: float
    """Mean distance of the control points from the center."""
    elongation: float
    """Length over width."""
    angle: float
    """Of the long axis, radians."""
    bend: float
    """Angle between the ends and the middle of the long axis, radians."""
    roughness: float
    """Relative standard deviation of the control points' distances from the center."""
    anchors: int
    """Number of segments of the curve."""
    seed: int
    """Of distances, angles and handles."""


@dataclass(frozen=True)
class Part:
    """A filled outline."""

    outline: Outline
    scale: float
    """1 for the outline itself, less for what lies inside it."""
    object: int
    """Number of the object it belongs to, from 1."""

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Part:
        return cls(**{**params, "outline": Outline(**params["outline"])})

    def lies_in(self, before: Part) -> bool:
        """Return whether it lies near the middle of another part."""
        a, b = self.outline, before.outline
        return math.hypot(a.row - b.row, a.column - b.column) < 0.35 * b.radius and self.scale * a.radius < b.radius


def draw_body(rng: Rng, size: tuple[float, float], priors: Shapes) -> Outline:
    upright = size[0] > size[1]
    ratio = max(size) / min(size)
    return Outline(
        row=size[0] * rng(0.46, 0.54),
        column=size[1] * rng(0.46, 0.54),
        radius=math.sqrt(size[0] * size[1]) * rng(0.38, 0.56),
        elongation=ratio * rng.log(1.0, 1.25),
        angle=(math.pi / 2 if upright else 0.0) + rng(-0.2, 0.2),
        bend=0.0,
        roughness=0.35 * rng(*priors.roughness),
        anchors=8 + round(6 * rng()),
        seed=rng.seed(),
    )


def _shape(rng: Rng, row: float, column: float, radius: float, priors: Shapes) -> Outline:
    elongation = rng.log(*priors.elongation)
    bend, roughness = rng(*priors.bend), rng(*priors.roughness)
    return Outline(
        row=row,
        column=column,
        radius=radius,
        elongation=elongation,
        angle=rng(0, math.pi),
        bend=bend if elongation > 1.4 else 0.0,
        roughness=roughness * rng(),
        anchors=5 + round(9 * rng()),
        seed=rng.seed(),
    )


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
