"""What a run of fine-tuning learns from and is scored on: scans, their targets, label maps of synthetic images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.jobs import run
from napari_synthseg.networks.transformers import Transformer
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.training.finetune.networks import labels_of
from napari_synthseg.training.finetune.sampler import ScanSampler
from napari_synthseg.training.finetune.scans import Look, RawScan, held_out, read_scans, targets_for, with_targets
from napari_synthseg.training.finetune.scores import ScoredScan, to_score
from napari_synthseg.training.finetune.synthetic import maps_of_scans
from napari_synthseg.training.finetune.targets import Targets
from napari_synthseg.training.options.finetune import TrainFinetuneOptions


@dataclass(frozen=True)
class Material:
    """What a run learns from, and what it is scored on.

    Attributes:
        targets: how labels are understood.
        sampler: draws the scans to learn from.
        scored: scans that choose the best checkpoint.
        look: how the network looks at scans.
        maps: label maps of synthetic images; none where there are to be none.
        share: of synthetic samples.
        held: names of the scans held out.
    """

    targets: Targets
    sampler: ScanSampler
    scored: list[ScoredScan]
    look: Look
    maps: list[LabelMap]
    share: float
    held: tuple[str, ...]


def gather(options: TrainFinetuneOptions, model: nn.Module, look: Look, device: torch.device) -> Material:
    """Read scans and label maps.

    Raises:
        InputError: they cannot be used.
    """
    training = read_scans(options.scans, look.how, options.labels)
    if options.validation is not None:
        held = read_scans(options.validation, look.how)
    else:
        training, held = held_out(training, options.hold_out)
    labels = labels_of(model)
    targets, places = targets_for(
        training, held, labels, options.task, unlabelled=options.unlabelled, unknown=options.unknown
    )
    scans = [with_targets(scan, targets, places, look).to(device) for scan in training]
    share = options.synthetic if options.synthetic is not None else 0.0 if isinstance(model, Transformer) else 0.5
    names = () if options.validation is not None else tuple(scan.name for scan in held)
    sampler = ScanSampler(scans, targets, options.augmentation)
    maps = _maps(options, training, labels) if share > 0 else []
    return Material(targets, sampler, to_score(held, targets, places), look, maps, share, names)


def _maps(options: TrainFinetuneOptions, training: Sequence[RawScan], labels: Sequence[int]) -> list[LabelMap]:
    if options.label_maps is not None:
        return run(read_maps(options.label_maps))
    own = options.task == "all" or tuple(labels) != anatomy.task_values(options.task)
    return maps_of_scans(training, labels if own else anatomy.predicted_values(2))
