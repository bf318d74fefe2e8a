"""The options of `train pretrain`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_synthseg.errors import InputError
from napari_synthseg.training.options.checks import check_positive, check_shares

STAGE = "pretrain"
"""Name of the run's checkpoints."""


@dataclass(frozen=True)
class TrainPretrainOptions:
    """How the encoder of a UNETR or Swin UNETR is trained on scans without labels."""

    out: Path
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported encoder."""
    scans: Path | None = None
    """Folder of scans, at any depth (NIfTI, MGZ, NRRD); label files in it are passed over."""
    label_maps: Path | None = None
    """Folder of label maps, or one .npz of prepared maps: endless synthetic scans are made of them."""
    network: Literal["unetr", "swin-unetr"] = "unetr"
    """unetr: masked patches are reconstructed; swin-unetr: inpainting, rotation and contrast."""
    size: Literal["paper", "small"] = "paper"
    """paper: as published, for a GPU; small: whole heads of 192 mm at 2 mm, for a CPU."""
    steps: int = 100_000
    """Steps in all."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    synthetic: float = 0.5
    """Share of synthetic crops, where there are both scans and label maps."""
    priors: str = "synthseg"
    """Preset of the generative model of synthetic scans."""
    mask_ratio: float = 0.75
    """Share of the patches that are masked (unetr)."""
    decoder_blocks: int = 4
    """Blocks of the decoder that reconstructs them (unetr)."""
    decoder_skips: bool = True
    """Connect the decoder with earlier states of the encoder, as the paper says (unetr)."""
    normalise_patches: bool = False
    """Reconstruct every patch with its mean taken off and divided by its deviation (unetr)."""
    cut_out: float = 0.3
    """Share of the voxels that are cut out for inpainting (swin-unetr)."""
    temperature: float = 0.5
    """Of the contrastive loss (swin-unetr)."""
    hold_out: tuple[str, ...] = ()
    """Names of scans and label maps kept for validation; default the last tenth of each, one at least."""
    seed: int = 1
    """Seed of everything random."""
    batch: int = 3
    """Crops a step."""
    learning_rate: float = 1e-4
    """Peak learning rate of AdamW."""
    weight_decay: float = 1e-5
    """Weight decay of AdamW."""
    warmup: int = 100
    """Steps over which the rate rises."""
    cooldown: float = 0.25
    """Share of the steps over which the rate falls to zero."""
    validate_every: int = 500
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    devices: int = 1
    """GPUs of this machine (or processes on the CPU) that share the work: each has a batch, and all learn from them."""
    threads: int | None = None
    """CPU threads; default torch's."""
    name: str = "pretrained"
    """Name of the exported encoder."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_positive(self, ("steps", "batch", "threads", "devices", "decoder_blocks", "learning_rate", "temperature",
                              "validate_every"))  # fmt: skip
        check_shares(self, ("synthetic", "cooldown"))
        for name in ("mask_ratio", "cut_out"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise InputError(f"The option {name} lies between 0 and 1, and is {getattr(self, name)}.")
        if self.weight_decay < 0 or self.warmup < 0:
            raise InputError("Weight decay and warm-up cannot be negative.")
        if self.scans is None and self.label_maps is None:
            raise InputError("There is nothing to learn from: give a folder of scans, or of label maps, or both.")
        if self.network == "swin-unetr" and self.batch < 2:
            raise InputError("The contrast between crops needs at least 2 of them a step: ask for a larger batch.")
        if self.network == "swin-unetr" and self.devices > 1:
            raise InputError("A Swin UNETR's crops are contrasted with each other in one process: ask for one device.")


def stages(options: TrainPretrainOptions) -> dict[str, int]:
    """Steps of the only stage."""
    return {STAGE: options.steps}
