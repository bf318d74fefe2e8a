"""`train pretrain`: from scans without labels, and label maps, to an encoder that fine-tuning starts from."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_synthseg import __version__
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.presets import load_priors
from napari_synthseg.io import stem
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.pretraining import MaskedAutoencoder, SwinPretexts
from napari_synthseg.networks.registry import ENCODER, build
from napari_synthseg.networks.transformers import SMALL, SwinUnetr, Transformer, Unetr
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.engine.watching import watch
from napari_synthseg.training.folder import checkpoint, recipe_of
from napari_synthseg.training.options.pretrain import STAGE, TrainPretrainOptions
from napari_synthseg.training.pretrain.crops import (
    FOLDER,
    Crops,
    MixedCrops,
    ScanCrops,
    SyntheticCrops,
    held_apart,
    standardised_steps,
    unlabelled,
)
from napari_synthseg.training.pretrain.masked import MaskedRecipe
from napari_synthseg.training.pretrain.pretexts import SwinRecipe
from napari_synthseg.training.starting import (
    begin,
    check_new,
    describe,
    recipe_words,
    state_and_card,
)
from napari_synthseg.weights import store

TITLES = {"unetr": "a UNETR", "swin-unetr": "a Swin UNETR"}
HIDDEN = ("out", "scans", "label_maps", "resume", "network", "size", "hold_out", "device", "devices", "threads",
          "save_minutes", "validate_every", "seed", "name")  # fmt: skip
"""Options that a card's recipe leaves out, or says apart."""
TRIED = 4
"""Scans that are standardised where time and memory are only to be estimated."""


def train(options: TrainPretrainOptions) -> Generator[Progress, None, Path]:
    """Train and export the encoder with the best reconstruction.

    Returns:
        The exported weights file.

    Raises:
        InputError: the scans, label maps or options cannot be used.
    """
    device = begin(options)
    check_new(options.out, options.resume)
    sizes = SMALL[options.network] if options.size == "small" else {}
    model = build({"network": options.network, "labels": [], **sizes})
    assert isinstance(model, Transformer)
    crops, held_out, data = yield from _crops(options, model, device)
    describe("pretrain", options, {STAGE: options.steps}, card_of(options, sizes, data))
    recipe = make_recipe(options, model, crops, held_out, device)
    yield from fit(recipe, loop_of(options), options.out, name=STAGE, resume=options.resume)
    best = checkpoint(options.out, STAGE, "best").exists()
    return export(options.out, options.out / f"{options.name}.safetensors", best=best)


def make_recipe(
    options: TrainPretrainOptions, model: Transformer, crops: Crops, held_out: Crops, device: torch.device
) -> MaskedRecipe | SwinRecipe:
    """The recipe of a network."""
    common: dict[str, Any] = {"seed": options.seed, "batch": options.batch, "device": device}
    if isinstance(model, Unetr):
        hidden = max(8, model.hidden * 2 // 3 // 8 * 8)  # 512 of 768, as published
        autoencoder = MaskedAutoencoder(model, hidden, options.decoder_blocks, options.decoder_skips)
        return MaskedRecipe(
            autoencoder,
            crops,
            held_out,
            ratio=options.mask_ratio,
            normalise=options.normalise_patches,
            **common,
        )
    assert isinstance(model, SwinUnetr)
    swin = SwinPretexts(model)
    return SwinRecipe(swin, crops, held_out, share=options.cut_out, temperature=options.temperature, **common)


def loop_of(options: TrainPretrainOptions) -> LoopOptions:
    """AdamW (section IV-C), with a warm-up and a fall at the end."""
    return LoopOptions(
        steps=options.steps,
        learning_rate=options.learning_rate,
        optimizer="adamw",
        weight_decay=options.weight_decay,
        warmup=options.warmup,
        decay_fraction=options.cooldown,
        clip=1.0,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
    )


def _crops(
    options: TrainPretrainOptions, model: Transformer, device: torch.device
) -> Generator[Progress, None, tuple[Crops, Crops, str]]:
    """Crops to learn from and to validate on, and a sentence on them for the card."""
    trying = watch().trial is not None
    files: list[Path] = []
    maps: list[LabelMap] = []
    if options.scans is not None:
        found = unlabelled(options.scans)[: TRIED if trying else None]
        files = yield from standardised_steps(found, options.out / FOLDER, model.field, model.spacing)
    if options.label_maps is not None:
        maps = yield from read_maps(options.label_maps)
    names = [_name(file) for file in files], [m.name for m in maps]
    unknown = set(options.hold_out) - {*names[0], *names[1]}
    if unknown and not trying:
        raise InputError(f"There is no scan or label map named {min(unknown)!r} to hold out: check its name.")
    keep = [held_apart(one, options.hold_out) for one in names]
    sides = []
    for side in (False, True):
        own = [f for f, held in zip(files, keep[0], strict=True) if held == side]
        some = [m for m, held in zip(maps, keep[1], strict=True) if held == side]
        sides.append(_source(options, model, own or (files if side else []), some or (maps if side else []), device))
    data = [
        f"{len(files) - sum(keep[0])} scans without labels (held out: {sum(keep[0])})" if files else "",
        f"synthetic scans of {len(maps) - sum(keep[1])} label maps (held out: {sum(keep[1])})" if maps else "",
    ]
    return sides[0], sides[1], "; ".join(part for part in data if part)


def _source(
    options: TrainPretrainOptions, model: Transformer, files: list[Path], maps: list[LabelMap], device: torch.device
) -> Crops:
    scans = ScanCrops(files, model.edge, device) if files else None
    made = None
    if maps:
        made = SyntheticCrops(
            maps, load_priors(options.priors, options.set), model.field, model.edge, model.spacing, device
        )
    if scans is not None and made is not None:
        return MixedCrops(scans, made, options.synthetic)
    chosen = scans or made
    if chosen is None:
        raise InputError("Nothing is left to learn from: hold out fewer scans and label maps.")
    return chosen


def _name(file: Path) -> str:
    """The scan's name in that of its standardised file: without what was added to it."""
    return stem(file).rsplit("-", 3)[0]


def card_of(options: TrainPretrainOptions, sizes: dict[str, Any], data: str) -> dict[str, Any]:
    """The card of the encoder to come, but for steps and scores.

    Args:
        options: of the training.
        sizes: of the network, where they are not the paper's.
        data: what is learned from, in words.
    """
    plain = replace(TrainPretrainOptions(options.out, options.scans, options.label_maps), batch=options.batch)
    first = (
        f"train pretrain, network {options.network}, size {options.size}, seed {options.seed}, batch {options.batch}"
    )
    licence = f"that of the scans in {options.scans.name}" if options.scans is not None else "Apache-2.0"
    return {
        "network": options.network + ENCODER,
        "title": f"a pre-trained encoder of {TITLES[options.network]}",
        "summary": f"pre-trained encoder of {TITLES[options.network]}, for fine-tuning",
        "description": f"Encoder of {TITLES[options.network]}, trained without labels: fine-tuning starts from it.",
        "labels": [],
        **sizes,
        "licence": licence,
        "trained with": f"napari-synthseg {__version__}",
        "recipe": recipe_words(first, options, plain, HIDDEN),
        "data": data,
    }


def is_run(run: Path) -> bool:
    """Whether a folder is a run of `train pretrain`."""
    return recipe_of(run) == "pretrain"


def export(run: Path, path: Path, *, best: bool = False, scores: Path | None = None) -> Path:
    """Write the encoder of a run as float16 safetensors with a card; what reconstructs stays behind.

    Args:
        run: the run's folder; it may still be going.
        path: of the weights, ending in .safetensors.
        best: the checkpoint with the best reconstruction of held-out crops instead of the newest.
        scores: JSON of `evaluate` on what was fine-tuned from it, whose means go into the card.

    Raises:
        InputError: the folder holds no such run, it lacks the checkpoint, or the name ends otherwise.
    """
    state, card = state_and_card(run, path, "pretrain", STAGE, best=best, scores=scores)
    if best and scores is None:
        card["scores"] = {"explained variance of what was hidden": round(float(state["best"]), 4)}
    prefix = "encoder."
    kept = {k.removeprefix(prefix): v for k, v in state["model"].items() if k.startswith(prefix)}
    store.save(path, kept, card)
    return path
