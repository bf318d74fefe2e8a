"""`train finetune`: from labelled scans, and weights to start from, to a network for such scans."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_synthseg.fields import Folder, Fraction, LabelledScans, LabelMaps, NonNegative, NonNegativeInt, PositiveInt
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.registry import from_scratch, spec_of
from napari_synthseg.training import folder
from napari_synthseg.training.engine.events import watch
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.recipe import PriorOptions, Recipe, RunOptions, TrainingStage, register
from napari_synthseg.weights import catalogue

if TYPE_CHECKING:
    import torch
    from torch import nn

    from napari_synthseg.generator.model import GenerativeModel
    from napari_synthseg.training.data.finetune_data import FinetuneData

logger = logging.getLogger(__name__)

STAGES = ("locate", "refine")
"""Stages of the fast networks."""
STAGE = "finetune"
"""Stage of all other networks."""
EMA_DECAY = 0.99
"""Decay of the moving average of the weights: fine-tuning is short."""


@dataclass(frozen=True, kw_only=True)
class TrainFinetuneOptions(RunOptions, PriorOptions):
    """How a network is trained on labelled scans."""

    scans: LabelledScans
    """Folder of scans with label files beside them, such as 1002_t1.nii.gz with 1002_labels.nii.gz."""
    labels: Folder | None = None
    """Folder of the label files, if they do not lie beside the scans."""
    start_from: str = "synthseg-fast"
    """Weights (name, file, run): a segmentation network or a pre-trained encoder; unetr, swin-unetr: random ones."""
    task: Literal["all", "four", "brain"] = "all"
    """all structures; four (white matter, subcortical gray matter, cortex, CSF); brain: skull stripping."""
    steps: PositiveInt = 1000
    """Steps at most; early stopping may end them before."""
    patience: NonNegativeInt = 8
    """Validations without a better score until early stopping; 0: never."""
    validation: LabelledScans | None = None
    """Folder of labelled scans that choose the best checkpoint; by default some of --scans are held out."""
    hold_out: tuple[str, ...] = ()
    """Names (1002) of scans held out for validation; default the last fifth, at least one of two."""
    synthetic: Fraction | None = None
    """Fraction of generated samples, so that no contrast is forgotten; default 0.5, and 0 for UNETR and Swin UNETR."""
    label_maps: LabelMaps | None = None
    """Label maps to generate images from (folder, or .npz); default those of the scans, which show no skull."""
    priors: str | None = None
    """Preset of the generative model; default fast for the fast networks, else synthseg."""
    unlabelled: tuple[int, ...] = ()
    """Labels of the network that the scans do not show completely (24): nothing is learned about them from scans."""
    unknown: Literal["refuse", "ignore"] = "refuse"
    """Unknown values in the label files: refuse them, or leave their voxels out of the loss."""
    augmentation: NonNegative = 1.0
    """Strength of random rotation, bending, mirroring and shading of scans; 0: random crops alone, as in the paper."""
    locate_fraction: Fraction = 0.4
    """Fraction of the steps for a fast network's first stage (2 mm)."""
    batch: PositiveInt | None = None
    """Samples a step; default 2 heads, then 2 crops of one head (fast networks), or 1."""
    crop: PositiveInt | None = None
    """Side of the crops, voxels of 1 mm; default 160; UNETR and Swin UNETR have their own (160 and 96)."""
    size: Literal["paper", "small"] = "paper"
    """UNETR and Swin UNETR from random weights: as published, or small and at 2 mm, for a CPU."""
    encoder_lr_scale: NonNegative | None = None
    """Learning rate of a transformer's encoder as a fraction of the rate; default 0.1 if pre-trained, else 1."""
    weight_decay: NonNegative = 1e-5
    """Weight decay of AdamW."""
    decay_fraction: Fraction = 0.3
    validate_every: PositiveInt = 50
    name: str = "finetuned"


@register
class Finetune(Recipe):
    """Training on labelled scans, with generated images among them so that no contrast is forgotten."""

    name = "finetune"
    title = "Fine-tune"
    summary = "A network trained further, or from scratch, on labelled scans."
    options = TrainFinetuneOptions
    rank = 8
    renamed = {**Recipe.renamed, "locate_share": "locate_fraction", "encoder_share": "encoder_lr_scale"}
    headline = ("start_from", "task", "seed")

    def stages(self, options: TrainFinetuneOptions) -> dict[str, int]:
        if not is_fast(options.start_from):
            return {STAGE: options.steps}
        first = min(max(1, round(options.steps * options.locate_fraction)), max(options.steps - 1, 1))
        return dict(zip(STAGES, (first, max(options.steps - first, 1)), strict=True))

    def exports_best(self, options: TrainFinetuneOptions) -> bool:
        return True

    def train(self, options: TrainFinetuneOptions) -> Generator[Progress, None, Path]:
        """Train and export; warns if the network was better before."""
        path = yield from super().train(options)
        card = catalogue.read_card(path)
        before, after = card.get("before", {}).get("dice"), card.get("scores", {}).get("dice")
        if before is not None and after is not None and after < before:
            logger.warning(
                "%s does worse on the validation scans than the weights it started from (Dice %.3f, before %.3f). Use "
                "those, or try a lower --learning-rate or more scans.",
                path.name,
                after,
                before,
            )
        return path

    def prepare(self, options: TrainFinetuneOptions, device: torch.device) -> Generator[Progress, None, FinetuneData]:
        from napari_synthseg.training.data.finetune_data import gather, score, starting_network

        yield Progress("loading the network")
        model, card = starting_network(options.start_from, options.task, options.size)
        model.to(device)
        yield Progress("reading scans")
        data = gather(options, model, card, device)
        before = folder.card_of(options.out).get("before") if options.resume else None
        # a network that segments already is scored as it is
        if before is None and hasattr(model, "card") and data.scored and watch().trial is None:
            yield Progress("scoring the network before training")
            found = score(model, data, device)
            before = {"dice": round(found["score"], 4), "structures": found["dice"]}
        return replace(data, before=before)

    def card(self, options: TrainFinetuneOptions, data: FinetuneData) -> dict[str, Any]:
        labels = data.card["labels"]
        source = None if from_scratch(options.start_from) else Path(options.start_from).stem
        count, held = len(data.sampler.scans), ", ".join(data.held) or "none"
        what = {"all": f"{len(labels)} labels", "four": "four structures", "brain": "brain and background"}[
            options.task
        ]
        origin = f"fine-tuned from {source}" if source else "trained from random weights"
        images = f"{count} labelled scans of {options.scans.name} (held out: {held})"
        if data.generated > 0:
            maps = options.label_maps.name if options.label_maps else "the scans' labels"
            images += f"; synthetic images from {maps}, {data.generated:.0%} of all"
        return {
            **data.card,
            "summary": f"{what}, {origin} on {count} scans",
            "description": f"{what[0].upper()}{what[1:]} of scans like the {count} of {options.scans.name}; {origin}.",
            "task": options.task,
            "licence": f"that of the scans in {options.scans.name}"
            + (f", and of the weights {source} it started from" if source else ""),
            "data": images,
            **({"before": data.before} if data.before else {}),
        }

    def build(self, options: TrainFinetuneOptions, data: FinetuneData, device: torch.device) -> Iterator[TrainingStage]:
        stages = self.stages(options)
        return (_crops if STAGE in stages else _fast)(options, stages, data, device)

    def places(self, options: TrainFinetuneOptions) -> dict[str, str]:
        return dict.fromkeys(STAGES if is_fast(options.start_from) else (STAGE,), "")

    def state(self, run: Path, stage: str, best: bool) -> dict[str, Any]:
        """Read a checkpoint to export: the newest if no scans were scored.

        A fast network's second stage is that of the network it started from until it is trained.
        """
        from napari_synthseg.training.engine.checkpoints import trained_state

        if stage == STAGES[1] and not checkpoint(run, stage).exists() and checkpoint(run, STAGES[0]).exists():
            return {"step": 0, "steps": folder.read_config(run)["stages"][stage]}
        best = best and checkpoint(run, stage, "best").exists()
        state = trained_state(run, stage, best=best)
        return {**state, "card": {"scores": {"dice": round(float(state["best"]), 4)}} if best else {}}

    def tensors(
        self, run: Path, options: TrainFinetuneOptions, states: Mapping[str, dict[str, Any]]
    ) -> dict[str, torch.Tensor]:
        """Return the whole network: the trained parts, and the others as they were at the start."""
        from napari_synthseg.weights import store

        card, fast = folder.card_of(run), is_fast(options.start_from)
        if fast or spec_of(card).tissues:  # parts stay as they were
            whole: nn.Module = store.load_model(options.start_from)
        else:
            whole = store.build({"name": options.name, **card})
        for stage, part in trained_parts(whole, fast).items():
            if "model" in states[stage]:
                part.load_state_dict(states[stage]["average"] or states[stage]["model"])
        return whole.state_dict()


def is_fast(start_from: str) -> bool:
    """Tell from their card whether weights are of a fast network, which has two stages."""
    if from_scratch(start_from) or Path(start_from).expanduser().is_dir():  # a run of pre-training
        return False
    path = catalogue.find(start_from)
    card = {} if path.suffix == ".h5" else catalogue.read_card(path)
    return spec_of(card).predictor == "locate_refine"


def trained_parts(whole: Any, fast: bool) -> dict[str, nn.Module]:
    from napari_synthseg.training.objectives.finetune import trained_part

    if not fast:
        return {STAGE: trained_part(whole)}
    return dict(zip(STAGES, (trained_part(whole.locator), whole.refiner), strict=True))


def _fast(
    options: TrainFinetuneOptions, steps: dict[str, int], data: FinetuneData, device: torch.device
) -> Iterator[TrainingStage]:
    from napari_synthseg.training.data.synthetic import Heads
    from napari_synthseg.training.engine.checkpoints import load_checkpoint
    from napari_synthseg.training.objectives.finetune import ScanLocate, ScanRefine

    model = data.model
    heads = Heads(data.maps, priors_of(options, data.card), data.card["labels"], device=device)
    kinds: tuple[type[ScanLocate] | type[ScanRefine], ...] = (ScanLocate, ScanRefine)
    for (name, count), kind in zip(steps.items(), kinds, strict=True):
        stopping = _early_stopping(options, data, name, device)
        own = {"seed": options.seed, "batch": options.batch or 2, "device": device, "validation": stopping}
        objective = kind(model, heads, sampler=data.sampler, generated=data.generated, **own)  # type: ignore[arg-type]
        yield TrainingStage(name, objective, _loop(options, count, 3e-4), stopping.facts)
        best = checkpoint(options.out, name, "best")
        if best.exists():  # the next stage builds on it
            state = load_checkpoint(best)
            objective.trained.load_state_dict(state["average"] or state["model"])


def _crops(
    options: TrainFinetuneOptions, steps: dict[str, int], data: FinetuneData, device: torch.device
) -> Iterator[TrainingStage]:
    from napari_synthseg.training.data.finetune_data import crop_of, labels_of
    from napari_synthseg.training.data.synthetic import task_crops
    from napari_synthseg.training.objectives.finetune import ScanCropsObjective

    model = data.model
    stopping = _early_stopping(options, data, STAGE, device)
    side, spacing, synthetic = crop_of(model, options.crop), float(getattr(model, "spacing", 1)), None
    if data.maps:
        priors = priors_of(options, data.card)
        synthetic = task_crops(data.maps, priors, labels_of(model), options.task, side, spacing, device)
    encoder = list(getattr(model, "encoder_parameters", tuple)())  # of networks with one that can be pre-trained
    usual = 0.1 if encoder and not from_scratch(options.start_from) else 1.0
    objective = ScanCropsObjective(
        model,
        data.sampler,
        seed=options.seed,
        batch=options.batch or 1,
        crop=side,
        device=device,
        validation=stopping,
        synthetic=synthetic,
        generated=data.generated,
        encoder=encoder,
        encoder_lr_scale=usual if options.encoder_lr_scale is None else options.encoder_lr_scale,
    )
    yield TrainingStage(STAGE, objective, _loop(options, steps[STAGE], 1e-4), stopping.facts)


def _early_stopping(options: TrainFinetuneOptions, data: FinetuneData, stage: str, device: torch.device) -> Any:
    from napari_synthseg.training.data.finetune_data import score
    from napari_synthseg.training.engine.checkpoints import load_newest
    from napari_synthseg.training.objectives.finetune import EarlyStopping

    def validate(model: nn.Module) -> dict[str, Any]:
        found = score(model, data, device)
        return {name: value for name, value in found.items() if name in ("score", "dice")}

    begun = options.resume and checkpoint(options.out, stage).exists()
    return EarlyStopping(validate, options.patience, load_newest(options.out, stage)[0] if begun else None)


def _loop(options: TrainFinetuneOptions, steps: int, rate: float) -> Any:
    from napari_synthseg.training.engine.loop import LoopOptions

    return LoopOptions.of(
        options,
        steps,
        rate,
        optimizer="adamw",
        weight_decay=options.weight_decay,
        warmup=min(20, steps // 10),
        decay_fraction=options.decay_fraction,
        ema_decay=EMA_DECAY,
        clip=2.0,
        validate_every=min(options.validate_every, steps),
    )


def priors_of(options: TrainFinetuneOptions, card: Mapping[str, Any]) -> GenerativeModel:
    """Return the priors of the options, or those that the network of a card was trained with."""
    from napari_synthseg.generator.presets import preset
    from napari_synthseg.training.recipes.robust import NOISE

    spec = spec_of(card)
    usual = preset("fast" if spec.predictor == "locate_refine" else "synthseg")
    if spec.predictor == "locate_refine" and spec.tissues:
        usual = usual.with_values(noise_std=NOISE)
    return options.generative_model(usual)
