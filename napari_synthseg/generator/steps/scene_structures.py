"""Structures on which answers to clicks failed: large and even, of several parts, thin, seen through, crowded.

They are painted over a scene once its regions have their intensities, and are objects of their own. All are off by
default; the preset `hard-targets` has them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.shapes.layout import Outline, extent_of
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step

if TYPE_CHECKING:
    from napari_synthseg.generator.shapes.scenes import SceneState

Size = tuple[float, float]
MOST_PIECES = 100
LARGEST_PIECE = 0.65
"""Largest part of the image that a target may take where pieces are painted over a scene."""


@dataclass(frozen=True)
class Piece:
    """A filled outline that is painted over the image."""

    outline: Outline
    object: int
    """Number of the object it belongs to, from 1."""
    mean: float
    scale: float = 1.0
    """1 for the outline itself, less for what lies inside it."""
    kept: float = 0.2
    """How much of the texture below stays, as a fraction of its deviation from its mean."""
    opacity: float = 1.0
    """Less than 1: what lies below is seen through it."""


@dataclass(frozen=True)
class Structures(Step, name="structures", title="Hard targets", place=45, models=("shapes",)):
    """Paint structures that are hard to segment from a click."""

    columns: ClassVar[Columns] = {
        "hard targets": ("Kinds of hard targets in the scene.", lambda params: ", ".join(params["kinds"]))}  # fmt: skip

    large: Annotated[Probability, Info(label="Large")] = 0.0
    """How often one large target with an even inside lies in the scene."""
    large_area: Annotated[Range, Info(unit="of the image", above=0, high=1, step=0.01, slider=(0.01, 1))] = (0.08, 0.6)
    """Area of a large target, log-uniform."""
    compound: Annotated[Probability, Info(label="Of several parts")] = 0.0
    """How often targets of several parts with sharp edges between them lie in the scene, such as cells with nuclei."""
    branching: Probability = 0.0
    """How often a thin, branching target lies in the scene, such as a vessel."""
    translucent: Probability = 0.0
    """How often targets lie over each other and are seen through, as in X-ray."""
    crowd: Annotated[Probability, Info(label="Touching cells")] = 0.0
    """How often the scene is a crowd of cells that look alike and touch."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params | None:
        size = extent_of(**drawing.params("frame"))
        pieces: list[Piece] = []
        kinds = []
        for draw in (draw_crowd, draw_large, draw_compound, draw_branching, draw_translucent):
            kind = draw.__name__.removeprefix("draw_")
            if rng.chance(getattr(self, kind)):
                count = max((piece.object for piece in pieces), default=0)
                pieces += draw(rng.stream(kind), size, count, self)
                kinds.append(kind)
        if not pieces:
            return None
        return {"kinds": tuple(kinds), "pieces": tuple(asdict(piece) for piece in pieces[:MOST_PIECES])}

    @staticmethod
    def apply(scene: SceneState, *, kinds: tuple[str, ...], pieces: tuple[Params, ...]) -> None:
        """Paint the pieces over the image in their order, as further objects."""
        first, scene.largest = int(scene.owner.max()), LARGEST_PIECE
        for region, params in enumerate(pieces, start=256 - len(pieces)):
            piece = Piece(**{**params, "outline": Outline(**params["outline"])})
            found = scene.filled(piece.outline, piece.scale)
            if found is None or not found[1].any():
                continue
            place, inside = found
            below = scene.image[place][inside]
            painted = piece.mean + piece.kept * (below - below.mean())
            scene.image[place][inside] = below.lerp(painted, piece.opacity)
            scene.regions[place].masked_fill_(inside, region)
            scene.owner[region] = first + piece.object


def _outline(
    rng: Rng, row: float, column: float, radius: float, elongation: float = 1.0, rough: float = 0.2, angle: float = -1.0
) -> Outline:
    turn = rng(0, math.pi)
    angle = turn if angle < 0 else angle
    return Outline(row, column, radius, elongation, angle, 0.0, rough * rng(), 6 + round(6 * rng()), rng.seed())


def draw_large(rng: Rng, size: Size, count: int, priors: Structures) -> list[Piece]:
    """Draw one target that takes a large part of the image."""
    radius = math.sqrt(rng.log(*priors.large_area) * size[0] * size[1] / math.pi)
    row, column = size[0] * rng(0.3, 0.7), size[1] * rng(0.3, 0.7)
    outline = _outline(rng, row, column, radius, rng.log(1.0, 2.2), 0.3)
    return [Piece(outline, count + 1, rng(0.05, 0.95), kept=rng(0.0, 0.3))]


def draw_compound(rng: Rng, size: Size, count: int, priors: Structures) -> list[Piece]:
    """Draw targets with one to four sharp parts inside, which belong to them."""
    pieces = []
    for number in range(count + 1, count + 2 + rng.choice(4)):
        one = rng.stream(str(number))
        radius = one.log(0.05, 0.25)
        outline = _outline(one, size[0] * one(0.1, 0.9), size[1] * one(0.1, 0.9), radius, one.log(1.0, 1.8))
        outer = one(0.1, 0.9)
        pieces.append(Piece(outline, number, outer))
        for _ in range(1 + one.choice(4)):
            away, turn = radius * one(0, 0.45), 2 * math.pi * one()
            row, column = outline.row + away * math.sin(turn), outline.column + away * math.cos(turn)
            part = _outline(one, row, column, radius * one(0.15, 0.45), one.log(1.0, 1.6))
            pieces.append(Piece(part, number, min(max(outer + one(0.15, 0.6) * (1 if one.chance(0.5) else -1), 0), 1)))
    return pieces


def draw_branching(rng: Rng, size: Size, count: int, priors: Structures) -> list[Piece]:
    """Draw a thin tree: a trunk that divides two to four times."""
    mean, width, pieces = rng(0.05, 0.95), rng.log(0.006, 0.02), []
    ends = [(size[0] * rng(0.3, 0.7), size[1] * rng(0.3, 0.7), rng(0, 2 * math.pi), rng(0.15, 0.35))]
    for _ in range(2 + rng.choice(3)):
        further = []
        for row, column, angle, length in ends:
            down, right = math.sin(angle) * length, math.cos(angle) * length
            elongation = max(2.0, length / width)
            radius = 0.5 * length / math.sqrt(elongation)
            at = row + 0.5 * down, column + 0.5 * right
            pieces.append(Piece(_outline(rng, *at, radius, elongation, 0.1, angle % math.pi), count + 1, mean))
            for side in (-1, 1):
                turned = angle + side * rng(0.25, 0.9)
                further.append((row + 0.9 * down, column + 0.9 * right, turned, length * rng(0.55, 0.85)))
        ends = further[:8]
    return pieces


def draw_translucent(rng: Rng, size: Size, count: int, priors: Structures) -> list[Piece]:
    """Draw targets that lie over what is there, and over each other."""
    pieces = []
    for number in range(count + 1, count + 2 + rng.choice(3)):
        outline = _outline(rng, size[0] * rng(0.2, 0.8), size[1] * rng(0.2, 0.8), rng.log(0.08, 0.35), rng.log(1, 3))
        pieces.append(Piece(outline, number, rng(0.0, 1.0), kept=1.0, opacity=rng(0.15, 0.5)))
    return pieces


def draw_crowd(rng: Rng, size: Size, count: int, priors: Structures) -> list[Piece]:
    """Draw cells on a hexagonal grid that touch; a thin rim is all that tells them apart."""
    across = rng(3.0, 6.5)
    mean, rim = rng(0.2, 0.8), rng(0.04, 0.2) * (1 if rng.chance(0.5) else -1)
    spread, thin = rng(0.0, 0.04), rng(0.8, 0.93)
    pieces = []
    for i in range(math.ceil(size[0] * across)):
        for j in range(math.ceil(size[1] * across)):
            row, column = (i + 0.5) / across, (j + (0.25 if i % 2 else 0.75)) / across
            cell = _outline(rng, row, column, rng(0.48, 0.56) / across, rng.log(1.0, 1.25), 0.15)
            count += 1
            pieces += [Piece(cell, count, mean + rim), Piece(cell, count, mean + spread * rng(-1, 1), thin)]
    return pieces[: MOST_PIECES - MOST_PIECES % 2]
