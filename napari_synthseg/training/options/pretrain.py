"""The options of `train pretrain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import (
    Folder,
    Fraction,
    Info,
    LabelMaps,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    PriorSettings,
    Scans,
    check,
)

STAGE = "pretrain"
"""Name of the run's checkpoints."""


@dataclass(frozen=True)
class TrainPretrainOptions:
    """How the encoder of a UNETR or Swin UNETR is trained on scans without labels."""

    out: Folder
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported encoder."""
    scans: Scans | None = None
    """Folder of scans, at any depth (NIfTI, MGZ, NRRD); label files in it are passed over."""
    label_maps: LabelMaps | None = None
    """Folder of label maps, or one .npz of prepared maps: endless synthetic scans are made of them."""
    network: Literal["unetr", "swin-unetr"] = "unetr"
    """unetr: masked patches are reconstructed; swin-unetr: inpainting, rotation and contrast."""
    size: Literal["paper", "small"] = "paper"
    """paper: as published, for a GPU; small: whole heads of 192 mm at 2 mm, for a CPU."""
    steps: PositiveInt = 100_000
    """Steps in all."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    synthetic: Fraction = 0.5
    """Share of synthetic crops, where there are both scans and label maps."""
    priors: str = "synthseg"
    """Preset of the generative model of synthetic scans."""
    set: PriorSettings = ()
    """Priors to change, as name=value or name=low,high, for example slice_spacing_mm=5,5 slice_direction=axial."""
    mask_ratio: Annotated[float, Info(above=0, below=1)] = 0.75
    """Share of the patches that are masked (unetr)."""
    decoder_blocks: PositiveInt = 4
    """Blocks of the decoder that reconstructs them (unetr)."""
    decoder_skips: bool = True
    """Connect the decoder with earlier states of the encoder, as the paper says (unetr)."""
    normalise_patches: bool = False
    """Reconstruct every patch with its mean taken off and divided by its deviation (unetr)."""
    cut_out: Annotated[float, Info(above=0, below=1)] = 0.3
    """Share of the voxels that are cut out for inpainting (swin-unetr)."""
    temperature: Positive = 0.5
    """Of the contrastive loss (swin-unetr)."""
    hold_out: tuple[str, ...] = ()
    """Names of scans and label maps kept for validation; default the last tenth of each, one at least."""
    seed: int = 1
    """Seed of everything random."""
    batch: PositiveInt = 3
    """Crops a step."""
    learning_rate: Positive = 1e-4
    """Peak learning rate of AdamW."""
    weight_decay: NonNegative = 1e-5
    """Weight decay of AdamW."""
    warmup: NonNegativeInt = 100
    """Steps over which the rate rises."""
    cooldown: Fraction = 0.25
    """Share of the steps over which the rate falls to zero."""
    validate_every: PositiveInt = 500
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    devices: PositiveInt = 1
    """GPUs of this machine (or processes on the CPU) that share the work: each has a batch, and all learn from them."""
    threads: PositiveInt | None = None
    """CPU threads; default torch's."""
    name: str = "pretrained"
    """Name of the exported encoder."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)
        if self.scans is None and self.label_maps is None:
            raise InputError("There is nothing to learn from: give a folder of scans, or of label maps, or both.")
        if self.network == "swin-unetr" and self.batch < 2:
            raise InputError("The contrast between crops needs at least 2 of them a step: ask for a larger batch.")
        if self.network == "swin-unetr" and self.devices > 1:
            raise InputError("A Swin UNETR's crops are contrasted with each other in one process: ask for one device.")


def stages(options: TrainPretrainOptions) -> dict[str, int]:
    """Steps of the only stage."""
    return {STAGE: options.steps}
