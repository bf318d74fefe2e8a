"""The options of `train organ`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from napari_synthseg.errors import InputError
from napari_synthseg.fields import File, Folder, Fraction, Info, LabelledScans, Positive, PositiveInt, check

STAGE = "organ"
"""Name of the run's checkpoints."""


@dataclass(frozen=True)
class TrainOrganOptions:
    """How a network for any organ is trained on images made from labelled scans."""

    pairs: LabelledScans
    """Folder of scans with their label files beside them: <id>_image.nii.gz with <id>_labels.nii.gz, any whole numbers
    as labels."""
    out: Folder
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported weights."""
    labels: Folder | None = None
    """Folder of the label files, if they do not lie beside the scans."""
    label_names: File | None = None
    """What the labels are called: a text file, JSON, or ITK-SNAP's or FreeSurfer's table; default "label 1" etc."""
    organ: str = "organ"
    """What the scans show, in a word or two, for the card: heart, prostate."""
    spacing: Annotated[float, Info(above=0, unit="mm")] | None = None
    """Voxel size that the network works at, mm; default that of the scans, or coarser where they are very fine."""
    crop: Annotated[int, Info(low=32)] | None = None
    """Side of the crops, voxels, a multiple of 16 (32 is good); default what fits the scans, at most 160."""
    subregions: bool = True
    """Split labels and background by the intensities of the scans; without it a label or the background is all one."""
    flip: bool = False
    """Mirror half of the images: where left and right look alike, or both occur."""
    around_labels: Fraction = 0.7
    """Share of the crops that lie around a labelled voxel, wherever that is; the others lie anywhere."""
    steps: PositiveInt = 100_000
    """Steps in all."""
    resume: bool = False
    """Go on from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of weights to start from, in place of random ones; of the same sizes and labels."""
    priors: str = "synthseg"
    """Preset of the generative model; lengths count in voxels, and shrink with scans smaller than 160 voxels."""
    validation: LabelledScans | None = None
    """Folder of labelled scans as for --pairs, best of other contrasts: they choose the best checkpoint."""
    hold_out: tuple[str, ...] = ()
    """Names of scans (or the beginnings) kept for validation; default the last tenth."""
    seed: int = 1
    """Seed of everything random."""
    batch: PositiveInt = 1
    """Samples a step."""
    features: PositiveInt = 24
    """Features of the network at its first level."""
    learning_rate: Positive = 1e-4
    """Peak learning rate; short trainings want more, such as 1e-3."""
    cooldown: Fraction = 0.25
    """Share of the steps over which the rate falls to zero."""
    bfloat16: bool = False
    """Compute in bfloat16: several times faster on processors that have it."""
    validate_every: PositiveInt = 1000
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads; default torch's."""
    name: str = "organ"
    """Name of the exported weights."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)
        if self.crop is not None and self.crop % 16:
            raise InputError(f"The crop must be a multiple of 16 voxels, not {self.crop}.")


def stages(options: TrainOrganOptions) -> dict[str, int]:
    """Steps of the only stage."""
    return {STAGE: options.steps}
