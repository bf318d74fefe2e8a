"""`train learn2synth`: a segmentation network whose augmenter learns from a few labelled scans (Learn2Synth)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Fraction, Info, LabelledScans, NonNegative, NonNegativeInt, Positive, PositiveInt
from napari_synthseg.jobs import Progress
from napari_synthseg.training.recipe import DataOptions, Recipe, RunOptions, TrainingStage, register

if TYPE_CHECKING:
    import torch

    from napari_synthseg.training.data.label_maps import GeneratedData

LARGEST = 192
"""Voxels along the shortest side of a labelled scan's field of view."""


@dataclass(frozen=True, kw_only=True)
class TrainLearn2SynthOptions(RunOptions, DataOptions):
    """How a segmentation network and the augmenter of its images are trained together."""

    labelled: LabelledScans | None = None
    """Folder of real scans, <id>_t1.nii.gz with <id>_labels.nii.gz, from which the augmenter learns."""
    augmenter: Literal["noise", "bias", "unet", "none"] = "noise"
    """noise; noise and bias field; small U-Net and noise; or none: SynthSeg as it is, to compare with."""
    varying: bool = False
    """Vary the augmenter's deviations from image to image between two ends, and learn both."""
    sigma: NonNegative = 0.05
    """Initial deviation of the augmenter's noise, intensities in [0, 1]."""
    inner: Literal["adam", "sgd"] = "adam"
    """Optimizer of the segmentation network, which is differentiated through."""
    steps: PositiveInt = 20_000
    """Steps in all."""
    batch: PositiveInt | None = None
    """Synthetic images, and real ones, a step; default 1."""
    crop: Annotated[int, Info(low=1, high=LARGEST)] = 96
    """Side of all crops, voxels of 1 mm."""
    features: PositiveInt = 24
    """Features of the network at its first level."""
    learning_rate: Positive | None = None
    """Learning rate of the network; default 1e-3 (adam) or 1e-2 (sgd)."""
    decay_fraction: Fraction = 0.0
    """Fraction of the steps, at the end, over which the learning rates fall to zero; 0: constant, as in the paper."""
    augmenter_rate: Positive = 1e-3
    """Learning rate of the augmenter."""
    augmenter_warmup: NonNegativeInt = 500
    """Steps before the augmenter begins to learn; they take a quarter of the time of the others."""
    name: str = "learn2synth"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.augmenter != "none" and self.labelled is None:
            raise InputError("The augmenter learns from labelled scans: give their folder with --labelled.")
        if self.augmenter != "none" and self.augmenter_warmup >= self.steps:
            raise InputError("The augmenter would never learn: ask for more steps, or a shorter --augmenter-warmup.")


@register
class Learn2Synth(Recipe):
    """A U-Net on synthetic crops, and an augmenter of these that learns by hypergradients."""

    name = "learn2synth"
    title = "Learn2Synth"
    summary = "A segmentation network, its synthesis tuned by a few labelled scans."
    options = TrainLearn2SynthOptions
    rank = 5
    renamed = {**Recipe.renamed, "teach_from": "augmenter_warmup"}
    headline = ("augmenter", "seed")

    def stages(self, options: TrainLearn2SynthOptions) -> dict[str, int]:
        return {"learn2synth": options.steps}

    def exports_best(self, options: TrainLearn2SynthOptions) -> bool:
        return options.validation is not None  # synthetic heads know nothing of real scans

    def tensors(self, run: Path, options: Any, states: Any) -> dict[str, torch.Tensor]:
        prefix = "segmenter."  # the augmenter stays behind
        found = super().tensors(run, options, states)
        return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}

    def prepare(
        self, options: TrainLearn2SynthOptions, device: torch.device
    ) -> Generator[Progress, None, GeneratedData]:
        from napari_synthseg.generator.presets import preset
        from napari_synthseg.training.data.label_maps import read_data

        learned = options.labelled if options.augmenter != "none" else None
        return (yield from read_data(options, preset("synthseg"), seed=options.seed, each=1, labelled=learned))

    def card(self, options: TrainLearn2SynthOptions, data: GeneratedData) -> dict[str, Any]:
        k, scans, facts = len(data.labels), len(data.labelled), {}
        words, images = f"{k} labels, scans of any contrast (SynthSeg).", "synthetic images only"
        if scans and options.labelled is not None:
            words = f"{k} labels, scans like those its images were learned from (Learn2Synth)."
            source = options.labelled.name
            images = f"synthetic images; their augmentation was learned from {scans} labelled scans of {source}"
            facts["licence"] = f"that of the scans in {source}"
        return {
            "network": "unet",
            "summary": f"{k} labels, {'synthesis learned from labelled scans' if scans else 'SynthSeg'}",
            "description": words,
            "labels": list(data.labels),
            "features": options.features,
            "levels": 5,
            "data": f"{data.words}; {images}",
            "priors": data.settings,
            **facts,
        }

    def build(
        self, options: TrainLearn2SynthOptions, data: GeneratedData, device: torch.device
    ) -> Iterator[TrainingStage]:
        from napari_synthseg.networks.augmenter import build_augmenter
        from napari_synthseg.networks.unet import UNet3d
        from napari_synthseg.training.data.cases import labelled_crops, score_whole
        from napari_synthseg.training.data.synthetic import checked_crop, random_crops
        from napari_synthseg.training.engine.checkpoints import start_from
        from napari_synthseg.training.engine.loop import LoopOptions
        from napari_synthseg.training.objectives.learn2synth import Bilevel

        model = UNet3d(data.labels, options.features)
        crop = checked_crop(options.crop, model.multiple, least=2)  # one voxel has no statistics to norm by
        start_from(model, options.start_from)
        size: dict[str, Any] = {"crop": crop, "batch": options.batch or 1, "device": device}
        usual = 1e-3 if options.inner == "adam" else 1e-2
        loop = LoopOptions.of(options, options.steps, usual, decay_fraction=options.decay_fraction)
        objective = Bilevel(
            model,
            build_augmenter(options.augmenter, 3, options.sigma, options.varying),
            random_crops(data.maps, data.priors, data.labels, **size),
            labelled_crops(data.labelled, **size) if data.labelled else None,
            seed=options.seed,
            device=device,
            validation=data.validation(score_whole, device),
            inner=options.inner,
            lr_scale=options.augmenter_rate / loop.learning_rate,
            warmup=options.augmenter_warmup,
        )

        def learned() -> dict[str, Any]:
            return {"augmenter": {"kind": options.augmenter, **objective.augmenter.figures()}}

        yield TrainingStage("learn2synth", objective, loop, learned)
