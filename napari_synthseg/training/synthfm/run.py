"""`train synthfm`: a decoder for clicks, boxes and masks from synthetic scenes alone (SynthFM, arXiv 2504.08177)."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from napari_synthseg import __version__, promptable_weights, weights
from napari_synthseg.errors import InputError
from napari_synthseg.networks.frozen_encoder import FrozenEncoder
from napari_synthseg.networks.promptable import Promptable
from napari_synthseg.progress import Progress
from napari_synthseg.synthesis.shapes.priors import shape_preset
from napari_synthseg.training import starting
from napari_synthseg.training.loop import LoopOptions, atomic_save, fit, load_checkpoint
from napari_synthseg.training.starting import FACTS
from napari_synthseg.training.synthfm.prompt_recipe import (
    PaperPromptRecipe,
    PromptRecipe,
    TunedPromptRecipe,
    look_where_pointed,
)
from napari_synthseg.training.synthfm.prompt_validation import PromptValidation
from napari_synthseg.training.synthfm.scene_encodings import EncodedScenes, Pool

ENCODER = "encoder.pt"
"""File of a run that keeps an encoder which no official checkpoint holds."""
STAGE = "prompts"
"""Name of the run's checkpoints."""
HIDDEN = ("out", "resume", "encoder", "threads", "workers", "preset", "seed", "name", "validate_every", "save_minutes")
"""Options that a card's recipe leaves out, or says apart."""
VALIDATION_SEED = 20_250_411
"""Of the scenes that score a model; no training seed is near it."""


@dataclass(frozen=True)
class TrainSynthFMOptions:
    """How a promptable network is trained."""

    out: Path
    """Folder of the run: log.jsonl, checkpoints, and the exported weights."""
    encoder: str = "default"
    """Whose image encoder: default (MobileSAM's), vit_b, vit_l, vit_h, or a checkpoint file."""
    preset: Literal["fast", "paper"] = "fast"
    """fast: many targets a step, corrections, focal and Dice loss, hours; paper: one target of one image a step, Dice
    loss, a million steps."""
    steps: int | None = None
    """Steps in all; default 20,000 (fast) or 1,000,000 (paper)."""
    scenes: str = "both"
    """Preset of the scenes: both, shape-only, boundary-only, paper, or a modality."""
    boxes: bool = True
    """Prompt with boxes too (fast)."""
    masks: bool = True
    """Prompt with masks too (fast)."""
    draws_prompts: bool = True
    """Draw points and boxes on the mask prompt too, which is learned faster than SAM's tokens alone (fast)."""
    train_encoder: bool = False
    """Let the encoder learn too, at a hundredth of the rate (fast); best late, with a decoder to start from."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of promptable weights whose decoder to start from, in place of a random one."""
    seed: int = 1
    """Seed of everything random."""
    batch: int | None = None
    """Targets a step: through windows of half the frame (default 8, fast), or in all (default 1, paper)."""
    pool: int = 48
    """Scenes from which a step takes its targets (fast)."""
    scene_steps: int = 2
    """Steps from one new scene to the next (fast)."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon learns more from each step, and needs torch 2.9; the paper's preset uses Adam (fast)."""
    learning_rate: float | None = None
    """Peak learning rate; default 1e-3 (fast) or 1e-4 (paper)."""
    cooldown: float = 0.3
    """Share of the steps over which the fast recipe's rate falls to zero."""
    validate_every: int = 500
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: int | None = None
    """CPU threads of the decoder's training; default torch's."""
    workers: int = 0
    """Processes that make and encode scenes ahead, one thread each; for CPUs."""
    name: str = "synthfm"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        names = ("steps", "batch", "threads", "pool", "scene_steps", "validate_every", "learning_rate")
        starting.check_positive(self, names)
        starting.check_shares(self, ("cooldown",))
        if self.workers < 0:
            raise InputError(f"The option workers cannot be negative, and is {self.workers}.")


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
    starting.write_facts(options.out, _facts(options, model))
    if promptable_weights.frozen_source(model) is None and not options.train_encoder:
        atomic_save(model.image_encoder.state_dict(), options.out / ENCODER)
    fast = options.preset == "fast"
    encoder = FrozenEncoder(model).to(device)
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
    if options.preset == "paper":
        return LoopOptions(steps=options.steps or 1_000_000, learning_rate=options.learning_rate or 1e-4, **common)
    return LoopOptions(
        steps=options.steps or 20_000,
        learning_rate=options.learning_rate or 1e-3,
        optimizer=options.optimizer,
        weight_decay=1e-4,
        warmup=200,
        cooldown=options.cooldown,
        average=0.998,
        clip=3.0,
        **common,
    )


def untrained(options: TrainSynthFMOptions) -> Promptable:
    """The checkpoint's encoder and prompt encoder, and a decoder that knows nothing unless it starts from weights.

    Raises:
        InputError: no such checkpoint, or `start_from` has another encoder.
    """
    source = promptable_weights.load_model(options.encoder)
    drawn = options.draws_prompts and options.preset == "fast"
    model = Promptable(source.encoder_name, source.image_size, drawn)
    model.image_encoder.load_state_dict(source.image_encoder.state_dict())
    model.prompt_encoder.load_state_dict(source.prompt_encoder.state_dict())
    model.card = source.card
    if options.preset == "fast":
        look_where_pointed(model.mask_decoder)
    if options.start_from:
        start = promptable_weights.load_model(options.start_from)
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
    checkpoint = run / f"{STAGE}{'-best' if best else ''}.pt"
    if not (checkpoint.exists() and (run / FACTS).exists()):
        raise InputError(f"The run {run} has no checkpoint {checkpoint.name}, or no {FACTS}: train it first.")
    state = load_checkpoint(checkpoint)
    facts = json.loads((run / FACTS).read_text(encoding="utf-8"))
    tensors = state["average"] or state["model"]
    card = {
        "name": path.stem,
        "network": weights.PROMPTABLE,
        "summary": "any structure, by clicks, boxes or a mask",
        "description": "Segments what is pointed at on any image: a frozen SAM encoder, and a decoder trained on "
        "synthetic images alone.",
        "licence": "Apache-2.0",
        "trained with": f"napari-synthseg {__version__}",
        **facts,
        "steps": int(state["step"]),
    }
    if "encoder weights" in card:
        card["encoder sha256"] = promptable_weights.encoder_sha256(card["encoder weights"])
    if scores is not None:
        card["scores"] = mean_scores(json.loads(scores.read_text(encoding="utf-8")))
    if "encoder weights" not in facts and not any(k.startswith("image_encoder.") for k in tensors):
        encoder = load_checkpoint(run / ENCODER)
        tensors = {**{f"image_encoder.{k}": v for k, v in encoder.items()}, **tensors}
    weights.save(path, tensors, card)
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
    source = None if options.train_encoder else promptable_weights.frozen_source(model)
    facts: dict[str, Any] = {
        "encoder": model.encoder_name,
        "draws_prompts": model.draws_prompts,
        "connected": True,  # all objects of the scenes are
        "recipe": starting.recipe_words(first, told, TrainSynthFMOptions(options.out), HIDDEN),
        "data": "synthetic scenes only",
    }
    if source is None:
        return facts
    licence = promptable_weights.CHECKPOINTS[source].licence
    return {**facts, "encoder weights": source, "encoder licence": f"{licence}, {source}"}
