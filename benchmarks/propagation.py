"""How well structures of labelled scans are followed through the slices from one marked slice, per structure.

    python benchmarks/propagation.py FOLDER [--model default] [--scans 1] [--plane coronal] [--values 17] [--json OUT]

FOLDER holds scans with label files beside them (`1002_t1.nii.gz`, `1002_labels.nii.gz`). Of every structure the slice
with its largest area is marked: by three points inside and two in a band around it (evaluate-prompts' (3,2)), and by
the truth. The object that comes of following it, with the default options, is compared with the truth in 3D, beside
what the model says when every slice is prompted from its own truth: by (3,2) and by the tight box. A slice that the
truth does not have is then known to be empty, which following has to find out by itself. Points depend on the seed,
the scan, the structure and the slice alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.evaluation.prompt_protocol import generator_for, prompts_for, tight_box
from napari_synthseg.evaluation.scans import is_label_name
from napari_synthseg.files import READABLE, read_labels, read_volume, stem, suffix
from napari_synthseg.progress import run
from napari_synthseg.prompting import Planes, Prompts, PropagateOptions, Session
from napari_synthseg.prompting.propagate import propagate
from napari_synthseg.volume import to_canonical

VALUES = (17, 53, 11, 50, 4, 43, 12, 51, 10, 49, 16)
"""Hippocampus, caudate, lateral ventricle, putamen and thalamus of both sides, brain stem."""
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
COLUMNS = ("start", "from_points", "from_truth", "each_points", "each_box")
"""Dice of the marked slice by points; of the object from there; from the true mask; of prompting every slice."""


def main() -> None:
    """Prints a line for each structure of each scan, and the means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scans", type=int, default=1, help="so many of the folder's scans, the first ones")
    parser.add_argument("--plane", choices=AXES, default="coronal")
    parser.add_argument("--values", type=int, nargs="+", default=list(VALUES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    session = Session(args.model, args.device, memory=2**31)
    rows = []
    print(f"{'':36}{''.join(f'{name:>13}' for name in COLUMNS)}{'slices':>8}{'seconds':>9}")
    for scan, labels in pairs(args.folder)[: args.scans]:
        image, truth = to_canonical(read_volume(scan)), to_canonical(read_labels(labels)).data
        planes = Planes(np.ascontiguousarray(image.data), AXES[args.plane], image.spacing.tolist())
        for value in args.values:
            if (truth == value).any():
                rows.append(measure(session, planes, truth == value, (args.seed, stem(scan), value)))
                rows[-1] |= {"scan": stem(scan), "value": value, "name": anatomy.name(value)}
                print(line(f"{stem(scan)[:10]} {rows[-1]['name']}", rows[-1]), flush=True)
    for name in dict.fromkeys(row["name"].removeprefix("Left-").removeprefix("Right-") for row in rows):
        print(line(f"mean {name}", mean([row for row in rows if row["name"].endswith(name)])))
    print(line("mean", mean(rows)))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Scans and the label files that share the first part of their names."""
    files = [path for path in sorted(folder.iterdir()) if suffix(path) in READABLE]
    labels = {stem(path).split("_")[0]: path for path in files if is_label_name(path)}
    scans = [path for path in files if not is_label_name(path)]
    return [(path, labels[key]) for path in scans if (key := stem(path).split("_")[0]) in labels]


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
    main()
