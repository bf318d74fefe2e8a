"""One draw of a scene of shapes: its params, each topic from its own stream. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from napari_synthseg.generator.shapes.contrasts import Floats, draw_intensities, draw_noises
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
