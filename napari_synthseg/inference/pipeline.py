"""Whole-brain segmentation (SynthSeg, section 3.3): stages over one state, from a scan to labels, volumes and a record.

    from napari_synthseg import segment

    result = segment("scan.nii.gz", fast=True)
    result.labels, result.volumes, result.qc_rating.summary

A new stage is one entry of `STAGES`: a generator of `Progress` that reads and writes the `State`.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_synthseg.devices import resolve_device, threads
from napari_synthseg.inference import stages
from napari_synthseg.inference.options import SegmentOptions, make_options
from napari_synthseg.inference.stages import Stage
from napari_synthseg.inference.state import Segmentation, State
from napari_synthseg.jobs import Progress, run
from napari_synthseg.volume import Volume

if TYPE_CHECKING:
    from torch import nn

    from napari_synthseg.inference.networks import Networks

STAGES: tuple[Stage, ...] = (
    Stage("load", stages.load),
    Stage("prepare", stages.prepare_scan),
    Stage("orientation", stages.reorient, lambda state: state.networks.locator is not None),
    Stage("predict", stages.predict),
    Stage("clean", stages.clean),
    Stage("score", stages.score_groups, lambda state: state.networks.regressor is not None),
    Stage("parcellate", stages.parcellate, lambda state: state.networks.parcellation is not None),
    Stage("measure", stages.measure),
    Stage("plausibility", stages.question_orientation, stages.orientation_is_open),
    Stage("rate", stages.rate),
    Stage("record", stages.record),
)


def segment(
    scan: Volume | Path | str, *, on_progress=None, network: nn.Module | None = None, **options
) -> Segmentation:
    """Segment one scan.

    Args:
        scan: a volume or the path of one.
        on_progress: called with every `Progress`.
        network: one already loaded, in place of the one that the options `model` or `weights` name.
        **options: fields of `SegmentOptions`.

    Raises:
        InputError: the scan or an option cannot be used.
    """
    chosen = make_options(**options)
    if isinstance(scan, Volume):
        return run(segment_steps(scan, chosen, network), on_progress)
    from napari_synthseg.io import read_volume

    volume = read_volume(scan, index=chosen.index)
    return run(segment_steps(volume, chosen, network, name=str(scan)), on_progress)


def segment_steps(
    volume: Volume,
    options: SegmentOptions | None = None,
    model: nn.Module | Networks | None = None,
    *,
    name: str = "The image",
) -> Generator[Progress, None, Segmentation]:
    """Segment a volume, reporting at least once a patch; closing the generator stops the work.

    Args:
        volume: the scan.
        options: how; the defaults if None.
        model: a network already loaded, in place of the one the options name; or all that they ask for.
        name: how messages call the scan.
    """
    options = options or SegmentOptions()
    state = State(volume, name, options, model, resolve_device(options.device))
    with threads(options.threads):
        for stage in STAGES:
            if stage.applies(state):
                started = time.perf_counter()
                yield from stage.run(state)
                state.seconds[stage.name] = time.perf_counter() - started
    return state.result
