"""`train lesions`: from a folder of label maps to a network that marks white matter lesions in segmented scans."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_synthseg import __version__, weights
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.priors import Priors, preset
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.lesion_finder import LesionFinder
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.events import read_events
from napari_synthseg.training.fast import step_generator
from napari_synthseg.training.lesion_stage.recipe import Heads, LesionRecipe, Voxels, some_voxels
from napari_synthseg.training.lesion_stage.sampler import Sampler
from napari_synthseg.training.loop import LoopOptions, fit
from napari_synthseg.training.options.lesions import STAGE, TrainLesionsOptions, stages
from napari_synthseg.training.starting import begin, check_new, describe, recipe_words, state_and_card
from napari_synthseg.training.synthseg import read_maps, split

RECIPE = "lesions"
HIDDEN = ("label_maps", "out", "resume", "threads", "save_minutes", "validate_every", "seed", "name", "hold_out",
          "start_from", "segmenter", "heads", "device")  # fmt: skip
"""Options that a card's recipe leaves out, or says apart."""
THICKEST_MM = 6.0
"""Slices are not thicker than this."""
ONE_MILLIMETRE = 0.7
"""Share of the images with voxels of 1 mm, at least."""
BY_TISSUE = 0.9
"""Share of the images whose structures look like the tissue that they are of, at least."""
CASES = 2
"""Heads drawn of each held-out map for validation; every other one has no lesions."""


def train(options: TrainLesionsOptions) -> Generator[Progress, None, Path]:
    """Train and export.

    Returns:
        The exported weights file.

    Raises:
        InputError: the label maps, the segmenter or an option cannot be used.
    """
    device = begin(options)
    check_new(options.out, options.resume)
    yield Progress("reading label maps")
    training, held_out = split(read_maps(options.label_maps), options.hold_out)
    segmenter = load_segmenter(options, device)
    model = LesionFinder(options.hidden)
    if options.start_from:
        start_from(model, options.start_from)
    describe(RECIPE, options, stages(options), card_for(options, training, held_out))
    cases: list[Voxels] = []
    for number, label_map in enumerate(held_out):
        yield Progress("drawing heads to validate on", number, len(held_out))
        cases += drawn_cases(label_map, options, segmenter, device)
    sampler = sampler_of(training, options, segmenter, device)
    recipe = LesionRecipe(
        model,
        Heads(sampler, options.seed, options.crops, options.heads),
        batch=options.batch,
        reuse=options.reuse,
        inverted_share=options.inverted,
        held_out=cases,
    )
    yield from fit(recipe, loop_of(options), options.out, name=STAGE, resume=options.resume)
    return export(options.out, options.out / f"{options.name}.safetensors")


def priors_of(options: TrainLesionsOptions) -> Priors:
    """The preset with the load of lesions asked for, without the slices and contrasts that hide most of them."""
    given = preset(options.priors)
    low, high = given.slice_spacing_mm
    return replace(
        given,
        lesion_load_ml=options.load_ml,
        slice_spacing_mm=(low, min(high, max(low, THICKEST_MM))),
        one_millimetre=max(given.one_millimetre, ONE_MILLIMETRE),
        tissue_contrast=max(given.tissue_contrast, BY_TISSUE),
    )


def loop_of(options: TrainLesionsOptions) -> LoopOptions:
    """AdamW with a rate that falls at the end, and averaged weights."""
    return LoopOptions(
        steps=options.steps,
        learning_rate=options.learning_rate,
        optimizer="adamw",
        weight_decay=1e-4,
        warmup=min(50, options.steps // 10),
        cooldown=options.cooldown,
        average=0.99,
        clip=2.0,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
    )


def load_segmenter(options: TrainLesionsOptions, device: torch.device) -> LocateRefine | None:
    """The network whose segmentations are learned from; None where none are asked for.

    Raises:
        InputError: there are no such weights, or they are of another network.
    """
    if not options.segmented:
        return None
    model = weights.load_model(options.segmenter)
    if not isinstance(model, LocateRefine):
        raise InputError(
            f"The weights {options.segmenter} are not of a fast network: give others as --segmenter, or --segmented 0."
        )
    return model.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def start_from(model: LesionFinder, name: str) -> None:
    """Give a network the weights of a trained one.

    Raises:
        InputError: there are no such weights, or they are of another network or of other sizes.
    """
    source = weights.load_kind(name, "lesions", "a lesion network", "those that train lesions wrote")
    if source.hidden != model.hidden:
        raise InputError(f"Training cannot start from {name}: its layers are {source.hidden}, not {model.hidden}.")
    model.load_state_dict(source.state_dict())


def sampler_of(
    maps: Sequence[LabelMap],
    options: TrainLesionsOptions,
    segmenter: LocateRefine | None,
    device: torch.device,
    **changes: float,
) -> Sampler:
    """What draws heads of some label maps as the options say, but for some changes."""
    given = {"free": options.free, "segmented": options.segmented, "scanner": options.scanner}
    return Sampler(
        [m.to(device) for m in maps],
        priors_of(options),
        segmenter=segmenter,
        crop=options.crop,
        **{**given, **changes},
    )


def drawn_cases(
    label_map: LabelMap, options: TrainLesionsOptions, segmenter: LocateRefine | None, device: torch.device
) -> list[Voxels]:
    """Fixed heads to validate on: every other one without lesions."""
    found = []
    for i in range(CASES):
        sampler = sampler_of([label_map], options, segmenter, device, free=float(i % 2), segmented=1.0)
        made = sampler.crops(step_generator(1000, i), options.crops)
        found.append(some_voxels(made, step_generator(1001, i)))
    return found


def card_for(
    options: TrainLesionsOptions, training: Sequence[LabelMap], held_out: Sequence[LabelMap]
) -> dict[str, Any]:
    """The card of the weights to come, but for steps and scores."""
    plain = TrainLesionsOptions(options.label_maps, options.out)
    starts = ", after earlier steps" if options.start_from else ""
    first = f"train lesions, preset {options.priors}, seed {options.seed}{starts}"
    eyes = f"segmentations by {Path(options.segmenter).stem}, " if options.segmented else ""
    held = ", ".join(m.name for m in held_out) or "none"
    return {
        "network": "lesions",
        "title": "white matter lesions, after a segmentation",
        "summary": "white matter lesions in segmented scans of any contrast",
        "description": "Marks white matter lesions (label 77) in scans that another network has segmented.",
        "labels": [0, 77],
        "hidden": list(options.hidden),
        "licence": "Apache-2.0",
        "trained with": f"napari-synthseg {__version__}",
        "recipe": recipe_words(first, options, plain, HIDDEN),
        "data": f"{len(training)} label maps (held out: {held}); {eyes}synthetic images only",
    }


def export(run: Path, path: Path, *, best: bool = False, scores: Path | None = None) -> Path:
    """Write the averaged weights of a run as float16 safetensors with a card.

    Args:
        run: the run's folder; it may still be going.
        path: of the weights, ending in .safetensors.
        best: the checkpoint with the best validation score instead of the newest.
        scores: JSON of `evaluate`, whose means go into the card.

    Raises:
        InputError: the folder holds no such run, it lacks the checkpoint, or the name ends otherwise.
    """
    state, card = state_and_card(run, path, RECIPE, STAGE, best=best, scores=scores)
    threshold = last_threshold(run)
    if threshold is not None:
        card["threshold"] = threshold
    tensors: dict[str, torch.Tensor] = state["average"] or state["model"]
    weights.save(path, tensors, card)
    return path


def last_threshold(run: Path) -> float | None:
    """The probability from which on a voxel counted as a lesion at the last validation; None before there was one."""
    lines = [line for line in read_events(run) if "threshold" in line]
    return float(lines[-1]["threshold"]) if lines else None
