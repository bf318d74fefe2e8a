"""The command line's job: an object pointed at in a scan or a picture is segmented and written on its own grid."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_synthseg import __version__, anatomy
from napari_synthseg.atomic_io import placed, write_text
from napari_synthseg.devices import threads
from napari_synthseg.errors import InputError
from napari_synthseg.inference.outputs import PROGRAM, check_earlier, plan_outputs
from napari_synthseg.inference.preview import write_preview
from napari_synthseg.io import stem, write_labels
from napari_synthseg.io.labels import LabelName
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.prompting.options import PromptOptions, PropagateOptions
from napari_synthseg.prompting.prompts import Anchor, Planes, Prompts
from napari_synthseg.prompting.propagate import SliceAnswer, propagate
from napari_synthseg.prompting.scene import Scene, read_mask, read_scene
from napari_synthseg.prompting.session import Session
from napari_synthseg.volume import Volume

NAME = "Object"
"""What the label is called in the table, if it is 1."""


@dataclass(frozen=True, eq=False)
class OneObject:
    """What came of it."""

    mask: np.ndarray
    """(X, Y, Z) of the scan, or (rows, columns) of a picture, bool."""
    record: dict[str, Any]
    """What ran, on what, the object's size, its slices with their scores, and why it ends where: fit for JSON."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    file: Path
    size: str
    """The object's, with its unit."""


def prompt_file(
    scan: Path | str,
    out: Path | str,
    options: PromptOptions,
    going: PropagateOptions | None = None,
    *,
    preview: bool = False,
    session: Session | None = None,
) -> Generator[Progress, None, Written]:
    """Segment one object of a scan or a picture and write it.

    A scan's is a label file on its own grid with its table (.tsv) and a record of the run (.json), a picture's a PNG
    (0 and 255) with the record.

    Args:
        scan: the scan, or a picture (PNG, JPEG, TIFF, BMP).
        out: the file to write, or a folder.
        options: what to segment.
        going: how far to follow the object, where it is followed.
        preview: write a PNG with outlines too (scans only).
        session: with a model already loaded, in place of the one that the options name.

    Raises:
        InputError: something given cannot be used; one sentence.
    """
    if not options.through and going not in (None, PropagateOptions()):
        raise InputError("How far the object is followed is given, but not that it is: give --through too.")
    yield Progress("Reading")
    scene = read_scene(Path(scan), options.index)
    target = _target(scene, Path(out), preview)
    if preview and scene.scan is None:
        raise InputError("There is no preview of a picture: leave --preview out.")
    result = yield from prompt_steps(scene, options, going, session)
    yield Progress("Writing")
    _write(target, scene, result, options.label, preview)
    return Written(target, _size(scene, result.mask))


def prompt_steps(
    scene: Scene, options: PromptOptions, going: PropagateOptions | None = None, session: Session | None = None
) -> Generator[Progress, None, OneObject]:
    """Segment one object of a scene; see `prompt_file`."""
    clock = Clock()
    axis, prompts = scene.prompts(options)
    drawn = read_mask(scene, options)
    planes = Planes(scene.array, axis, scene.spacing, options.window)
    with threads(options.threads):
        yield Progress("Loading the model")
        own = session is None
        session = session or Session(options.model, options.device)
        clock.lap("load")
        try:
            anchors, scores = yield from _marked(session, planes, prompts, _drawn_slices(drawn, axis), options.through)
            clock.lap("marked")
            mask = planes.stack({index: anchor.mask for index, anchor in anchors.items()})
            if not mask.any():
                raise InputError("Nothing is found where you point: add points, or give a box.")
            ends: dict[int, str] = {}
            if options.through:
                mask, reports = yield from _through(session, planes, anchors, going)
                scores |= {report.index: report.score for report in reports if not report.ended}
                ends = {report.index: report.ended for report in reports if report.ended}
                clock.lap("through")
        finally:
            if own:
                session.close()
    record = _record(scene, options, going, session, mask, axis, clock.laps) | _slices(mask, axis, scores, ends)
    return OneObject(mask if scene.scan is not None else mask[0], record)


def _marked(
    session: Session, planes: Planes, prompts: dict[int, Prompts], drawn: dict[int, np.ndarray], through: bool
) -> Generator[Progress, None, tuple[dict[int, Anchor], dict[int, float]]]:
    """The slices that are marked, and the scores of those that the model answered.

    A slice with points outside only is marked as empty: the object is followed no further. One where the model finds
    nothing is not marked; it may be found from its neighbours.
    """
    anchors = {index: Anchor(mask) for index, mask in drawn.items() if index not in prompts}
    scores = {}
    session.encode_ahead([planes.image(index) for index in sorted(prompts)], planes.common_window, planes.pixel)
    for done, (index, given) in enumerate(sorted(prompts.items())):
        yield Progress("Marked slices", done, len(prompts))
        given = replace(given, mask=drawn.get(index))
        if not given.ask and not through:
            raise InputError(f"On slice {index} there are points outside only: point inside the object there too.")
        if not given.ask:
            anchors[index] = Anchor(np.zeros(planes.shape, bool), given)
            continue
        checkpoint()
        session.set_image(planes.image(index), planes.common_window, planes.pixel)
        session.point_at(given)
        answer = session.answer()
        if answer.mask.any():
            anchors[index], scores[index] = Anchor(answer.mask, given), answer.score
    yield Progress("Marked slices", len(prompts), len(prompts))
    return anchors, scores


def _through(
    session: Session, planes: Planes, anchors: dict[int, Anchor], going: PropagateOptions | None
) -> Generator[Progress, None, tuple[np.ndarray, list[SliceAnswer]]]:
    """The object in all slices, and the reports of those that it was followed to."""
    first, *rest = sorted(anchors)
    others = {index: anchors[index] for index in rest}
    way = propagate(
        session,
        planes.volume,
        planes.axis,
        first,
        anchors[first].mask,
        prompts=anchors[first].prompts,
        anchors=others,
        options=going,
        window=planes.window,
        spacing=planes.spacing,
    )
    reports: list[SliceAnswer] = []
    while True:
        try:
            report = next(way)
        except StopIteration as end:
            return end.value, reports
        reports.append(replace(report, mask=report.mask[:0]))  # the object has the masks
        yield report


def _drawn_slices(drawn: np.ndarray, axis: int) -> dict[int, np.ndarray]:
    slices = np.moveaxis(drawn, axis, 0)
    return {int(index): slices[index] for index in np.flatnonzero(slices.any((1, 2)))}


def _target(scene: Scene, out: Path, preview: bool) -> Path:
    """The file to write.

    Raises:
        InputError: it cannot be written there.
    """
    if scene.scan is not None:
        return plan_outputs([scene.path], out, preview=preview)[0]
    target = out if out.suffix else out / f"{stem(scene.path)}_mask.png"
    if target.suffix.lower() != ".png":
        raise InputError(f"{target} cannot be written: the mask of a picture is a PNG.")
    if target.resolve() == scene.path.resolve():
        raise InputError(f"{target} is the picture itself: choose another name for the mask.")
    check_earlier(target)
    return target


def _write(target: Path, scene: Scene, result: OneObject, label: int, preview: bool) -> None:
    """The record, the picture and, last of all, the mask."""
    target.parent.mkdir(parents=True, exist_ok=True)
    record = json.dumps(result.record, indent=1) + "\n"
    write_text(target.with_name(f"{stem(target)}.json"), record)
    if scene.scan is None:
        picture = Image.fromarray(result.mask.astype(np.uint8) * 255)
        with placed(target) as part:
            picture.save(part, format="PNG")
        return
    values = result.mask.astype(np.int32) * label
    labels = scene.scan.with_data(values)
    if preview:
        title = f"{stem(target)}   {_size(scene, result.mask)}"
        write_preview(target.with_name(f"{stem(target)}.png"), scene.scan, labels, title=title)
    volume = {label: f"{_mm3(scene.scan, result.mask):.1f}"}
    write_labels(target, labels, {"volume_mm3": volume}, names={label: LabelName(_name(label))}, header=scene.header)


def _mm3(scan: Volume, mask: np.ndarray) -> float:
    return float(mask.sum() * scan.voxel_mm3)


def _size(scene: Scene, mask: np.ndarray) -> str:
    return f"{mask.sum()} pixels" if scene.scan is None else f"{_mm3(scene.scan, mask):.1f} mm^3"


def _name(label: int) -> str:
    return NAME if label == 1 else anatomy.name(label)


def _record(
    scene: Scene,
    options: PromptOptions,
    going: PropagateOptions | None,
    session: Session,
    mask: np.ndarray,
    axis: int,
    seconds: dict[str, float],
) -> dict[str, Any]:
    card = dict(getattr(session.model, "card", None) or {})
    size: dict[str, Any] = {"pixels": int(mask.sum())}
    if scene.scan is not None:
        size = {"volumes_mm3": {_name(options.label): round(_mm3(scene.scan, mask), 1)}}
    return {
        "program": PROGRAM,
        "version": __version__,
        "scan": str(scene.path),
        "weights": {key: card[key] for key in ("name", "version", "sha256", "licence") if key in card},
        "options": _plain(asdict(options) | (asdict(going or PropagateOptions()) if options.through else {})),
        "device": str(session.device),
        "axis": axis,
        **size,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
    }


def _slices(mask: np.ndarray, axis: int, scores: dict[int, float], ends: dict[int, str]) -> dict[str, Any]:
    """The first and the last slice, the scores of those that the model answered, and why it was followed no further."""
    present = np.flatnonzero(np.moveaxis(mask, axis, 0).any((1, 2)))
    return {
        "slices": [int(present[0]), int(present[-1])],
        "scores": {str(index): round(score, 3) for index, score in sorted(scores.items())},
        "ends": {str(index): reason for index, reason in sorted(ends.items()) if index not in present},
    }


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}


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
