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
from napari_synthseg.fields import (
    Fraction,
    Info,
    LabelMaps,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    PriorSettings,
    Scans,
)
from napari_synthseg.jobs import Progress
from napari_synthseg.training.engine.watching import watch
from napari_synthseg.training.recipe import Recipe, SharedRunOptions, Stage, register

if TYPE_CHECKING:
    import torch

    from napari_synthseg.generator.labelmap import LabelMap
    from napari_synthseg.networks.transformers import Transformer
    from napari_synthseg.training.data.crops import CropSource
    from napari_synthseg.training.objectives.pretext import Pretext

TITLES = {"unetr": "a UNETR", "swin-unetr": "a Swin UNETR"}
TRIED = 4
"""Scans that are standardized for an estimate of time and memory."""


@dataclass(frozen=True, kw_only=True)
class TrainPretrainOptions(SharedRunOptions):
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
    priors: str = "synthseg"
    """Preset of the generative model."""
    set: PriorSettings = ()
    """Priors to change, as name=value or name=low,high, for example slice_spacing_mm=5,5 slice_direction=axial."""
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
        """Refuse options out of range."""
        super().__post_init__()
        if self.scans is None and self.label_maps is None:
            raise InputError("There is nothing to learn from: give a folder of scans, or of label maps, or both.")
        if self.network == "swin-unetr" and self.batch < 2:
            raise InputError("The contrast between crops needs at least 2 of them a step: ask for a larger batch.")
        if self.network == "swin-unetr" and self.devices > 1:
            raise InputError("A Swin UNETR's crops are contrasted with each other in one process: ask for one device.")


@dataclass(frozen=True)
class PretextData:
    """Network and crops of a run.

    Attributes:
        model: its encoder is trained.
        crops: to learn from.
        held_out: to validate on.
        words: for the card.
    """

    model: Transformer
    crops: CropSource
    held_out: CropSource
    words: str


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

    def stages(self, options: TrainPretrainOptions) -> dict[str, int]:
        return {"pretrain": options.steps}

    def exports_best(self, options: TrainPretrainOptions) -> bool:
        return True

    def prepare(self, options: TrainPretrainOptions, device: torch.device) -> Generator[Progress, None, PretextData]:
        from napari_synthseg.io import stem
        from napari_synthseg.networks.registry import build
        from napari_synthseg.networks.transformers import Transformer
        from napari_synthseg.training.data.crops import FOLDER, held_apart, standardized_steps, unlabelled
        from napari_synthseg.training.data.label_maps import read_maps

        model = build({"network": options.network, "labels": [], **sizes_of(options)})
        assert isinstance(model, Transformer)
        trial = watch().trial is not None
        files: list[Path] = []
        maps: list[LabelMap] = []
        if options.scans is not None:
            found = unlabelled(options.scans)[: TRIED if trial else None]
            files = yield from standardized_steps(found, options.out / FOLDER, model.field, model.spacing)
        if options.label_maps is not None:
            maps = yield from read_maps(options.label_maps)
        # the name of a standardized file is that of the scan, with three parts added
        names = [stem(file).rsplit("-", 3)[0] for file in files], [m.name for m in maps]
        unknown = set(options.hold_out) - {*names[0], *names[1]}
        if unknown and not trial:
            raise InputError(f"There is no scan or label map named {min(unknown)!r} to hold out: check its name.")
        held = [held_apart(one, options.hold_out) for one in names]
        sides = []
        for side in (False, True):
            own = [f for f, apart in zip(files, held[0], strict=True) if apart == side]
            some = [m for m, apart in zip(maps, held[1], strict=True) if apart == side]
            sides.append(source(options, model, own or (files if side else []), some or (maps if side else []), device))
        words = [
            f"{len(files) - sum(held[0])} scans without labels (held out: {sum(held[0])})" if files else "",
            f"synthetic scans of {len(maps) - sum(held[1])} label maps (held out: {sum(held[1])})" if maps else "",
        ]
        return PretextData(model, sides[0], sides[1], "; ".join(part for part in words if part))

    def card(self, options: TrainPretrainOptions, data: PretextData) -> dict[str, Any]:
        from napari_synthseg.networks.registry import ENCODER

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

    def build(self, options: TrainPretrainOptions, data: PretextData, device: torch.device) -> Iterator[Stage]:
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
        yield Stage("pretrain", objective(options, data, device), loop)

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
    options: TrainPretrainOptions, model: Transformer, files: list[Path], maps: list[LabelMap], device: torch.device
) -> CropSource:
    """Return crops of scans, of generated images, or of both.

    Raises:
        InputError: there are neither scans nor maps.
    """
    from napari_synthseg.generator.presets import load_priors
    from napari_synthseg.training.data.crops import GeneratedCrops, MixedCrops, ScanCrops

    scans = ScanCrops(files, model.edge, device) if files else None
    generated = None
    if maps:
        priors = load_priors(options.priors, options.set)
        generated = GeneratedCrops(maps, priors, model.field, model.edge, model.spacing, device)
    if scans is not None and generated is not None:
        return MixedCrops(scans, generated, options.synthetic)
    chosen = scans or generated
    if chosen is None:
        raise InputError("Nothing is left to learn from: hold out fewer scans and label maps.")
    return chosen


def objective(options: TrainPretrainOptions, data: PretextData, device: torch.device) -> Pretext:
    """Return the objective of a network."""
    from napari_synthseg.networks.pretraining import MaskedAutoencoder, SwinPretexts
    from napari_synthseg.networks.transformers import SwinUnetr, Unetr
    from napari_synthseg.training.objectives.pretext import MaskedPatches, SwinViews

    model, crops = data.model, (data.crops, data.held_out)
    common: dict[str, Any] = {"seed": options.seed, "batch": options.batch, "device": device}
    if isinstance(model, SwinUnetr):
        heads = SwinPretexts(model)
        return SwinViews(heads, *crops, fraction=options.cut_out, temperature=options.temperature, **common)
    assert isinstance(model, Unetr)
    hidden = max(8, model.hidden * 2 // 3 // 8 * 8)  # 512 of 768, as published
    autoencoder = MaskedAutoencoder(model, hidden, options.decoder_blocks, options.decoder_skips)
    return MaskedPatches(autoencoder, *crops, ratio=options.mask_ratio, normalise=options.normalise_patches, **common)
