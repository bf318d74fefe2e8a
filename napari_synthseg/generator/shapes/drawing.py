"""One draw of a scene of shapes: its params, each topic from its own stream. No torch here.

Regions are numbered: 0 outside the body, 1 the body or the ground, 2 the gaps, and from 3 on the labels of the label
map or the parts of the shapes, in the order in which they are painted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from napari_synthseg.generator.shapes.layout import (
    LOOKS,
    MOST_REGIONS,
    Outline,
    Part,
    draw_body,
    draw_cells,
    draw_objects,
)
from napari_synthseg.generator.step import Params, Rng

if TYPE_CHECKING:
    from napari_synthseg.generator.model import Record
    from napari_synthseg.generator.steps.scene import ScenePriors

OUTSIDE, GROUND, GAP, FIRST = 0, 1, 2, 3
NOISES = ("gaussian", "poisson", "perlin", "speckle", "rician")
"""The paper's library."""

Floats = tuple[float, ...]


@dataclass(frozen=True)
class DrawnScene:
    """Params of one scene; lengths are fractions of the longer side, intensities lie in [0, 1]."""

    module: str
    """"shape" or "boundary": which of SynthFM's modules."""
    setting: str
    """"body", "ground" (nothing is empty) or "cells"."""
    look: str
    """"plain" or one of `LOOKS`."""
    look_values: Floats
    """(12,) uniform numbers in [0, 1] that a look makes its own parameters from."""
    look_seed: int
    rows: int
    columns: int
    """Size as acquired, pixels."""
    warp: float
    warp_points: int
    warp_seed: int
    body: Outline | None
    regions: int
    """Labels of the label map; 0 in the shape-aware module."""
    region_grid: float
    region_seed: int
    gaps: Floats
    """Width eroded from each label, 0 for labels that are ground; in a crowd, one number for all cells; empty where
    there are no gaps."""
    parts: tuple[Part, ...]
    """Shapes in the order they are painted."""
    means: Floats
    """(R,) intensity of every region."""
    noise_stds: Floats
    """(R,) standard deviation of white noise."""
    textures: Floats
    """(R,) standard deviation of Perlin texture."""
    row_gradients: Floats
    """(R,) change of intensity along the rows' direction."""
    column_gradients: Floats
    texture_cells: float
    texture_seed: int
    noises: tuple[str, ...]
    """Which noise of the library, in the order applied."""
    noise_strengths: Floats
    grain: float
    """Correlation of the noise, pixels."""
    noise_seed: int
    shading: float
    shading_points: int
    shading_seed: int
    blur_px: float
    gamma: float
    inverted: bool

    @classmethod
    def of(cls, record: Record) -> DrawnScene:
        """Return the params of a scene's record."""
        drawn = record["scene"]
        parts = tuple(Part(**{**part, "outline": Outline(**part["outline"])}) for part in drawn["parts"])
        body = None if drawn["body"] is None else Outline(**drawn["body"])
        return cls(**{**drawn, "parts": parts, "body": body})


def draw_scene(priors: ScenePriors, rng: Rng) -> Params:
    """Draw the params of a scene, the fields of `DrawnScene`.

    Every topic (module, geometry, intensities, acquisition) has a stream of its own, so that changing one prior changes
    little else.

    Args:
        priors: the hyperparameters.
        rng: stream of the scene.
    """
    first, acquisition = rng.stream("module"), rng.stream("acquisition")
    boundary = first.chance(priors.boundary_aware)
    look = _look(priors, first())
    body_u, cells_u = first(), first()
    if boundary or not cells_u < priors.cells * (5 if look == "microscopy" else 1):
        likely = {"ct": 0.9, "ultrasound": 0.25 * priors.body, "microscopy": 0.2 * priors.body}.get(look, priors.body)
        setting = "body" if priors.body > 0 and body_u < likely else "ground"
    else:
        setting = "cells"
    longer = round(acquisition.log(*priors.acquired_px))
    shorter = max(32, round(longer * acquisition(*priors.aspect)))
    rows, columns = (longer, shorter) if acquisition.chance(0.35) else (shorter, longer)
    size = (rows / longer, columns / longer)
    body = draw_body(rng.stream("body"), size, priors) if setting == "body" else None
    parts: tuple[Part, ...] = ()
    regions = 0
    geometry = rng.stream("geometry")
    region_grid = geometry(*priors.region_grid)
    warp = geometry(*priors.warp)
    warp_points = 3 + round(6 * geometry())
    similar, with_gaps = geometry.chance(priors.similar), geometry.chance(priors.gap_chance)
    count = round(geometry(*priors.regions))
    three = [geometry(*priors.gap) for _ in range(3)]  # each width costs two dilations of the label map
    widths = [three[min(int(3 * geometry()), 2)] for _ in range(MOST_REGIONS)]
    share = geometry(*priors.ground_share)
    widths = [width if i == 0 or not geometry.chance(share) else 0.0 for i, width in enumerate(widths)]
    if boundary:
        regions = count
        gaps: Floats = tuple(widths[:count]) if similar or with_gaps else ()
    elif setting == "cells":
        parts = draw_cells(rng.stream("shapes"), priors, size)
        gaps = (widths[0],) if with_gaps else ()
    else:
        parts = draw_objects(rng.stream("shapes"), priors, size, body)
        gaps = ()
    kind = "" if not boundary else "similar" if similar else "free" if gaps else "levels"
    table, spread = draw_intensities(rng.stream("intensities"), priors, setting, look, regions, parts, kind)
    noises, strengths = draw_noises(acquisition, priors, look, spread)
    look_values, seeds = rng.stream("look"), rng.stream("seeds")
    drawn = DrawnScene(
        module="boundary" if boundary else "shape",
        setting=setting,
        look=look,
        look_values=tuple(look_values() for _ in range(12)),
        look_seed=seeds.seed(),
        rows=rows,
        columns=columns,
        warp=warp,
        warp_points=warp_points,
        warp_seed=seeds.seed(),
        body=body,
        regions=regions,
        region_grid=region_grid,
        region_seed=seeds.seed(),
        gaps=gaps,
        parts=parts,
        means=table[0],
        noise_stds=table[1],
        textures=table[2],
        row_gradients=table[3],
        column_gradients=table[4],
        texture_cells=acquisition.log(*priors.texture_grid),
        texture_seed=seeds.seed(),
        noises=noises,
        noise_strengths=strengths,
        grain=max(0.0, acquisition(-0.6, 1.3)),
        noise_seed=seeds.seed(),
        shading=acquisition(*priors.shading) * (1.0 if look == "mr" else 0.5),
        shading_points=2 + round(2 * acquisition()),
        shading_seed=seeds.seed(),
        blur_px=acquisition(*priors.blur_px),
        gamma=math.exp(priors.gamma_log_std * (acquisition() + acquisition() + acquisition() - 1.5) * 2),
        inverted=acquisition.chance(priors.inverted if look != "ultrasound" else 0.0),
    )
    return asdict(drawn)


def _look(priors: ScenePriors, u: float) -> str:
    for name in LOOKS:
        u -= getattr(priors, name)
        if u < 0:
            return name
    return "plain"


# Contrast modulation


def draw_intensities(
    dice: Rng,
    priors: ScenePriors,
    setting: str,
    look: str,
    regions: int,
    parts: tuple[Part, ...],
    kind: str,
) -> tuple[tuple[Floats, ...], float]:
    """Draw means, noise, texture and gradients of every region, and the typical contrast of the scene.

    `kind` is for label maps: "similar" (near-identical, with gaps), "free" (independent, with gaps) or "levels"
    (without gaps: labels share a few intensities that can be told apart, and touching ones of the same intensity are
    one region).
    """
    common = dice()
    typical = _log_between(priors.contrast, common)
    empty = -0.6 if look == "ct" else dice(0.0, 0.12)  # air is black in every CT window
    ground = dice(0.2, 0.8)
    weakest = max(priors.gap_contrast[0], min(0.15, priors.gap_contrast[1]) if look == "ultrasound" else 0.0)
    gap = _contrasted(dice, ground, dice.log(weakest, priors.gap_contrast[1]))
    means = [empty, ground, gap]
    level_of = list(range(max(regions, len(parts))))
    if kind == "similar":
        means += [ground + 0.5 * priors.contrast[0] * dice(-1, 1) for _ in range(regions)]
        typical = abs(gap - ground)
    elif kind == "free":
        means += [
            _contrasted(dice, ground, _log_between(priors.contrast, 0.5 * (common + dice()))) for _ in range(regions)
        ]
        typical = max(typical, abs(gap - ground))
    elif kind == "levels":
        steps = 2 + min(int(5 * dice()), regions - 2)
        apart = min(max(1.2 * typical, 0.15 if look == "ultrasound" else 0.05), 0.9 / steps)
        lowest = dice(0.05, 0.98 - apart * (steps - 0.6))
        levels = [lowest + apart * (k + 0.4 * dice()) for k in range(steps)]
        level_of = [min(int(steps * dice()), steps - 1) for _ in range(regions)]
        means += [levels[k] for k in level_of]
        typical = 0.6 * apart
    elif setting == "cells":
        means += _cell_means(dice, parts, ground, typical)
        means[GAP] = ground
    else:
        means += _part_means(dice, parts, ground, look, lambda u: _log_between(priors.contrast, 0.5 * (common + u)))
    n = len(means)
    alike = dice.chance(0.4)  # one tissue: texture does not give regions away
    noise, texture = dice(*priors.region_noise), dice(*priors.texture)

    def slope() -> float:
        return dice(*priors.gradient) * (1.0 if dice.chance(0.5) else -1.0)

    rows, columns = slope(), slope()
    stds = [noise if alike else dice(*priors.region_noise) for _ in range(n)]
    textures = [texture if alike else dice(*priors.texture) * dice() for _ in range(n)]
    limit = 0.5 * typical + 0.005
    textures = [min(t, limit) for t in textures]
    down = [rows if alike else 0.5 * slope() for _ in range(n)]
    right = [columns if alike else 0.5 * slope() for _ in range(n)]
    for values in (stds, textures, down, right):
        values[OUTSIDE] = 0.0
        if kind == "levels":
            values[FIRST:] = [values[FIRST + k] for k in level_of]
    return (tuple(means), tuple(stds), tuple(textures), tuple(down), tuple(right)), typical


def _log_between(bounds: tuple[float, float], u: float) -> float:
    return bounds[0] * (bounds[1] / bounds[0]) ** u


def _contrasted(dice: Rng, around: float, contrast: float) -> float:
    """Draw an intensity that differs by the contrast, of random sign unless that leaves [0.02, 1]."""
    sign = 1.0 if dice.chance(0.5) else -1.0
    if not 0.02 <= around + sign * contrast <= 1.0:
        sign = -sign
    return min(max(around + sign * contrast, 0.0), 1.1)


def _cell_means(dice: Rng, parts: tuple[Part, ...], ground: float, typical: float) -> list[float]:
    sign = 1.0 if (dice.chance(0.6) and ground + typical < 1) or ground < typical else -1.0
    core = dice(-0.3, 0.3)
    spread = 0.4 * dice()
    found: dict[int, float] = {}
    means = []
    for part in parts:
        level = found.setdefault(part.object, ground + sign * typical * (1 + spread * dice(-1, 1)))
        means.append(level if part.scale == 1.0 else level + core * typical)
    return means


def _part_means(
    dice: Rng, parts: tuple[Part, ...], ground: float, look: str, contrast: Callable[[float], float]
) -> list[float]:
    """Draw objects against the ground; walls, spots and nested objects against what they lie in."""
    means: list[float] = []
    first: dict[int, float] = {}
    last = ground
    for part in parts:
        new = part.object not in first
        nested = new and bool(means) and _inside(part, parts[len(means) - 1])
        around = ground if new and not nested else last
        level = _contrasted(dice, around, contrast(dice()) * (1.0 if new else 0.7))
        special = dice()
        if look == "ct" and new and special < 0.15:
            level = 1.25 if special < 0.1 else -0.4  # bone; gas
        means.append(level)
        if new:
            first[part.object] = last = level
        elif part.scale < 1.0:
            last = level  # inside a wall
    return means


def _inside(part: Part, before: Part) -> bool:
    a, b = part.outline, before.outline
    return math.hypot(a.row - b.row, a.column - b.column) < 0.35 * b.radius and part.scale * a.radius < b.radius


def draw_noises(dice: Rng, priors: ScenePriors, look: str, spread: float) -> tuple[tuple[str, ...], Floats]:
    """Draw one to three noises of the library, or those a look is known for, never stronger than the contrast."""
    strongest = max(spread, priors.noise[0])
    order = sorted(NOISES, key=lambda _: dice())
    count = 1 + round(2 * dice() ** 2)
    strengths = [min(dice.log(*priors.noise), strongest) for _ in NOISES]
    names = {
        "ct": ("gaussian",),
        "mr": ("rician",),
        "xray": ("poisson",),
        "microscopy": ("poisson", "gaussian"),
        "ultrasound": ("gaussian",),
    }.get(look, tuple(order[:count]))
    if look == "ultrasound":
        strengths = [0.25 * s for s in strengths]
    return names, tuple(strengths[: len(names)])
