"""How well clicks on slices become an object in 3D: Dice of the volume after each click, and seconds a slice.

    python benchmarks/propagation.py SHARED [--sources t1 map phantom] [--scans 1] [--clicks 5] [--plane coronal]
        [--values 17 11 10 16] [--vote] [--encodings FOLDER] [--model default] [--json OUT]

Volumes: scans of SHARED/data/real_t1/training with their labels, the last ones first, since the first two chose the
defaults of propagation (t1); images drawn from SHARED/data/label_maps by the generator (map); phantoms (phantom).
The first click is the point deepest inside the structure on its largest slice; the object is propagated from there
with the default options. Each further click is at the point deepest inside what is missing or too much: on that slice
until it is right (Dice 0.85), then wherever the object is most wrong in 3D. That slice is corrected from the object so
far and this click, and propagated from there only.

Beside it: the object propagated from the structure's true mask on its largest slice (from_truth), Dice of the voxels
on which two of three orientations agree (--vote), and CPU seconds (one thread) of an encoding and of the rest of a
slice. --encodings keeps embeddings for another run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edt
import numpy as np
import torch
from harness import arguments, command, write_json
from phantom import head_phantom, phantom_image

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.evaluation.scans import labelled_scans
from napari_synthseg.generator.files import SynthesizeOptions, synthesize_files
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.jobs import run
from napari_synthseg.prompting import Anchor, Planes, Prompts, PropagateOptions, Session
from napari_synthseg.prompting.propagate import propagate
from napari_synthseg.volume import Volume, to_canonical

VALUES = (17, 11, 10, 16)
"""Left hippocampus, caudate and thalamus, brain stem."""
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
RIGHT = 0.85
"""Dice of the first slice from which someone goes on to others."""
SHOWN = (1, 3, 5)
"""Numbers of clicks in the table."""


@dataclass(frozen=True, eq=False)
class Target:
    """One structure of a volume: the volume's name, the label, and the truth (X, Y, Z) bool."""

    scan: str
    value: int
    planes: Planes
    truth: np.ndarray


@command
def main() -> int:
    """Print a line for each structure, and the means."""
    args = arguments(
        __doc__, "--scans", "--json", shared_={"type": Path}, scans={"default": 1}, model={"default": "default"},
        sources={"nargs": "+", "choices": ["t1", "map", "phantom"], "default": ["t1", "map", "phantom"]},
        plane={"choices": AXES, "default": "coronal"}, clicks={"type": int, "default": 5},
        values={"type": int, "nargs": "+", "default": list(VALUES)}, vote={"action": "store_true"},
        encodings={"type": Path},
    )  # fmt: skip
    torch.set_num_threads(1)
    session = Session(args.model, memory=2**31, encodings=args.encodings)
    rows = []
    heads = "".join(f"{number} clicks".rjust(10) for number in range(1, args.clicks + 1))
    print(f"{'':40}{'from truth':>11}{heads}  encode +step (s)")
    for target in targets(args.shared, args.sources, args.scans, args.plane, args.values):
        rows.append(measure(session, target, args.clicks, args.vote))
        print(line(rows[-1]), flush=True)
    if not rows:
        raise InputError(f"{args.shared} holds no volume with these structures: check the folder.")
    print(line(mean(rows)))
    write_json(args.json, rows)
    return 0


def targets(shared: Path, sources: list[str], scans: int, plane: str, values: list[int]) -> Iterator[Target]:
    """Yield the structures of all volumes."""
    for source in sources:
        for name, image, labels in volumes(shared / "data", source, scans):
            planes = Planes(np.ascontiguousarray(image.data), AXES[plane], image.spacing.tolist())
            for value in values:
                if (labels.data == value).any():
                    yield Target(name, value, planes, labels.data == value)


def volumes(data: Path, source: str, count: int) -> Iterator[tuple[str, Volume, Volume]]:
    """Yield names, images and label maps of a source, in RAS."""
    if source == "phantom":
        for seed in range(count):
            labels = head_phantom((144, 176, 144), 1.0, seed)
            yield f"phantom {seed}", phantom_image(labels, seed), labels
        return
    if source == "t1":
        for scan, labels in labelled_scans(data / "real_t1" / "training")[: -1 - count : -1]:
            yield stem(scan), to_canonical(read_volume(scan)), to_canonical(read_labels(labels))
        return
    for number, path in enumerate(sorted((data / "label_maps").glob("training_seg_*.nii.gz"))[:count]):
        with tempfile.TemporaryDirectory() as folder:
            (image,) = run(synthesize_files(path, Path(folder), SynthesizeOptions(seed=number)))
            drawn = image.with_name(image.name.replace("_image", "_labels"))
            yield stem(path), to_canonical(read_volume(image)), to_canonical(read_labels(drawn))


def measure(session: Session, target: Target, clicks: int, vote: bool = False) -> dict[str, Any]:
    """Return the figures of one structure."""
    planes, truth = target.planes, target.truth
    slices = np.moveaxis(truth, planes.axis, 0)
    start = int(slices.sum((1, 2)).argmax())
    row: dict[str, Any] = {"scan": target.scan, "name": anatomy.name(target.value)}
    row["clicks"] = corrected(session, planes, truth, clicks)
    row["from_truth"] = dice(follow(session, planes, start, Anchor(slices[start])), truth)
    if vote:
        options = PropagateOptions(vote=True)
        row["vote"] = dice(follow(session, planes, start, Anchor(slices[start]), options=options), truth)
    return row | seconds(session, planes, start, slices[start])


def corrected(session: Session, planes: Planes, truth: np.ndarray, clicks: int) -> list[float]:
    """Return the Dice of the volume after each click of someone who corrects what is most wrong."""
    found = np.zeros(truth.shape, bool)
    anchors: dict[int, Anchor] = {}
    scores = []
    for _ in range(clicks):
        index, position, positive = next_click(planes, found, truth)
        mask = np.moveaxis(found, planes.axis, 0)[index]
        given = anchors[index].prompts if index in anchors else Prompts(mask=mask if mask.any() else None)
        given = given.with_points([position], positive)
        session.set_image(planes.image(index), planes.common_window, planes.pixel)
        session.point_at(given)
        others = {at: anchor for at, anchor in anchors.items() if at != index}
        anchors[index] = Anchor(session.predict(), given)
        if any(anchor.mask.any() for anchor in anchors.values()):
            found = follow(session, planes, index, anchors[index], others, found if others else None)
        scores.append(dice(found, truth))
    return scores


def next_click(planes: Planes, found: np.ndarray, truth: np.ndarray) -> tuple[int, tuple[float, float], bool]:
    """Return the slice, the (row, column) and the sign of the click at the deepest point of the error.

    That is on the structure's largest slice until it is right, then anywhere.
    """
    first = int(np.moveaxis(truth, planes.axis, 0).sum((1, 2)).argmax())
    masks, truths = (np.moveaxis(one, planes.axis, 0)[first] for one in (found, truth))
    errors, spacing = [truth & ~found, found & ~truth], [float(step) for step in planes.spacing]
    if dice(masks, truths) < RIGHT:
        alone = np.zeros(len(planes), bool)
        alone[first] = True
        errors = [error & np.moveaxis(alone[:, None, None], 0, planes.axis) for error in errors]
        spacing[planes.axis] = 1e6  # depths in the slice
    depths = [edt.edt(np.ascontiguousarray(error), spacing, True) for error in errors]
    positive = bool(depths[0].max() >= depths[1].max())
    at = np.unravel_index(int(depths[not positive].argmax()), truth.shape)
    row, column = (float(at[axis]) for axis in range(3) if axis != planes.axis)
    return int(at[planes.axis]), (row, column), positive


def follow(
    session: Session,
    planes: Planes,
    start: int,
    anchor: Anchor,
    others: dict[int, Anchor] | None = None,
    known: np.ndarray | None = None,
    options: PropagateOptions | None = None,
) -> np.ndarray:
    """Return the object propagated from an anchor; if it is known already, only what that anchor corrects changes."""
    job = propagate(
        session, planes.volume, planes.axis, start, anchor.mask, prompts=anchor.prompts, anchors=others, known=known,
        corrected=None if known is None else (start,), options=options, window=planes.window, spacing=planes.spacing,
    )  # fmt: skip
    return run(job)


def seconds(session: Session, planes: Planes, start: int, mask: np.ndarray) -> dict[str, float]:
    """Return CPU seconds of an encoding, and of the rest of a slice whose embedding is at hand."""
    options = PropagateOptions(direction="up", most_slices=4, least_score=0)
    reports: list[Any] = []
    began = time.process_time()
    job = propagate(session, planes.volume, planes.axis, start, mask, options=options, window=planes.window,
                    spacing=planes.spacing)  # fmt: skip
    run(job, reports.append)
    step = (time.process_time() - began) / max(1, len(reports))
    fresh = planes.image(start) + np.random.default_rng(0).random(planes.shape)
    began = time.process_time()
    session.set_image(fresh, planes.common_window, planes.pixel)
    return {"encode_s": time.process_time() - began, "step_s": step}


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of all figures."""
    names = [name for name in rows[0] if isinstance(rows[0][name], float)]
    clicks = [statistics.fmean(scores) for scores in zip(*(row["clicks"] for row in rows), strict=True)]
    means = {name: statistics.fmean(row[name] for row in rows) for name in names}
    return {"scan": "mean", "name": "", "clicks": clicks, **means}


def line(row: dict[str, Any]) -> str:
    """Return a row of the table as text."""
    scores = "".join(f"{score:10.3f}" for score in row["clicks"])
    voted = f"   vote {row['vote']:.3f}" if "vote" in row else ""
    title = f"{row['scan'][:16]} {row['name']}"
    return f"{title:40}{row['from_truth']:11.3f}{scores}{row['encode_s']:10.2f}{row['step_s']:6.2f}{voted}"


if __name__ == "__main__":
    sys.exit(main())
