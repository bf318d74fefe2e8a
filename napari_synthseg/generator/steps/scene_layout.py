"""Layout of scenes of shapes for promptable segmentation: SynthFM's two modules and what lies where.

SynthFM (arXiv 2504.08177) gives its method in words and hardly any numbers: the ranges are ours. No real image enters a
scene. Two ranges, `object_size` and `region_grid`, were widened after answers on real images had shown that large
things came out too small; synthetic scenes alone choose the same (docs/training-log.md). The others were chosen
without looking at any. Lengths are fractions of the image's longer side unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.shapes import layout
from napari_synthseg.generator.shapes.layout import FIRST, GAP, GROUND, LOOKS, OUTSIDE, Floats, Outline, Part
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.shapes.scenes import SceneState

SIDE = Info(unit="of the longer side")
MODALITY = Info(group="Modalities")


@dataclass(frozen=True)
class Module(Step, name="module", title="Modules", place=0, models=("shapes",)):
    """Choose SynthFM's module, the setting and the modality."""

    columns: ClassVar[Columns] = {
        "module": ("Which of SynthFM's modules: separate shapes, or a label map of touching regions (boundary).",
                   cell("module")),
        "setting": ("A body with nothing around it, a ground that fills the image, or a crowd of cells.",
                    cell("setting")),
        "looks like": ("The modality, or plain.", cell("look")),
    }  # fmt: skip

    boundary_aware: Annotated[Probability, Info(label="Boundary-aware")] = 0.5
    """How often the scene is a label map of touching regions (boundary-aware module); the others are separate shapes
    from closed Bezier curves (shape-aware module)."""
    body: Probability = 0.6
    """How often everything lies in a body with an empty background around it."""
    ct: Annotated[Probability, MODALITY, Info(label="CT")] = 0.16
    """How often the scene looks like CT: windowed, air black, bone bright, fine noise."""
    mr: Annotated[Probability, MODALITY, Info(label="MR")] = 0.2
    """How often it looks like MR: Rician noise and a bias field."""
    ultrasound: Annotated[Probability, MODALITY] = 0.24
    """How often it looks like ultrasound: speckle, shadows, depth, often a fan."""
    xray: Annotated[Probability, MODALITY, Info(label="X-ray")] = 0.08
    """How often it looks like X-ray: structures that are seen through each other, Poisson noise."""
    microscopy: Annotated[Probability, MODALITY] = 0.12
    """How often it looks like light microscopy: uneven light, halos, or glowing objects on black."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(getattr(self, name) for name in LOOKS) > 1 + 1e-9:
            raise InputError(f"The probabilities of {', '.join(LOOKS)} must not exceed 1 together.")

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        boundary, look = rng.chance(self.boundary_aware), self._look(rng())
        body, cells = rng(), rng()
        likely = {"ct": 0.9, "ultrasound": 0.25 * self.body, "microscopy": 0.2 * self.body}.get(look, self.body)
        setting = "body" if self.body > 0 and body < likely else "ground"
        if not boundary and cells < drawing.step("shapes").cells * (5 if look == "microscopy" else 1):
            setting = "cells"
        return {
            "module": "boundary" if boundary else "shape",
            "setting": setting,
            "look": look,
            "look_values": tuple(rng() for _ in range(12)),
            "look_seed": rng.seed(),
        }

    def _look(self, u: float) -> str:
        for name in LOOKS:
            u -= getattr(self, name)
            if u < 0:
                return name
        return "plain"

    @staticmethod
    def apply(scene: SceneState, *, module: str, setting: str, look: str, look_values: Floats, look_seed: int) -> None:
        """Remember the choice; a look makes its own parameters from 12 uniform numbers in [0, 1]."""
        scene.setting, scene.look, scene.look_values, scene.look_seed = setting, look, look_values, look_seed


@dataclass(frozen=True)
class SceneFrame(Step, name="frame", title="Acquisition", place=5, models=("shapes",)):
    """Choose the size of the image as acquired, in pixels."""

    columns: ClassVar[Columns] = {
        "acquired": ("Rows and columns as acquired, pixels.", lambda params: f"{params['rows']} x {params['columns']}")
    }

    acquired_px: Annotated[Range, Info(unit="pixels", low=64, high=1024, step=16, label="Acquired size")] = (160, 1024)
    """Longer side of the image as it was acquired, log-uniform; it is enlarged to the size asked for."""
    aspect: Annotated[Range, Info(low=0.25, high=1, step=0.05)] = (0.65, 1.0)
    """Shorter side over the longer one."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        longer = round(rng.log(*self.acquired_px))
        shorter = max(32, round(longer * rng(*self.aspect)))
        rows, columns = (longer, shorter) if rng.chance(0.35) else (shorter, longer)
        return {"rows": rows, "columns": columns}

    @staticmethod
    def apply(scene: SceneState, *, rows: int, columns: int) -> None:
        """Begin with a ground that fills the image."""
        import torch

        scene.regions = torch.full((rows, columns), GROUND, dtype=torch.uint8, device=scene.device)


@dataclass(frozen=True)
class Warp(Step, name="warp", title="Modules", place=10, models=("shapes",)):
    """Draw the random diffeomorphism that bends everything."""

    columns: ClassVar[Columns] = {
        "warp": ("Standard deviation of the velocity field, of the longer side.", cell("warp", 3))
    }

    warp: Annotated[Range, SIDE, Info(low=0, slider=(0, 0.2), step=0.005)] = (0.0, 0.05)
    """Standard deviation of the velocity field of the random diffeomorphism that bends everything."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        return {"warp": rng(*self.warp), "warp_points": 3 + round(6 * rng()), "warp_seed": rng.seed()}

    @staticmethod
    def apply(scene: SceneState, *, warp: float, warp_points: int, warp_seed: int) -> None:
        """Integrate the velocity field."""
        from napari_synthseg.generator.shapes import curves

        rows, columns = (max(8, round(curves.FIELD_GRID * e)) for e in scene.extent)
        scene.bending = curves.diffeomorphism(warp, warp_points, warp_seed, (rows, columns))


@dataclass(frozen=True)
class Regions(Step, name="regions", title="Label map", place=20, models=("shapes",)):
    """Draw the label map of the boundary-aware module, and its gaps."""

    columns: ClassVar[Columns] = {
        "labels": ("Number of labels of the label map; objects are their connected parts.", cell("regions")),
        "gap": ("Widest gap between neighbors, of the longer side; 0: none.",
                lambda params: round(max(params["gaps"], default=0.0), 4)),
    }  # fmt: skip

    regions: Annotated[Range, Info(low=2, high=layout.MOST_REGIONS, step=1, label="Labels")] = (4, 20)
    """Number of labels of the label map."""
    region_grid: Annotated[Range, Info(unit="points", low=2, high=32, step=0.5, label="Grid")] = (2.0, 9.0)
    """Control points of each label's smooth random field along the longer side: more of them, smaller regions."""
    gap: Annotated[Range, SIDE, Info(low=0, slider=(0, 0.04), step=0.001)] = (0.002, 0.01)
    """Width eroded from a region where it touches another one; the gap is background."""
    ground_share: Annotated[Range, Info(low=0, high=1, step=0.05, label="Ground")] = (0.0, 0.6)
    """Fraction of the labels that are ground and no objects, if there are gaps: outlined objects in one tissue."""
    gap_chance: Annotated[Probability, Info(label="Gaps")] = 0.5
    """How often regions of different intensity have gaps between them; similar ones always have."""
    similar: Probability = 0.5
    """How often regions are near-identical on both sides of their gaps."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        module = drawing.params("module")
        grid, similar, with_gaps = rng(*self.region_grid), rng.chance(self.similar), rng.chance(self.gap_chance)
        count = round(rng(*self.regions))
        three = [rng(*self.gap) for _ in range(3)]  # each width costs two dilations of the label map
        widths = [three[rng.choice(3)] for _ in range(layout.MOST_REGIONS)]
        share = rng(*self.ground_share)
        widths = [width if i == 0 or not rng.chance(share) else 0.0 for i, width in enumerate(widths)]
        boundary = module["module"] == "boundary"
        gaps: Floats = ()
        if boundary and (similar or with_gaps):
            gaps = tuple(widths[:count])
        elif module["setting"] == "cells" and with_gaps:
            gaps = (widths[0],)
        return {
            "regions": count if boundary else 0,
            "region_grid": grid,
            "region_seed": rng.seed(),
            "gaps": gaps,
            "kind": "" if not boundary else "similar" if similar else "free" if gaps else "levels",
        }

    @staticmethod
    def apply(
        scene: SceneState, *, regions: int, region_grid: float, region_seed: int, gaps: Floats, kind: str = ""
    ) -> None:
        """Paint the label map and its gaps.

        `gaps` are the widths eroded from each label, 0 for labels that are ground; in a crowd one number for all cells;
        empty for none. `kind` says how intensities go with that, see `Intensities`.
        """
        import numpy as np
        import torch

        from napari_synthseg.generator.shapes import curves

        scene.gaps, scene.labels = gaps, regions
        if not regions:
            return
        labels = curves.touching_regions(regions, region_grid, region_seed, scene.bending, scene.shape, scene.device)
        scene.regions = labels + FIRST
        scene.owner[FIRST : FIRST + regions] = np.arange(1, regions + 1)
        if gaps:
            reach = torch.tensor([max(1, round(width * scene.longer)) if width else 0 for width in gaps])
            scene.regions.masked_fill_((reach == 0).to(scene.device)[labels.int()], GROUND)
            scene.regions.masked_fill_(curves.gaps(labels, reach), GAP)


@dataclass(frozen=True)
class Shapes(Step, name="shapes", title="Shapes", place=30, models=("shapes",)):
    """Draw the separate shapes of the shape-aware module, and the body of both."""

    columns: ClassVar[Columns] = {
        "shapes": ("Number of separate shapes.", lambda params: len({part["object"] for part in params["parts"]}))
    }

    objects: Annotated[Range, Info(low=1, high=layout.MOST_OBJECTS, step=1, label="Shapes")] = (2, 12)
    """Number of shapes in a scene."""
    object_size: Annotated[Range, SIDE, Info(above=0, slider=(0.005, 0.4), step=0.005, label="Radius")] = (0.02, 0.35)
    """Mean radius of a shape, log-uniform."""
    elongation: Annotated[Range, Info(above=0, slider=(1, 8), step=0.1)] = (1.0, 3.0)
    """Ratio of a shape's length to its width, log-uniform."""
    bend: Annotated[Range, Info(unit="radians", low=0, slider=(0, 3), step=0.1)] = (0.0, 1.2)
    """Angle between the ends and the middle of an elongated shape."""
    roughness: Annotated[Range, Info(low=0, slider=(0, 1), step=0.05)] = (0.0, 0.4)
    """Relative standard deviation of the control points' distance from the center: 0 is an ellipse, more has lobes."""
    nested: Probability = 0.35
    """How often a shape holds another one, which is an object of its own and leaves a hole in the outer one."""
    inclusions: Annotated[Probability, Info(label="Spots")] = 0.25
    """How often a shape holds spots or vessels of other intensity that belong to it."""
    walls: Probability = 0.25
    """How often a shape has a wall of another intensity, which belongs to it."""
    cells: Annotated[Probability, Info(label="Crowds")] = 0.12
    """How often a shape-aware scene is a crowd of small, similar shapes."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        module, size = drawing.params("module"), layout.extent_of(**drawing.params("frame"))
        setting = module["setting"]
        body = layout.draw_body(rng.stream("body"), size, self) if setting == "body" else None
        parts, shapes = [], rng.stream("shapes")
        if setting == "cells":
            parts = layout.draw_cells(shapes, self, size)
        elif module["module"] == "shape":
            parts = layout.draw_objects(shapes, self, size, body)
        return {"body": None if body is None else asdict(body), "parts": tuple(asdict(part) for part in parts)}

    @staticmethod
    def apply(scene: SceneState, *, body: Params | None, parts: tuple[Params, ...]) -> None:
        """Paint the shapes in their order, and nothing outside the body or the fan of an ultrasound probe."""
        import torch

        from napari_synthseg.generator.shapes.curves import widest

        for index, part in enumerate(map(Part.of, parts), start=FIRST):
            scene.owner[index] = part.object
            found = scene.filled(part.outline, part.scale)
            if found is None:
                continue
            place, inside = found
            if scene.setting == "cells" and scene.gaps and part.scale == 1.0:
                rim = widest(inside[None, None].float(), max(1, round(scene.gaps[0] * scene.longer)))[0, 0] > 0
                scene.regions[place].masked_fill_(rim, GAP)
            scene.regions[place].masked_fill_(inside, index)
        if body is not None:
            found, outside = scene.filled(Outline(**body)), torch.ones_like(scene.regions, dtype=torch.bool)
            if found is not None:
                outside[found[0]] = ~found[1]
            scene.regions.masked_fill_(outside, OUTSIDE)
        fan = scene.fan()
        if fan is not None:
            scene.regions.masked_fill_(~fan, OUTSIDE)
