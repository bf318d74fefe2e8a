"""The two plans of `train robust`: which networks, which recipes, which loops, in which order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from napari_synthseg.anatomy import TISSUES
from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.priors import Priors
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.hierarchy import Hierarchy, RobustLocateRefine
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import Denoiser, UNet3d
from napari_synthseg.training.data import validation
from napari_synthseg.training.data.validation import Case
from napari_synthseg.training.engine.checkpoints import trained_state
from napari_synthseg.training.engine.distributed import team
from napari_synthseg.training.engine.loop import LoopOptions, Objective, fit
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.objectives.locate_refine import RefineRecipe
from napari_synthseg.training.options.robust import TrainRobustOptions, stages
from napari_synthseg.training.robust import recipes_paper
from napari_synthseg.training.robust.parts import NEAR, worse, worse_cases
from napari_synthseg.training.robust.recipes_fast import (
    DenoiseRecipe,
    GuidedLocateRecipe,
    TissueRecipe,
    score_tissues,
    warm_start,
)
from napari_synthseg.weights import store

WARM = "synthseg-fast"
"""Weights that the fast plan starts from."""
STAGES = ("s1", "d", "s2", "s2-refine")
"""In their order; the last one is the fast plan's."""


@dataclass(frozen=True)
class Data:
    """What the networks learn from, and what they are scored on.

    Attributes:
        labels: the sorted values that S2 predicts.
        maps: label maps to draw images from.
        priors: of these images.
        labelled: real scans for D; none: drawn ones.
        heads: synthetic heads of maps held out.
        scans: real scans to score.
        device: to train on.
    """

    labels: tuple[int, ...]
    maps: list[LabelMap]
    priors: Priors
    labelled: list[Case]
    heads: list[Case]
    scans: list[Case]
    device: torch.device


def fast(options: TrainRobustOptions, data: Data) -> Generator[Progress, None, None]:
    """The fast plan, one stage after the other."""
    model = RobustLocateRefine(
        data.labels, options.locator_features, options.refiner_features, options.s1_features, options.denoiser_features
    )
    source = starting_weights(options.start_from, model)
    if source is not None:
        warm_start(model, source)
    bad = worse_cases([*data.heads, *data.scans], NEAR, options.seed + 9, model.head_spacing)

    def scores_of_tissues(m: nn.Module) -> dict[str, float]:
        s1, denoised = score_tissues(m, bad, data.device)  # type: ignore[arg-type]
        return {"degraded_s1": s1, "degraded_d": denoised}

    def scores(score: Callable[..., validation.Scores]) -> Callable[[nn.Module], dict[str, Any]]:
        return lambda m: validation.figures(score, m, data.heads, data.scans, data.device)

    def of_tissues(key: str) -> Callable[[nn.Module], dict[str, float]]:
        def validate(m: nn.Module) -> dict[str, float]:
            figures = scores_of_tissues(m)
            return {**figures, "score": figures[key]}

        return validate

    common: dict[str, Any] = {"seed": options.seed, "device": data.device}
    heads = {**common, "batch": options.batch or 2, "weight_power": 0.33}
    steps = stages(options)
    first = TissueRecipe(
        model, data.maps, data.priors, curriculum=options.curriculum, validation=of_tissues("degraded_s1"), **heads
    )
    if source is None and _begins("s1", options):
        first.set_position()
    yield from _stage("s1", first, _of(steps, "s1"), options)
    second = DenoiseRecipe(
        model,
        data.maps,
        worse(data.priors, NEAR),
        labelled=data.labelled,
        validation=of_tissues("degraded_d"),
        **heads,
    )
    yield from _stage("d", second, _of(steps, "d"), options)
    third = GuidedLocateRecipe(
        model,
        data.maps,
        data.priors,
        predicted=options.predicted_tissues,
        curriculum=options.curriculum,
        validation=scores(validation.score_locator),
        **heads,
    )
    if source is None and _begins("s2", options):
        third.set_position()
    yield from _stage("s2", third, _of(steps, "s2"), options)
    fourth = RefineRecipe(
        model, data.maps, data.priors, batch=options.batch or 3, validation=scores(validation.score_refiner), **common
    )
    yield from _stage("s2-refine", fourth, _of(steps, "s2-refine"), options)


def _stage(name: str, recipe: Objective, steps: int, options: TrainRobustOptions) -> Generator[Progress, None, None]:
    """One stage of the fast plan."""
    loop = LoopOptions(
        steps=steps,
        learning_rate=options.learning_rate or 1e-3,
        optimizer="adamw",
        weight_decay=1e-4,
        warmup=50,
        decay_fraction=options.cooldown,
        ema_decay=0.995,
        clip=2.0,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
    )
    yield from trained(name, recipe, loop, options)


def trained(
    name: str, recipe: Objective, loop: LoopOptions, options: TrainRobustOptions
) -> Generator[Progress, None, None]:
    """Train a stage; where another one alone is to be trained, take those before it as they are in the run's folder.

    Raises:
        InputError: the checkpoint of such a stage is missing or damaged.
    """
    if options.only in (None, name.split("-")[0]):
        yield from fit(recipe, loop, options.out, name=name, resume=options.resume)
    elif STAGES.index(name) < STAGES.index(options.only):
        state = trained_state(options.out, name)
        recipe.trained.load_state_dict(state["average"] or state["model"])
        recipe.model.eval()


def _begins(name: str, options: TrainRobustOptions) -> bool:
    """Whether a stage is trained from its first step."""
    going_on = options.resume and checkpoint(options.out, name).exists()
    if not team().leads:  # it gets what the first process has
        return False
    return options.only in (None, name) and not going_on


def starting_weights(name: str, model: RobustLocateRefine) -> LocateRefine | None:
    """The plain fast network to start from, or None for random weights.

    Args:
        name: of weights, or a file; auto: those shipped, where they fit; none.
        model: that is to start from it.

    Raises:
        InputError: there are no such weights, or their network, labels or sizes differ.
    """
    if name == "none":
        return None
    try:
        source = store.load_model(WARM if name == "auto" else name)
    except InputError:
        if name == "auto":
            return None
        raise
    if isinstance(source, LocateRefine) and not isinstance(source, RobustLocateRefine):
        theirs = (source.labels, source.locator.features, source.refiner.features)
        if theirs == (model.labels, model.locator.s2.features, model.refiner.features):
            return source
    if name == "auto":
        return None
    raise InputError(f"Training cannot start from {name}: its network, labels or sizes differ from those asked for.")


def paper(options: TrainRobustOptions, data: Data) -> Generator[Progress, None, None]:
    """The paper's plan, one network after the other; all at 1 mm."""
    count = len(TISSUES)
    s1, denoiser = UNet3d(count, options.features), Denoiser(count, options.denoiser_features)
    s2 = UNet3d(data.labels, options.features, in_channels=1 + count)
    whole = Hierarchy(s1, denoiser, s2, data.labels)
    if options.crop % whole.multiple:
        raise InputError(f"The crop of {options.crop} voxels must be a multiple of {whole.multiple}.")
    cases = [*data.heads, *data.scans]
    plain = [(case.image[None], case.channels) for case in cases]
    bad = worse_cases(cases, DegradationPriors(), options.seed + 9, 1.0)
    steps, device = stages(options), data.device
    common: dict[str, Any] = {"seed": options.seed, "batch": options.batch or 1, "crop": options.crop, "device": device}
    loop = LoopOptions(
        steps=1,
        learning_rate=options.learning_rate or 1e-4,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
    )

    def stage(name: str, recipe: Objective) -> Generator[Progress, None, None]:
        return trained(name, recipe, replace(loop, steps=_of(steps, name)), options)

    def tissues(net: nn.Module | None, some: Sequence[tuple[torch.Tensor, torch.Tensor]]):
        return lambda m: {"score": recipes_paper.score_tissues(s1, net, data.labels, some, device)}

    labels = {"labels": data.labels, **common}
    first = recipes_paper.TissuePaperRecipe(s1, data.maps, data.priors, validation=tissues(None, plain), **labels)
    yield from stage("s1", first)
    second = recipes_paper.DenoisePaperRecipe(
        denoiser,
        data.maps,
        worse(data.priors, DegradationPriors()),
        s1=s1,
        labelled=data.labelled,
        validation=tissues(denoiser, bad),
        **labels,
    )
    yield from stage("d", second)
    third = recipes_paper.GuidedPaperRecipe(
        s2,
        data.maps,
        data.priors,
        validation=lambda _: validation.figures(recipes_paper.score_hierarchy, whole, data.heads, data.scans, device),
        **common,
    )
    yield from stage("s2", third)


def _of(steps: Mapping[str, int], stage: str) -> int:
    """Steps of a stage; 1 where it is not trained, and only read."""
    return steps.get(stage, 1)
