"""Whole-brain segmentation (SynthSeg, section 3.3): stages over one state, from a scan to labels, volumes and a record.

    from napari_synthseg import segment

    result = segment("scan.nii.gz", fast=True)
    result.labels, result.volumes, result.qc_rating.summary

A stage is a generator of `Progress` that reads and writes the `State`: a function and an entry of `STAGES`.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from napari_synthseg import __version__, anatomy
from napari_synthseg.devices import resolve_device, threads
from napari_synthseg.errors import InputError
from napari_synthseg.inference import orientation, plausibility, postprocess
from napari_synthseg.inference.grid import OutputGrid
from napari_synthseg.inference.memory import predict_steps
from napari_synthseg.inference.options import SegmentOptions, config_for, make_options, names_of
from napari_synthseg.inference.outputs import PROGRAM
from napari_synthseg.inference.parcellation import divide, parcellate_steps, whole_head_around
from napari_synthseg.inference.posteriors import Posteriors
from napari_synthseg.inference.preprocess import check_scan, prepare
from napari_synthseg.inference.qc_regressor import score_steps
from napari_synthseg.inference.quality.features import gather_features, soft_dice
from napari_synthseg.inference.quality.rating import QcRating, calibration_of, rate_scan
from napari_synthseg.inference.state import Networks, Prediction, Segmentation, State, WholeHead, load_all
from napari_synthseg.inference.whole_volume import NO_BRAIN
from napari_synthseg.jobs import Progress, run
from napari_synthseg.volume import Volume

Steps = Generator[Progress, None, None]
NOTHING = "None of the network's structures was found in the scan: does it show what the network was trained on?"


def load(state: State) -> Steps:
    """Check the scan, load the networks that the options ask for, and choose the configuration."""
    check_scan(state.volume, state.name)
    if isinstance(state.model, Networks):
        state.networks = state.model
    else:
        yield Progress("Loading the network")
        state.networks = load_all(state.options, state.model)
    state.config = config_for(state.options, state.card)


def prepare_scan(state: State) -> Steps:
    """Bring the scan to the network's grid, and look at its values and extent."""
    yield Progress("Preparing", 0, 1)
    config, options = state.config, state.options
    state.prepared = prepare(
        state.volume,
        ct=options.ct,
        crop_to_head=config.crop_to_head,
        name=state.name,
        reference_grid=config.reference_grid,
        spacing_mm=config.spacing_mm,
    )
    like_labels = plausibility.check_values(state.volume.data)
    state.label_map = bool(like_labels)
    state.warnings += like_labels
    if config.brain:
        state.warnings += plausibility.check_intensities(state.volume.data, options.ct)
        prepared = state.prepared
        state.partial = plausibility.check_coverage(prepared.image.shape, prepared.voxel_mm3 ** (1 / 3))
    yield Progress("Preparing", 1, 1)


def reorient(state: State) -> Steps:
    """Use the right-angle rotation that looks most like a head."""
    scores = yield from orientation.orientation_steps(state.networks.locator, state.prepared.image, state.device)
    state.reorientation, sentence = orientation.choose_reorientation(scores)
    state.warnings += sentence
    state.prepared = state.prepared.reoriented(state.reorientation)


def predict(state: State) -> Steps:
    """Compute the posteriors."""
    device, voxels = str(state.device), state.options.block_mm**3
    state.prediction = yield from predict_steps(
        state.networks.segmenter, state.prepared.image, device=device, max_voxels=voxels, config=state.config
    )


def clean(state: State) -> Steps:
    """Keep the largest components, fill holes, and cut off the padding."""
    prediction, config, shape = state.prediction, state.config, state.prepared.image.shape
    state.raw_sums = postprocess.soft_volumes(prediction.posteriors, prediction.values, 1.0)
    hard = yield from postprocess.clean_steps(prediction.posteriors, prediction.values, config)
    state.hard, state.prediction = hard[prediction.inside(shape)], prediction.within(shape)
    if 0 in state.hard.shape:
        raise InputError(NO_BRAIN)


def score_groups(state: State) -> Steps:
    """Score groups of structures with SynthSeg's quality regressor."""
    winners, values = _whole_head(state).winners, state.prediction.values
    state.group_scores = yield from score_steps(state.networks.regressor, winners, values, state.device)  # type: ignore[arg-type]


def parcellate(state: State) -> Steps:
    """Divide the cortex."""
    shape, head = state.prepared.image.shape, _whole_head(state)
    net = state.networks.parcellation
    state.parcels = yield from parcellate_steps(net, head, state.prediction, state.hard, shape, state.device)  # type: ignore[arg-type]


def _whole_head(state: State) -> WholeHead:
    """Return what the segmenter saw of the whole head, or would have seen."""
    found = state.prediction.whole_head
    return found or whole_head_around(state.prediction, state.prepared.image, state.hard, state.config.percentiles)


def measure(state: State) -> Steps:
    """Put the labels on the grid asked for, measure volumes, and check whether they are plausible.

    If the labels have names of their own, they are not of a brain: there is no intracranial volume (NaN).
    """
    yield Progress("Measuring", 0, 1)
    prepared, prediction, options, names = state.prepared, state.prediction, state.options, names_of(state.card)
    grid = prepared.source if options.grid == "input" else prepared.working_grid()
    soft = Posteriors(prediction.posteriors, prediction.start, prediction.values, grid)
    volumes = postprocess.soft_volumes(soft.data, soft.values, prepared.voxel_mm3)
    total = math.nan if names else float(sum(volumes.values()))
    state.warnings += prediction.notes
    if names:
        state.warnings += [] if (state.hard > 0).any() else [NOTHING]
    else:
        brain = (state.hard > 0) & (state.hard != 24)
        state.warnings += plausibility.check_volumes(volumes, total)
        state.warnings += plausibility.check_field_of_view(brain, soft.start, prepared.image.shape)
    tissues = tissues_on(grid, prediction)
    if options.tissues and not tissues:
        state.warnings.append("There are no tissue maps: the network has none, or had to run in patches.")
    labels = soft.labels(state.hard)
    if state.parcels is not None:
        labels = divide(labels, state.parcels, soft)
        volumes = volumes | state.parcels.volumes(sum(volumes.get(value, 0.0) for value in anatomy.CORTEX))
    kept = soft if options.posteriors else None
    state.result = Segmentation(labels, volumes, total, (), kept, {}, tissues=tissues, names=names)


def tissues_on(grid: OutputGrid, prediction: Prediction) -> dict[str, Volume]:
    """Return the tissue maps of a hierarchy's inner networks on a grid: the classes of the nearest voxels."""
    if prediction.tissues is None:
        return {}
    found = {}
    for name, classes in prediction.tissues.classes.items():
        whole = Posteriors(classes[None], prediction.tissues.start, (0,), grid)
        found[name] = Volume(whole.nearest(classes.numpy()), grid.affine)
    return found


def orientation_is_open(state: State) -> bool:
    """Return whether the locator may be asked if another orientation fits better."""
    return not state.options.fix_orientation and not state.partial and state.prediction.coarse is not None


def question_orientation(state: State) -> Steps:
    """Warn if the scan looks more like a head in another orientation."""
    coarse, values = state.prediction.coarse, state.prediction.values
    assert coarse is not None
    state.warnings += yield from orientation.question_orientation(
        state.networks.segmenter, state.prepared.image, coarse, state.used_device, values
    )


def rate(state: State) -> Steps:
    """Estimate the Dice to expect, and rate the scan; one that looks like a label map has no rating."""
    yield Progress("Measuring", 0, 1)
    prediction, hard, result = state.prediction, state.hard, state.result
    voxel_mm3 = state.prepared.voxel_mm3
    sums = {value: result.volumes[value] / voxel_mm3 for value in map(int, prediction.values[1:])}
    quality = soft_dice(prediction.posteriors, prediction.values, hard, sums)
    features, rating = None, QcRating(float(np.mean([*quality.values()])) if quality else math.nan, False)
    if state.config.brain:
        image, flip = state.prepared.image, state.config.flip
        features = gather_features(prediction, hard, image, quality, sums, state.raw_sums, flip)
        calibration = calibration_of(state.card)
        expected = None if calibration is None else calibration.expected(features)
        rating = rate_scan(quality, False)
        if calibration is not None and expected is not None:
            quality, rating = expected, rate_scan(expected, True, calibration.failed_below)
    if state.label_map:
        quality, rating = {}, QcRating(math.nan, False)
    failed = [rating.warning] if rating.warning else []
    warnings = (*failed, *state.partial, *state.warnings)
    rating = replace(rating, warned=bool(warnings))
    state.result = replace(result, quality=quality, qc_rating=rating, qc_features=features, warnings=warnings)


def record(state: State) -> Steps:
    """Record what ran, on what, how long; only values that JSON has."""
    card, options, result = state.card, asdict(state.options), state.result
    made = {
        "program": PROGRAM,
        "version": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "scan": state.name,
        "shape": list(state.volume.shape),
        "affine": state.volume.affine.tolist(),
        "network": card.get("network") or type(state.networks.segmenter).__name__,
        "weights": {key: card[key] for key in ("name", "version", "sha256", "licence", "license") if key in card},
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in options.items()},
        "device": state.prediction.device,
        "threads": torch.get_num_threads(),
        "orientation": state.reorientation.describe(),
        "seconds": {key: round(value, 3) for key, value in state.seconds.items()},
        "procedure": asdict(state.config),
        **({} if state.config.brain else {"organ": card.get("organ")}),
        **({"regressor": {k: round(v, 4) for k, v in state.group_scores.items()}} if state.group_scores else {}),
        "warnings": list(result.warnings),
    }
    state.result = replace(result, record=made)
    yield Progress("Measuring", 1, 1)


class InferenceStage(NamedTuple):
    """A stage of the pipeline; its name stands beside its seconds in the record."""

    name: str
    run: Callable[[State], Steps]
    applies: Callable[[State], bool] = lambda state: True


STAGES: tuple[InferenceStage, ...] = (
    InferenceStage("load", load),
    InferenceStage("prepare", prepare_scan),
    InferenceStage("orientation", reorient, lambda state: state.networks.locator is not None),
    InferenceStage("predict", predict),
    InferenceStage("clean", clean),
    InferenceStage("score", score_groups, lambda state: state.networks.regressor is not None),
    InferenceStage("parcellate", parcellate, lambda state: state.networks.parcellation is not None),
    InferenceStage("measure", measure),
    InferenceStage("plausibility", question_orientation, orientation_is_open),
    InferenceStage("rate", rate),
    InferenceStage("record", record),
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
