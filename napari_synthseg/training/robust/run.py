"""`train robust`: SynthSeg+'s S1, D and S2, one after the other, from a folder of label maps to exported weights."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_synthseg import __version__
from napari_synthseg.anatomy import TISSUES
from napari_synthseg.errors import InputError
from napari_synthseg.generator.priors import Priors, preset
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.hierarchy import KERNEL
from napari_synthseg.training import starting
from napari_synthseg.training.data import validation
from napari_synthseg.training.data.label_maps import predicted_labels, read_maps, split, with_lesions
from napari_synthseg.training.folder import checkpoint, read_config, recipe_of
from napari_synthseg.training.options.robust import TrainRobustOptions, stages
from napari_synthseg.training.robust import plans
from napari_synthseg.training.robust.parts import tissue_classes
from napari_synthseg.weights import store

NOISE = (0.0, 50.0)
"""Standard deviation of the noise in the fast plan's images, intensities in [0, 255]: the degradation's (Table S1)."""
PLACES = {
    "fast": {"s1": "locator.s1", "d": "locator.denoiser", "s2": "locator.s2", "s2-refine": "refiner"},
    "paper": {"s1": "s1", "d": "denoiser", "s2": "s2"},
}
"""Where in the whole network each stage's weights belong, by plan."""
HIDDEN = ("label_maps", "out", "resume", "validation", "threads", "save_minutes", "validate_every", "seed", "plan",
          "labelled", "name")  # fmt: skip
"""Options that a card's recipe leaves out, or says apart."""


def train(options: TrainRobustOptions) -> Generator[Progress, None, Path]:
    """Train S1, D and S2, and export them as one network.

    Returns:
        The exported weights file; where one network alone is trained and others are missing, its checkpoint.

    Raises:
        InputError: the label maps, labelled scans or options cannot be used.
    """
    device = starting.begin(options)
    training, held_out = split((yield from read_maps(options.label_maps)), options.hold_out)
    labels = predicted_labels(training)
    tissue_classes(labels)  # refuses label maps without tissues
    starting.check_new(options.out, options.resume, f"{options.only or ''}*")
    labelled = validation.labelled_scans(options.labelled, labels) if options.labelled else []
    scans = validation.labelled_scans(options.validation, labels) if options.validation else []
    yield Progress("drawing heads for validation")
    heads = validation.synthetic_cases(
        held_out, with_lesions(preset("synthseg"), options.lesions), labels, 1, options.seed + 5
    )
    data = plans.Data(labels, training, priors_of(options), labelled, heads, scans, device)
    card = card_of(options, data, [m.name for m in held_out])
    starting.describe("robust", options, stages(options), card)
    yield from (plans.paper if options.plan == "paper" else plans.fast)(options, data)
    if options.only and not all(checkpoint(options.out, stage).exists() for stage in PLACES[options.plan]):
        return checkpoint(options.out, options.only)
    return export(options.out, options.out / f"{options.name}.safetensors")


def priors_of(options: TrainRobustOptions) -> Priors:
    """Those of the generative model: the preset asked for, or the plan's own."""
    if options.priors is not None or options.plan == "paper":
        return with_lesions(preset(options.priors or "synthseg-plus"), options.lesions)
    return with_lesions(replace(preset("fast"), noise_std=NOISE), options.lesions)


def card_of(options: TrainRobustOptions, data: plans.Data, held_out: Sequence[str]) -> dict[str, Any]:
    """The card of the weights to come, but for steps and scores: sizes, the options that are not the defaults, data."""
    plain = TrainRobustOptions(options.label_maps, options.out)
    first = f"train robust, plan {options.plan}, seed {options.seed}"
    images = "synthetic images only"
    if options.labelled is not None:
        images = (
            f"synthetic images, and for the denoiser {len(data.labelled)} labelled scans of {options.labelled.name}"
        )
    held = ", ".join(held_out) or "none"
    return {
        "network": "robust",
        "summary": f"whole brain, {len(data.labels)} labels, scans of low quality",
        "description": f"Whole brain, {len(data.labels)} labels, for scans of low quality: tissues, better tissues, "
        f"structures (SynthSeg+{', fast' if options.plan == 'fast' else ''}).",
        "labels": list(data.labels),
        "plan": options.plan,
        "parts": _parts(options, data.labels),
        "licence": "Apache-2.0" if options.labelled is None else f"that of the scans in {options.labelled.name}",
        "trained with": f"napari-synthseg {__version__}",
        "recipe": starting.recipe_words(first, options, plain, HIDDEN),
        "data": f"{len(data.maps)} label maps (held out: {held}); {images}",
    }


def _parts(options: TrainRobustOptions, labels: Sequence[int]) -> dict[str, Any]:
    """Kinds and sizes of the three networks, as `networks.registry` wants them."""
    tissues = list(range(len(TISSUES)))
    denoiser: dict[str, Any] = {"network": "denoiser", "labels": tissues, "features": options.denoiser_features}
    if options.plan == "paper":
        unet = {"network": "unet", "features": options.features, "levels": 5}
        guided = {**unet, "labels": list(labels), "in_channels": 1 + len(tissues)}
        return {"s1": {**unet, "labels": tissues}, "denoiser": denoiser, "s2": guided}
    return {
        "s1": {"network": "subvoxel", "labels": tissues, "features": list(options.s1_features)},
        "denoiser": {**denoiser, "kernel": KERNEL},
        "s2": {
            "network": "locate-refine",
            "labels": list(labels),
            "locator_features": list(options.locator_features),
            "refiner_features": list(options.refiner_features),
        },
    }


def is_run(run: Path) -> bool:
    """Whether a folder is a run of `train robust`."""
    return recipe_of(run) == "robust"


def export(
    run: Path, path: Path, *, best: bool = False, scores: Path | None = None, confident_score: float | None = None
) -> Path:
    """Write the (averaged) weights of a run's three networks as one file of float16 safetensors with a card.

    Args:
        run: the run's folder; its last stage may still be going.
        path: of the weights, ending in .safetensors.
        best: S2's checkpoints with the best validation scores instead of the newest.
        scores: JSON of `evaluate`, whose means go into the card.
        confident_score: the locator's score (`inference.plausibility`) from which on a scan needs no second look.

    Raises:
        InputError: the folder holds no such run, it lacks a stage's checkpoint, or the name ends otherwise.
    """
    starting.check_weights_name(path)
    if not is_run(run):
        raise InputError(f"{run} is no run of train robust: choose a folder that holds one.")
    card = {"name": path.stem, **read_config(run)["card"]}
    tensors: dict[str, torch.Tensor] = {}
    steps = {}
    for stage, place in PLACES[card["plan"]].items():
        scored = best and stage.startswith("s2") and checkpoint(run, stage, "best").exists()
        state = starting.trained_state(run, stage, best=scored)
        tensors |= {f"{place}.{k}": v for k, v in (state["average"] or state["model"]).items()}
        steps[stage] = int(state["step"])
    card["steps"] = steps
    if scores is not None:
        card["scores"] = starting.mean_scores(scores)
    if confident_score is not None:
        card["confident_score"] = confident_score
    store.save(path, tensors, card)
    return path
