"""`train synthseg`: the paper's recipe and the fast one, from a folder of label maps to exported weights."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_synthseg import __version__, anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap, load
from napari_synthseg.generator.priors import Priors, preset
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training import starting
from napari_synthseg.training.data import validation
from napari_synthseg.training.engine.distributed import team
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.folder import card_of, checkpoint, read_config
from napari_synthseg.training.objectives.locate_refine import LocateRecipe, RefineRecipe
from napari_synthseg.training.objectives.unet_crops import PaperRecipe
from napari_synthseg.training.options.synthseg import TrainSynthSegOptions, stages
from napari_synthseg.weights import store

LESION_LOAD_ML = (0.0, 60.0)
"""Volume of the white matter lesions that `lesions` paints into label maps."""


def train(options: TrainSynthSegOptions) -> Generator[Progress, None, Path]:
    """Train and export.

    Returns:
        The exported weights file.

    Raises:
        InputError: if the label maps or options cannot be used.
    """
    device = starting.begin(options)
    yield Progress("reading label maps")
    training, held_out = split(read_maps(options.label_maps), options.hold_out)
    starting.check_new(options.out, options.resume)
    starting.describe("synthseg", options, stages(options), _facts(options, training, held_out))
    if options.preset == "paper":
        return (yield from _paper(options, training, held_out, device))
    return (yield from _fast(options, training, held_out, device))


def _fast(options: TrainSynthSegOptions, training: list[LabelMap], held_out: list[LabelMap], device: torch.device):
    labels = predicted_labels(training)
    model = LocateRefine(labels, options.locator_features, options.refiner_features)
    priors = with_lesions(preset(options.priors or "fast"), options.lesions)
    seen = with_lesions(preset("synthseg"), options.lesions)
    cases = validation.synthetic_cases(held_out, seen, labels, 2, options.seed + 5)
    scans = validation.labelled_scans(options.validation, labels) if options.validation else []
    steps = stages(options)
    loop = LoopOptions(
        steps=steps["locate"],
        learning_rate=options.learning_rate or 2e-3,
        optimizer="adamw",
        weight_decay=1e-4,
        warmup=100,
        cooldown=options.cooldown,
        average=0.995,
        clip=2.0,
        checkpoint_every=10_000,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
    )

    def scores(score):
        return lambda m: validation.figures(score, m, cases, scans, device)

    if options.start_from:
        start_from(model, options.start_from)
    common: dict[str, Any] = {"seed": options.seed, "device": device, "curriculum": options.curriculum}
    first = LocateRecipe(
        model,
        training,
        priors,
        batch=options.batch or 2,
        validation=scores(validation.score_locator),
        weight_power=0.33,
        **common,
    )
    begun = options.start_from or (options.resume and checkpoint(options.out, "locate").exists())
    if team().leads and not begun:  # the others get what the first process has
        first.set_position()
    yield from fit(first, loop, options.out, name="locate", resume=options.resume)
    second = RefineRecipe(
        model, training, priors, batch=options.batch or 3, validation=scores(validation.score_refiner), **common
    )
    fine = replace(loop, steps=steps["refine"])
    yield from fit(second, fine, options.out, name="refine", resume=options.resume)
    return export(options.out, options.out / f"{options.name}.safetensors")


def _paper(options: TrainSynthSegOptions, training: list[LabelMap], held_out: list[LabelMap], device: torch.device):
    labels = predicted_labels(training)
    model = UNet3d(labels, features=options.features)
    if options.crop % model.multiple:
        raise InputError(f"The crop of {options.crop} voxels must be a multiple of {model.multiple}.")
    if options.start_from:
        start_from(model, options.start_from)
    seen = with_lesions(preset("synthseg"), options.lesions)
    cases = validation.synthetic_cases(held_out, seen, labels, 2, options.seed + 5)
    scans = validation.labelled_scans(options.validation, labels) if options.validation else []

    recipe = PaperRecipe(
        model,
        training,
        with_lesions(preset(options.priors or "synthseg"), options.lesions),
        seed=options.seed,
        batch=options.batch or 1,
        crop=options.crop,
        device=device,
        validation=lambda m: validation.figures(validation.score_unet, m, cases, scans, device),
    )
    loop = LoopOptions(
        steps=stages(options)["unet"],
        learning_rate=options.learning_rate or 1e-4,
        checkpoint_every=10_000,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
    )
    yield from fit(recipe, loop, options.out, name="unet", resume=options.resume)
    # "The retained model is then selected relatively to a validation set" (section 3.2), if there is one.
    best = checkpoint(options.out, "unet", "best").exists()
    return export(options.out, options.out / f"{options.name}.safetensors", best=best)


def export(
    run: Path, path: Path, *, best: bool = False, scores: Path | None = None, confident_score: float | None = None
) -> Path:
    """Write the weights of a run as float16 safetensors with a card; those of a fast run are averaged.

    Args:
        run: the run's folder; its last stage may still be going.
        path: of the weights, ending in .safetensors.
        best: the checkpoints with the best validation scores instead of the newest.
        scores: JSON of `evaluate`, whose means go into the card.
        confident_score: the locator's score (`inference.plausibility`) from which on a scan needs no second look.

    Raises:
        InputError: if the run lacks a stage's checkpoint, or the name ends otherwise.
    """
    starting.check_weights_name(path)
    if checkpoint(run, "unet").exists() and not checkpoint(run, "locate").exists():
        tensors, card = _paper_weights(run, path.stem, best)
    else:
        tensors, card = _fast_weights(run, path.stem, best)
    card |= {"licence": "Apache-2.0", "trained with": f"napari-synthseg {__version__}", **card_of(run)}
    if scores is not None:
        card["scores"] = starting.mean_scores(scores)
    if confident_score is not None:
        card["confident_score"] = confident_score
    store.save(path, tensors, card)
    return path


def _paper_weights(run: Path, name: str, best: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights of SynthSeg's U-Net, and what their card says of them."""
    state = starting.trained_state(run, "unet", best=best)
    options = read_config(run)["options"]
    k = len(card_of(run).get("labels") or ())
    card = {
        "name": name,
        "network": "unet",
        "summary": f"whole brain, {k} labels, any contrast; SynthSeg's U-Net",
        "description": f"{k} labels, scans of any contrast, at 1 mm: SynthSeg's U-Net.",
        "features": int(options.get("features", 24)),
        "levels": 5,
        "steps": int(state["step"]),
    }
    return state["average"] or state["model"], card


def _fast_weights(run: Path, name: str, best: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Averaged weights of both stages of the fast network, and what their card says of them."""
    tensors: dict[str, torch.Tensor] = {}
    sizes, steps = {}, {}
    for stage, module in (("locate", "locator"), ("refine", "refiner")):
        state = starting.trained_state(run, stage, best=best)
        part = state["average"] or state["model"]
        tensors |= {f"{module}.{k}": v for k, v in part.items()}
        steps[stage] = int(state["step"])
        sizes[module] = [part["stem.weight"].shape[0]]
        while (key := f"encoders.{len(sizes[module])}.0.0.weight") in part:
            sizes[module].append(part[key].shape[0])
    k = tensors["locator.head.bias"].shape[0] // 8
    labels = anatomy.predicted_values(2)
    card = {
        "name": name,
        "network": "locate-refine",
        "summary": f"whole brain, {k} labels, any contrast; fast",
        "description": f"Whole brain, {k} labels, scans of any contrast: locates at 2 mm, refines at 1 mm. Fast.",
        "labels": list(labels) if len(labels) == k else list(range(k)),
        "locator_features": sizes["locator"],
        "refiner_features": sizes["refiner"],
        "steps": steps,
    }
    return tensors, card


def start_from(model: LocateRefine | UNet3d, name: str) -> None:
    """Give a network the weights of a trained one.

    Raises:
        InputError: if there are no such weights, or they belong to another network, other labels or other sizes.
    """
    source = store.load_model(name)
    sizes = [{k: v.shape for k, v in m.state_dict().items()} for m in (source, model)]
    if type(source) is not type(model) or tuple(source.labels) != tuple(model.labels) or sizes[0] != sizes[1]:  # type: ignore[arg-type]
        raise InputError(
            f"Training cannot start from {name}: its network, labels or sizes differ from those asked for."
        )
    model.load_state_dict(source.state_dict())


def _facts(options: TrainSynthSegOptions, training: Sequence[LabelMap], held_out: Sequence[LabelMap]) -> dict[str, Any]:
    """What goes into the card: labels, the options that are not the defaults, and the data."""
    plain = TrainSynthSegOptions(options.label_maps, options.out)
    first = f"train synthseg, preset {options.preset}, seed {options.seed}"
    held = ", ".join(m.name for m in held_out) or "none"
    return {
        "labels": list(predicted_labels(training)),
        "recipe": starting.recipe_words(first, options, plain, ("validation", "resume")),
        "data": f"{len(training)} label maps (held out: {held}); synthetic images only",
    }


def with_lesions(priors: Priors, lesions: bool) -> Priors:
    """Return priors that paint white matter lesions, if asked for; a load of their own stays."""
    if not lesions or priors.lesion_load_ml[1] > 0:
        return priors
    return replace(priors, lesion_load_ml=LESION_LOAD_ML)


def predicted_labels(maps: Sequence[LabelMap]) -> tuple[int, ...]:
    """Return the targets of the maps, sorted, background first; SynthSeg's 33 if all of them are among those."""
    found = {t for m in maps for t in m.targets} | {0}
    standard = anatomy.predicted_values(2)
    return standard if found <= set(standard) else tuple(sorted(found))


def read_maps(path: Path) -> list[LabelMap]:
    """Read label maps: a prepared `.npz`, or a folder of files.

    Raises:
        InputError: if there are none.
    """
    if path.suffix == ".npz":
        return load(path)
    from napari_synthseg.generator.sample import label_map_files, prepared

    return [replace(prepared(p)[0], name=p.name.split(".")[0]) for p in label_map_files(path)]


def split(maps: list[LabelMap], hold_out: Sequence[str]) -> tuple[list[LabelMap], list[LabelMap]]:
    """Training and held-out maps.

    Raises:
        InputError: if a named map does not exist or nothing is left to train on.
    """
    names = {m.name for m in maps}
    if unknown := set(hold_out) - names:
        raise InputError(
            f"There is no label map named {sorted(unknown)[0]!r} to hold out: there are {', '.join(sorted(names))}."
        )
    kept = set(hold_out) or {m.name for m in maps[len(maps) - len(maps) // 10 :]}
    held, rest = [m for m in maps if m.name in kept], [m for m in maps if m.name not in kept]
    if not rest:
        raise InputError("No label map is left to train on: hold out fewer of them.")
    return rest, held
