"""`train organ`: a network for any organ, any contrast, from scans with labels (SynthSeg, section 5.4)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from napari_synthseg.errors import InputError
from napari_synthseg.fields import File, Folder, Fraction, Info, LabelledScans, Positive, PositiveInt
from napari_synthseg.jobs import Progress
from napari_synthseg.training.recipe import PriorOptions, Recipe, RunOptions, TrainingStage, register

if TYPE_CHECKING:
    import torch

    from napari_synthseg.generator.model import GenerativeModel
    from napari_synthseg.generator.subregions import Split
    from napari_synthseg.io import LabelName
    from napari_synthseg.training.data.labelled_scans import RawScan
    from napari_synthseg.training.objectives.crops import OrganCase, OrganCrops

WHOLE = 0.99
"""Fraction of a label's voxels in its largest component from which on it counts as one piece."""


@dataclass(frozen=True, kw_only=True)
class TrainOrganOptions(RunOptions, PriorOptions):
    """How a network for any organ is trained on images generated from labelled scans."""

    pairs: LabelledScans
    """Folder of scans with their label files beside them: <id>_image.nii.gz with <id>_labels.nii.gz, any whole numbers
    as labels."""
    labels: Folder | None = None
    """Folder of the label files, if they do not lie beside the scans."""
    label_names: File | None = None
    """Names of the labels: a text file, JSON, or a table of ITK-SNAP or FreeSurfer; default "label 1" etc."""
    organ: str = "organ"
    """Content of the scans in a word or two, for the card: heart, prostate."""
    spacing: Annotated[float, Info(above=0, unit="mm")] | None = None
    """Voxel size of the network, mm; default that of the scans, or coarser if they are very fine."""
    crop: Annotated[int, Info(low=32)] | None = None
    """Side of the crops, voxels, a multiple of 16 (32 is good); default as the scans allow, at most 160."""
    subregions: bool = True
    """Split labels and background by the intensities of the scans; otherwise each of them is homogeneous."""
    flip: bool = False
    """Mirror half of the images, for organs whose left and right look alike, or if both occur."""
    around_labels: Fraction = 0.7
    """Fraction of the crops that lie around a labelled voxel; the others lie anywhere."""
    steps: PositiveInt = 100_000
    """Steps in all."""
    priors: str = "synthseg"
    """Preset of the generative model; lengths count in voxels, and shrink with scans smaller than 160 voxels."""
    validation: LabelledScans | None = None
    """Folder of labelled scans as for --pairs, best of other contrasts: they choose the best checkpoint."""
    hold_out: tuple[str, ...] = ()
    """Names of scans (or their beginnings) kept for validation; default the last tenth."""
    batch: PositiveInt = 1
    features: PositiveInt = 24
    """Features of the network at its first level."""
    learning_rate: Positive = 1e-4
    """Peak learning rate; short trainings need more, such as 1e-3."""
    bfloat16: bool = False
    """Compute in bfloat16: several times faster on processors that have it."""
    validate_every: PositiveInt = 1000
    name: str = "organ"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop is not None and self.crop % 16:
            raise InputError(f"The crop must be a multiple of 16 voxels, not {self.crop}.")


@dataclass(frozen=True)
class OrganData:
    """Data of a run."""

    labels: tuple[int, ...]
    """Sorted values that the network predicts, background first."""
    names: dict[int, LabelName]
    scans: list[Split]
    """To train on, split into sub-regions."""
    one_piece: list[int]
    """Labels that are one connected piece."""
    held_out: list[str]
    """Names of the scans held out."""
    cases: list[OrganCase]
    """To validate on."""
    priors: GenerativeModel
    spacing: float
    """Voxel size, mm."""
    crop: int
    """Side of the crops, voxels."""


@register
class Organ(Recipe):
    """SynthSeg's U-Net on crops of images generated from labelled scans, for labels and voxel sizes of any kind."""

    name = "organ"
    title = "Any organ"
    summary = "A segmentation network for any organ and contrast, from scans with labels."
    options = TrainOrganOptions
    rank = 4

    def stages(self, options: TrainOrganOptions) -> dict[str, int]:
        return {"organ": options.steps}

    def exports_best(self, options: TrainOrganOptions) -> bool:
        # "The retained model is then selected relatively to a validation set" (section 3.2), if there is one.
        return True

    def prepare(self, options: TrainOrganOptions, device: torch.device) -> Generator[Progress, None, OrganData]:
        import numpy as np

        from napari_synthseg.inference.options import OWN
        from napari_synthseg.inference.preprocess import rescale
        from napari_synthseg.io import read_volume
        from napari_synthseg.training.data import labelled_scans
        from napari_synthseg.training.objectives.crops import OrganCase, organ_priors

        found = labelled_scans.find(options.pairs, options.labels)
        training, held_out = labelled_scans.hold_out(found, options.hold_out, "scan")
        held = [one.name for one in held_out]
        others = labelled_scans.find(options.validation) if options.validation else []
        spacing = options.spacing
        if spacing is None:
            volumes = (read_volume(one.scan) for one in found)
            spacing = labelled_scans.usual_spacing([(volume.shape, volume.spacing.tolist()) for volume in volumes])
        read: list[RawScan] = []
        files = [*training, *(others or held_out)]
        for one in files:
            yield Progress("reading scans", len(read), len(files))
            read.append(labelled_scans.read(one, spacing))
        read, scored = read[: len(training)], read[len(training) :]
        labels = (0, *sorted({int(v) for scan in read for v in np.unique(scan.values)} - {0}))
        names = label_names(labels, options.label_names)
        scored = [replace(one, values=np.where(np.isin(one.values, labels), one.values, 0)) for one in scored]
        side = float(np.mean([s.image.shape for s in read]))
        priors = organ_priors(options.generative_model(), side, spacing, options.flip)
        cases = [OrganCase(rescale(scan.image, *OWN.percentiles), scan.values) for scan in scored]
        for i, scan in enumerate(() if others else scored):
            parts = divided(scan, options, options.seed + 7)
            cases.append(OrganCase.synthetic(parts, priors, labels, options.seed + 1000 + i))
        scans = []
        for i, scan in enumerate(read):
            yield Progress("splitting labels", i, len(read))
            scans.append(divided(scan, options, options.seed + i))
        crop = options.crop or labelled_scans.usual_crop([scan.image.shape for scan in read])
        return OrganData(labels, names, scans, of_one_piece(read, labels), held, cases, priors, spacing, crop)

    def card(self, options: TrainOrganOptions, data: OrganData) -> dict[str, Any]:
        held = ", ".join(data.held_out) or "none"
        return {
            "network": "unet",
            "summary": f"{options.organ}, {len(data.labels) - 1} labels, any contrast",
            "description": f"{options.organ.capitalize()}, {len(data.labels) - 1} labels, any contrast (SynthSeg).",
            "organ": options.organ,
            "labels": list(data.labels),
            "names": {str(value): name.name for value, name in data.names.items()},
            "colors": {str(value): list(name.color) for value, name in data.names.items() if name.color},
            "spacing_mm": data.spacing,
            "one_piece": data.one_piece,
            "features": options.features,
            "levels": 5,
            "licence": f"that of the label files in {options.pairs.name}",
            "recipe": f"{self.words(options)}, crops of {data.crop} voxels of {data.spacing:g} mm",
            "data": f"label files of {len(data.scans)} scans (held out: {held}); synthetic images only",
        }

    def build(self, options: TrainOrganOptions, data: OrganData, device: torch.device) -> Iterator[TrainingStage]:
        from napari_synthseg.networks.unet import UNet3d
        from napari_synthseg.training.engine.checkpoints import start_from
        from napari_synthseg.training.engine.loop import LoopOptions
        from napari_synthseg.training.objectives.crops import score

        model = UNet3d(data.labels, features=options.features)
        start_from(model, options.start_from)
        names = {value: name.name for value, name in data.names.items()}
        objective = self.objective()(
            model,
            data.scans,
            data.priors,
            seed=options.seed,
            batch=options.batch,
            crop=data.crop,
            around_labels=options.around_labels,
            device=device,
            bfloat16=options.bfloat16,
            validation=lambda m: score(m, data.cases, names, device),
        )
        own = {"warmup": min(100, options.steps // 10), "decay_fraction": options.decay_fraction}
        yield TrainingStage(
            "organ", objective, LoopOptions.of(options, options.steps, 1e-4, ema_decay=0.995, clip=2.0, **own)
        )

    def objective(self) -> type[OrganCrops]:
        """Return the objective's class; comparisons have another one."""
        from napari_synthseg.training.objectives.crops import OrganCrops

        return OrganCrops


def divided(scan: RawScan, options: TrainOrganOptions, seed: int) -> Split:
    """Split the labels of a scan into sub-regions, or leave them whole if the options say so."""
    from napari_synthseg.generator import subregions

    whole: dict[str, Any] = {} if options.subregions else {"parts": 1, "backgrounds": (1,)}
    return subregions.split(scan.image, scan.values, seed=seed, name=scan.name, **whole)


def label_names(labels: Sequence[int], file: Path | None) -> dict[int, LabelName]:
    """Return the name of each label but the background: as in the file (which must name some), else "label 1"."""
    from napari_synthseg.io import LabelName
    from napari_synthseg.io.labels import read_label_names

    known = read_label_names(file) if file is not None else {}
    if file is not None and not set(known) & set(labels):
        raise InputError(
            f"{file} names none of the labels {', '.join(map(str, labels[1:]))}: choose the file for them."
        )
    return {value: known.get(value, LabelName(f"label {value}")) for value in labels if value != 0}


def of_one_piece(scans: Sequence[RawScan], labels: Sequence[int]) -> list[int]:
    """Return the labels that are one connected piece in every scan, apart from crumbs; others are predicted whole."""
    import numpy as np

    from napari_synthseg.inference.postprocess import largest_component

    found = []
    for value in labels[1:]:
        masks = [mask for scan in scans if (mask := scan.values == value).any()]
        if all(np.count_nonzero(largest_component(mask)) >= WHOLE * np.count_nonzero(mask) for mask in masks):
            found.append(int(value))
    return found
