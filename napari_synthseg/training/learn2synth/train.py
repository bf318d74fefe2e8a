"""`train learn2synth`: from label maps and a few labelled scans to a segmentation network, its synthesis learned."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_synthseg import __version__
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.priors import preset
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.augmenter import build_augmenter
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data import validation
from napari_synthseg.training.data.label_maps import predicted_labels, read_maps, split
from napari_synthseg.training.engine.checkpoints import start_from
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.folder import checkpoint, recipe_of
from napari_synthseg.training.learn2synth.labelled import LabelledCrops
from napari_synthseg.training.learn2synth.recipe import Learn2SynthRecipe
from napari_synthseg.training.objectives.unet_crops import PaperRecipe
from napari_synthseg.training.options.learn2synth import STAGE, TrainLearn2SynthOptions, stages
from napari_synthseg.training.starting import (
    begin,
    check_new,
    describe,
    recipe_words,
    state_and_card,
)
from napari_synthseg.weights import store

RECIPE = "train learn2synth"
"""How the recipe on a card begins."""
HIDDEN = ("label_maps", "out", "resume", "labelled", "validation", "threads", "save_minutes", "validate_every", "seed",
          "name", "augmenter")  # fmt: skip
"""Options that a card's recipe leaves out, or says apart."""


def train(options: TrainLearn2SynthOptions) -> Generator[Progress, None, Path]:
    """Train and export.

    Returns:
        The exported weights file.

    Raises:
        InputError: the label maps, labelled scans or options cannot be used.
    """
    device = begin(options)
    training, held_out = split((yield from read_maps(options.label_maps)), options.hold_out)
    labels = predicted_labels(training)
    model = UNet3d(labels, options.features)
    if options.crop % model.multiple or options.crop < 2 * model.multiple:  # one voxel has no statistics to norm by
        raise InputError(
            f"The crop of {options.crop} voxels must be a multiple of {model.multiple}, and at least "
            f"{2 * model.multiple}."
        )
    check_new(options.out, options.resume)
    if options.start_from:
        start_from(model, options.start_from)
    recipe, scans = _recipe(options, model, training, held_out, device)
    card = card_of(options, labels, len(training), [m.name for m in held_out], scans)
    describe("learn2synth", options, stages(options), card)

    def learned() -> dict[str, Any]:
        return {"augmenter": {"kind": options.augmenter, **recipe.augmenter.figures()}}

    yield from fit(recipe, loop_of(options), options.out, name=STAGE, resume=options.resume, card=learned)
    # The model is selected by its validation scans, where there are some; synthetic heads know nothing of real ones.
    best = options.validation is not None and checkpoint(options.out, STAGE, "best").exists()
    return export(options.out, options.out / f"{options.name}.safetensors", best=best)


def _recipe(
    options: TrainLearn2SynthOptions,
    model: UNet3d,
    training: Sequence[LabelMap],
    held_out: Sequence[LabelMap],
    device: torch.device,
) -> tuple[Learn2SynthRecipe, int]:
    """The recipe, and how many labelled scans it learns from."""
    labels, priors = model.labels, preset(options.priors)
    learns = options.augmenter != "none" and options.labelled is not None
    labelled = validation.labelled_scans(options.labelled, labels) if learns and options.labelled else []
    scans = validation.labelled_scans(options.validation, labels) if options.validation else []
    heads = validation.synthetic_cases(held_out, preset("synthseg"), labels, 1, options.seed + 5)

    def validate(m) -> dict[str, Any]:
        return validation.figures(validation.score_unet, m, heads, scans, device)

    crop, batch, rate = options.crop, options.batch, loop_of(options).learning_rate
    synthetic = PaperRecipe(
        model, training, priors, seed=options.seed, batch=batch, crop=crop, device=device, validation=validate
    )
    recipe = Learn2SynthRecipe(
        model,
        build_augmenter(options.augmenter, 3, options.sigma, options.varying),
        synthetic.sample,
        LabelledCrops(labelled, crop, batch, device) if labelled else None,
        seed=options.seed,
        device=device,
        validation=validate,
        inner=options.inner,
        share=options.augmenter_rate / rate,
        teach_from=options.teach_from,
    )
    return recipe, len(labelled)


def loop_of(options: TrainLearn2SynthOptions) -> LoopOptions:
    """Constant rates, as in the paper; nothing is averaged or clipped."""
    return LoopOptions(
        steps=options.steps,
        learning_rate=options.learning_rate or (1e-3 if options.inner == "adam" else 1e-2),
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
    )


def card_of(
    options: TrainLearn2SynthOptions, labels: Sequence[int], maps: int, held_out: Sequence[str], scans: int
) -> dict[str, Any]:
    """The card of the weights to come, but for steps, scores and what the augmenter learned.

    Args:
        options: of the training.
        labels: the network's.
        maps: how many label maps it learns from.
        held_out: names of the others.
        scans: how many labelled scans taught the augmenter.
    """
    plain = TrainLearn2SynthOptions(options.label_maps, options.out, options.labelled, options.augmenter)
    start = Path(options.start_from).stem if options.start_from else None  # a path says nothing to others
    first = f"{RECIPE}, augmenter {options.augmenter}, seed {options.seed}"
    description = f"{len(labels)} labels, scans like those its images were learned from (Learn2Synth)."
    images, licence = "synthetic images only", "Apache-2.0"
    if scans and options.labelled is not None:
        images = f"synthetic images; how they are augmented was learned from {scans} labelled scans of "
        images, licence = images + options.labelled.name, f"that of the scans in {options.labelled.name}"
    return {
        "network": "unet",
        "summary": f"{len(labels)} labels, {'synthesis learned from labelled scans' if scans else 'any contrast'}",
        "description": description if scans else f"{len(labels)} labels, scans of any contrast (SynthSeg).",
        "labels": list(labels),
        "features": options.features,
        "levels": 5,
        "licence": licence,
        "trained with": f"napari-synthseg {__version__}",
        "recipe": recipe_words(first, replace(options, start_from=start), plain, HIDDEN),
        "data": f"{maps} label maps (held out: {', '.join(held_out) or 'none'}); {images}",
    }


def is_run(run: Path) -> bool:
    """Whether a folder is a run of `train learn2synth`."""
    return recipe_of(run) == "learn2synth"


def export(run: Path, path: Path, *, best: bool = False, scores: Path | None = None) -> Path:
    """Write the segmentation network of a run as float16 safetensors with a card; the augmenter stays behind.

    Args:
        run: the run's folder; it may still be going.
        path: of the weights, ending in .safetensors.
        best: the checkpoint with the best validation score instead of the newest.
        scores: JSON of `evaluate`, whose means go into the card.

    Raises:
        InputError: the folder holds no such run, it lacks the checkpoint, or the name ends otherwise.
    """
    state, card = state_and_card(run, path, "learn2synth", STAGE, best=best, scores=scores)
    kept = {k.removeprefix("segmenter."): v for k, v in state["model"].items() if k.startswith("segmenter.")}
    store.save(path, kept, {**card, **state["card"]})
    return path
