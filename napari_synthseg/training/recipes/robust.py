"""`train robust`: SynthSeg+'s three networks, as in the paper or on the plan of the fast network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_synthseg.anatomy import TISSUES
from napari_synthseg.errors import InputError
from napari_synthseg.fields import Fraction, LabelledScans, Positive, PositiveInt
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

    from napari_synthseg.networks.locate_refine import LocateRefine
    from napari_synthseg.training.data.label_maps import GeneratedData

FAST_STEPS = {"s1": 1_500, "d": 2_000, "s2": 4_000}
PAPER_STEPS = 300_000
"""Of each network (section 3.2)."""
WARM = "synthseg-fast"
"""Weights that the fast plan starts from."""
NOISE = (0.0, 50.0)
"""Standard deviation of the noise in the fast plan's images, intensities in [0, 255]: the degradation's (Table S1)."""


@dataclass(frozen=True, kw_only=True)
class TrainRobustOptions(SharedRunOptions, DataOptions):
    """How the three networks of SynthSeg+ are trained."""

    plan: Literal["fast", "paper"] = "fast"
    """fast: at 2 mm, refined at 1 mm, for CPUs; paper: U-Nets and denoiser at 1 mm, for large GPUs."""
    steps_s1: PositiveInt | None = None
    """Steps of S1, image to tissues; default 1,500 (fast) or 300,000 (paper)."""
    steps_d: PositiveInt | None = None
    """Steps of D, tissues to better tissues; default 2,000 (fast) or 300,000 (paper)."""
    steps_s2: PositiveInt | None = None
    """Steps of S2, image and tissues to structures; default 4,000 (fast) or 300,000 (paper)."""
    refine_fraction: Fraction = 0.1
    """Fraction of S2's steps for the refiner (fast)."""
    labelled: LabelledScans | None = None
    """Folder of real scans, <id>_t1.nii.gz with <id>_labels.nii.gz, that D learns from; default synthetic ones."""
    only: Literal["s1", "d", "s2"] | None = None
    """Train this network alone; those before it must be in the run's folder, such as checkpoints/s1.pt of another."""
    predicted_tissues: Fraction = 0.25
    """Fraction of the steps in which S2 sees the tissues that S1 and D find, not true ones made wrong (fast)."""
    start_from: str = "auto"
    """Weights of a fast network to start from (fast); auto: synthseg-fast if it fits; none: random ones."""
    priors: str | None = None
    """Preset of the generative model, or a JSON file of priors; default fast with noise or synthseg-plus (paper)."""
    curriculum: tuple[float, int] = (0.5, 1_000)
    """Initial fraction of the priors' ranges, and the steps of S1 and S2 until they are complete (fast)."""
    batch: PositiveInt | None = None
    """Samples a step; default 2 heads, 3 crops of one head for the refiner (fast), or 1 (paper)."""
    learning_rate: Positive | None = None
    """Peak learning rate; default 1e-3 (fast) or 1e-4 (paper)."""
    decay_fraction: Fraction = 0.25
    """Fraction of the steps of each stage, at its end, over which the learning rate falls to zero (fast)."""
    crop: PositiveInt = 160
    """Side of the crops, voxels (paper)."""
    features: PositiveInt = 24
    """Features of the U-Nets at their first level (paper)."""
    denoiser_features: PositiveInt = 16
    """Features of D at all of its levels."""
    denoiser_kernel: Literal[3, 5] = 5
    """Kernels of D, voxels (paper): the published network has 5, the paper's text says 3."""
    s1_features: tuple[int, ...] = (32, 64, 128, 160)
    """Features of S1 at each level (fast)."""
    locator_features: tuple[int, ...] = (32, 64, 128, 160)
    """Features of S2's first stage at each level (fast)."""
    refiner_features: tuple[int, ...] = (32, 64, 128)
    """Features of S2's second stage at each level (fast)."""
    name: str = "robust"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_curriculum(self.curriculum)
        if self.plan == "paper" and self.labelled is not None and self.crop > 192:
            raise InputError(f"Crops of labelled scans have at most 192 voxels along a side, not {self.crop}.")


@register
class Robust(Recipe):
    """S1, image to tissues; D, tissues to better tissues; S2, both to structures (SynthSeg+)."""

    name = "robust"
    title = "SynthSeg+"
    summary = "Three networks in a row, for clinical scans of low quality."
    options = TrainRobustOptions
    rank = 2
    renamed = {**Recipe.renamed, "refine_share": "refine_fraction"}
    headline = ("plan", "seed")
    locates = True

    def stages(self, options: TrainRobustOptions) -> dict[str, int]:
        asked = {"s1": options.steps_s1, "d": options.steps_d, "s2": options.steps_s2}
        usual = FAST_STEPS if options.plan == "fast" else dict.fromkeys(asked, PAPER_STEPS)
        steps = {name: count or usual[name] for name, count in asked.items()}
        if options.plan == "fast":
            refine = round(options.refine_fraction * steps["s2"])
            steps = {**steps, "s2": max(1, steps["s2"] - refine), "s2-refine": max(1, refine)}
        return {name: count for name, count in steps.items() if options.only in (None, name.split("-")[0])}

    def places(self, options: TrainRobustOptions) -> dict[str, str]:
        if options.plan == "paper":
            return {"s1": "s1", "d": "denoiser", "s2": "s2"}
        return {"s1": "locator.s1", "d": "locator.denoiser", "s2": "locator.s2", "s2-refine": "refiner"}

    def state(self, run: Path, stage: str, best: bool) -> dict[str, Any]:
        scored = stage.startswith("s2") and folder.checkpoint(run, stage, "best").exists()
        return super().state(run, stage, best and scored)

    def prepare(self, options: TrainRobustOptions, device: torch.device) -> Generator[Progress, None, GeneratedData]:
        from napari_synthseg.generator.presets import preset
        from napari_synthseg.training.data.label_maps import read_data
        from napari_synthseg.training.objectives.tissues import tissue_classes

        fast = preset("fast").with_values(noise_std=NOISE)
        priors = preset("synthseg-plus") if options.plan == "paper" else fast
        data = yield from read_data(options, priors, seed=options.seed, each=1, labelled=options.labelled)
        tissue_classes(data.labels)  # refuses label maps without tissues
        return data

    def card(self, options: TrainRobustOptions, data: GeneratedData) -> dict[str, Any]:
        labels, images, facts = data.labels, "synthetic images only", {}
        if options.labelled is not None:
            source = options.labelled.name
            images = f"synthetic images, and for the denoiser {len(data.labelled)} labelled scans of {source}"
            facts["licence"] = f"that of the scans in {source}"
        return {
            "network": "robust",
            "summary": f"whole brain, {len(labels)} labels, scans of low quality",
            "description": f"Whole brain, {len(labels)} labels, for scans of low quality: tissues, better tissues, "
            f"structures (SynthSeg+{', fast' if options.plan == 'fast' else ''}).",
            "labels": list(labels),
            "plan": options.plan,
            "parts": parts(options, labels),
            "data": f"{data.words}; {images}",
            "priors": data.settings,
            **facts,
        }

    def build(self, options: TrainRobustOptions, data: GeneratedData, device: torch.device) -> Iterator[TrainingStage]:
        made = (_paper if options.plan == "paper" else _fast)(options, self.stages(options), data, device)
        for stage in made:
            yield stage
            if stage.name == options.only != "s2":  # S2 has a second stage
                return


def parts(options: TrainRobustOptions, labels: Any) -> dict[str, Any]:
    """Return kinds and sizes of the three networks, as `networks.registry.build` wants them."""
    from napari_synthseg.networks.hierarchy import KERNEL

    tissues = list(range(len(TISSUES)))
    denoiser: dict[str, Any] = {"network": "denoiser", "labels": tissues, "features": options.denoiser_features}
    if options.plan == "paper":
        unet = {"network": "unet", "features": options.features, "levels": 5}
        guided = {**unet, "labels": list(labels), "in_channels": 1 + len(tissues)}
        kernel = {"kernel": options.denoiser_kernel}
        return {"s1": {**unet, "labels": tissues}, "denoiser": {**denoiser, **kernel}, "s2": guided}
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


def _fast(
    options: TrainRobustOptions, steps: dict[str, int], data: GeneratedData, device: torch.device
) -> Iterator[TrainingStage]:
    from napari_synthseg.networks.registry import build
    from napari_synthseg.training.data.cases import (
        NEAR,
        degraded_scans,
        score_locator,
        score_refiner,
        worse,
        worse_cases,
    )
    from napari_synthseg.training.data.synthetic import Heads
    from napari_synthseg.training.engine.distributed import process_group
    from napari_synthseg.training.engine.loop import LoopOptions
    from napari_synthseg.training.objectives import tissues
    from napari_synthseg.training.objectives.locate_refine import Locate, Refine

    model: Any = build({"network": "robust", "labels": data.labels, "parts": parts(options, data.labels)})
    source = starting_weights(options.start_from, model)
    if source is not None:
        tissues.warm_start(model, source)
    bad = worse_cases([*data.heads, *data.scans], NEAR, options.seed + 9, model.head_spacing)

    def score_tissues(key: str) -> Callable[[Any], dict[str, float]]:
        def validate(m: Any) -> dict[str, float]:
            s1, d = tissues.score_fast_tissues(m, bad, device)
            found = {"degraded_s1": s1, "degraded_d": d}
            return {**found, "score": found[key]}

        return validate

    def stage(name: str, objective: Any) -> TrainingStage:
        own = {"warmup": 50, "decay_fraction": options.decay_fraction}
        return TrainingStage(name, objective, LoopOptions.of(options, steps.get(name, 1), 1e-3, **FAST_LOOP, **own))

    def begins(name: str) -> bool:
        """Tell whether to set the positional term of a stage: it is trained from its first step, in this process."""
        resumed = options.resume and folder.checkpoint(options.out, name).exists()
        return source is None and process_group().is_main and options.only in (None, name) and not resumed

    common: dict[str, Any] = {"seed": options.seed, "device": device}
    whole = {**common, "batch": options.batch or 2, "weight_power": 0.33}
    heads = Heads(data.maps, data.priors, data.labels, device=device, curriculum=options.curriculum)
    classes, scores = tissues.tissue_classes(data.labels), score_tissues("degraded_s1")
    s1 = Locate(model, heads, net=model.locator.s1, classes=classes, validation=scores, **whole)
    if begins("s1"):
        s1.set_position()
    yield stage("s1", s1)
    size: dict[str, Any] = {"batch": options.batch or 2, "spacing": model.head_spacing, "device": device}
    scans = degraded_scans(data.labelled, NEAR, **size) if data.labelled else None
    bad_heads = Heads(data.maps, worse(data.priors, NEAR), data.labels, device=device)
    yield stage("d", tissues.Denoise(model, bad_heads, scans=scans, validation=score_tissues("degraded_d"), **whole))
    inputs = tissues.seen_with_tissues(model, device, options.predicted_tissues)
    scores = data.validation(score_locator, device)
    s2 = Locate(model, heads, net=model.locator.s2, inputs=inputs, validation=scores, **whole)
    if begins("s2"):
        s2.set_position()
    yield stage("s2", s2)
    plain = Heads(data.maps, data.priors, data.labels, device=device)
    scores = data.validation(score_refiner, device)
    yield stage("s2-refine", Refine(model, plain, batch=options.batch or 3, validation=scores, **common))


def _paper(
    options: TrainRobustOptions, steps: dict[str, int], data: GeneratedData, device: torch.device
) -> Iterator[TrainingStage]:
    """Build the paper's plan, one network after the other; all at 1 mm (sections 2.2-2.4)."""
    from napari_synthseg.generator.presets import degradation
    from napari_synthseg.networks.registry import build
    from napari_synthseg.training.data.cases import degraded_scans, score_whole, worse, worse_cases
    from napari_synthseg.training.data.synthetic import checked_crop, random_crops
    from napari_synthseg.training.engine.loop import LoopOptions
    from napari_synthseg.training.objectives import tissues
    from napari_synthseg.training.objectives.crops import UNetCrops

    labels, classes = data.labels, range(len(TISSUES))
    whole: Any = build({"network": "robust", "labels": labels, "parts": parts(options, labels)})
    s1, denoiser, s2 = whole.s1, whole.denoiser, whole.s2
    cases = [*data.heads, *data.scans]
    plain = [(case.image[None], case.channels) for case in cases]
    bad = worse_cases(cases, degradation(), options.seed + 9, 1.0)
    common: dict[str, Any] = {"seed": options.seed, "device": device}
    crop = checked_crop(options.crop, whole.multiple)
    size: dict[str, Any] = {"batch": options.batch or 1, "crop": crop, "device": device}

    def stage(name: str, objective: Any) -> TrainingStage:
        return TrainingStage(name, objective, LoopOptions.of(options, steps.get(name, 1), 1e-4))

    def score_tissues(net: Any, some: Any) -> Callable[[Any], dict[str, float]]:
        return lambda m: {"score": tissues.score_tissues(s1, net, labels, some, device)}

    crops = random_crops(data.maps, data.priors, labels, **size)
    view = tissues.tissues_of(labels, device)
    yield stage("s1", UNetCrops(s1, crops, classes, view=view, validation=score_tissues(None, plain), **common))
    sample: Any = random_crops(data.maps, worse(data.priors, degradation()), labels, **size)
    if data.labelled:
        sample = degraded_scans(data.labelled, degradation(), spacing=1.0, **size)
    d = UNetCrops(
        denoiser,
        sample,
        classes,
        view=tissues.tissues_found(s1, labels, device),
        figures=lambda seen, truth: {"s1_dice": tissues.tissue_dice(seen.argmax(1), truth)},
        shared=not data.labelled,
        validation=score_tissues(denoiser, bad),
        **{**common, "seed": options.seed + 3},
    )
    yield stage("d", d)
    scores, view = data.validation(score_whole, device), tissues.beside_tissues(labels, device)
    yield stage("s2", UNetCrops(s2, crops, labels, view=view, validation=lambda _: scores(whole), **common))


def starting_weights(name: str | None, model: Any) -> LocateRefine | None:
    """Return the plain fast network that a robust one starts from, or None for random weights.

    "auto" are the shipped weights, if they fit; an `InputError` refuses others whose labels or sizes differ.
    """
    from napari_synthseg.weights import store

    if name in (None, "none"):
        return None
    try:
        source: Any = store.load_model(WARM if name == "auto" else str(name))
    except InputError:
        if name == "auto":
            return None
        raise
    if source.spec.predictor == model.spec.predictor and not source.spec.tissues:
        theirs = (source.labels, source.locator.features, source.refiner.features)
        if theirs == (model.labels, model.locator.s2.features, model.refiner.features):
            return source
    if name == "auto":
        return None
    raise InputError(f"Training cannot start from {name}: its network, labels or sizes differ from those asked for.")
