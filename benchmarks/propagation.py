"""How well structures of labelled scans are followed through the slices from one marked slice, per structure.

    python benchmarks/propagation.py FOLDER [--model default] [--scans 1] [--plane coronal] [--values 17] [--json OUT]

FOLDER holds scans with label files beside them (`1002_t1.nii.gz`, `1002_labels.nii.gz`). Of every structure the slice
with its largest area is marked: by three points inside and two in a band around it (evaluate-prompts' (3,2)), and by
the truth. The object that comes of following it, with the default options, is compared with the truth in 3D, beside
what the model says when every slice is prompted from its own truth: by (3,2) and by the tight box. A slice that the
truth does not have is then known to be empty, which following has to find out by itself. Points depend on the seed,
the scan, the structure and the slice alone.

    python benchmarks/propagation.py FOLDER --scores

prints instead what the model expects of its answers along the slices, followed from the truth of the marked slice
whatever it expects: a line a slice with the expected IoU (the score) beside the real one. Below, for each least score:
the Dice of what comes of following with it, how many slices of the structure are cut off, and how many beyond it are
let in. Nothing is followed again for that: with one marked slice a least score only ends the way earlier.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import arguments, command, write_json

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.evaluation.prompt_protocol import generator_for, prompts_for, tight_box
from napari_synthseg.evaluation.scans import labelled_scans
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.jobs import run
from napari_synthseg.prompting import Planes, Prompts, PropagateOptions, Session
from napari_synthseg.prompting.propagate import propagate
from napari_synthseg.volume import to_canonical

VALUES = (17, 53, 11, 50, 4, 43, 12, 51, 10, 49, 16)
"""Hippocampus, caudate, lateral ventricle, putamen and thalamus of both sides, brain stem."""
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
COLUMNS = ("start", "from_points", "from_truth", "each_points", "each_box")
"""Dice of the marked slice by points; of the object from there; from the true mask; of prompting every slice."""
LEAST_SCORES = [step / 20 for step in range(20)]


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure of a scan."""

    scan: str
    value: int
    planes: Planes
    truth: np.ndarray
    """(X, Y, Z), bool."""


@command
def main() -> int:
    """Print a line for each structure of each scan, or for each of its slices, and the means."""
    args = arguments(
        __doc__, "folder", "--scans", "--seed", "--json", scans={"default": 1}, seed={"default": 0},
        model={"default": "default"}, device={"default": "cpu"}, plane={"choices": AXES, "default": "coronal"},
        values={"type": int, "nargs": "+", "default": list(VALUES)},
        scores={"action": "store_true", "help": "the scores along the slices, and least scores compared"},
    )  # fmt: skip
    session = Session(args.model, args.device, memory=2**31)
    found = list(structures(args.folder, args.scans, args.plane, args.values))
    if not found:
        raise InputError(f"{args.folder} has no scan with labels of these structures beside it.")
    write_json(args.json, print_scores(session, found) if args.scores else print_dice(session, found, args.seed))
    return 0


def structures(folder: Path, scans: int, plane: str, values: list[int]) -> Iterator[Structure]:
    """The structures of the folder's first scans."""
    for scan, labels in labelled_scans(folder)[:scans]:
        image, truth = to_canonical(read_volume(scan)), to_canonical(read_labels(labels)).data
        planes = Planes(np.ascontiguousarray(image.data), AXES[plane], image.spacing.tolist())
        for value in values:
            if (truth == value).any():
                yield Structure(stem(scan), value, planes, truth == value)


def print_dice(session: Session, found: list[Structure], seed: int) -> list[dict]:
    """The table of all ways."""
    rows = []
    print(f"{'':36}{''.join(f'{name:>13}' for name in COLUMNS)}{'slices':>8}{'seconds':>9}")
    for one in found:
        rows.append(measure(session, one.planes, one.truth, (seed, one.scan, one.value)))
        rows[-1] |= {"scan": one.scan, "value": one.value, "name": anatomy.name(one.value)}
        print(line(f"{one.scan[:10]} {rows[-1]['name']}", rows[-1]), flush=True)
    for name in dict.fromkeys(one_sided(row["name"]) for row in rows):
        print(line(f"mean {name}", mean([row for row in rows if one_sided(row["name"]) == name])))
    print(line("mean", mean(rows)))
    return rows


def one_sided(name: str) -> str:
    """A structure's name without its side."""
    return name.removeprefix("Left-").removeprefix("Right-")


def print_scores(session: Session, found: list[Structure]) -> list[dict]:
    """The scores along the slices, and the table of least scores."""
    rows = []
    print(f"{'slice':>5}{'away':>6}{'score':>7}{'IoU':>7}  (- beyond the structure)")
    for one in found:
        print(f"{one.scan} {anatomy.name(one.value)}", flush=True)
        own = sorted(along(session, one.planes, one.truth), key=lambda row: row["slice"])
        for row in own:
            real = f"{row['both'] / (row['area'] + row['true'] - row['both']):.2f}" if row["true"] else "-"
            print(f"{row['slice']:5}{row['away']:+6}{row['score']:7.2f}{real:>7}  {row['ended']}".rstrip())
        rows += [row | {"scan": one.scan, "value": one.value} for row in own]
    print(f"\n{'least score':>11}{'Dice':>8}{'cut off':>9}{'let in':>8}  (slices a structure)")
    by_structure = [
        ([row for row in rows if (row["scan"], row["value"]) == (one.scan, one.value)], one) for one in found
    ]
    for least in LEAST_SCORES:
        figures = np.mean([ended_at(least, own, one.planes, one.truth) for own, one in by_structure], axis=0)
        print(f"{least:11.2f}{figures[0]:8.3f}{figures[1]:9.1f}{figures[2]:8.1f}")
    return rows


def along(session: Session, planes: Planes, truth: np.ndarray) -> list[dict]:
    """What comes of following a structure both ways from its largest slice, whatever the model expects.

    Returns:
        For each slice but the marked one: its number ("slice"), its distance from the marked one with a sign ("away"),
        the score, pixels of the answer ("area"), of the truth ("true") and of both, and why it ended there, if it did.
    """
    slices = np.moveaxis(truth, planes.axis, 0)
    start = int(slices.sum((1, 2)).argmax())
    rows = []
    job = propagate(
        session,
        planes.volume,
        planes.axis,
        start,
        slices[start],
        options=PropagateOptions(least_score=0),
        window=planes.window,
        spacing=planes.spacing,
    )
    for report in job:
        real = slices[report.index]
        pixels = {"area": report.mask.sum(), "true": real.sum(), "both": (report.mask & real).sum()}
        row = {"slice": report.index, "away": report.index - start, "score": report.score, "ended": report.ended}
        rows.append(row | {name: int(count) for name, count in pixels.items()})
    return rows


def ended_at(least: float, rows: list[dict], planes: Planes, truth: np.ndarray) -> tuple[float, int, int]:
    """Dice, slices cut off and slices let in, if following ends where the score is below `least`."""
    areas = np.moveaxis(truth, planes.axis, 0).sum((1, 2))
    kept = []
    for sign in (1, -1):
        for row in sorted((row for row in rows if row["away"] * sign > 0), key=lambda row: abs(row["away"])):
            if row["ended"] or row["score"] < least:
                break
            kept.append(row)
    marked = int(areas.max())
    both, area = (marked + sum(row[name] for row in kept) for name in ("both", "area"))
    reached = sum(row["true"] > 0 for row in kept)
    return 2 * both / (area + int(areas.sum())), int((areas > 0).sum()) - 1 - reached, len(kept) - reached


def measure(session: Session, planes: Planes, truth: np.ndarray, names: tuple[int, str, int]) -> dict[str, float]:
    """Dice of all ways for one structure."""
    slices = np.moveaxis(truth, planes.axis, 0)
    areas = slices.sum((1, 2))
    start = int(areas.argmax())

    def points(index: int) -> Prompts:
        given, positive = prompts_for(slices[index], 3, 2, generator_for(*names, index))
        return Prompts(tuple((float(row), float(column)) for row, column in given), tuple(map(bool, positive)))

    def box(index: int) -> Prompts:
        return Prompts(box=tight_box(slices[index]))

    marked = ask(session, planes, start, points(start))
    began = time.perf_counter()
    followed = follow(session, planes, start, slices[start])
    seconds = time.perf_counter() - began
    return {
        "start": dice(marked, slices[start]),
        "from_points": dice(follow(session, planes, start, marked, points(start)), truth),
        "from_truth": dice(followed, truth),
        "each_points": dice(each(session, planes, areas, points), truth),
        "each_box": dice(each(session, planes, areas, box), truth),
        "slices": int((areas > 0).sum()),
        "seconds": seconds,
    }


def ask(session: Session, planes: Planes, index: int, prompts: Prompts) -> np.ndarray:
    """The answer on one slice."""
    session.set_image(planes.image(index), planes.window, planes.pixel)
    session.point_at(prompts)
    return session.predict()


def follow(
    session: Session, planes: Planes, start: int, mask: np.ndarray, prompts: Prompts | None = None
) -> np.ndarray:
    """The object that is followed from one slice; empty where nothing is marked."""
    if not mask.any():
        return np.zeros(planes.volume.shape, bool)
    options = PropagateOptions()
    job = propagate(
        session,
        planes.volume,
        planes.axis,
        start,
        mask,
        prompts=prompts,
        options=options,
        window=planes.window,
        spacing=planes.spacing,
    )
    return run(job)


def each(session: Session, planes: Planes, areas: np.ndarray, prompts: Callable[[int], Prompts]) -> np.ndarray:
    """The object that comes of prompting each of its slices from its truth."""
    found = {int(index): ask(session, planes, int(index), prompts(int(index))) for index in np.flatnonzero(areas)}
    return planes.stack(found)


def mean(rows: list[dict]) -> dict[str, float]:
    """Of all figures."""
    return {name: statistics.mean(row[name] for row in rows) for name in (*COLUMNS, "slices", "seconds")}


def line(title: str, row: dict) -> str:
    """A row of the table."""
    figures = "".join(f"{row[name]:13.3f}" for name in COLUMNS)
    return f"{title:36}{figures}{row['slices']:8.0f}{row['seconds']:9.1f}"


if __name__ == "__main__":
    sys.exit(main())
