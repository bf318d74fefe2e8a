"""The options of `train learn2synth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import (
    Folder,
    Info,
    LabelledScans,
    LabelMaps,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    check,
)

STAGE = "learn2synth"
"""Name of the run's checkpoints."""
LARGEST = 192
"""Voxels along the shortest side of a labelled scan's field of view."""


@dataclass(frozen=True)
class TrainLearn2SynthOptions:
    """How a network and what augments its images are trained together."""

    label_maps: LabelMaps
    """Folder of label maps (NIfTI, MGZ, NRRD), or one .npz file of prepared maps."""
    out: Folder
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported weights."""
    labelled: LabelledScans | None = None
    """Folder of real scans, <id>_t1.nii.gz with <id>_labels.nii.gz, from which the augmenter learns."""
    augmenter: Literal["noise", "bias", "unet", "none"] = "noise"
    """noise; noise and bias field; small U-Net and noise; or none: SynthSeg as it is, to compare with."""
    varying: bool = False
    """The augmenter's deviations vary from image to image between two ends, and both are learned."""
    sigma: NonNegative = 0.05
    """Deviation of the augmenter's noise at the beginning, intensities in [0, 1]."""
    inner: Literal["adam", "sgd"] = "adam"
    """How the segmentation network steps, and what is differentiated through."""
    steps: PositiveInt = 20_000
    """Steps in all."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of a U-Net's weights to start from, in place of random ones; of the same sizes and labels."""
    priors: str = "synthseg"
    """Preset of the generative model."""
    validation: LabelledScans | None = None
    """Folder of labelled scans as for --labelled: they choose the best checkpoint."""
    hold_out: tuple[str, ...] = ()
    """Names of label maps kept for validation; default the last tenth."""
    seed: int = 1
    """Seed of everything random."""
    batch: PositiveInt = 1
    """Synthetic images, and real ones, a step."""
    crop: Annotated[int, Info(low=1, high=LARGEST)] = 96
    """Side of all crops, voxels of 1 mm."""
    features: PositiveInt = 24
    """Features of the network at its first level."""
    learning_rate: Positive | None = None
    """Learning rate of the network; default 1e-3 (adam) or 1e-2 (sgd)."""
    augmenter_rate: Positive = 1e-3
    """Learning rate of the augmenter."""
    teach_from: NonNegativeInt = 500
    """Steps before the augmenter begins to learn; they take a quarter of the time of the others."""
    validate_every: PositiveInt = 500
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads; default torch's."""
    name: str = "learn2synth"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)
        if self.augmenter != "none" and self.labelled is None:
            raise InputError("The augmenter learns from labelled scans: give their folder with --labelled.")
        if self.augmenter != "none" and self.teach_from >= self.steps:
            raise InputError("The augmenter would never learn: ask for more steps, or let it begin earlier.")


def stages(options: TrainLearn2SynthOptions) -> dict[str, int]:
    """Steps of the only stage."""
    return {STAGE: options.steps}
