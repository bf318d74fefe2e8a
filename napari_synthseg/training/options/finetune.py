"""The options of `train finetune`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_synthseg.fields import (
    Folder,
    Fraction,
    LabelledScans,
    LabelMaps,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    PriorSettings,
    check,
)
from napari_synthseg.weights import catalogue

STAGES = ("locate", "refine")
"""Of the fast networks, whose two parts are trained one after the other."""
STAGE = "finetune"
"""Of all others."""
ANEW = ("unetr", "swin-unetr")
"""Networks that can be trained from random weights."""


@dataclass(frozen=True)
class TrainFinetuneOptions:
    """How a network is trained on labelled scans."""

    scans: LabelledScans
    """Folder of scans with label files beside them, such as 1002_t1.nii.gz with 1002_labels.nii.gz."""
    out: Folder
    """Folder of the run: events.jsonl, checkpoints, and the exported weights."""
    labels: Folder | None = None
    """Folder of the label files, where they do not lie beside the scans."""
    start_from: str = "synthseg-fast"
    """Weights (name, file, run): a segmentation network or a pre-trained encoder; unetr, swin-unetr: random ones."""
    task: Literal["all", "four", "brain"] = "all"
    """all structures; four (white matter, subcortical grey matter, cortex, CSF); brain: skull stripping."""
    steps: PositiveInt = 1000
    """Steps at most; fewer where early stopping ends them."""
    patience: NonNegativeInt = 8
    """End after so many validations without a better score; 0: never."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    validation: LabelledScans | None = None
    """Folder of labelled scans that choose the best checkpoint; by default some of --scans are held out."""
    hold_out: tuple[str, ...] = ()
    """Names (1002) of scans held out for validation; default the last fifth, one at least where there are two."""
    synthetic: Fraction | None = None
    """Share of synthetic samples, so that no contrast is forgotten; default 0.5, and 0 for UNETR and Swin UNETR."""
    label_maps: LabelMaps | None = None
    """Label maps to make synthetic images from (folder, or .npz); default those of the scans, which show no skull."""
    priors: str | None = None
    """Preset of the generative model; default fast for the fast networks, else synthseg."""
    set: PriorSettings = ()
    """Priors to change, as name=value or name=low,high, for example slice_spacing_mm=5,5 slice_direction=axial."""
    unlabelled: tuple[int, ...] = ()
    """Labels of the network that the scans do not show completely (24): nothing is learned from scans about them."""
    unknown: Literal["refuse", "ignore"] = "refuse"
    """What to do with values in the scans' labels that nobody knows: refuse, or learn nothing where they stand."""
    augmentation: NonNegative = 1.0
    """How much scans are turned, bent, mirrored, shaded at random; 0: random crops alone, as in the paper."""
    locate_share: Fraction = 0.4
    """Share of the steps that a fast network's first stage (2 mm) gets."""
    seed: int = 1
    """Seed of everything random."""
    batch: PositiveInt | None = None
    """Samples a step; default 2 heads, then 2 crops of one head (fast networks), or 1."""
    crop: PositiveInt | None = None
    """Side of the crops, voxels of 1 mm; default 160; UNETR and Swin UNETR have their own (160 and 96)."""
    size: Literal["paper", "small"] = "paper"
    """UNETR and Swin UNETR from random weights: as published, or small and at 2 mm, for a CPU."""
    learning_rate: Positive | None = None
    """Peak learning rate; default 1e-4, and 3e-4 for fast networks."""
    encoder_share: NonNegative | None = None
    """Learning rate of UNETR's or Swin UNETR's encoder, as a share of the rate; default 0.1 if pre-trained, else 1."""
    weight_decay: NonNegative = 1e-5
    """Weight decay of AdamW."""
    cooldown: Fraction = 0.3
    """Share of the steps over which the rate falls to zero."""
    validate_every: PositiveInt = 50
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads; default torch's."""
    name: str = "finetuned"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)


def stages(options: TrainFinetuneOptions) -> dict[str, int]:
    """Steps of each stage, in order.

    Raises:
        InputError: there are no weights to start from.
    """
    if not has_two_stages(options.start_from):
        return {STAGE: options.steps}
    first = min(max(1, round(options.steps * options.locate_share)), max(options.steps - 1, 1))
    return dict(zip(STAGES, (first, max(options.steps - first, 1)), strict=True))


def has_two_stages(start_from: str) -> bool:
    """Whether weights are of a fast network, told by their card alone."""
    if start_from in ANEW:
        return False
    if Path(start_from).expanduser().is_dir():  # a run of pre-training
        return False
    path = catalogue.find(start_from)
    card = {} if path.suffix == ".h5" else catalogue.read_card(path)
    return card.get("parts", {}).get("s2", card).get("network") == "locate-refine"
