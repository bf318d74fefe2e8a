"""Where the shapes of a scene lie and what form they have: separate organs, crowds, the body (shape-aware module)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from napari_synthseg.generator.shapes.curves import Outline
from napari_synthseg.generator.shapes.priors import MOST_CELLS, MOST_OBJECTS, ShapePriors


@dataclass(frozen=True)
class Part:
    """A filled outline."""

    outline: Outline
    scale: float
    """1 for the outline itself, less for what lies inside it."""
    object: int
    """Which object it belongs to, from 1."""


class Dice:
    """Uniform numbers from one seed, handed out one after another."""

    def __init__(self, seed: int, count: int) -> None:
        self._left = iter(
            torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
        )

    def __call__(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * next(self._left)

    def log(self, low: float, high: float) -> float:
        """Log-uniform."""
        low = max(low, 1e-6)
        return low * (max(high, low) / low) ** next(self._left)

    def chance(self, probability: float) -> bool:
        return next(self._left) < probability

    def seed(self) -> int:
        return int(next(self._left) * 2**52)


def draw_body(seed: int, size: tuple[float, float], priors: ShapePriors) -> Outline:
    dice = Dice(seed, 12)
    upright = size[0] > size[1]
    ratio = max(size) / min(size)
    return Outline(
        row=size[0] * dice(0.46, 0.54),
        column=size[1] * dice(0.46, 0.54),
        radius=math.sqrt(size[0] * size[1]) * dice(0.38, 0.56),
        elongation=ratio * dice.log(1.0, 1.25),
        angle=(math.pi / 2 if upright else 0.0) + dice(-0.2, 0.2),
        bend=0.0,
        roughness=0.35 * dice(*priors.roughness),
        anchors=8 + round(6 * dice()),
        seed=dice.seed(),
    )


def _shape(dice: Dice, row: float, column: float, radius: float, priors: ShapePriors) -> Outline:
    elongation = dice.log(*priors.elongation)
    bend, roughness = dice(*priors.bend), dice(*priors.roughness)
    return Outline(
        row=row,
        column=column,
        radius=radius,
        elongation=elongation,
        angle=dice(0, math.pi),
        bend=bend if elongation > 1.4 else 0.0,
        roughness=roughness * dice(),
        anchors=5 + round(9 * dice()),
        seed=dice.seed(),
    )


def draw_objects(seed: int, priors: ShapePriors, size: tuple[float, float], body: Outline | None) -> tuple[Part, ...]:
    """Separate or overlapping shapes, larger ones first; walls, inclusions and nested objects with them."""
    seeds = torch.randint(0, 2**62, (MOST_OBJECTS + 1,), generator=torch.Generator().manual_seed(seed)).tolist()
    count = max(1, round(Dice(seeds[0], 1)(*priors.objects)))
    families = []
    for s in seeds[1 : count + 1]:
        dice = Dice(s, 160)
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
        number += 1
        owner = number
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
    return tuple(parts)


def draw_cells(seed: int, priors: ShapePriors, size: tuple[float, float]) -> tuple[Part, ...]:
    """A crowd of alike shapes on a jittered grid; some have a nucleus, which belongs to the cell."""
    dice = Dice(seed, 16 + 20 * MOST_CELLS)
    across = dice.log(2.5, 9.0)
    radius = dice(0.25, 0.55) / across
    nucleus, present, jitter = dice.chance(0.3), dice(0.5, 1.0), dice(0.2, 0.8)
    parts: list[Part] = []
    for i in range(math.ceil(size[0] * across)):
        for j in range(math.ceil(size[1] * across)):
            if len({p.object for p in parts}) >= MOST_CELLS or not dice.chance(present):
                continue
            row, column = ((k + 0.5 + jitter * dice(-0.5, 0.5)) / across for k in (i, j))
            cell = _shape(dice, row, column, radius * dice(0.8, 1.2), priors)
            number = parts[-1].object + 1 if parts else 1
            parts.append(Part(cell, 1.0, number))
            if nucleus:
                parts.append(Part(cell, dice(0.3, 0.5), number))
    return tuple(parts)
