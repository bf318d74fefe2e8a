"""`train synthseg`: a segmentation network for any contrast, by the fast recipe (locate and refine) or the paper's."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_synthseg.fields import Fraction, NonNegativeInt, Positive, PositiveInt, Probability
from napari_synthseg.jobs import Progress
from napari_synthseg.training import folder
from napari_synthseg.training.recipe import (
    FAST_LOOP,
    DataOptions,
    Recipe,
    SharedRunOptions,
    TrainingStage,
    check_curriculum,
    register,
)

if TYPE_CHECKING:
    import torch

    from napari_synthseg.training.data.label_maps import GeneratedData


@dataclass(frozen=True, kw_only=True)
class TrainSynthSegOptions(SharedRunOptions, DataOptions):
    """How a SynthSeg network is trained."""

    preset: Literal["fast", "paper"] = "fast"
    """fast: locate and refine, hours on a GPU or days on a CPU; paper: SynthSeg's own U-Net and schedule."""
    steps: PositiveInt | None = None
    """Steps in all; default 40,000 (fast) or 300,000 (paper)."""
    locate_fraction: Fraction = 0.4
    """Fraction of the steps for the first stage (fast)."""
    curriculum: tuple[float, int] = (0.4, 20_000)
    """Initial fraction of the priors' ranges, and the steps of each stage until they are complete (fast)."""
    priors: str | None = None
    """Preset of the generative model, or a JSON file of priors; default fast (fast) or synthseg (paper)."""
    batch: PositiveInt | None = None
    """Samples a step; default 2 heads, then 3 crops of one head (fast), or 1 (paper)."""
    learning_rate: Positive | None = None
    """Peak learning rate; default 2e-3 (fast) or 1e-4 (paper)."""
    decay_fraction: Fraction = 0.25
    """Fraction of the steps, at the end, over which the learning rate falls to zero (fast)."""
    crop: PositiveInt = 160
    """Side of the crops, voxels (paper)."""
    features: PositiveInt = 24
    """Features of the network at its first level (paper)."""
    locator_features: tuple[int, ...] = (32, 64, 128, 160)
    """Features of the first stage at each level (fast)."""
    refiner_features: tuple[int, ...] = (32, 64, 128)
    """Features of the second stage at each level (fast)."""
    ema_decay: Fraction = 0.995
    """Decay of the exponential moving average of the weights that are exported (fast)."""
    held_heads: NonNegativeInt = 0
    """Located heads in hand, of which every crop of a step takes another; 0: crops of one new head a step (fast)."""
    head_steps: PositiveInt = 2
    """Steps from one new head in hand to the next (fast)."""
    low_quality: Probability = 0.0
    """Probability of an image of low quality, such as SynthSeg+ is trained on (fast)."""
    name: str = "synthseg-fast"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_curriculum(self.curriculum)


@register
class SynthSeg(Recipe):
    """SynthSeg's U-Net on crops (section 3.2), or our fast network: located at 2 mm, refined at 1 mm."""

    name = "synthseg"
    title = "SynthSeg"
    summary = "A segmentation network for any contrast, from label maps alone."
    options = TrainSynthSegOptions
    rank = 1
    renamed = {**Recipe.renamed, "locate_share": "locate_fraction"}
    retired = ("prior_blur", "prior_deform", "prior_erode", "prior_swap", "prior_drop", "second_pass", "positions")
    headline = ("preset", "seed")
    locates = True

    def stages(self, options: TrainSynthSegOptions) -> dict[str, int]:
        if options.preset == "paper":
            return {"unet": options.steps or 300_000}
        steps = options.steps or 40_000
        locate = max(1, round(steps * options.locate_fraction))
        return {"locate": locate, "refine": max(1, steps - locate)}

    def places(self, options: TrainSynthSegOptions) -> dict[str, str]:
        return {"unet": ""} if options.preset == "paper" else {"locate": "locator", "refine": "refiner"}

    def prepare(self, options: TrainSynthSegOptions, device: torch.device) -> Generator[Progress, None, GeneratedData]:
        from napari_synthseg.generator.presets import preset
        from napari_synthseg.training.data.label_maps import read_data

        priors = preset("synthseg" if options.preset == "paper" else "fast")
        return (yield from read_data(options, priors, seed=options.seed))

    def card(self, options: TrainSynthSegOptions, data: GeneratedData) -> dict[str, Any]:
        return {
            **network_facts(options, data.labels),
            "data": f"{data.words}; synthetic images only",
            "priors": data.settings,
        }

    def stored_card(self, run: Path, options: TrainSynthSegOptions) -> dict[str, Any]:
        stored = folder.card_of(run)  # earlier versions did not describe the network there
        return {**network_facts(options, stored.get("labels", ())), **stored}

    def exports_best(self, options: TrainSynthSegOptions) -> bool:
        # "The retained model is then selected relatively to a validation set" (section 3.2), if there is one.
        return options.preset == "paper"

    def build(
        self, options: TrainSynthSegOptions, data: GeneratedData, device: torch.device
    ) -> Iterator[TrainingStage]:
        return (_paper if options.preset == "paper" else _fast)(options, self.stages(options), data, device)


def network_facts(options: TrainSynthSegOptions, labels: Any) -> dict[str, Any]:
    """Return the facts that describe and rebuild the network."""
    k = len(labels)
    if options.preset == "paper":
        return {
            "network": "unet",
            "summary": f"whole brain, {k} labels, SynthSeg's U-Net",
            "description": f"{k} labels, scans of any contrast, at 1 mm: SynthSeg's U-Net.",
            "labels": list(labels),
            "features": options.features,
            "levels": 5,
        }
    return {
        "network": "locate-refine",
        "summary": f"whole brain, {k} labels, fast",
        "description": f"Whole brain, {k} labels, scans of any contrast: locates at 2 mm, refines at 1 mm. Fast.",
        "labels": list(labels),
        "locator_features": list(options.locator_features),
        "refiner_features": list(options.refiner_features),
    }


def _fast(
    options: TrainSynthSegOptions, steps: dict[str, int], data: GeneratedData, device: torch.device
) -> Iterator[TrainingStage]:
    from napari_synthseg.networks.locate_refine import LocateRefine
    from napari_synthseg.training.data.cases import NEAR, score_locator, score_refiner, worse
    from napari_synthseg.training.data.synthetic import Heads
    from napari_synthseg.training.engine.checkpoints import start_from
    from napari_synthseg.training.engine.distributed import process_group
    from napari_synthseg.training.engine.loop import LoopOptions
    from napari_synthseg.training.objectives.locate_refine import Locate, Refine

    model = LocateRefine(data.labels, options.locator_features, options.refiner_features)
    start_from(model, options.start_from)
    own = {"warmup": 100, "decay_fraction": options.decay_fraction, "ema_decay": options.ema_decay}
    loop = LoopOptions.of(options, steps["locate"], 2e-3, **{**FAST_LOOP, **own})
    common: dict[str, Any] = {"seed": options.seed, "device": device}
    bad = (options.low_quality, worse(data.priors, NEAR)) if options.low_quality else None
    heads = Heads(data.maps, data.priors, data.labels, device=device, curriculum=options.curriculum, low_quality=bad)
    scores = data.validation(score_locator, device)
    locate = Locate(model, heads, batch=options.batch or 2, validation=scores, weight_power=0.33, **common)
    begun = options.start_from or (options.resume and folder.checkpoint(options.out, "locate").exists())
    if process_group().is_main and not begun:  # the others get the weights of the main process
        locate.set_position()
    yield TrainingStage("locate", locate, loop)
    refine = Refine(
        model,
        heads,
        batch=options.batch or 3,
        validation=data.validation(score_refiner, device),
        held=options.held_heads,
        head_steps=options.head_steps,
        **common,
    )
    yield TrainingStage("refine", refine, replace(loop, steps=steps["refine"]))


def _paper(
    options: TrainSynthSegOptions, steps: dict[str, int], data: GeneratedData, device: torch.device
) -> Iterator[TrainingStage]:
    from napari_synthseg.networks.unet import UNet3d
    from napari_synthseg.training.data.cases import score_whole
    from napari_synthseg.training.data.synthetic import checked_crop, random_crops
    from napari_synthseg.training.engine.checkpoints import start_from
    from napari_synthseg.training.engine.loop import LoopOptions
    from napari_synthseg.training.objectives.crops import UNetCrops

    model = UNet3d(data.labels, features=options.features)
    start_from(model, options.start_from)
    size = {"batch": options.batch or 1, "crop": checked_crop(options.crop, model.multiple)}
    crops = random_crops(data.maps, data.priors, data.labels, **size, device=device)
    scores = data.validation(score_whole, device)
    objective = UNetCrops(model, crops, data.labels, seed=options.seed, device=device, validation=scores)
    yield TrainingStage("unet", objective, LoopOptions.of(options, steps["unet"], 1e-4))
