"""The options of `train organ`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_synthseg.errors import InputError
from napari_synthseg.training.options.checks import check_positive, check_shares

STAGE = "organ"
"""Name of the run's checkpoints."""


@dataclass(frozen=True)
class TrainOrganOptions:
    """How a network for any organ is trained on images made from labelled scans."""

    pairs: Path
    """Folder of scans with their label files beside them: <id>_image.nii.gz with <id>_labels.nii.gz, any whole numbers
    as labels."""
    out: Path
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported weights."""
    labels: Path | None = None
    """Folder of the label files, if they do not lie beside the scans."""
    label_names: Path | None = None
    """What the labels are called: a text file, JSON, or ITK-SNAP's or FreeSurfer's table; default "label 1" etc."""
    organ: str = "organ"
    """What the scans show, in a word or two, for the card: heart, prostate."""
    spacing: float | None = None
    """Voxel size that the network works at, mm; default that of the scans, or coarser where they are very fine."""
    crop: int | None = None
    """Side of the crops, voxels, a multiple of 16 (32 is good); default what fits the scans, at most 160."""
    subregions: bool = True
    """Split labels and background by the intensities of the scans; without it a label or the background is all one."""
    flip: bool = False
    """Mirror half of the images: where left and right look alike, or both occur."""
    around_labels: float = 0.7
    """Share of the crops that lie around a labelled voxel, wherever that is; the others lie anywhere."""
    steps: int = 100_000
    """Steps in all."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of weights to start from, in place of random ones; of the same sizes and labels."""
    priors: str = "synthseg"
    """Preset of the generative model; lengths count in voxels, and shrink with scans smaller than 160 voxels."""
    validation: Path | None = None
    """Folder of labelled scans as for --pairs, best of other contrasts: they choose the best checkpoint."""
    hold_out: tuple[str, ...] = ()
    """Names of scans (or the beginnings) kept for validation; default the last tenth."""
    seed: int = 1
    """Seed of everything random."""
    batch: int = 1
    """Samples a step."""
    features: int = 24
    """Features of the network at its first level."""
    learning_rate: float = 1e-4
    """Peak learning rate; short trainings want more, such as 1e-3."""
    cooldown: float = 0.25
    """Share of the steps over which the rate falls to zero."""
    bfloat16: bool = False
    """Compute in bfloat16: several times faster on processors that have it."""
    validate_every: int = 1000
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: int | None = None
    """CPU threads; default torch's."""
    name: str = "organ"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_positive(self, ("steps", "spacing", "batch", "crop", "features", "learning_rate", "validate_every",
                              "threads"))  # fmt: skip
        check_shares(self, ("around_labels", "cooldown"))
        if self.crop is not None and (self.crop % 16 or self.crop < 32):
            raise InputError(f"The crop must be a multiple of 16 voxels, and at least 32, not {self.crop}.")


def stages(options: TrainOrganOptions) -> dict[str, int]:
    """Steps of the only stage."""
    return {STAGE: options.steps}
