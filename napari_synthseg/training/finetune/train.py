"""`train finetune`: from labelled scans, and weights to start from, to exported weights."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import load_priors
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.transformers import Transformer
from napari_synthseg.training import folder, starting
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.engine.watching import watch
from napari_synthseg.training.finetune.material import Material, gather
from napari_synthseg.training.finetune.networks import crop_of, labels_of, look_of, starting_network
from napari_synthseg.training.finetune.patience import Patience
from napari_synthseg.training.finetune.recipe_crops import CropRecipe
from napari_synthseg.training.finetune.recipes_fast import ScanLocateRecipe, ScanRefineRecipe
from napari_synthseg.training.finetune.scores import score
from napari_synthseg.training.finetune.synthetic import SyntheticCrops
from napari_synthseg.training.finetune.weights_of_run import RECIPE, card_of, export
from napari_synthseg.training.finetune.weights_of_run import is_run as is_run
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.options.finetune import ANEW, STAGE, TrainFinetuneOptions, stages
from napari_synthseg.training.options.finetune import has_two_stages as has_two_stages
from napari_synthseg.training.recipes.robust import NOISE
from napari_synthseg.weights import catalogue

logger = logging.getLogger(__name__)

AVERAGE = 0.99
"""Decay of the running average of the weights: fine-tuning is short."""
CLIP = 2.0


def train(options: TrainFinetuneOptions) -> Generator[Progress, None, Path]:
    """Fine-tune and export.

    Returns:
        The exported weights file.

    Raises:
        InputError: the weights, scans, label maps or options cannot be used.
    """
    device = starting.begin(options)
    yield Progress("loading the network")
    model, card = starting_network(options.start_from, options.task, options.size)
    model.to(device)
    starting.check_new(options.out, options.resume)
    yield Progress("reading scans")
    material = gather(options, model, look_of(model, card), device)
    before = folder.card_of(options.out).get("before") if options.resume else None
    if before is None and hasattr(model, "card"):  # it segments already
        before = yield from first_scores(options, model, material, device)
    facts = card_of(options, card, material, before)
    starting.describe(RECIPE, options, stages(options), facts)
    if isinstance(model, LocateRefine):
        yield from _fast(options, model, material, device)
    else:
        yield from _crops(options, model, material, device)
    path = export(options.out, options.out / f"{options.name}.safetensors", best=bool(material.scored))
    _warn_if_worse(path)
    return path


def _warn_if_worse(path: Path) -> None:
    """Say so where the network was better on the validation scans before anything was learned."""
    card = catalogue.read_card(path)
    before, after = card.get("before", {}).get("dice"), card.get("scores", {}).get("dice")
    if before is not None and after is not None and after < before:
        logger.warning(
            "%s does worse on the validation scans than what it started from (Dice %.3f, before %.3f): keep that, or "
            "try a lower --learning-rate or more scans.",
            path.name,
            after,
            before,
        )


def first_scores(
    options: TrainFinetuneOptions, model: nn.Module, material: Material, device: torch.device
) -> Generator[Progress, None, dict[str, Any] | None]:
    """Scores of a network as it is, before anything is learned; None where nothing is scored."""
    if not material.scored or watch().trial is not None:
        return None
    yield Progress("scoring the network as it is")
    with torch.no_grad():
        found = score(model, material.scored, material.targets, material.look, device)
    return {"dice": round(found["score"], 4), "structures": found["dice"]}


def validation_of(material: Material, device: torch.device):
    """What scores a model, for the loop."""

    def validate(model: nn.Module) -> dict[str, Any]:
        found = score(model, material.scored, material.targets, material.look, device)
        return {k: v for k, v in found.items() if k in ("score", "dice")}

    return validate


def loop_of(options: TrainFinetuneOptions, steps: int, rate: float) -> LoopOptions:
    """How a stage runs."""
    return LoopOptions(
        steps=steps,
        learning_rate=options.learning_rate or rate,
        optimizer="adamw",
        weight_decay=options.weight_decay,
        warmup=min(20, steps // 10),
        decay_fraction=options.cooldown,
        ema_decay=AVERAGE,
        clip=CLIP,
        save_minutes=options.save_minutes,
        validate_every=min(options.validate_every, steps),
    )


def _fast(options: TrainFinetuneOptions, model: LocateRefine, material: Material, device: torch.device):
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    kinds: tuple[type[ScanLocateRecipe] | type[ScanRefineRecipe], ...] = (ScanLocateRecipe, ScanRefineRecipe)
    for (name, steps), kind in zip(stages(options).items(), kinds, strict=True):
        patience = Patience(validation_of(material, device), options.patience)
        recipe = kind(
            model,
            material.maps,
            priors_of(options, model),
            sampler=material.sampler,
            share=material.share,
            seed=options.seed,
            batch=options.batch or 2,
            device=device,
            validation=patience,
        )
        yield from _fit(options, recipe, loop_of(options, steps, 3e-4), name, patience)
        _use_best(recipe.trained, options.out, name)  # what comes next builds on it


def _crops(options: TrainFinetuneOptions, model: nn.Module, material: Material, device: torch.device):
    patience = Patience(validation_of(material, device), options.patience)
    side, spacing, made = crop_of(model, options.crop), float(getattr(model, "spacing", 1)), None
    if material.maps:
        made = SyntheticCrops(
            material.maps, priors_of(options, model), labels_of(model), options.task, side, spacing, device
        )
    encoder, share = [], 1.0
    if isinstance(model, Transformer):
        encoder = list(model.encoder_parameters())
        share = options.encoder_share if options.encoder_share is not None else 0.1
        if options.start_from in ANEW and options.encoder_share is None:
            share = 1.0  # nothing is there to be kept
    recipe = CropRecipe(
        model,
        material.sampler,
        seed=options.seed,
        batch=options.batch or 1,
        crop=side,
        device=device,
        validation=patience,
        synthetic=made,
        share=material.share,
        encoder=encoder,
        encoder_share=share,
    )
    yield from _fit(options, recipe, loop_of(options, options.steps, 1e-4), STAGE, patience)


def _fit(options: TrainFinetuneOptions, recipe, loop: LoopOptions, name: str, patience: Patience):
    if options.resume:
        patience.take_up(options.out, name)
    yield from fit(recipe, loop, options.out, name=name, resume=options.resume, card=patience.facts)


def _use_best(module: nn.Module, out: Path, stage: str) -> None:
    """Give a part of the network the weights that scored best, where anything was scored."""
    path = checkpoint(out, stage, "best")
    if path.exists():
        state = load_checkpoint(path)
        module.load_state_dict(state["average"] or state["model"])


def priors_of(options: TrainFinetuneOptions, model: nn.Module) -> GenerativeModel:
    """Those of the generative model: the preset asked for, or what the network was trained with."""
    fast = isinstance(model, LocateRefine)
    chosen = load_priors(options.priors or ("fast" if fast else "synthseg"), options.set)
    if options.priors is None and isinstance(model, RobustLocateRefine):
        chosen = chosen.with_values(noise_std=NOISE)
    return chosen
