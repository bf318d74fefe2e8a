"""The options of `train synthseg`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_synthseg.fields import Folder, Fraction, LabelledScans, LabelMaps, Positive, PositiveInt, check
from napari_synthseg.training.options.checks import check_curriculum


@dataclass(frozen=True)
class TrainSynthSegOptions:
    """How a SynthSeg network is trained."""

    label_maps: LabelMaps
    """Folder of label maps (NIfTI, MGZ, NRRD), or one .npz file of prepared maps."""
    out: Folder
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported weights."""
    preset: Literal["fast", "paper"] = "fast"
    """fast: locate and refine, hours on a GPU or days on a CPU; paper: SynthSeg's own U-Net and schedule."""
    steps: PositiveInt | None = None
    """Steps in all; default 40,000 (fast) or 300,000 (paper)."""
    locate_share: Fraction = 0.4
    """Share of the steps that the fast recipe's first stage gets."""
    curriculum: tuple[float, int] = (0.4, 20_000)
    """The fast recipe starts each stage with this share of the priors' ranges and reaches all so many steps later."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of weights to start from, in place of random ones; of the same sizes and labels."""
    priors: str | None = None
    """Preset of the generative model; default fast (fast) or synthseg (paper)."""
    validation: LabelledScans | None = None
    """Folder of labelled scans, <id>_t1.nii.gz with <id>_labels.nii.gz: they choose the best checkpoint."""
    hold_out: tuple[str, ...] = ()
    """Names of label maps kept for validation; default the last tenth."""
    lesions: bool = False
    """Paint white matter lesions into the label maps; the network learns to label them white matter."""
    seed: int = 1
    """Seed of everything random."""
    batch: PositiveInt | None = None
    """Samples a step; default 2 heads, then 3 crops of one head (fast), or 1 (paper)."""
    learning_rate: Positive | None = None
    """Peak learning rate; default 2e-3 (fast) or 1e-4 (paper)."""
    cooldown: Fraction = 0.25
    """Share of the steps over which the fast recipe's rate falls to zero."""
    crop: PositiveInt = 160
    """Side of the paper recipe's crops, voxels."""
    features: PositiveInt = 24
    """Features of the paper's network at its first level."""
    locator_features: tuple[int, ...] = (32, 64, 128, 160)
    """Features of the fast network's first stage at each level."""
    refiner_features: tuple[int, ...] = (32, 64, 128)
    """Features of the fast network's second stage at each level."""
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
    name: str = "synthseg-fast"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)
        check_curriculum(self.curriculum)


def stages(options: TrainSynthSegOptions) -> dict[str, int]:
    """Steps of each stage, in their order."""
    if options.preset == "paper":
        return {"unet": options.steps or 300_000}
    steps = options.steps or 40_000
    locate = max(1, round(steps * options.locate_share))
    return {"locate": locate, "refine": max(1, steps - locate)}
