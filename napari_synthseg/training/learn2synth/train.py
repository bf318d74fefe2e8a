"""`train learn2synth`: from label maps and a few labelled scans to a segmentation network, its synthesis learned."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from napari_synthseg import __version__, weights
from napari_synthseg.errors import InputError
from napari_synthseg.networks.augmenter import build_augmenter
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.progress import Progress
from napari_synthseg.synthesis.labelmap import LabelMap
from napari_synthseg.synthesis.priors import preset
from napari_synthseg.training import validation
from napari_synthseg.training.learn2synth.labelled import LabelledCrops
from napari_synthseg.training.learn2synth.recipe import Learn2SynthRecipe
from napari_synthseg.training.loop import LoopOptions, fit, load_checkpoint
from napari_synthseg.training.paper import PaperRecipe
from napari_synthseg.training.starting import (
    FACTS,
    begin,
    check_new,
    check_positive,
    check_weights_name,
    mean_scores,
    recipe_words,
    write_facts,
)
from napari_synthseg.training.synthseg import predicted_labels, read_maps, split, start_from

STAGE = "learn2synth"
"""Name of the run's checkpoints."""
RECIPE = "train learn2synth"
"""How the recipe on a card begins."""
LARGEST = 192
"""Voxels along the shortest side of a labelled scan's field of view."""
HIDDEN = ("label_maps", "out", "resume", "labelled", "validation", "threads", "save_minutes", "validate_every", "seed",
          "name", "augmenter")  # fmt: skip
"""Options that a card's recipe leaves out, or says apart."""


@dataclass(frozen=True)
class TrainLearn2SynthOptions:
    """How a network and what augments its images are trained together."""

    label_maps: Path
    """Folder of label maps (NIfTI, MGZ, NRRD), or one .npz file of prepared maps."""
    out: Path
    """Folder of the run: log.jsonl, checkpoints, and the exported weights."""
    labelled: Path | None = None
    """Folder of real scans, <id>_t1.nii.gz with <id>_labels.nii.gz, from which the augmenter learns."""
    augmenter: Literal["noise", "bias", "unet", "none"] = "noise"
    """noise; noise and bias field; small U-Net and noise; or none: SynthSeg as it is, to compare with."""
    varying: bool = False
    """The augmenter's deviations vary from image to image between two ends, and both are learned."""
    sigma: float = 0.05
    """Deviation of the augmenter's noise at the beginning, intensities in [0, 1]."""
    inner: Literal["adam", "sgd"] = "adam"
    """How the segmentation network steps, and what is differentiated through."""
    steps: int = 20_000
    """Steps in all."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of a U-Net's weights to start from, in place of random ones; of the same sizes and labels."""
    priors: str = "synthseg"
    """Preset of the generative model."""
    validation: Path | None = None
    """Folder of labelled scans as for --labelled: they choose the best checkpoint."""
    hold_out: tuple[str, ...] = ()
    """Names of label maps kept for validation; default the last tenth."""
    seed: int = 1
    """Seed of everything random."""
    batch: int = 1
    """Synthetic images, and real ones, a step."""
    crop: int = 96
    """Side of all crops, voxels of 1 mm."""
    features: int = 24
    """Features of the network at its first level."""
    learning_rate: float | None = None
    """Learning rate of the network; default 1e-3 (adam) or 1e-2 (sgd)."""
    augmenter_rate: float = 1e-3
    """Learning rate of the augmenter."""
    teach_from: int = 500
    """Steps before the augmenter begins to learn; they take a quarter of the time of the others."""
    validate_every: int = 500
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: int | None = None
    """CPU threads; default torch's."""
    name: str = "learn2synth"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_positive(self, ("steps", "batch", "crop", "features", "learning_rate", "augmenter_rate",
                              "validate_every", "threads"))  # fmt: skip
        if self.teach_from < 0:
            raise InputError(f"The option teach_from cannot be negative, and is {self.teach_from}.")
        if not self.sigma >= 0:
            raise InputError(f"The option sigma cannot be negative, and is {self.sigma}.")
        if self.augmenter != "none" and self.labelled is None:
            raise InputError("The augmenter learns from labelled scans: give their folder with --labelled.")
        if self.augmenter != "none" and self.teach_from >= self.steps:
            raise InputError("The augmenter would never learn: ask for more steps, or let it begin earlier.")
        if self.crop > LARGEST:
            raise InputError(f"Crops of labelled scans have at most {LARGEST} voxels along a side, not {self.crop}.")


def train(options: TrainLearn2SynthOptions) -> Generator[Progress, None, Path]:
    """Train and export.

    Returns:
        The exported weights file.

    Raises:
        InputError: the label maps, labelled scans or options cannot be used.
    """
    device = begin(options)
    yield Progress("reading label maps")
    training, held_out = split(read_maps(options.label_maps), options.hold_out)
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
    write_facts(options.out, card_of(options, labels, len(training), [m.name for m in held_out], scans))

    def learned() -> dict[str, Any]:
        return {"augmenter": {"kind": options.augmenter, **recipe.augmenter.figures()}}

    yield from fit(recipe, loop_of(options), options.out, name=STAGE, resume=options.resume, card=learned)
    # The model is selected by its validation scans, where there are some; synthetic heads know nothing of real ones.
    best = options.validation is not None and (options.out / f"{STAGE}-best.pt").exists()
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

    def validate(m) -> dict[str, float]:
        figures = {"synthetic": validation.score_unet(m, heads, device)}
        score = validation.score_unet(m, scans, device) if scans else figures["synthetic"]
        return {**figures, "score": score}

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
    try:
        return str(json.loads((run / FACTS).read_text(encoding="utf-8")).get("recipe")).startswith(RECIPE)
    except (OSError, ValueError, AttributeError):
        return False


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
    check_weights_name(path)
    checkpoint = run / f"{STAGE}{'-best' if best else ''}.pt"
    if not (is_run(run) and checkpoint.exists()):
        raise InputError(f"The folder {run} is no run of train learn2synth with a checkpoint {checkpoint.name}.")
    state = load_checkpoint(checkpoint)
    card = {"name": path.stem, **json.loads((run / FACTS).read_text(encoding="utf-8")), "steps": int(state["step"])}
    if scores is not None:
        card["scores"] = mean_scores(scores)
    kept = {k.removeprefix("segmenter."): v for k, v in state["model"].items() if k.startswith("segmenter.")}
    weights.save(path, kept, {**card, **state["card"]})
    return path
