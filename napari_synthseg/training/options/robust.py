"""The options of `train robust`, which both of its plans read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Folder, Fraction, LabelledScans, LabelMaps, Positive, PositiveInt, check
from napari_synthseg.training.options.checks import check_curriculum

FAST_STEPS = {"s1": 1_500, "d": 2_000, "s2": 4_000}
PAPER_STEPS = 300_000
"""Of each network (section 3.2)."""


@dataclass(frozen=True)
class TrainRobustOptions:
    """How the three networks of SynthSeg+ are trained."""

    label_maps: LabelMaps
    """Folder of label maps (NIfTI, MGZ, NRRD), or one .npz file of prepared maps."""
    out: Folder
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported weights."""
    plan: Literal["fast", "paper"] = "fast"
    """fast: at 2 mm, refined at 1 mm, for CPUs; paper: U-Nets and denoiser at 1 mm, for large GPUs."""
    steps_s1: PositiveInt | None = None
    """Steps of S1, image to tissues; default 1,500 (fast) or 300,000 (paper)."""
    steps_d: PositiveInt | None = None
    """Steps of D, tissues to better tissues; default 2,000 (fast) or 300,000 (paper)."""
    steps_s2: PositiveInt | None = None
    """Steps of S2, image and tissues to structures; default 4,000 (fast) or 300,000 (paper)."""
    refine_share: Fraction = 0.1
    """Share of S2's steps that the fast plan's refiner gets."""
    labelled: LabelledScans | None = None
    """Folder of real scans, <id>_t1.nii.gz with <id>_labels.nii.gz, that D learns from; default synthetic ones."""
    only: Literal["s1", "d", "s2"] | None = None
    """Train this network alone; those before it must be in the run's folder, such as checkpoints/s1.pt of another."""
    predicted_tissues: Fraction = 0.25
    """Share of the steps in which S2 sees what S1 and D find, not true tissues made wrong (fast; the paper: 0)."""
    start_from: str = "auto"
    """Weights of a fast network to start from (fast); auto: synthseg-fast where it fits; none: random ones."""
    resume: bool = False
    """Go on from the newest checkpoints in the run's folder."""
    priors: str | None = None
    """Preset of the generative model; default fast with noise (fast) or synthseg-plus (paper)."""
    curriculum: tuple[float, int] = (0.5, 1_000)
    """The fast plan starts S1 and S2 with this share of the priors' ranges and reaches all so many steps later."""
    validation: LabelledScans | None = None
    """Folder of labelled scans as for --labelled: they are scored, besides held-out label maps."""
    hold_out: tuple[str, ...] = ()
    """Names of label maps kept for validation; default the last tenth."""
    lesions: bool = False
    """Paint white matter lesions into the label maps; the network learns to label them white matter."""
    seed: int = 1
    """Seed of everything random."""
    batch: PositiveInt | None = None
    """Samples a step; default 2 heads, 3 crops of one head for the refiner (fast), or 1 (paper)."""
    learning_rate: Positive | None = None
    """Peak learning rate; default 1e-3 (fast) or 1e-4 (paper)."""
    cooldown: Fraction = 0.25
    """Share of the steps of each stage over which the fast plan's rate falls to zero."""
    crop: PositiveInt = 160
    """Side of the paper plan's crops, voxels."""
    features: PositiveInt = 24
    """Features of the paper's U-Nets at their first level."""
    denoiser_features: PositiveInt = 16
    """Features of D at all of its levels."""
    s1_features: tuple[int, ...] = (32, 64, 128, 160)
    """Features of the fast S1 at each level."""
    locator_features: tuple[int, ...] = (32, 64, 128, 160)
    """Features of the fast S2's first stage at each level."""
    refiner_features: tuple[int, ...] = (32, 64, 128)
    """Features of the fast S2's second stage at each level."""
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
    name: str = "robust"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)
        check_curriculum(self.curriculum)
        if self.plan == "paper" and self.labelled is not None and self.crop > 192:
            raise InputError(f"Crops of labelled scans have at most 192 voxels along a side, not {self.crop}.")


def steps_of(options: TrainRobustOptions) -> dict[str, int]:
    """Steps of each network."""
    asked = {"s1": options.steps_s1, "d": options.steps_d, "s2": options.steps_s2}
    default = FAST_STEPS if options.plan == "fast" else dict.fromkeys(asked, PAPER_STEPS)
    return {name: steps or default[name] for name, steps in asked.items()}


def stages(options: TrainRobustOptions) -> dict[str, int]:
    """Steps of each stage that is trained, in their order; the fast plan's S2 has two."""
    steps = steps_of(options)
    if options.plan == "fast":
        refine = round(options.refine_share * steps["s2"])
        steps = {**steps, "s2": max(1, steps["s2"] - refine), "s2-refine": max(1, refine)}
    return {name: count for name, count in steps.items() if options.only in (None, name.split("-")[0])}
