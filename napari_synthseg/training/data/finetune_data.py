"""Fine-tuning: the network to start from, scans to learn from and to score on, label maps of generated images, scores.

Scans are segmented for their scores as `segment` does, but without flips and post-processing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap, prepare
from napari_synthseg.inference.memory import predict_steps
from napari_synthseg.inference.options import SegmentOptions, config_for
from napari_synthseg.inference.postprocess import best_channel
from napari_synthseg.inference.whole_volume import NO_BRAIN
from napari_synthseg.jobs import run
from napari_synthseg.networks.registry import ENCODER, build, from_scratch, segments, spec_of
from napari_synthseg.networks.transformers import SMALL
from napari_synthseg.training.data.cases import dice_by_channel
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.training.data.labelled_scans import (
    LabelTargets,
    RawScan,
    find,
    hold_out,
    read_as_predicted,
    targets_for,
)
from napari_synthseg.training.data.scan_sampler import InputSpec, ScanSampler, with_targets
from napari_synthseg.training.data.synthetic import checked_crop
from napari_synthseg.training.engine.events import each
from napari_synthseg.training.engine.losses import IGNORED
from napari_synthseg.weights import catalogue, store

if TYPE_CHECKING:
    from napari_synthseg.training.recipes.finetune import TrainFinetuneOptions


LESION_SIDES = (25, 57)
"""Left and right lesions of white matter in label maps."""
COMPLETE = 0.5
"""Fraction of a network's labels that maps must contain, since missing ones are learned as background."""


@dataclass(frozen=True)
class FinetuneData:
    """Network and data of a run."""

    model: nn.Module
    card: dict[str, Any]
    """How the network is built and run."""
    targets: LabelTargets
    sampler: ScanSampler
    """Draws the scans to learn from."""
    scored: list[RawScan]
    """Scans that choose the best checkpoint, with targets as values."""
    look: InputSpec
    maps: list[LabelMap]
    """Label maps of generated images; may be empty."""
    generated: float
    """Fraction of generated samples."""
    held: tuple[str, ...]
    """Names of the scans held out."""
    before: dict[str, Any] | None = None
    """Scores of the network before training."""


def gather(options: TrainFinetuneOptions, model: nn.Module, card: dict[str, Any], device: torch.device) -> FinetuneData:
    """Read scans and label maps for a network and its card.

    Raises:
        InputError: they cannot be used.
    """
    look, labels = input_spec(model, card), labels_of(model)
    training = [read_as_predicted(one, look.how, labels) for one in find(options.scans, options.labels)]
    names: tuple[str, ...] = ()
    if options.validation is not None:
        held = [read_as_predicted(one, look.how, labels) for one in find(options.validation)]
    else:
        training, held = hold_out(training, options.hold_out, "scan", one_in=5, least=1)
        names = tuple(scan.name for scan in held)
    targets, places = targets_for(
        training, held, labels, options.task, unlabelled=options.unlabelled, unknown=options.unknown
    )
    scans = [with_targets(scan, targets, places, look).to(device) for scan in training]
    generated = options.synthetic if options.synthetic is not None else 0.0 if look.guess else 0.5
    sampler = ScanSampler(scans, targets, options.augmentation)
    maps = _maps(options, training, labels) if generated > 0 else []
    scored = [replace(scan, values=targets.of_values(scan.values, places)) for scan in held]
    return FinetuneData(model, card, targets, sampler, scored, look, maps, generated, names)


def _maps(options: TrainFinetuneOptions, training: Sequence[RawScan], labels: Sequence[int]) -> list[LabelMap]:
    if options.label_maps is not None:
        return run(read_maps(options.label_maps))
    own = options.task == "all" or tuple(labels) != anatomy.task_values(options.task)
    return maps_of_scans(training, labels if own else anatomy.predicted_values(2))


def maps_of_scans(scans: Sequence[RawScan], labels: Sequence[int]) -> list[LabelMap]:
    """Turn the labels of scans into label maps; an `InputError` if they lack most structures of the network."""
    found = [prepare(single_structures(scan.values, labels), name=scan.name) for scan in scans]
    held = {t for m in found for t in m.targets} & set(labels)
    if len(held) < COMPLETE * len(labels):
        raise _too_coarse()
    return found


def single_structures(values: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Turn label values into those of label maps: no parcels, lesions with a side; an `InputError` if too coarse."""
    out = np.zeros(values.shape, np.int32)
    for value in map(int, np.unique(values)):
        here = values == value
        if value in labels or value == 0:
            out[here] = value
        elif value == anatomy.LESION:
            left = np.indices(values.shape)[0] < np.argwhere(values > 0)[:, 0].mean()  # the first axis points right
            out[here] = np.where(left, *LESION_SIDES)[here]
        elif value in anatomy.parcels():
            out[here] = anatomy.in_task(value, "all")
        elif anatomy.known(value) and value not in {g.value for g in (anatomy.BRAIN, *anatomy.COARSE)}:
            out[here] = value
        elif anatomy.known(value):
            raise _too_coarse()
    return out


def _too_coarse() -> InputError:
    return InputError(
        "The scans' labels are too few to make synthetic images from: give label maps of the whole brain with "
        "--label-maps, or add --synthetic 0 (and expect other contrasts to be forgotten)."
    )


# Scores


def score(model: nn.Module, data: FinetuneData, device: torch.device) -> dict[str, Any]:
    """Score a network by Dice on the scans to score on.

    Returns:
        "score": mean over scans of the mean over scored structures; "dice": means over scans by structure's name;
        "by_scan": each scan's mean. Empty without scans.
    """
    scans, targets = data.scored, data.targets
    if not scans:
        return {}
    rows = [
        dice_of(found_targets(model, scan.image, targets, data.look, device), scan.values, targets)
        for scan in each("validating", scans)
    ]
    means = [_mean([d for i, d in row.items() if targets.scored[i]]) for row in rows]
    by_name = {
        targets.names[i]: round(_mean([row[i] for row in rows if i in row]), 4)
        for i in range(1, targets.count)
        if any(i in row for row in rows)
    }
    by_scan = {scan.name: round(m, 4) for scan, m in zip(scans, means, strict=True)}
    return {"score": _mean(means), "dice": by_name, "by_scan": by_scan}


@torch.no_grad()
def found_targets(
    model: nn.Module, image: np.ndarray, targets: LabelTargets, look: InputSpec, device: torch.device
) -> np.ndarray:
    """Predict the (X, Y, Z) uint8 targets of a prepared scan; all background if no brain is found."""
    out = np.zeros(image.shape, np.uint8)
    how = replace(look.how, flip=False)
    try:
        prediction = run(predict_steps(model, image, device=str(device), config=how)).within(image.shape)
    except InputError as error:
        if str(error) != NO_BRAIN:
            raise
        return out
    posteriors = prediction.posteriors
    if targets.groups != tuple(range(len(posteriors))):
        joint = torch.zeros((targets.count, *posteriors.shape[1:]), dtype=posteriors.dtype)
        for channel, group in zip(posteriors, targets.groups, strict=True):
            joint[group] += channel
        posteriors = joint
    place = tuple(slice(a, a + n) for a, n in zip(prediction.start, posteriors.shape[1:], strict=True))
    out[place] = best_channel(posteriors)
    return out


def dice_of(found: np.ndarray, true: np.ndarray, targets: LabelTargets) -> dict[int, float]:
    """Return the Dice of each target in the truth but the background, without ignored voxels."""
    a, b = (torch.from_numpy(x[true != IGNORED]) for x in (found, true))
    return {i: score for i, score in dice_by_channel(a, b, targets.count).items() if i}


def _mean(figures: Sequence[float]) -> float:
    return float(np.mean(figures)) if len(figures) else 0.0


KEPT = ("path", "sha256", "bytes", "scores", "steps", "recipe", "data", "licence", "license", "trained with", "summary",
        "description", "confident_score", "hint", "title")  # fmt: skip
"""Facts of a card that a fine-tuned network does not inherit."""


def starting_network(start: str, task: str, size: str = "paper") -> tuple[nn.Module, dict[str, Any]]:
    """Return the network to fine-tune, and the part of its card that describes how it is built and run.

    Args:
        start: a segmentation network, a pre-trained encoder, a run of `train pretrain`, or what trains `from_scratch`.
        task: one of `anatomy.TASKS`; sets the labels of a new network.
        size: "paper" or "small", of a network trained from scratch.

    Raises:
        InputError: the weights do not exist, or segment nothing.
    """
    labels = anatomy.task_values(task)
    if from_scratch(start):
        card = {"network": start, "labels": list(labels), **(SMALL[start] if size == "small" else {})}
        return build(card), card
    path = Path(start).expanduser()
    if path.is_dir() or _is_encoder(start):
        state, found = encoder_of(start)
        card = {k: v for k, v in found.items() if k not in KEPT}
        card |= {"network": found["network"].removesuffix(ENCODER), "labels": list(labels)}
        whole: Any = build(card)
        whole.load_encoder(state, found["name"])
        return whole, card
    model: Any = store.load_model(start)
    found, name = model.card, model.card.get("name")
    if not segments(found):
        raise InputError(f"The weights {name!r} segment no scan by themselves: start from others.")
    if "organ" in found:  # its labels are not those of the label table
        raise InputError(f"The weights {name!r} are not of the brain: continue with `train organ` instead.")
    pretrained = from_scratch(str(found.get("network")))
    if pretrained and task != "all" and tuple(model.labels) != labels:
        raise InputError(f"The weights {name!r} segment something else than the task {task!r}.")
    return model, {k: v for k, v in found.items() if k not in KEPT}


def _is_encoder(start: str) -> bool:
    file = catalogue.find(start)
    return file.suffix == ".safetensors" and spec_of(catalogue.read_card(file)).role == "encoder"


def input_spec(model: nn.Module, card: dict[str, Any]) -> InputSpec:
    """Return how prediction with these weights gets scans."""
    how = config_for(SegmentOptions(), card)
    predictor = spec_of(card).predictor
    if predictor == "locate_refine":
        return InputSpec(how, whole=False, pool=2)
    if predictor == "sliding_window":
        return InputSpec(how, pool=model.spacing, guess=True)  # type: ignore[arg-type]
    return InputSpec(how)


def crop_of(model: nn.Module, crop: int | None) -> int:
    """Return the side, in voxels, of the crops to train a network on; an `InputError` if it cannot take them."""
    edge: Any = getattr(model, "edge", None)
    if edge is not None:  # it takes no others
        if crop not in (None, edge):
            raise InputError(f"This network takes crops of {edge} voxels and no others: leave --crop out.")
        return edge
    return checked_crop(crop or 160, int(getattr(model, "multiple", 1)), least=2)


def labels_of(model: nn.Module) -> Sequence[int]:
    return tuple(int(v) for v in model.labels)  # type: ignore[union-attr]


def encoder_of(source: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Return the state of the encoder, and the card, of weights or of a run; an `InputError` if there is none."""
    path = Path(source).expanduser()
    file = catalogue.find(exported(path) if path.is_dir() else source)
    card = catalogue.read_card(file)
    if not from_scratch(card["network"].removesuffix(ENCODER)):
        raise InputError(
            f"The weights {card['name']!r} have no encoder of transformers: give those of `train pretrain`."
        )
    found = store.load_model(file)
    state: Any = getattr(found, "encoder_state", found.state_dict)  # of a whole network, or the encoder alone
    return dict(state()), card


def exported(run: Path) -> Path:
    """Return the newest weights that a run exported; an `InputError` if there are none yet."""
    files = sorted(run.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise InputError(f"The run {run} has exported no weights yet: wait for its end, or export them first.")
    return files[-1]
