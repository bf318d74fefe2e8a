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
    DataOptions,
    Recipe,
    SharedRunOptions,
    Stage,
    check_curriculum,
    register,
)

if TYPE_CHECKING:
    import torch

    from napari_synthseg.networks.hierarchy import RobustLocateRefine
    from napari_synthseg.networks.locate_refine import LocateRefine
    from napari_synthseg.training.data.label_maps import GeneratedData
    from napari_synthseg.training.data.validation import Case

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
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        super().__post_init__()
        check_curriculum(self.curriculum)
        if self.plan == "paper" and self.labelled is not None and self.crop > 192:
            raise InputError(f"Crops of labelled scans have at most 192 voxels along a side, not {self.crop}.")


@dataclass(frozen=True)
class _Data:
    """Generated data, and the labelled scans that D learns from."""

    generated: GeneratedData
    labelled: list[Case]


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

    def prepare(self, options: TrainRobustOptions, device: torch.device) -> Generator[Progress, None, _Data]:
        from napari_synthseg.generator.presets import preset
        from napari_synthseg.training.data.label_maps import read_data
        from napari_synthseg.training.data.validation import labelled_scans
        from napari_synthseg.training.objectives.tissues import tissue_classes

        fast = preset("fast").with_values(noise_std=NOISE)
        priors = preset("synthseg-plus") if options.plan == "paper" else fast
        generated = yield from read_data(options, priors, seed=options.seed + 5, each=1)
        tissue_classes(generated.labels)  # refuses label maps without tissues
        return _Data(generated, labelled_scans(options.labelled, generated.labels) if options.labelled else [])

    def card(self, options: TrainRobustOptions, data: _Data) -> dict[str, Any]:
        labels, images, facts = data.generated.labels, "synthetic images only", {}
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
            "data": f"{data.generated.words}; {images}",
            "priors": data.generated.settings,
            **facts,
        }

    def build(self, options: TrainRobustOptions, data: _Data, device: torch.device) -> Iterator[Stage]:
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


def _fast(options: TrainRobustOptions, steps: dict[str, int], data: _Data, device: torch.device) -> Iterator[Stage]:
    """The fast plan, one stage after the other."""
    from napari_synthseg.networks.hierarchy import RobustLocateRefine
    from napari_synthseg.training.data.labelled import NEAR, degraded_scans, worse, worse_cases
    from napari_synthseg.training.data.synthetic import Heads
    from napari_synthseg.training.data.validation import figures, score_locator, score_refiner
    from napari_synthseg.training.engine.distributed import process_group
    from napari_synthseg.training.engine.loop import LoopOptions
    from napari_synthseg.training.objectives import tissues
    from napari_synthseg.training.objectives.locate_refine import Locate, Refine

    own = data.generated
    model = RobustLocateRefine(
        own.labels, options.locator_features, options.refiner_features, options.s1_features, options.denoiser_features
    )
    source = starting_weights(options.start_from, model)
    if source is not None:
        tissues.warm_start(model, source)
    bad = worse_cases([*own.heads, *own.scans], NEAR, options.seed + 9, model.head_spacing)

    def score_tissues(key: str) -> Callable[[Any], dict[str, float]]:
        def validate(m: Any) -> dict[str, float]:
            s1, d = tissues.score_fast_tissues(m, bad, device)
            found = {"degraded_s1": s1, "degraded_d": d}
            return {**found, "score": found[key]}

        return validate

    def scores(score: Any) -> Callable[[Any], dict[str, Any]]:
        return lambda m: figures(score, m, own.heads, own.scans, device)

    def stage(name: str, objective: Any) -> Stage:
        settings: dict[str, Any] = {"optimizer": "adamw", "weight_decay": 1e-4, "warmup": 50, "ema_decay": 0.995}
        settings |= {"decay_fraction": options.decay_fraction, "clip": 2.0}
        return Stage(name, objective, LoopOptions.of(options, steps.get(name, 1), 1e-3, **settings))

    def begins(name: str) -> bool:
        """Whether the positional term of a stage is to be set: it is trained from its first step, in this process."""
        resumed = options.resume and folder.checkpoint(options.out, name).exists()
        return source is None and process_group().is_main and options.only in (None, name) and not resumed

    common: dict[str, Any] = {"seed": options.seed, "device": device}
    whole = {**common, "batch": options.batch or 2, "weight_power": 0.33}
    heads = Heads(own.maps, own.priors, own.labels, device=device, curriculum=options.curriculum)
    s1 = Locate(
        model,
        heads,
        net=model.locator.s1,
        classes=tissues.tissue_classes(own.labels),
        validation=score_tissues("degraded_s1"),
        **whole,
    )
    if begins("s1"):
        s1.set_position()
    yield stage("s1", s1)
    scans = None
    if data.labelled:
        batch = {"batch": options.batch or 2, "spacing": model.head_spacing, "device": device}
        scans = degraded_scans(data.labelled, NEAR, **batch)  # type: ignore[arg-type]
    bad_heads = Heads(own.maps, worse(own.priors, NEAR), own.labels, device=device)
    yield stage("d", tissues.Denoise(model, bad_heads, scans=scans, validation=score_tissues("degraded_d"), **whole))
    s2 = Locate(
        model,
        heads,
        net=model.locator.s2,
        inputs=tissues.seen_with_tissues(model, device, options.predicted_tissues),
        validation=scores(score_locator),
        **whole,
    )
    if begins("s2"):
        s2.set_position()
    yield stage("s2", s2)
    plain = Heads(own.maps, own.priors, own.labels, device=device)
    refine = Refine(model, plain, batch=options.batch or 3, validation=scores(score_refiner), **common)
    yield stage("s2-refine", refine)


def _paper(options: TrainRobustOptions, steps: dict[str, int], data: _Data, device: torch.device) -> Iterator[Stage]:
    """The paper's plan, one network after the other; all at 1 mm (sections 2.2-2.4)."""
    from napari_synthseg.generator import presets
    from napari_synthseg.networks.hierarchy import Hierarchy
    from napari_synthseg.networks.unet import Denoiser, UNet3d
    from napari_synthseg.training.data.labelled import degraded_scans, worse, worse_cases
    from napari_synthseg.training.data.synthetic import RandomCrops
    from napari_synthseg.training.data.validation import figures
    from napari_synthseg.training.engine.loop import LoopOptions
    from napari_synthseg.training.objectives import tissues
    from napari_synthseg.training.objectives.unet_crops import UNetCrops

    own, count, degradation = data.generated, len(TISSUES), presets.degradation()
    s1, denoiser = (
        UNet3d(count, options.features),
        Denoiser(count, options.denoiser_features, kernel=options.denoiser_kernel),
    )
    s2 = UNet3d(own.labels, options.features, in_channels=1 + count)
    whole = Hierarchy(s1, denoiser, s2, own.labels)
    if options.crop % whole.multiple:
        raise InputError(f"The crop of {options.crop} voxels must be a multiple of {whole.multiple}.")
    cases = [*own.heads, *own.scans]
    plain = [(case.image[None], case.channels) for case in cases]
    bad = worse_cases(cases, degradation, options.seed + 9, 1.0)
    common: dict[str, Any] = {"seed": options.seed, "device": device}
    size: dict[str, Any] = {"batch": options.batch or 1, "crop": options.crop, "device": device}

    def stage(name: str, objective: Any) -> Stage:
        return Stage(name, objective, LoopOptions.of(options, steps.get(name, 1), 1e-4))

    def score_tissues(net: Any, some: Any) -> Callable[[Any], dict[str, float]]:
        return lambda m: {"score": tissues.score_tissues(s1, net, own.labels, some, device)}

    crops = RandomCrops(own.maps, own.priors, own.labels, **size)
    view = tissues.tissues_of(own.labels, device)
    yield stage("s1", UNetCrops(s1, crops, range(count), view=view, validation=score_tissues(None, plain), **common))
    sample: Any = RandomCrops(own.maps, worse(own.priors, degradation), own.labels, **size)
    if data.labelled:
        sample = degraded_scans(data.labelled, degradation, spacing=1.0, **size)
    d = UNetCrops(
        denoiser,
        sample,
        range(count),
        view=tissues.tissues_found(s1, own.labels, device),
        figures=lambda seen, truth: {"s1_dice": tissues.tissue_dice(seen.argmax(1), truth)},
        shared=not data.labelled,
        validation=score_tissues(denoiser, bad),
        **{**common, "seed": options.seed + 3},
    )
    yield stage("d", d)
    yield stage(
        "s2",
        UNetCrops(
            s2,
            crops,
            own.labels,
            view=tissues.beside_tissues(own.labels, device),
            validation=lambda _: figures(tissues.score_hierarchy, whole, own.heads, own.scans, device),
            **common,
        ),
    )


def starting_weights(name: str | None, model: RobustLocateRefine) -> LocateRefine | None:
    """Return the plain fast network to start from, or None for random weights.

    Args:
        name: of weights, or a file; auto: those shipped, if they fit; none.
        model: that is to start from it.

    Raises:
        InputError: there are no such weights, or their network, labels or sizes differ.
    """
    from napari_synthseg.networks.hierarchy import RobustLocateRefine as Robust
    from napari_synthseg.networks.locate_refine import LocateRefine
    from napari_synthseg.weights import store

    if name in (None, "none"):
        return None
    try:
        source: Any = store.load_model(WARM if name == "auto" else str(name))
    except InputError:
        if name == "auto":
            return None
        raise
    if isinstance(source, LocateRefine) and not isinstance(source, Robust):
        theirs = (source.labels, source.locator.features, source.refiner.features)
        if theirs == (model.labels, model.locator.s2.features, model.refiner.features):
            return source
    if name == "auto":
        return None
    raise InputError(f"Training cannot start from {name}: its network, labels or sizes differ from those asked for.")
