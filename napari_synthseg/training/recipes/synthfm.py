"""`train synthfm`: a decoder for clicks, boxes and masks from synthetic scenes alone (SynthFM, arXiv 2504.08177)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt
from napari_synthseg.jobs import Progress
from napari_synthseg.training import folder
from napari_synthseg.training.recipe import FAST_LOOP, Recipe, RunOptions, TrainingStage, register

if TYPE_CHECKING:
    import torch

    from napari_synthseg.networks.promptable import Promptable

STAGE = "prompts"
"""Name of the run's checkpoints."""
ENCODER = "encoder"
"""Checkpoint of a run that keeps an encoder which no official checkpoint holds."""
ENCODER_LR_SCALE = 0.01
SAM_LEARNING_RATE, SAM_BOX_SHARE, SAM_STAY_CLOSE = 1e-4, 0.5, 10.0
"""Defaults of a run that starts from SAM's own decoder: it knows much already, boxes above all."""
VALIDATION_SEED = 20_250_411
"""Of the scenes that score a model; no training seed is near it."""


@dataclass(frozen=True, kw_only=True)
class TrainSynthFMOptions(RunOptions):
    """How a promptable network is trained."""

    encoder: str = "default"
    """Whose image encoder: default (MobileSAM's), vit_b, vit_l, vit_h, or a checkpoint file."""
    preset: Literal["fast", "paper"] = "fast"
    """fast: many targets a step, corrections, focal and Dice loss, hours; paper: one target of one image a step, Dice
    loss, a million steps."""
    steps: PositiveInt | None = None
    """Steps in all; default 20,000 (fast) or 1,000,000 (paper)."""
    scenes: str = "both"
    """Preset of the scenes: both, hard-targets, shape-only, boundary-only, paper, or a modality."""
    boxes: bool = True
    """Prompt with boxes too (fast)."""
    masks: bool = True
    """Prompt with masks too (fast)."""
    draws_prompts: bool = True
    """Draw points and boxes on the mask prompt too, which is learned faster than SAM's tokens alone (fast)."""
    train_encoder: bool = False
    """Let the encoder learn too, at a hundredth of the rate (fast); best late, with a decoder to start from."""
    start_from: str | None = None
    """Name or file of promptable weights whose decoder to start from, in place of a random one. mobilesam-decoder is
    MobileSAM's own: then points are not drawn, the rate is 1e-4, half of the prompts are boxes, and the weights stay
    close to the start, unless told otherwise."""
    stay_close: NonNegative | None = None
    """Weight of the squared relative change of the parameters since the start, which keeps what the decoder knew;
    default 10 with SAM's own decoder, else 0 (fast)."""
    edge_clicks: Fraction = 0.0
    """Fraction of the prompts whose points inside lie near the target's edge (fast)."""
    box_share: Fraction | None = None
    """Fraction of the prompts that are boxes; default 0.5 with SAM's own decoder, else 0.2 (fast)."""
    batch: PositiveInt | None = None
    """Targets a step: through windows of half the frame (default 8, fast), or in all (default 1, paper)."""
    pool: PositiveInt = 48
    """Scenes from which a step takes its targets (fast)."""
    scene_steps: PositiveInt = 2
    """Steps from one new scene to the next (fast)."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon learns more from each step; the paper's preset uses Adam (fast)."""
    learning_rate: Positive | None = None
    """Peak learning rate; default 1e-3 (fast), or 1e-4 with SAM's own decoder or for the paper's preset."""
    decay_fraction: Fraction = 0.3
    """Fraction of the steps, at the end, over which the learning rate falls to zero (fast)."""
    workers: NonNegativeInt = 0
    """Processes that generate and encode scenes ahead, one thread each; for CPUs."""
    name: str = "synthfm"


@register
class SynthFM(Recipe):
    """A SAM encoder as it is, and a decoder trained on synthetic scenes."""

    name = "synthfm"
    title = "SynthFM"
    summary = "A network that answers clicks, from synthetic scenes alone."
    options = TrainSynthFMOptions
    rank = 4
    use = "prompt SCAN --inside X Y Z -o OBJECT.nii.gz --model WEIGHTS"
    headline = ("preset", "seed")

    def stages(self, options: TrainSynthFMOptions) -> dict[str, int]:
        return {STAGE: options.steps or (1_000_000 if options.preset == "paper" else 20_000)}

    def prepare(self, options: TrainSynthFMOptions, device: torch.device) -> Generator[Progress, None, Promptable]:
        from napari_synthseg.generator.presets import shape_preset
        from napari_synthseg.training.engine.checkpoints import atomic_save
        from napari_synthseg.weights import sam

        if device.type != "cpu" and options.workers:
            raise InputError(f"Scenes for {device.type} are generated there: leave workers at 0.")
        shape_preset(options.scenes)  # refuses a name that does not exist
        yield Progress("reading the encoder")
        model = untrained(options)
        if sam.frozen_source(model) is None and not options.train_encoder:
            atomic_save(model.image_encoder.state_dict(), folder.checkpoint(options.out, ENCODER))
        return model

    def card(self, options: TrainSynthFMOptions, data: Promptable) -> dict[str, Any]:
        from napari_synthseg.weights import sam

        facts: dict[str, Any] = {
            "network": "promptable",
            "summary": "any structure, by clicks, boxes or a mask",
            "description": "Segments the prompted structure on any image: a frozen SAM encoder, and a decoder trained "
            "on synthetic images alone.",
            "encoder": data.encoder_name,
            "draws_prompts": data.draws_prompts,
            "connected": True,  # all objects of the scenes are
            "data": "synthetic scenes only",
        }
        if sam_decoder := data.card.get("decoder from"):
            facts |= {
                "decoder from": sam_decoder,
                "description": "Segments the prompted structure on any image: a frozen SAM encoder, and SAM's own "
                "decoder trained further on synthetic images.",
                "data": f"synthetic scenes; the decoder starts from {sam_decoder}, trained on photographs",
            }
        source = None if options.train_encoder else sam.frozen_source(data)
        if source is None:
            return facts
        licence = sam.CHECKPOINTS[source].licence
        return {**facts, "encoder weights": source, "encoder licence": f"{licence}, {source}"}

    def build(self, options: TrainSynthFMOptions, data: Promptable, device: torch.device) -> Iterator[TrainingStage]:
        from napari_synthseg.devices import quick_kind
        from napari_synthseg.generator.presets import shape_preset
        from napari_synthseg.networks.promptable import FrozenEncoder
        from napari_synthseg.training.data.prompts import BOX_SHARE
        from napari_synthseg.training.data.scenes import EncodedScenes, PromptValidation
        from napari_synthseg.training.engine.loop import LoopOptions
        from napari_synthseg.training.objectives.prompts import PaperPrompts, PromptObjective

        fast, steps = options.preset == "fast", self.stages(options)[STAGE]
        encoder = FrozenEncoder(data, quick_kind(device)).to(device)
        scenes = EncodedScenes(encoder, shape_preset(options.scenes), options.seed, device)
        size, every = (options.pool, options.scene_steps) if fast else (1, 1)
        pool = scenes.pool(size, every, options.workers)
        validation = PromptValidation(
            EncodedScenes(encoder, shape_preset("both"), VALIDATION_SEED, device),
            boxes=options.boxes and fast,
            anew=options.train_encoder,
        )
        common: dict[str, Any] = {"seed": options.seed, "device": device, "validation": validation}
        if not fast:
            objective = PaperPrompts(data, pool, batch=options.batch or 1, **common)
            yield TrainingStage(STAGE, objective, LoopOptions.of(options, steps, 1e-4))
            return
        own = {"optimizer": options.optimizer, "warmup": 200, "decay_fraction": options.decay_fraction}
        known = bool(data.card.get("decoder from"))
        rate = SAM_LEARNING_RATE if known else 1e-3
        loop = LoopOptions.of(options, steps, rate, **{**FAST_LOOP, **own, "ema_decay": 0.998, "clip": 3.0})
        prompts = PromptObjective(
            data,
            pool,
            batch=options.batch or 8,
            boxes=options.boxes,
            masks=options.masks,
            box_share=options.box_share if options.box_share is not None else (SAM_BOX_SHARE if known else BOX_SHARE),
            edge_share=options.edge_clicks,
            from_nothing=options.start_from is None,
            stay_close=options.stay_close if options.stay_close is not None else (SAM_STAY_CLOSE if known else 0.0),
            encoder_lr_scale=ENCODER_LR_SCALE if options.train_encoder else 0.0,
            **common,
        )
        yield TrainingStage(STAGE, prompts, loop)

    def stored_card(self, run: Path, options: TrainSynthFMOptions) -> dict[str, Any]:
        from napari_synthseg.weights import sam

        card = super().stored_card(run, options)
        if "encoder weights" in card:
            card["encoder sha256"] = sam.encoder_sha256(card["encoder weights"])
        return card

    def tensors(
        self, run: Path, options: TrainSynthFMOptions, states: Mapping[str, dict[str, Any]]
    ) -> dict[str, torch.Tensor]:
        """The encoder is left out if it is that of an official checkpoint."""
        from napari_synthseg.training.engine.checkpoints import load_checkpoint

        found = super().tensors(run, options, states)
        if "encoder weights" in folder.card_of(run) or any(name.startswith("image_encoder.") for name in found):
            return found
        encoder = load_checkpoint(folder.checkpoint(run, ENCODER))
        return {**{f"image_encoder.{name}": tensor for name, tensor in encoder.items()}, **found}

    def mean_scores(self, content: list[dict[str, Any]]) -> dict[str, float]:
        """Return the mean DSC of each modality over datasets and settings, from the rows of `evaluate-prompts`."""
        sums: dict[str, dict[tuple[str, str], list[float]]] = {}
        for row in content:
            cell = (row["dataset"], f"{row['prompt']} {row['n_pos']}+{row['n_neg']}")
            sums.setdefault(row["modality"], {}).setdefault(cell, []).append(row["dsc"])
        return {
            modality: round(sum(sum(v) / len(v) for v in cells.values()) / len(cells), 4)
            for modality, cells in sums.items()
        }


def untrained(options: TrainSynthFMOptions) -> Promptable:
    """Return the checkpoint's encoder and prompt encoder, and a new decoder unless it starts from weights."""
    from napari_synthseg.networks.promptable import Promptable
    from napari_synthseg.training.objectives.prompts import look_where_pointed
    from napari_synthseg.weights import sam

    source = sam.load_model(options.encoder)
    start = sam.load_model(options.start_from) if options.start_from else None
    drawn = options.draws_prompts and options.preset == "fast"
    if start is not None and options.preset == "fast":
        drawn = drawn and start.draws_prompts
    model = Promptable(source.encoder_name, source.image_size, drawn)
    model.image_encoder.load_state_dict(source.image_encoder.state_dict())
    model.prompt_encoder.load_state_dict(source.prompt_encoder.state_dict())
    model.card = source.card
    if options.preset == "fast":
        look_where_pointed(model.mask_decoder)
    if start is not None:
        if start.encoder_name != model.encoder_name:
            raise InputError(
                f"Training cannot start from {options.start_from}: it has the encoder {start.encoder_name}."
            )
        model.parts().load_state_dict(start.parts().state_dict())
        model.card = {**source.card, "decoder from": sam.decoder_source(start)}
    return model
