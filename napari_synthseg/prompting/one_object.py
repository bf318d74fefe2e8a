"""The job of `prompt`: segment an object of a scan or a picture from prompts, and write it on its own grid."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from napari_synthseg import __version__, anatomy
from napari_synthseg.devices import threads
from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.inference import outputs
from napari_synthseg.inference.preview import write_preview
from napari_synthseg.io import stem, write_labels
from napari_synthseg.io.checks import check_memory
from napari_synthseg.io.labels import LabelName
from napari_synthseg.jobs import Progress, checkpoint, mapped
from napari_synthseg.prompting.options import PromptOptions, PropagateOptions, SimilarOptions
from napari_synthseg.prompting.prompts import Anchor, Planes, Prompts
from napari_synthseg.prompting.propagate import SliceAnswer, propagate_anchors
from napari_synthseg.prompting.session import Session
from napari_synthseg.prompting.similar import similar_objects
from napari_synthseg.prompting.target import PromptTarget, read_mask, read_target
from napari_synthseg.volume import Volume

NAME = "Object"
"""Name of label 1 in the table."""


@dataclass(frozen=True)
class WrittenObject:
    """The file that was written, and the object's size with its unit."""

    file: Path
    size: str


def prompt_file(
    scan: Path | str,
    out: Path | str,
    options: PromptOptions,
    propagation: PropagateOptions | None = None,
    similar: SimilarOptions | None = None,
    *,
    preview: bool = False,
    session: Session | None = None,
) -> Generator[Progress, None, WrittenObject]:
    """Segment one object of a scan or a picture and write it.

    Of a scan: a label file on its own grid with its table (.tsv) and a record of the run (.json). Of a picture: a PNG
    (0 and 255) with the record; with `options.similar` the labels of all objects, from 1.

    Args:
        scan: the scan, or a picture (PNG, JPEG, TIFF, BMP).
        out: the file to write, or a folder.
        options: prompts, model and device.
        propagation: how far to propagate; needs `options.through`.
        similar: which objects resemble the first one; needs `options.similar`.
        preview: write a PNG with outlines too (scans only).
        session: with a model already loaded, in place of the one that the options name.

    Raises:
        InputError: an option, a file or a position cannot be used.
    """
    if not options.through and propagation not in (None, PropagateOptions()):
        raise InputError("Options of propagation are given without --through: give that too.")
    if not options.similar and similar not in (None, SimilarOptions()):
        raise InputError("Options of similar objects are given without --similar: give that too.")
    propagation = propagation or PropagateOptions()
    clock = [time.perf_counter()]
    yield Progress("Reading")
    target = read_target(Path(scan), options.index)
    check_memory(scan, target.array.shape[:3], 2)  # what is drawn, what is found, and its labels
    file = _output_file(target, Path(out), preview)
    if preview and target.scan is None:
        raise InputError("A picture has no preview: leave --preview out.")
    if options.similar and target.scan is not None:
        raise InputError("Similar objects are found in pictures only: save the slice as a picture.")
    axis, prompts = target.prompts(options)
    drawn = np.moveaxis(read_mask(target, options), axis, 0)
    planes = Planes(target.array, axis, target.spacing, options.window)
    with threads(options.threads):
        yield Progress("Loading the model")
        used = session or Session(options.model, options.device, encodings=options.encodings)
        clock.append(time.perf_counter())
        try:
            masks = {int(index): drawn[index] for index in np.flatnonzero(drawn.any((1, 2)))}
            anchors, scores = yield from _answer_marked(used, planes, prompts, masks, options.through)
            clock.append(time.perf_counter())
            mask = planes.stack({index: anchor.mask for index, anchor in anchors.items()})
            if not mask.any():
                raise InputError("Nothing is found where you point: add points, or give a box.")
            reports: list[SliceAnswer] = []
            if options.through:

                def keep(report: SliceAnswer) -> SliceAnswer:
                    reports.append(replace(report, mask=report.mask[:0]))  # without its voxels
                    return report

                mask = yield from mapped(propagate_anchors(used, planes, anchors, propagation), keep)
                clock.append(time.perf_counter())
            others = []
            if options.similar:
                image = planes.image(0)
                others = yield from similar_objects(used, image, mask[0], similar, planes.common_window)
        finally:
            if session is None:
                used.close()
    scores |= {report.index: report.score for report in reports if not report.ended}
    present = np.flatnonzero(np.moveaxis(mask, axis, 0).any((1, 2)))
    card = dict(getattr(used.model, "card", None) or {})
    record = {
        "program": outputs.PROGRAM,
        "version": __version__,
        "scan": str(target.path),
        "weights": {key: card[key] for key in ("name", "version", "sha256", "licence") if key in card},
        "options": to_json(options) | (to_json(propagation) if options.through else {}),
        "device": str(used.device),
        "axis": axis,
        **({"pixels": int(mask.sum())} if target.scan is None else {}),
        **({"objects": 1 + len(others)} if options.similar else {}),
        **({"volumes_mm3": {_name(options.label): _mm3(target.scan, mask)}} if target.scan is not None else {}),
        "seconds": dict(zip(("load", "marked", "through"), np.diff(clock).round(3).tolist(), strict=False)),
        "slices": [int(present[0]), int(present[-1])],
        "scores": {str(index): round(score, 3) for index, score in sorted(scores.items())},
        "ends": {str(one.index): one.ended for one in reports if one.ended and one.index not in present},
    }
    yield Progress("Writing")
    with outputs.placed_results(file) as part:
        (part / outputs.record_path(file).name).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if target.scan is None:
            size = _write_picture(part / file.name, [mask[0], *others], labels=options.similar)
        else:
            size = _write_labels(part / file.name, target, target.scan, mask, options.label, preview)
    return WrittenObject(file, size)


def _answer_marked(
    session: Session, planes: Planes, prompts: dict[int, Prompts], drawn: dict[int, np.ndarray], through: bool
) -> Generator[Progress, None, tuple[dict[int, Anchor], dict[int, float]]]:
    """Answer the prompted slices; return the anchors and the scores of the answers.

    A slice with points outside only is an empty anchor, where propagation stops. One without an answer is no anchor;
    the object may be found there from its neighbors.
    """
    anchors = {index: Anchor(mask) for index, mask in drawn.items() if index not in prompts}
    scores = {}
    session.encode_ahead([planes.image(index) for index in sorted(prompts)], planes.common_window, planes.pixel)
    for done, (index, given) in enumerate(sorted(prompts.items())):
        yield Progress("Marked slices", done, len(prompts))
        given = replace(given, mask=drawn.get(index, given.mask))
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


def _output_file(target: PromptTarget, out: Path, preview: bool) -> Path:
    """Return the file to write."""
    if target.scan is not None:
        return outputs.plan_outputs([target.path], out, preview=preview)[0]
    file = out if out.suffix else out / f"{stem(target.path)}_mask.png"
    if file.suffix.lower() != ".png":
        raise InputError(f"{file} cannot be written: the mask of a picture is a PNG.")
    if file.resolve() == target.path.resolve():
        raise InputError(f"{file} is the picture itself: choose another name for the mask.")
    outputs.check_earlier(file)
    return file


def _write_picture(file: Path, masks: list[np.ndarray], labels: bool) -> str:
    """Write the first mask (0 and 255), or the labels of all of them; return the size."""
    pixels = masks[0].astype(np.uint8) * 255
    if labels:
        pixels = np.zeros(masks[0].shape, np.uint16)
        for label, mask in enumerate(masks, 1):
            pixels[mask] = label
    Image.fromarray(pixels).save(file, format="PNG")
    return f"{len(masks)} objects" if labels else f"{masks[0].sum()} pixels"


def _write_labels(file: Path, target: PromptTarget, scan: Volume, mask: np.ndarray, label: int, preview: bool) -> str:
    """Write the label file, and the preview; return the size."""
    labels = scan.with_data(mask * np.min_scalar_type(label).type(label))
    size = f"{_mm3(scan, mask)} mm^3"
    if preview:
        write_preview(outputs.picture_path(file), scan, labels, title=f"{stem(file)}   {size}")
    volumes = {"volume_mm3": {label: str(_mm3(scan, mask))}}
    write_labels(file, labels, volumes, names={label: LabelName(_name(label))}, header=target.header)
    return size


def _mm3(scan: Volume, mask: np.ndarray) -> float:
    volume = float(mask.sum() * scan.voxel_mm3)
    return round(volume, 1) if volume > 10 else float(f"{volume:.3g}")  # of a cell as well


def _name(label: int) -> str:
    return NAME if label == 1 else anatomy.name(label)
