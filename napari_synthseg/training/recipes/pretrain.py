"""`train pretrain`: from scans without labels, and label maps, to an encoder that fine-tuning starts from.

UNETR's encoder reconstructs masked patches; Swin UNETR's fills holes, tells rotations and contrasts views (pre-train
once, fine-tune many).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Fraction, Info, LabelMaps, NonNegative, NonNegativeInt, Positive, PositiveInt, Scans
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.registry import ENCODER
from napari_synthseg.training.engine.events import watch
from napari_synthseg.training.recipe import PriorOptions, Recipe, SharedRunOptions, TrainingStage, register

if TYPE_CHECKING:
    import torch

    from napari_synthseg.generator.labelmap import LabelMap
    from napari_synthseg.training.data.crops import CropSource, StandardizedFile
    from napari_synthseg.training.objectives.pretext import Pretext

TITLES = {"unetr": "a UNETR", "swin-unetr": "a Swin UNETR"}
TRIED = 4
"""Scans that are standardized for an estimate of time and memory."""


@dataclass(frozen=True, kw_only=True)
class TrainPretrainOptions(SharedRunOptions, PriorOptions):
    """How the encoder of a UNETR or Swin UNETR is trained on scans without labels."""

    scans: Scans | None = None
    """Folder of scans, at any depth (NIfTI, MGZ, NRRD); label files in it are skipped."""
    label_maps: LabelMaps | None = None
    """Folder of label maps, or one .npz of prepared maps, to generate images from."""
    network: Literal["unetr", "swin-unetr"] = "unetr"
    """unetr: masked patches are reconstructed; swin-unetr: inpainting, rotation and contrast."""
    size: Literal["paper", "small"] = "paper"
    """paper: as published, for a GPU; small: whole heads of 192 mm at 2 mm, for a CPU."""
    steps: PositiveInt = 100_000
    """Steps in all."""
    synthetic: Fraction = 0.5
    """Fraction of generated crops, if there are both scans and label maps."""
    mask_ratio: Annotated[float, Info(above=0, below=1)] = 0.75
    """Fraction of masked patches (unetr)."""
    decoder_blocks: PositiveInt = 4
    """Blocks of the decoder that reconstructs them (unetr)."""
    decoder_skips: bool = True
    """Connect the decoder with earlier states of the encoder, as the paper says (unetr)."""
    normalise_patches: bool = False
    """Reconstruct every patch with mean 0 and variance 1 (unetr)."""
    cut_out: Annotated[float, Info(above=0, below=1)] = 0.3
    """Fraction of the voxels that are cut out for inpainting (swin-unetr)."""
    temperature: Positive = 0.5
    """Temperature of the contrastive loss (swin-unetr)."""
    hold_out: tuple[str, ...] = ()
    """Names of scans and label maps kept for validation; default the last tenth of each, at least one."""
    batch: PositiveInt = 3
    """Crops a step."""
    learning_rate: Positive = 1e-4
    """Peak learning rate of AdamW."""
    weight_decay: NonNegative = 1e-5
    """Weight decay of AdamW."""
    warmup: NonNegativeInt = 100
    """Steps over which the rate rises."""
    name: str = "pretrained"
    """Name of the exported encoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scans is None and self.label_maps is None:
            raise InputError("There is nothing to learn from: give a folder of scans, or of label maps, or both.")
        if self.network == "swin-unetr" and self.batch < 2:
            raise InputError("The contrast between crops needs at least 2 of them a step: ask for a larger batch.")
        if self.network == "swin-unetr" and self.devices > 1:
            raise InputError("A Swin UNETR's crops are contrasted with each other in one process: ask for one device.")


@dataclass(frozen=True)
class PretextData:
    """Network and crops of a run."""

    model: Any
    """Its encoder is trained."""
    crops: CropSource
    """To learn from."""
    held_out: CropSource
    """To validate on."""
    words: str
    """For the card."""


@register
class Pretrain(Recipe):
    """Pre-training of the encoders of UNETR and Swin UNETR."""

    name = "pretrain"
    title = "Pre-train"
    summary = "An encoder of transformers, trained on scans without labels."
    options = TrainPretrainOptions
    rank = 7
    use = "train finetune --scans SCANS --out RUN --start-from WEIGHTS"
    headline = ("network", "size", "seed", "batch")
    score = "Score"

    def stages(self, options: TrainPretrainOptions) -> dict[str, int]:
        return {"pretrain": options.steps}

    def exports_best(self, options: TrainPretrainOptions) -> bool:
        return True

    def prepare(self, options: TrainPretrainOptions, device: torch.device) -> Generator[Progress, None, PretextData]:
        from napari_synthseg.networks.registry import build
        from napari_synthseg.training.data.crops import FOLDER, standardized_steps, unlabelled
        from napari_synthseg.training.data.label_maps import read_maps
        from napari_synthseg.training.data.labelled_scans import hold_out

        model: Any = build({"network": options.network, "labels": [], **sizes_of(options)})
        trial = watch().trial is not None
        files: list[StandardizedFile] = []
        maps: list[LabelMap] = []
        if options.scans is not None:
            found = unlabelled(options.scans)[: TRIED if trial else None]
            files = yield from standardized_steps(found, options.out / FOLDER, model.field, model.spacing)
        if options.label_maps is not None:
            maps = yield from read_maps(options.label_maps)
        both: tuple[list[Any], list[Any]] = (files, maps)
        unknown = set(options.hold_out) - {one.name for some in both for one in some}
        if unknown and not trial:
            raise InputError(f"There is no scan or label map named {min(unknown)!r} to hold out: check its name.")
        asked = [[name for name in options.hold_out if name in {one.name for one in some}] for some in both]
        scans, held_scans = hold_out(files, asked[0], "scan", least=1)
        own, held_maps = hold_out(maps, asked[1], "label map", least=1)
        words = [
            f"{len(scans)} scans without labels (held out: {len(held_scans)})" if files else "",
            f"synthetic scans of {len(own)} label maps (held out: {len(held_maps)})" if maps else "",
        ]
        return PretextData(
            model,
            source(options, model, scans, own, device),
            source(options, model, held_scans or files, held_maps or maps, device),
            "; ".join(part for part in words if part),
        )

    def card(self, options: TrainPretrainOptions, data: PretextData) -> dict[str, Any]:
        title = TITLES[options.network]
        return {
            "network": options.network + ENCODER,
            "title": f"a pre-trained encoder of {title}",
            "summary": f"pre-trained encoder of {title}, for fine-tuning",
            "description": f"Encoder of {title}, trained without labels: fine-tuning starts from it.",
            "labels": [],
            **sizes_of(options),
            "licence": f"that of the scans in {options.scans.name}" if options.scans is not None else "Apache-2.0",
            "data": data.words,
        }

    def build(self, options: TrainPretrainOptions, data: PretextData, device: torch.device) -> Iterator[TrainingStage]:
        from napari_synthseg.training.engine.loop import LoopOptions

        loop = LoopOptions.of(
            options,
            options.steps,
            1e-4,
            optimizer="adamw",  # section IV-C
            weight_decay=options.weight_decay,
            warmup=options.warmup,
            decay_fraction=options.decay_fraction,
            clip=1.0,
        )
        yield TrainingStage("pretrain", objective(options, data, device), loop)

    def tensors(
        self, run: Path, options: TrainPretrainOptions, states: Mapping[str, dict[str, Any]]
    ) -> dict[str, torch.Tensor]:
        """Return the encoder; the heads that reconstruct are left out."""
        weights, prefix = states["pretrain"]["model"], "encoder."
        return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def sizes_of(options: TrainPretrainOptions) -> dict[str, Any]:
    """Return the sizes of the network if they are not the paper's."""
    from napari_synthseg.networks.transformers import SMALL

    return SMALL[options.network] if options.size == "small" else {}


def source(
    options: TrainPretrainOptions, model: Any, files: list[StandardizedFile], maps: list[LabelMap], device: torch.device
) -> CropSource:
    """Return crops of scans, of generated images, or of both."""
    from napari_synthseg.training.data.crops import generated_crops, mixed_crops, scan_crops

    scans = scan_crops(files, model.edge, device)
    if not maps:
        return scans
    generated = generated_crops(maps, options.generative_model(), model.field, model.edge, model.spacing, device)
    return mixed_crops(scans, generated, options.synthetic) if files else generated


def objective(options: TrainPretrainOptions, data: PretextData, device: torch.device) -> Pretext:
    from napari_synthseg.networks.pretraining import MaskedAutoencoder, SwinPretexts
    from napari_synthseg.training.objectives.pretext import MaskedPatches, SwinViews

    model, crops = data.model, (data.crops, data.held_out)
    common: dict[str, Any] = {"seed": options.seed, "batch": options.batch, "device": device}
    if options.network == "swin-unetr":
        heads = SwinPretexts(model)
        return SwinViews(heads, *crops, fraction=options.cut_out, temperature=options.temperature, **common)
    hidden = max(8, model.hidden * 2 // 3 // 8 * 8)  # 512 of 768, as published
    autoencoder = MaskedAutoencoder(model, hidden, options.decoder_blocks, options.decoder_skips)
    return MaskedPatches(autoencoder, *crops, ratio=options.mask_ratio, normalise=options.normalise_patches, **common)
