"""Image of a scene of shapes: intensities of its regions, texture, lens, noise and display (see `scene_layout`).

Regions are numbered: 0 outside the body, 1 the body or the ground, 2 the gaps, and from 3 on the labels of the label
map or the parts of the shapes, in the order in which they are painted. Intensities lie in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.shapes.layout import FIRST, OUTSIDE, Floats, Part
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.shapes.scenes import SceneState

INTENSITY, TEXTURE = Info(unit="intensity, 0-1"), Info(group="Noise and texture")
NOISES = ("gaussian", "poisson", "perlin", "speckle", "rician")
"""The paper's library."""
NOISES_OF = {
    "ct": ("gaussian",), "mr": ("rician",), "xray": ("poisson",), "microscopy": ("poisson", "gaussian"),
    "ultrasound": ("gaussian",),
}  # fmt: skip
"""Those that a modality is known for."""
TABLES = ("noise_stds", "textures", "row_gradients", "column_gradients")
"""By region: deviations of noise and texture, gradients down and to the right."""


@dataclass(frozen=True)
class Intensities(Step, name="intensities", title="Intensities", place=40, models=("shapes",)):
    """Draw the intensity, texture and noise of every region."""

    contrast: Annotated[Range, INTENSITY, Info(above=0, slider=(0.005, 1), step=0.005)] = (0.03, 0.6)
    """Difference from the surroundings, log-uniform, brighter or darker."""
    gap_contrast: Annotated[Range, INTENSITY, Info(above=0, slider=(0.005, 1), step=0.005)] = (0.04, 0.4)
    """Difference between a gap and the regions beside it, log-uniform, brighter or darker."""
    gradient: Annotated[Range, INTENSITY, Info(low=0, slider=(0, 1), step=0.01)] = (0.0, 0.2)
    """Change of intensity from one end of the image to the other, for every region its own."""
    texture: Annotated[Range, TEXTURE, INTENSITY, Info(low=0, slider=(0, 0.5), step=0.005)] = (0.0, 0.12)
    """Standard deviation of the Perlin texture, for every region its own."""
    texture_grid: Annotated[Range, TEXTURE, Info(above=0, slider=(2, 256), step=1, label="Texture cells")] = (4, 64)
    """Cells of the texture along the longer side, log-uniform: more of them, finer texture."""
    region_noise: Annotated[
        Range, TEXTURE, INTENSITY, Info(low=0, slider=(0, 0.5), step=0.005, label="Noise by region")
    ] = (0.0, 0.06)
    """Standard deviation of white noise, for every region its own."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        means, typical, level_of = self._means(rng, drawing)
        n, limit = range(len(means)), 0.5 * typical + 0.005
        alike = rng.chance(0.4)  # one tissue: texture does not give regions away
        noise, texture = rng(*self.region_noise), rng(*self.texture)

        def slope() -> float:
            return rng(*self.gradient) * (1.0 if rng.chance(0.5) else -1.0)

        rows, columns = slope(), slope()
        tables = {
            "noise_stds": [noise if alike else rng(*self.region_noise) for _ in n],
            "textures": [min(texture if alike else rng(*self.texture) * rng(), limit) for _ in n],
            "row_gradients": [rows if alike else 0.5 * slope() for _ in n],
            "column_gradients": [columns if alike else 0.5 * slope() for _ in n],
        }
        for values in tables.values():
            values[OUTSIDE] = 0.0
            values[FIRST:] = [values[FIRST + k] for k in level_of]
        return {
            "means": tuple(means),
            **{name: tuple(values) for name, values in tables.items()},
            "texture_cells": rng.log(*self.texture_grid),
            "texture_seed": rng.seed(),
            "grain": max(0.0, rng(-0.6, 1.3)),
            "noise_seed": rng.seed(),
            "typical": typical,
        }

    def _means(self, rng: Rng, drawing: Drawing) -> tuple[list[float], float, Sequence[int]]:
        """Draw the mean of every region; also the typical contrast, and the region whose texture each one has.

        Label maps are "similar" (near-identical, with gaps), "free" (independent, with gaps) or of "levels" (without
        gaps: labels share a few intensities that can be told apart, and touching ones of the same are one region).
        """
        module, labels = drawing.params("module"), drawing.params("regions")
        parts = [Part.of(part) for part in drawing.params("shapes")["parts"]]
        look, regions, kind = module["look"], labels["regions"], labels["kind"]
        common = rng()
        typical = _log_between(self.contrast, common)
        empty = -0.6 if look == "ct" else rng(0.0, 0.12)  # air is black in every CT window
        ground = rng(0.2, 0.8)
        weakest = max(self.gap_contrast[0], min(0.15, self.gap_contrast[1]) if look == "ultrasound" else 0.0)
        gap = _contrasted(rng, ground, rng.log(weakest, self.gap_contrast[1]))
        level_of: Sequence[int] = range(max(regions, len(parts)))

        def contrast(u: float) -> float:
            return _log_between(self.contrast, 0.5 * (common + u))

        if kind == "similar":
            own = [ground + 0.5 * self.contrast[0] * rng(-1, 1) for _ in range(regions)]
            typical = abs(gap - ground)
        elif kind == "free":
            own = [_contrasted(rng, ground, contrast(rng())) for _ in range(regions)]
            typical = max(typical, abs(gap - ground))
        elif kind == "levels":
            steps = 2 + min(int(5 * rng()), regions - 2)
            apart = min(max(1.2 * typical, 0.15 if look == "ultrasound" else 0.05), 0.9 / steps)
            lowest = rng(0.05, 0.98 - apart * (steps - 0.6))
            levels = [lowest + apart * (k + 0.4 * rng()) for k in range(steps)]
            level_of = [rng.choice(steps) for _ in range(regions)]
            own = [levels[k] for k in level_of]
            typical = 0.6 * apart
        elif module["setting"] == "cells":
            own, gap = _cell_means(rng, parts, ground, typical), ground
        else:
            own = _part_means(rng, parts, ground, look, contrast)
        return [empty, ground, gap, *own], typical, level_of

    @staticmethod
    def apply(
        scene: SceneState,
        *,
        means: Floats,
        texture_cells: float,
        texture_seed: int,
        grain: float,
        noise_seed: int,
        typical: float = 0.0,
        **tables: Floats,
    ) -> None:
        """Fill the regions; `grain` is the correlation of noise in pixels, `typical` a contrast of the scene."""
        import numpy as np
        import torch

        from napari_synthseg.generator.shapes import looks

        if scene.labels and not scene.gaps:  # nothing parts labels of one intensity: they are one object
            scene.owner[FIRST : FIRST + scene.labels] = np.unique(means[FIRST:], return_inverse=True)[1] + 1
        values = torch.tensor([means, *(tables[name] for name in TABLES)], device=scene.device)
        mean, std, texture, down, right = values.index_select(1, scene.regions.flatten().int()).view(5, *scene.shape)
        rows, columns = looks.ramps(scene.shape, scene.device)
        scene.image = mean + down * rows + right * columns
        scene.image += texture * looks.fractal(scene.shape, texture_cells, texture_seed, scene.device)
        scene.image += std * looks.grainy(scene.shape, grain, noise_seed, scene.device)


def _log_between(bounds: Range, u: float) -> float:
    return bounds[0] * (bounds[1] / bounds[0]) ** u


def _contrasted(rng: Rng, around: float, contrast: float) -> float:
    """Draw an intensity that differs by the contrast, of random sign unless that leaves [0.02, 1]."""
    sign = 1.0 if rng.chance(0.5) else -1.0
    if not 0.02 <= around + sign * contrast <= 1.0:
        sign = -sign
    return min(max(around + sign * contrast, 0.0), 1.1)


def _cell_means(rng: Rng, parts: Sequence[Part], ground: float, typical: float) -> list[float]:
    sign = 1.0 if (rng.chance(0.6) and ground + typical < 1) or ground < typical else -1.0
    core = rng(-0.3, 0.3)
    spread = 0.4 * rng()
    found: dict[int, float] = {}
    means = []
    for part in parts:
        level = found.setdefault(part.object, ground + sign * typical * (1 + spread * rng(-1, 1)))
        means.append(level if part.scale == 1.0 else level + core * typical)
    return means


def _part_means(
    rng: Rng, parts: Sequence[Part], ground: float, look: str, contrast: Callable[[float], float]
) -> list[float]:
    """Draw objects against the ground; walls, spots and nested objects against what they lie in."""
    means: list[float] = []
    seen: set[int] = set()
    last = ground
    for part in parts:
        new = part.object not in seen
        nested = new and bool(means) and part.lies_in(parts[len(means) - 1])
        level = _contrasted(rng, ground if new and not nested else last, contrast(rng()) * (1.0 if new else 0.7))
        special = rng()
        if look == "ct" and new and special < 0.15:
            level = 1.25 if special < 0.1 else -0.4  # bone; gas
        means.append(level)
        seen.add(part.object)
        if new or part.scale < 1.0:  # what follows lies in it: in the object, or inside its wall
            last = level
    return means


@dataclass(frozen=True)
class Lens(Step, name="lens", title="Acquisition", place=50, models=("shapes",)):
    """Blur, what the modality makes of the image, and shading."""

    columns: ClassVar[Columns] = {
        "blur (px)": ("Standard deviation of the point spread, pixels as acquired.", cell("blur_px", 2))
    }

    shading: Annotated[Range, Info(unit="log intensity", low=0, slider=(0, 2), step=0.05)] = (0.0, 0.5)
    """Standard deviation of the logarithm of a smooth multiplicative field."""
    blur_px: Annotated[Range, Info(unit="pixels as acquired", low=0, slider=(0, 8), step=0.1, label="Blur")] = (
        0.3,
        1.8,
    )
    """Standard deviation of the point spread."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        return {
            "shading": rng(*self.shading) * (1.0 if drawing.params("module")["look"] == "mr" else 0.5),
            "shading_points": 2 + round(2 * rng()),
            "shading_seed": rng.seed(),
            "blur_px": rng(*self.blur_px),
        }

    @staticmethod
    def apply(scene: SceneState, *, blur_px: float, shading: float, shading_points: int, shading_seed: int) -> None:
        """Blur, then what the modality makes of the image, then shading."""
        from napari_synthseg.generator.shapes import looks

        scene.image = looks.blur(scene.image, blur_px)
        if scene.look in looks.MODALITIES:
            seen = looks.MODALITIES[scene.look](scene.image, scene.look_values, scene.look_seed)
            if scene.look == "xray":  # no ribs in the air
                seen = scene.image.lerp(seen, looks.blur((scene.regions != OUTSIDE).float(), blur_px))
            scene.image = seen
        if shading > 0:
            field = looks.smooth_field(scene.shape, shading_points, shading_seed, scene.device)
            scene.image *= (shading * field).exp_()


@dataclass(frozen=True)
class SceneNoise(Step, name="noise", title="Noise and texture", place=60, models=("shapes",)):
    """Add one to three noises of the library, or those that a modality is known for."""

    columns: ClassVar[Columns] = {
        "noise": (
            "The noises of the library and their strengths at intensity 1.",
            lambda params: ", ".join(
                f"{name} {strength:.3f}"
                for name, strength in zip(params["noises"], params["noise_strengths"], strict=True)
            ),
        )
    }

    noise: Annotated[Range, INTENSITY, Info(above=0, slider=(0.001, 0.5), step=0.005)] = (0.005, 0.15)
    """Strength of the Gaussian, Poisson, Perlin, speckle or Rician noise of the whole image, log-uniform."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        look, intensities = drawing.params("module")["look"], drawing.params("intensities")
        strongest = max(intensities["typical"], self.noise[0])  # never stronger than the contrast
        order = sorted(NOISES, key=lambda _: rng())
        count = 1 + round(2 * rng() ** 2)
        strengths = [min(rng.log(*self.noise), strongest) for _ in NOISES]
        names = NOISES_OF.get(look, tuple(order[:count]))
        weaker = 0.25 if look == "ultrasound" else 1.0
        return {
            "noises": names,
            "noise_strengths": tuple(weaker * s for s in strengths[: len(names)]),
            "grain": intensities["grain"],
            "noise_seed": intensities["noise_seed"],
        }

    @staticmethod
    def apply(
        scene: SceneState, *, noises: tuple[str, ...], noise_strengths: Floats, grain: float, noise_seed: int
    ) -> None:
        """Add the noises in their order."""
        from napari_synthseg.generator.shapes.looks import LIBRARY

        for i, (name, strength) in enumerate(zip(noises, noise_strengths, strict=True), start=2):
            scene.image = LIBRARY[name](scene.image, strength, noise_seed + 2 * i, grain)
        if scene.look == "ct":  # the window cuts noise off as well: air stays black
            scene.image = scene.image.clamp(0, 1)


@dataclass(frozen=True)
class Display(Step, name="display", title="Intensities", place=70, models=("shapes",)):
    """Rescale to [0, 1], raise to a random power, and perhaps exchange dark and bright."""

    columns: ClassVar[Columns] = {
        "gamma": ("Exponent of the final intensities: below 1 brightens, above 1 darkens.", cell("gamma", 2)),
        "inverted": ("Whether dark and bright were exchanged.", cell("inverted")),
    }

    gamma_log_std: Annotated[float, Info(unit="log exponent", low=0, slider=(0, 1.5), step=0.05, label="Gamma")] = 0.3
    """Standard deviation of the logarithm of the exponent applied at the end."""
    inverted: Probability = 0.15
    """How often dark and bright are exchanged at the end."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        gamma = math.exp(self.gamma_log_std * (rng() + rng() + rng() - 1.5) * 2)
        inverted = rng.chance(self.inverted if drawing.params("module")["look"] != "ultrasound" else 0.0)
        return {"gamma": gamma, "inverted": inverted}

    @staticmethod
    def apply(scene: SceneState, *, gamma: float, inverted: bool) -> None:
        """Rescale and raise to a power; an ultrasound scanner shows nothing beside the fan, not even noise."""
        from napari_synthseg.generator.shapes.looks import windowed

        scene.image = windowed(scene.image).pow_(gamma)
        fan = scene.fan()
        if fan is not None:
            scene.image.masked_fill_(~fan, 0)
        elif inverted and scene.look != "ultrasound":
            scene.image = 1 - scene.image
