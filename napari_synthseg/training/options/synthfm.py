"""The options of `train synthfm`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_synthseg.fields import Folder, Fraction, NonNegativeInt, Positive, PositiveInt, check

STAGE = "prompts"
"""Name of the run's checkpoints."""


@dataclass(frozen=True)
class TrainSynthFMOptions:
    """How a promptable network is trained."""

    out: Folder
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported weights."""
    encoder: str = "default"
    """Whose image encoder: default (MobileSAM's), vit_b, vit_l, vit_h, or a checkpoint file."""
    preset: Literal["fast", "paper"] = "fast"
    """fast: many targets a step, corrections, focal and Dice loss, hours; paper: one target of one image a step, Dice
    loss, a million steps."""
    steps: PositiveInt | None = None
    """Steps in all; default 20,000 (fast) or 1,000,000 (paper)."""
    scenes: str = "both"
    """Preset of the scenes: both, shape-only, boundary-only, paper, or a modality."""
    boxes: bool = True
    """Prompt with boxes too (fast)."""
    masks: bool = True
    """Prompt with masks too (fast)."""
    draws_prompts: bool = True
    """Draw points and boxes on the mask prompt too, which is learned faster than SAM's tokens alone (fast)."""
    train_encoder: bool = False
    """Let the encoder learn too, at a hundredth of the rate (fast); best late, with a decoder to start from."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of promptable weights whose decoder to start from, in place of a random one."""
    seed: int = 1
    """Seed of everything random."""
    batch: PositiveInt | None = None
    """Targets a step: through windows of half the frame (default 8, fast), or in all (default 1, paper)."""
    pool: PositiveInt = 48
    """Scenes from which a step takes its targets (fast)."""
    scene_steps: PositiveInt = 2
    """Steps from one new scene to the next (fast)."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon learns more from each step, and needs torch 2.9; the paper's preset uses Adam (fast)."""
    learning_rate: Positive | None = None
    """Peak learning rate; default 1e-3 (fast) or 1e-4 (paper)."""
    cooldown: Fraction = 0.3
    """Share of the steps over which the fast recipe's rate falls to zero."""
    validate_every: PositiveInt = 500
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads of the decoder's training; default torch's."""
    workers: NonNegativeInt = 0
    """Processes that make and encode scenes ahead, one thread each; for CPUs."""
    name: str = "synthfm"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)


def stages(options: TrainSynthFMOptions) -> dict[str, int]:
    """Steps of the only stage."""
    return {STAGE: options.steps or (1_000_000 if options.preset == "paper" else 20_000)}
