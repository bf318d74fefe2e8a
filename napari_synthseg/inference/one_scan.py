"""One scan from end to end: a volume in; labels, volumes, warnings and a record of the run out."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg import __version__, anatomy
from napari_synthseg.devices import resolve_device, threads
from napari_synthseg.errors import InputError
from napari_synthseg.inference import plausibility, postprocess
from napari_synthseg.inference.grid import Grid, Turn
from napari_synthseg.inference.networks import Networks, load_all
from napari_synthseg.inference.options import SegmentOptions, make_options
from napari_synthseg.inference.organs import NOTHING, names_of
from napari_synthseg.inference.outputs import PROGRAM
from napari_synthseg.inference.parcellation import Parcels, divide, parcellate_steps, scene_around
from napari_synthseg.inference.posteriors import Posteriors
from napari_synthseg.inference.predict import predict_steps
from napari_synthseg.inference.prediction import Prediction
from napari_synthseg.inference.preprocess import Prepared, check, prepare
from napari_synthseg.inference.presets import procedure
from napari_synthseg.inference.quality.calibration import Calibration, calibration_of
from napari_synthseg.inference.quality.evidence import Evidence, gather
from napari_synthseg.inference.quality.ratings import Verdict, verdict_on
from napari_synthseg.inference.quality.soft_dice import expected_dice
from napari_synthseg.inference.regressor import score_steps
from napari_synthseg.inference.whole_head import NO_BRAIN
from napari_synthseg.io.labels import LabelName
from napari_synthseg.jobs import Progress, run
from napari_synthseg.volume import Volume


@dataclass(frozen=True)
class Segmentation:
    """What came of one scan."""

    labels: Volume
    """FreeSurfer values, int16, on the scan's own grid or at 1 mm."""
    volumes: dict[int, float]
    """mm^3 by FreeSurfer value: sums of posteriors, background left out."""
    intracranial_mm3: float
    """Sum over all structures, CSF included where the network predicts it; NaN for another organ than the brain."""
    warnings: tuple[str, ...]
    """Sentences on what looks implausible."""
    posteriors: Posteriors | None
    """If asked for."""
    record: dict[str, Any]
    """What ran, on what, how long: fit for JSON."""
    quality: dict[int, float] = field(default_factory=dict)
    """Expected Dice by FreeSurfer value, 0-1: calibrated where the weights have a calibration (`verdict` says whether),
    else the soft Dice of `quality.soft_dice`."""
    tissues: dict[str, Volume] = field(default_factory=dict)
    """Of a robust network: tissue classes (`anatomy.TISSUES`) from its inner networks, by `TISSUE_MAPS`."""
    verdict: Verdict = Verdict(math.nan, False)
    """What is expected of the whole scan."""
    evidence: Evidence | None = None
    """What the expected Dice was made of."""
    names: Mapping[int, LabelName] = field(default_factory=dict)
    """What the labels are called where they are those of another organ, not FreeSurfer's."""


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
    """Segment a volume, reporting at least once a block; closing the generator stops the work.

    Args:
        volume: the scan.
        options: how; the defaults if None.
        model: a network already loaded, in place of the one the options name; or all that they ask for.
        name: how messages call the scan.
    """
    options = options or SegmentOptions()
    device = resolve_device(options.device)
    clock = Clock()
    with threads(options.threads):
        check(volume, name)
        if not isinstance(model, Networks):
            yield Progress("Loading the network")
            model = load_all(options, model)
        networks, model = model, model.segmenter
        card = getattr(model, "card", None)
        names = names_of(card)
        how = procedure(options, card)
        divider, judge = networks.parcellation, networks.regressor
        clock.lap("load")
        yield Progress("Preparing", 0, 1)
        prepared = prepare(
            volume,
            ct=options.ct,
            crop_to_head=how.crop_to_head,
            reference_grid=how.reference_grid,
            spacing_mm=how.spacing_mm,
            name=name,
        )
        warnings, partial = plausibility.check_values(volume.data), []
        if how.brain:
            warnings += plausibility.check_intensities(volume.data, options.ct)
            partial = plausibility.check_coverage(prepared.image.shape, prepared.voxel_mm3 ** (1 / 3))
        clock.lap("prepare")
        yield Progress("Preparing", 1, 1)
        turn = Turn()
        if networks.locator is not None:
            scores = yield from plausibility.orientation_steps(networks.locator, prepared.image, device)
            turn, sentence = plausibility.choose_turn(scores)
            warnings += sentence
            prepared = prepared.turned(turn)
            clock.lap("orientation")
        prediction = yield from predict_steps(
            model, prepared.image, device=str(device), max_voxels=options.block_mm**3, how=how
        )
        clock.lap("predict")
        before = postprocess.soft_volumes(prediction.posteriors, prediction.values, 1.0)
        hard = yield from postprocess.clean_steps(
            prediction.posteriors,
            prediction.values,
            keep_largest=how.keep_brain,
            topology=how.topology,
            faint=how.faint,
            holes=how.fill_holes,
            reach=how.reach,
            one_piece=None if how.brain else how.one_piece if how.topology else (),
        )
        shape = prepared.image.shape
        hard, prediction = hard[prediction.inside(shape)], prediction.within(shape)
        if 0 in hard.shape:
            raise InputError(NO_BRAIN)
        clock.lap("clean")
        parcels, groups = None, {}
        scene = prediction.scene
        if scene is None and (judge is not None or divider is not None):
            scene = scene_around(prediction, prepared.image, hard, how.percentiles)
        if judge is not None and scene is not None:
            groups = yield from score_steps(judge, scene.winners, prediction.values, device)  # type: ignore[arg-type]
            clock.lap("score")
        if divider is not None and scene is not None:
            parcels = yield from parcellate_steps(divider, scene, prediction, hard, shape, device)
            clock.lap("parcellate")
        yield Progress("Measuring", 0, 1)
        result = measure(prepared, prediction, hard, options, parcels, names)
        if how.brain:
            result = judged(result, prediction, hard, prepared, before, how.flip, calibration_of(card))
        else:
            result = with_soft_dice(result, prediction, hard)
        clock.lap("measure")
        failed = [result.verdict.warning] if result.verdict.warning else []
        warnings = [*failed, *partial, *warnings, *result.warnings]
        if not options.fix_orientation and not partial and prediction.coarse is not None:
            where = torch.device(prediction.device)  # the CPU, if memory ran out elsewhere
            warnings += yield from plausibility.question_orientation(
                model, prepared.image, prediction.coarse, where, prediction.values
            )
            clock.lap("plausibility")
        record = make_record(options, model, volume, name, prediction, turn, clock.laps)
        record["procedure"] = asdict(how)
        record |= {} if how.brain else {"organ": dict(card or {}).get("organ")}
        if groups:
            record["regressor"] = {name: round(score, 4) for name, score in groups.items()}
        record["warnings"] = warnings
        yield Progress("Measuring", 1, 1)
    return replace(result, warnings=tuple(warnings), record=record)


def measure(
    prepared: Prepared,
    prediction: Prediction,
    hard: np.ndarray,
    options: SegmentOptions,
    parcels: Parcels | None = None,
    names: Mapping[int, LabelName] | None = None,
) -> Segmentation:
    """Volumes, warnings and the labels on the grid asked for, of cleaned posteriors and the labels they give.

    Where the labels have names of their own, they are not of a brain: there is no intracranial volume (NaN).
    """
    grid = prepared.source if options.grid == "input" else prepared.working_grid()
    soft = Posteriors(prediction.posteriors, prediction.start, prediction.values, grid)
    volumes = postprocess.soft_volumes(soft.data, soft.values, prepared.voxel_mm3)
    total = math.nan if names else float(sum(volumes.values()))
    warnings = [*prediction.notes]
    if names:
        warnings += [] if (hard > 0).any() else [NOTHING]
    else:
        brain = (hard > 0) & (hard != 24)
        warnings += plausibility.check_volumes(volumes, total)
        warnings += plausibility.check_field_of_view(brain, soft.start, prepared.image.shape)
    tissues = tissues_on(grid, prediction)
    if options.tissues and not tissues:
        warnings.append("There are no tissue maps: the network has none, or had to run in blocks.")
    kept = soft if options.posteriors else None
    labels = soft.labels(hard)
    if parcels is not None:
        labels = divide(labels, parcels, soft)
        volumes = volumes | parcels.volumes(sum(volumes.get(value, 0.0) for value in anatomy.CORTEX))
    return Segmentation(labels, volumes, total, tuple(warnings), kept, {}, {}, tissues, names=names or {})


def with_soft_dice(result: Segmentation, prediction: Prediction, hard: np.ndarray) -> Segmentation:
    """A result of another organ: nothing is calibrated for it, so the soft Dice is all that is known."""
    soft = expected_dice(prediction.posteriors, prediction.values, hard)
    return replace(result, quality=soft, verdict=Verdict(float(np.mean([*soft.values()])) if soft else math.nan, False))


def judged(
    result: Segmentation,
    prediction: Prediction,
    hard: np.ndarray,
    prepared: Prepared,
    before: dict[int, float],
    flips: bool,
    calibration: Calibration | None,
) -> Segmentation:
    """A result with its expected Dice, the verdict on the scan, and a warning if it has probably failed."""
    sums = {value: result.volumes[value] / prepared.voxel_mm3 for value in map(int, prediction.values[1:])}
    soft = expected_dice(prediction.posteriors, prediction.values, hard, sums)
    evidence = gather(prediction, hard, prepared.image, soft, sums, before, flips)
    expected = None if calibration is None else calibration.expected(evidence)
    if calibration is None or expected is None:
        return replace(result, quality=soft, verdict=verdict_on(soft, False), evidence=evidence)
    verdict = verdict_on(expected, True, calibration.failed_below)
    return replace(result, quality=expected, verdict=verdict, evidence=evidence)


def tissues_on(grid: Grid, prediction: Prediction) -> dict[str, Volume]:
    """Tissue classes of a hierarchy's inner networks on a grid: those of the nearest voxels."""
    if prediction.tissues is None:
        return {}
    found = {}
    for name, classes in prediction.tissues.classes.items():
        whole = Posteriors(classes[None], prediction.tissues.start, (0,), grid)
        found[name] = Volume(whole.nearest(classes.numpy()), grid.affine)
    return found


def make_record(
    options: SegmentOptions,
    model: nn.Module,
    volume: Volume,
    name: str,
    prediction: Prediction,
    turn: Turn,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """What ran, on what, how long; holds only what JSON knows."""
    card = dict(getattr(model, "card", None) or {})
    return {
        "program": PROGRAM,
        "version": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "scan": name,
        "shape": list(volume.shape),
        "affine": volume.affine.tolist(),
        "network": card.get("network") or type(model).__name__,
        "weights": {key: card[key] for key in ("name", "version", "sha256", "licence", "license") if key in card},
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()},
        "device": prediction.device,
        "threads": torch.get_num_threads(),
        "orientation": turn.describe(),
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
    }


class Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
