"""The options of `train lesions`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_synthseg.errors import InputError
from napari_synthseg.training.options.checks import check_positive, check_shares

STAGE = "lesions"
"""Name of the run's checkpoints."""


@dataclass(frozen=True)
class TrainLesionsOptions:
    """How the network that looks for white matter lesions after the segmentation is trained."""

    label_maps: Path
    """Folder of label maps (NIfTI, MGZ, NRRD), or one .npz file of prepared maps; lesions are painted into them."""
    out: Path
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported weights."""
    steps: int = 4_000
    """Steps in all."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of weights to start from, in place of random ones; of the same sizes."""
    priors: str = "fast"
    """Preset of the generative model."""
    load_ml: tuple[float, float] = (0.5, 60.0)
    """Volume of the lesions painted into a head, ml; small loads come more often."""
    free: float = 0.35
    """Share of the heads without any lesion."""
    segmenter: str = "synthseg-fast"
    """Name or file of a fast network: its segmentations of drawn heads, with their mistakes, are learned from."""
    segmented: float = 0.5
    """Share of the heads that it segments; for the others true tissues get random errors. 0 needs no network."""
    scanner: float = 0.6
    """Share of the heads that look as on T1, T2, PD, FLAIR or CT with random settings; others are of any intensity."""
    inverted: float = 0.0
    """Share of the batches that are of inverted scans."""
    hold_out: tuple[str, ...] = ()
    """Names of label maps kept for validation; default the last tenth."""
    seed: int = 1
    """Seed of everything random."""
    batch: int = 8192
    """Voxels a step."""
    crops: int = 2
    """Crops made of each head."""
    crop: int = 80
    """Side of the crops, mm; a multiple of 4."""
    heads: Path | None = None
    """Folder where drawn heads are kept (3 MB each): a run that is resumed, or another one with the same label maps and
    options but for the network's, need not draw them again."""
    reuse: int = 25
    """Steps to a new head; each is kept for the steps after it, 400 at most."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the network's hidden layers."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    cooldown: float = 0.5
    """Share of the steps over which the rate falls to zero."""
    validate_every: int = 500
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: int | None = None
    """CPU threads; default torch's."""
    name: str = "lesions"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_positive(self, ("steps", "batch", "crops", "crop", "reuse", "learning_rate", "validate_every", "threads"))
        check_shares(self, ("free", "segmented", "scanner", "inverted", "cooldown"))
        if self.crop % 4 or not 32 <= self.crop <= 160:
            raise InputError(f"The crop must be a multiple of 4, from 32 to 160, not {self.crop}.")
        low, high = self.load_ml
        if not 0 <= low <= high or high <= 0:
            raise InputError(f"The load must go from 0 or more to more than 0, not from {low:g} to {high:g} ml.")


def stages(options: TrainLesionsOptions) -> dict[str, int]:
    """Steps of the only stage."""
    return {STAGE: options.steps}
