"""`train synthfm`: a decoder for clicks, boxes and masks from synthetic scenes alone (SynthFM, arXiv 2504.08177)."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_synthseg import __version__
from napari_synthseg.devices import quick_kind
from napari_synthseg.errors import InputError
from napari_synthseg.generator.shapes.priors import shape_preset
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.promptable import FrozenEncoder, Promptable
from napari_synthseg.training import starting
from napari_synthseg.training.engine.checkpoints import atomic_save, load_checkpoint
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.folder import checkpoint, read_config
from napari_synthseg.training.options.synthfm import STAGE, TrainSynthFMOptions, stages
from napari_synthseg.training.synthfm.prompt_recipe import (
    PaperPromptRecipe,
    PromptRecipe,
    TunedPromptRecipe,
    look_where_pointed,
)
from napari_synthseg.training.synthfm.prompt_validation import PromptValidation
from napari_synthseg.training.synthfm.scene_encodings import EncodedScenes, Pool
from napari_synthseg.weights import sam, store

ENCODER = "encoder"
"""Checkpoint of a run that keeps an encoder which no official checkpoint holds."""
HIDDEN = ("out", "resume", "encoder", "threads", "workers", "preset", "seed", "name", "validate_every", "save_minutes")
"""Options that a card's recipe leaves out, or says apart."""
VALIDATION_SEED = 20_250_411
"""Of the scenes that score a model; no training seed is near it."""


def train(options: TrainSynthFMOptions) -> Generator[Progress, None, Path]:
    """Train and export.

    Returns:
        The exported weights file.

    Raises:
        InputError: if the encoder or the options cannot be used.
    """
    device = starting.begin(options)
    if device.type != "cpu" and options.workers:
        raise InputError(f"Scenes for {device.type} are made there: leave workers at 0.")
    priors = shape_preset(options.scenes)
    yield Progress("reading the encoder")
    model = untrained(options)
    starting.check_new(options.out, options.resume)
    starting.describe("synthfm", options, stages(options), _facts(options, model))
    if sam.frozen_source(model) is None and not options.train_encoder:
        atomic_save(model.image_encoder.state_dict(), checkpoint(options.out, ENCODER))
    fast = options.preset == "fast"
    encoder = FrozenEncoder(model, quick_kind(device)).to(device)
    made = EncodedScenes(encoder, priors, options.seed, device)
    size, steps = (options.pool, options.scene_steps) if fast else (1, 1)
    pool = Pool(made, size, steps, options.workers)
    validation = PromptValidation(
        EncodedScenes(encoder, shape_preset("both"), VALIDATION_SEED, device),
        boxes=options.boxes and fast,
        anew=options.train_encoder,
    )
    common: dict[str, Any] = {"seed": options.seed, "device": device, "validation": validation}
    if fast:
        batch = options.batch or 8
        kind = TunedPromptRecipe if options.train_encoder else PromptRecipe
        begins = options.start_from is None
        recipe = kind(model, pool, batch=batch, boxes=options.boxes, masks=options.masks, from_nothing=begins, **common)
    else:
        recipe = PaperPromptRecipe(model, pool, batch=options.batch or 1, **common)
    yield from fit(recipe, _loop(options), options.out, name=STAGE, resume=options.resume)
    return export(options.out, options.out / f"{options.name}.safetensors")


def _loop(options: TrainSynthFMOptions) -> LoopOptions:
    common: dict[str, Any] = {"save_minutes": options.save_minutes, "validate_every": options.validate_every}
    common["steps"] = stages(options)[STAGE]
    if options.preset == "paper":
        return LoopOptions(learning_rate=options.learning_rate or 1e-4, **common)
    return LoopOptions(
        learning_rate=options.learning_rate or 1e-3,
        optimizer=options.optimizer,
        weight_decay=1e-4,
        warmup=200,
        decay_fraction=options.cooldown,
        ema_decay=0.998,
        clip=3.0,
        **common,
    )


def untrained(options: TrainSynthFMOptions) -> Promptable:
    """The checkpoint's encoder and prompt encoder, and a decoder that knows nothing unless it starts from weights.

    Raises:
        InputError: no such checkpoint, or `start_from` has another encoder.
    """
    source = sam.load_model(options.encoder)
    drawn = options.draws_prompts and options.preset == "fast"
    model = Promptable(source.encoder_name, source.image_size, drawn)
    model.image_encoder.load_state_dict(source.image_encoder.state_dict())
    model.prompt_encoder.load_state_dict(source.prompt_encoder.state_dict())
    model.card = source.card
    if options.preset == "fast":
        look_where_pointed(model.mask_decoder)
    if options.start_from:
        start = sam.load_model(options.start_from)
        if start.encoder_name != model.encoder_name:
            raise InputError(
                f"Training cannot start from {options.start_from}: it has the encoder {start.encoder_name}."
            )
        model.parts().load_state_dict(start.parts().state_dict())
    return model


def export(run: Path, path: Path, *, best: bool = False, scores: Path | None = None) -> Path:
    """Write the averaged weights of a run as float16 safetensors with a card.

    The encoder is left out where it is that of an official checkpoint.

    Args:
        run: the run's folder; it may still be going.
        path: of the weights, ending in .safetensors.
        best: the checkpoint with the best validation score instead of the newest.
        scores: JSON of `evaluate-prompts`, whose means go into the card.

    Raises:
        InputError: if the run lacks its checkpoint or its facts, or the name ends otherwise.
    """
    starting.check_weights_name(path)
    state = starting.trained_state(run, STAGE, best=best)
    facts = read_config(run)["card"]
    tensors = state["average"] or state["model"]
    card = {
        "name": path.stem,
        "network": "promptable",
        "summary": "any structure, by clicks, boxes or a mask",
        "description": "Segments what is pointed at on any image: a frozen SAM encoder, and a decoder trained on "
        "synthetic images alone.",
        "licence": "Apache-2.0",
        "trained with": f"napari-synthseg {__version__}",
        **facts,
        "steps": int(state["step"]),
    }
    if "encoder weights" in card:
        card["encoder sha256"] = sam.encoder_sha256(card["encoder weights"])
    if scores is not None:
        card["scores"] = mean_scores(json.loads(scores.read_text(encoding="utf-8")))
    if "encoder weights" not in facts and not any(k.startswith("image_encoder.") for k in tensors):
        encoder = load_checkpoint(checkpoint(run, ENCODER))
        tensors = {**{f"image_encoder.{k}": v for k, v in encoder.items()}, **tensors}
    store.save(path, tensors, card)
    return path


def mean_scores(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean DSC of each modality over datasets and settings, from the rows of `evaluate-prompts`."""
    sums: dict[str, dict[tuple[str, str], list[float]]] = {}
    for row in rows:
        cell = (row["dataset"], f"{row['prompt']} {row['n_pos']}+{row['n_neg']}")
        sums.setdefault(row["modality"], {}).setdefault(cell, []).append(row["dsc"])
    return {
        modality: round(sum(sum(v) / len(v) for v in cells.values()) / len(cells), 4)
        for modality, cells in sums.items()
    }


def _facts(options: TrainSynthFMOptions, model: Promptable) -> dict[str, Any]:
    """What goes into the card: the encoder and the options that are not the defaults."""
    start = Path(options.start_from).stem if options.start_from else None
    told = replace(options, start_from=start)  # a path says nothing to others
    first = f"train synthfm, preset {options.preset}, seed {options.seed}"
    source = None if options.train_encoder else sam.frozen_source(model)
    facts: dict[str, Any] = {
        "encoder": model.encoder_name,
        "draws_prompts": model.draws_prompts,
        "connected": True,  # all objects of the scenes are
        "recipe": starting.recipe_words(first, told, TrainSynthFMOptions(options.out), HIDDEN),
        "data": "synthetic scenes only",
    }
    if source is None:
        return facts
    licence = sam.CHECKPOINTS[source].licence
    return {**facts, "encoder weights": source, "encoder licence": f"{licence}, {source}"}
