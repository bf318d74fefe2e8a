"""What the Shapes tab has done in a thread: scenes drawn, pointed at and saved. Torch is imported here."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.generator.files import SynthesizeShapesOptions
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.preview.pictures import Picture, Prompts, Shown, Thumbnail

if TYPE_CHECKING:
    from napari_synthseg.generator.shapes.scenes import Scene

THUMBNAIL_SIDE = 128
FLAT = {"scale": (1.0, 1.0), "translate": (0.0, 0.0), "axis_labels": ("row", "column")}


class SceneKeeper:
    """Keeps the scene that was made last: another target, or saving it, needs no other."""

    def __init__(self) -> None:
        self._kept: tuple[SynthesizeShapesOptions, Scene] | None = None

    def scene(self, options: SynthesizeShapesOptions) -> Scene:
        """The first scene that the options stand for."""
        key, kept = replace(options, bits=8), self._kept
        if kept is None or kept[0] != key:
            kept = (key, _made(options))
            self._kept = kept
        return kept[1]


def _made(options: SynthesizeShapesOptions) -> Scene:
    from napari_synthseg.generator.saving import read_record
    from napari_synthseg.generator.shapes.scenes import apply_scene, scene

    if options.record:
        return apply_scene(read_record(options.record[0], "scene"), options.device, options.side)
    return scene(options.priors(), options.seed, options.device, options.side)


def drawn_scene(options: SynthesizeShapesOptions, turn: int, keeper: SceneKeeper) -> Generator[Progress, None, Picture]:
    """A scene with its objects, one of which is the target.

    Args:
        options: the scene is the first one they stand for.
        turn: which of the random targets of the scene, from 0.
        keeper: of the tab.
    """
    from napari_synthseg.generator.shapes.files import scene_arrays

    yield Progress("Drawing")
    made = keeper.scene(options)
    image, objects = scene_arrays(made, 16)
    return Picture(
        image=Shown(image.astype(np.float32) / 65535, {**FLAT, "metadata": {}}),
        labels=Shown(objects, {**FLAT, "metadata": {}}, table=_table(made, objects)),
        record={"preset": options.preset, "prior": list(options.prior), "seed": options.seed, **made.record.to_dict()},
        summary=made.record.summary(),
        spacing=FLAT["scale"],  # type: ignore[arg-type]
        quick=False,
        prompts=_prompts(made, options.seed, turn),
    )


def sampled_scenes(
    options: SynthesizeShapesOptions, seeds: Sequence[int]
) -> Generator[Progress, None, list[Thumbnail]]:
    """A thumbnail of each seed; each is also a report's figure `thumbnail`."""
    from napari_synthseg.generator.shapes.files import scene_arrays
    from napari_synthseg.generator.shapes.scenes import scene

    priors = options.priors()
    made: list[Thumbnail] = []
    yield Progress("Samples", 0, len(seeds))
    for seed in seeds:
        small = scene(priors, seed, options.device, THUMBNAIL_SIDE)
        made.append(Thumbnail(seed, scene_arrays(small)[0], small.record.summary()))
        yield Progress("Samples", len(made), len(seeds), {"thumbnail": made[-1]})
    return made


def saved_scene(options: SynthesizeShapesOptions, folder: Path, keeper: SceneKeeper) -> Generator[Progress, None, Path]:
    """The scene's files: those of the command line; none that is there is replaced."""
    from napari_synthseg.generator.saving import free_stem
    from napari_synthseg.generator.shapes.files import SCENE_ENDS, save_scene

    yield Progress("Drawing", 0, 2)
    made = keeper.scene(options)
    yield Progress("Writing", 1, 2)
    facts = {"preset": options.preset, "prior": list(options.prior), "seed": options.seed}
    stem = free_stem(folder, f"{options.preset}_{options.seed:04d}", SCENE_ENDS)
    return save_scene(folder, stem, made, facts, options.bits)


def _table(made: Scene, objects: np.ndarray) -> dict[str, list[Any]]:
    """What the layer says of each object under the mouse."""
    areas = np.bincount(objects.ravel(), minlength=made.count + 1)
    return {
        "index": [*range(made.count + 1)],
        "name": ["No object", *(f"Object {number}" for number in range(1, made.count + 1))],
        "area (pixels)": [int(area) for area in areas],
        "visibility": [np.nan, *(round(seen, 2) for seen in made.visibility)],
    }


def _prompts(made: Scene, seed: int, turn: int) -> Prompts:
    """A target and the points that a step of training might give for it."""
    import torch

    from napari_synthseg.generator.shapes.scenes import pick_target
    from napari_synthseg.training.data.prompts import Window, draw_plan, draw_points

    generator = torch.Generator().manual_seed((~seed + 7919 * turn) % 2**31)  # not that of the scene
    number = pick_target(made, generator)
    plan = draw_plan(generator, boxes=False, masks=False)
    whole = Window(0, 0, made.objects.shape[0])
    points, signs = draw_points(made.target(number), whole, made.extent, plan, generator)
    return Prompts(number, points.cpu().numpy(), signs.cpu().numpy() > 0.5)
