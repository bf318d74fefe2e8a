"""From a run of fine-tuning to weights with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from napari_synthseg import __version__
from napari_synthseg.errors import InputError
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training import folder, starting
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.finetune.material import Material
from napari_synthseg.training.finetune.networks import pretrained
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.options.finetune import STAGE, STAGES, TrainFinetuneOptions
from napari_synthseg.weights import store

RECIPE = "finetune"
"""Name of the recipe."""
HIDDEN = ("scans", "out", "resume", "labels", "validation", "label_maps", "threads", "save_minutes", "validate_every",
          "seed", "name", "start_from", "task", "hold_out")  # fmt: skip
"""Options that a card's recipe leaves out, or says apart."""


def card_of(
    options: TrainFinetuneOptions, card: dict[str, Any], material: Material, before: dict[str, Any] | None
) -> dict[str, Any]:
    """The card of the weights to come, but for steps and scores."""
    plain = TrainFinetuneOptions(options.scans, options.out)
    source, count = pretrained(options.start_from), len(material.sampler.scans)
    labels, held = card["labels"], ", ".join(material.held) or "none"
    what = {"all": f"{len(labels)} labels", "four": "four structures", "brain": "brain and background"}[options.task]
    origin = f"fine-tuned from {source}" if source else "trained from random weights"
    images = f"{count} labelled scans of {options.scans.name} (held out: {held})"
    if material.share > 0:
        maps = options.label_maps.name if options.label_maps else "the scans' labels"
        images += f"; synthetic images from {maps}, {material.share:.0%} of all"
    first = f"train {RECIPE}, from {source or options.start_from}, task {options.task}, seed {options.seed}"
    return {
        **card,
        "summary": f"{what}, {origin} on {count} scans",
        "description": f"{what[0].upper()}{what[1:]}, for scans like the {count} of {options.scans.name}; {origin}.",
        "task": options.task,
        "licence": f"that of the scans in {options.scans.name}"
        + (f", and of the weights {source} it started from" if source else ""),
        "trained with": f"napari-synthseg {__version__}",
        "recipe": starting.recipe_words(first, options, plain, HIDDEN),
        "data": images,
        **({"before": before} if before else {}),
    }


def is_run(run: Path) -> bool:
    """Whether a folder is a run of `train finetune`."""
    return folder.recipe_of(run) == RECIPE


def export(run: Path, path: Path, *, best: bool = False, scores: Path | None = None) -> Path:
    """Write the (averaged) weights of a run as float16 safetensors with a card.

    Args:
        run: the run's folder; it may still be going. A fast network's second stage is that of the network it started
            from, until it is trained.
        path: of the weights, ending in .safetensors.
        best: the checkpoints with the best validation scores instead of the newest.
        scores: JSON of `evaluate`, whose means go into the card.

    Raises:
        InputError: the folder holds no such run, it lacks the checkpoint, or the name ends otherwise.
    """
    starting.check_weights_name(path)
    if not is_run(run):
        raise InputError(f"{run} is no run of train finetune: choose a folder that holds one.")
    config = folder.read_config(run)
    card = {"name": path.stem, **folder.card_of(run)}
    start = str(config["options"]["start_from"])
    two = list(config["stages"]) == list(STAGES)
    whole = _whole(start, card, two)
    steps: dict[str, int] = {}
    for stage, part in _parts(whole, two).items():
        file = checkpoint(run, stage, "best")
        chosen = best and file.exists()  # nothing is scored where no scans choose
        if not chosen:
            file = checkpoint(run, stage)
        if not file.exists():
            if steps:
                break  # of the network it started from
            raise InputError(f"The run {run} has no checkpoint {file.name}: train that stage first.")
        state = load_checkpoint(file)
        part.load_state_dict(state["average"] or state["model"])
        steps[stage] = int(state["step"])
        if chosen:
            card["scores"] = {"dice": round(float(state["best"]), 4)}
    card["steps"] = steps if two else steps[STAGE]
    if scores is not None:
        card["scores"] = starting.mean_scores(scores)
    store.save(path, whole.state_dict(), card)
    return path


def _whole(start: str, card: dict[str, Any], two: bool) -> nn.Module:
    """The network of a run with what is not trained in place."""
    if two or card["network"] == "robust":  # parts stay as they were
        return store.load_model(start)
    return store.build(card)


def _parts(whole: nn.Module, two: bool) -> dict[str, nn.Module]:
    """Which part of a network each stage trains."""
    if not two:
        return {STAGE: getattr(whole, "s2", whole)}
    assert isinstance(whole, LocateRefine)
    first = whole.locator.s2 if isinstance(whole, RobustLocateRefine) else whole.locator
    return dict(zip(STAGES, (first, whole.refiner), strict=True))
