"""`train organ`: from a folder of labelled scans to weights that segment scans of that organ in any contrast."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_synthseg import __version__
from napari_synthseg.errors import InputError
from napari_synthseg.generator import subregions
from napari_synthseg.inference.postprocess import largest_component
from napari_synthseg.io import LabelName
from napari_synthseg.io.labels import read_label_names
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.engine.checkpoints import start_from
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.folder import checkpoint, recipe_of
from napari_synthseg.training.options.organ import STAGE, TrainOrganOptions, stages
from napari_synthseg.training.organ import pairs, validation
from napari_synthseg.training.organ.recipe import OrganRecipe, organ_priors
from napari_synthseg.training.starting import (
    begin,
    check_new,
    describe,
    recipe_words,
    state_and_card,
)
from napari_synthseg.weights import store

RECIPE = "organ"
HIDDEN = ("pairs", "labels", "out", "resume", "validation", "threads", "save_minutes", "validate_every", "seed", "name",
          "label_names", "organ", "hold_out", "spacing", "crop")  # fmt: skip
"""Options that a card's recipe leaves out, or says apart."""
WHOLE = 0.99
"""Share of a label's voxels in its largest component from which on it counts as being of one piece."""


def train(
    options: TrainOrganOptions, kind: Callable[..., OrganRecipe] = OrganRecipe
) -> Generator[Progress, None, Path]:
    """Train and export.

    Args:
        options: how.
        kind: makes the recipe; another one for comparisons.

    Returns:
        The exported weights file.

    Raises:
        InputError: the scans, their labels or an option cannot be used.
    """
    device = begin(options)
    check_new(options.out, options.resume)
    training, held_out = pairs.split(pairs.find(options.pairs, options.labels), options.hold_out)
    spacing = options.spacing or pairs.usual_spacing([*training, *held_out])
    read: list[pairs.Pair] = []
    for one in training:
        yield Progress("reading scans", len(read), len(training) + len(held_out))
        read.append(pairs.read(one, spacing))
    labels = (0, *sorted({int(v) for pair in read for v in np.unique(pair.labels)} - {0}))
    names = label_names(labels, options.label_names)
    model = UNet3d(labels, features=options.features)
    if options.start_from:
        start_from(model, options.start_from)
    priors = organ_priors(options.priors, float(np.mean([p.image.shape for p in read])), spacing, options.flip)
    held = [pairs.with_labels(pairs.read(one, spacing), labels) for one in held_out]
    others = pairs.find(options.validation) if options.validation else []
    scored = [pairs.with_labels(pairs.read(one, spacing), labels) for one in others] or held
    cases = [validation.real_case(pair) for pair in scored]
    for i, pair in enumerate(held if not others else ()):
        kept = divided(pair, options, options.seed + 7)
        cases.append(validation.synthetic_case(kept, priors, labels, options.seed + 1000 + i))
    crop = options.crop or pairs.usual_crop([pair.image.shape for pair in read])
    card = card_for(options, labels, names, read, held_out, spacing, crop)
    describe(RECIPE, options, stages(options), card)
    scans = []
    for i, pair in enumerate(read):
        yield Progress("splitting labels", i, len(read))
        scans.append(divided(pair, options, options.seed + i))
    recipe = kind(
        model,
        scans,
        priors,
        seed=options.seed,
        batch=options.batch,
        crop=crop,
        around_labels=options.around_labels,
        device=device,
        bfloat16=options.bfloat16,
        validation=lambda m: validation.score(m, cases, {v: n.name for v, n in names.items()}, device),
    )
    yield from fit(recipe, loop_of(options), options.out, name=STAGE, resume=options.resume)
    # "The retained model is then selected relatively to a validation set" (section 3.2), if there is one.
    best = checkpoint(options.out, STAGE, "best").exists()
    return export(options.out, options.out / f"{options.name}.safetensors", best=best)


def divided(pair: pairs.Pair, options: TrainOrganOptions, seed: int) -> subregions.Split:
    """A scan with its labels split into sub-regions, or left whole where that is asked for."""
    if options.subregions:
        return subregions.split(pair.image, pair.labels, seed=seed, name=pair.name)
    return subregions.split(pair.image, pair.labels, seed=seed, name=pair.name, parts=1, backgrounds=(1,))


def loop_of(options: TrainOrganOptions) -> LoopOptions:
    """The paper's Adam, with a rate that falls at the end and averaged weights."""
    return LoopOptions(
        steps=options.steps,
        learning_rate=options.learning_rate,
        warmup=min(100, options.steps // 10),
        decay_fraction=options.cooldown,
        ema_decay=0.995,
        clip=2.0,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
    )


def label_names(labels: Sequence[int], file: Path | None) -> dict[int, LabelName]:
    """What each label but the background is called: as the file says, else "label 1"."""
    known = read_label_names(file) if file is not None else {}
    if file is not None and not set(known) & set(labels):
        raise InputError(f"{file} names none of the labels {', '.join(map(str, labels[1:]))}: is it another's?")
    return {value: known.get(value, LabelName(f"label {value}")) for value in labels if value != 0}


def of_one_piece(read: Sequence[pairs.Pair], labels: Sequence[int]) -> list[int]:
    """Labels that are one connected piece, crumbs aside, on every scan: what else is predicted of them is a mistake."""
    found = []
    for value in labels[1:]:
        masks = [mask for pair in read if (mask := pair.labels == value).any()]
        if all(np.count_nonzero(largest_component(mask)) >= WHOLE * np.count_nonzero(mask) for mask in masks):
            found.append(int(value))
    return found


def card_for(
    options: TrainOrganOptions,
    labels: Sequence[int],
    names: dict[int, LabelName],
    read: Sequence[pairs.Pair],
    held_out: Sequence[pairs.Found],
    spacing: float,
    crop: int,
) -> dict[str, Any]:
    """The card of the weights to come, but for steps and scores."""
    plain = TrainOrganOptions(options.pairs, options.out)
    start = Path(options.start_from).stem if options.start_from else None  # a path says nothing to others
    first = f"train organ, seed {options.seed}, crops of {crop} voxels of {spacing:g} mm"
    held = ", ".join(one.name for one in held_out) or "none"
    return {
        "network": "unet",
        "summary": f"{options.organ}, {len(labels) - 1} labels, any contrast",
        "description": f"{options.organ.capitalize()}, {len(labels) - 1} labels, scans of any contrast (SynthSeg).",
        "organ": options.organ,
        "labels": [int(v) for v in labels],
        "names": {str(value): name.name for value, name in names.items()},
        "colors": {str(value): list(name.color) for value, name in names.items() if name.color},
        "spacing_mm": spacing,
        "one_piece": of_one_piece(read, labels),
        "features": options.features,
        "levels": 5,
        "licence": f"that of the label files in {options.pairs.name}",
        "trained with": f"napari-synthseg {__version__}",
        "recipe": recipe_words(first, replace(options, start_from=start), plain, HIDDEN),
        "data": f"label files of {len(read)} scans (held out: {held}); synthetic images only",
    }


def is_run(run: Path) -> bool:
    """Whether a folder is a run of `train organ`."""
    return recipe_of(run) == RECIPE


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
    tensors: dict[str, torch.Tensor] = state["average"] or state["model"]
    store.save(path, tensors, card)
    return path
