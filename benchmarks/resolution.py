"""Dice on labelled scans of coarser resolution and of other contrast: SynthSeg's section 4.1 and Figure 8.

    python benchmarks/resolution.py FOLDER [--models synthseg-fast ...] [--what resolution contrast] [--out DIR] [...]

FOLDER holds scans of 1 mm with label files beside them (`1002_t1.nii.gz`, `1002_labels.nii.gz`).

resolution: each scan is blurred along one direction as slices of 3, 4 or 4 mm thickness would blur it (eq. 23, alpha 1)
and sampled every 3, 5 or 7 mm, in three directions. What is segmented is the coarse scan itself, with its own voxels in
its header; the labels, at 1 mm as in the paper, are set against the truth.

contrast: intensities are changed by one curve a scan: a power (gamma), an inversion, and a curve through the medians of
cerebrospinal fluid, grey and white matter that moves white matter from brighter than grey (1, as in T1) through no
contrast at all (0) to darker (-1). The medians are the only use made of the labels. The limits: where a curve turns
round, voxels on the edge of white matter and fluid take the intensity of grey matter or another, as no real scan shows
them; and a T1 scan has nothing to say of what another sequence alone would show.

Writes rows.json (a segmentation each; a run that was stopped goes on from there), table.md and a figure to --out.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import PROFILE, Row, Rows, arguments, command, finish, labelled_pairs, markdown, sweep
from harness import means as mean_of

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.metrics import evaluate
from napari_synthseg.generator.deformation import interpolation_matrix
from napari_synthseg.generator.head import along, blur_matrix
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.volume import Volume, resample_labels_to, to_canonical
from napari_synthseg.weights.catalogue import DEFAULT
from napari_synthseg.weights.store import load_model

DIRECTIONS = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The axis (R, A, S) that slices are stacked along."""
THICKNESS = {3.0: 3.0, 5.0: 4.0, 7.0: 4.0}
"""Slice thickness of each slice spacing, mm (section 4.1)."""
GAMMAS = (0.4, 0.6, 1.6, 2.5)
WHITE = (0.5, 0.2, 0.0, -0.2, -0.5, -1.0)
"""Contrast of white against grey matter, as a share of what the curve gives a T1 scan."""
LEVELS_OF_CURVE = (0.15, 0.55, 0.4)
"""Fluid, grey matter, and how much brighter white matter is at a contrast of 1; intensities end at 1."""
TISSUES = {"fluid": (4, 14, 15, 24, 43), "grey": (3, 42), "white": (2, 41)}
NOT_CHANGED = "as it is"
Segmenter = Callable[[Volume], Volume]


def sliced(scan: Volume, direction: str, spacing_mm: float, thickness_mm: float) -> Volume:
    """The scan as it would have been acquired in slices: coarse along one direction, on its own coarse grid (RAS).

    The stack lies in the middle of the field of view, its first slice on a voxel of the scan.

    Raises:
        InputError: the scan is too small for two slices.
    """
    canonical, axis = to_canonical(scan), DIRECTIONS[direction]
    count, voxel = canonical.shape[axis], float(canonical.spacing[axis])
    step = spacing_mm / voxel
    slices = int((count - 1) / step) + 1
    if slices < 2:
        raise InputError(
            f"A scan of {count * voxel:g} mm has no two slices {spacing_mm:g} mm apart: give a larger one."
        )
    first = int((count - 1 - (slices - 1) * step) / 2)
    positions = first + torch.arange(slices, dtype=torch.float64) * step
    matrix = interpolation_matrix(positions, count) @ blur_matrix(count, PROFILE * thickness_mm / voxel)
    data = along(torch.from_numpy(np.array(canonical.data, np.float32, order="C")), axis, matrix).numpy()
    affine = canonical.affine.copy()
    affine[:3, 3] += first * affine[:3, axis]
    affine[:3, axis] *= step
    return Volume(data, affine)


def tissue_medians(scan: Volume, truth: Volume) -> tuple[float, float, float]:
    """Median intensities of fluid, grey and white matter, of a scan scaled to [0, 1]."""
    image, labels = _scaled(to_canonical(scan).data), to_canonical(truth).data
    found = [float(np.median(image[np.isin(labels, values)])) for values in TISSUES.values()]
    if not np.isfinite(found).all() or not found[0] < found[1] < found[2]:
        raise InputError("Fluid, grey and white matter do not grow brighter in this order: give T1 scans with labels.")
    return found[0], found[1], found[2]


def with_contrast(scan: Volume, kind: str, level: float, medians: tuple[float, float, float]) -> Volume:
    """A T1 scan with another curve of intensities (a kind of `variants`); what is 0 (no head) stays 0."""
    image = _scaled(scan.data)
    if kind == "gamma":
        changed = image**level
    elif kind == "inverted":
        changed = 1 - image
    else:
        fluid, grey, more = LEVELS_OF_CURVE
        white = grey + level * more
        top = float(np.clip(white + (1 - medians[2]) * level * more / (medians[2] - medians[1]), 0, 1))
        changed = np.interp(image, [0, *medians, 1], [0.05, fluid, grey, white, top])
    return scan.with_data(np.where(np.asarray(scan.data) > 0, np.maximum(changed, 1e-3), 0).astype(np.float32))


def _scaled(data: np.ndarray) -> np.ndarray:
    """[0, 1] between 0 and the 99.5 percentile of what is above 0."""
    data = np.asarray(data, np.float32)
    inside = data[data > 0]
    if not inside.size:
        raise InputError("The scan holds nothing above 0: choose another one.")
    return np.clip(data / np.percentile(inside, 99.5), 0, 1)


def variants(what: Sequence[str]) -> list[dict[str, Any]]:
    """What is done to every scan: experiment, kind and level, and for slices their thickness."""
    found: list[dict[str, Any]] = [{"what": NOT_CHANGED, "kind": NOT_CHANGED, "level": 1.0}]
    if "resolution" in what:
        found += [
            {"what": "resolution", "kind": direction, "level": spacing, "thickness_mm": thickness}
            for direction in DIRECTIONS
            for spacing, thickness in THICKNESS.items()
        ]
    if "contrast" in what:
        kinds = [*(("gamma", g) for g in GAMMAS), *(("white", w) for w in WHITE), ("inverted", -1.0)]
        found += [{"what": "contrast", "kind": kind, "level": level} for kind, level in kinds]
    return found


def changed(scan: Volume, truth: Volume, variant: Row, number: int) -> Volume:
    if variant["what"] == "resolution":
        return sliced(scan, variant["kind"], variant["level"], variant["thickness_mm"])
    if variant["what"] == "contrast":
        return with_contrast(scan, variant["kind"], variant["level"], tissue_medians(scan, truth))
    return scan


def scored(by: Segmenter, scan: Volume, truth: Volume) -> dict[str, Any]:
    """Mean Dice and SD95 (mm) of a segmentation at 1 mm, and Dice of every scored structure; a failure has Dice 0."""
    try:
        labels = by(scan)
    except InputError:  # no brain was found
        return {"dice": 0.0, "sd95_mm": None, "structures": {}}
    found = evaluate(resample_labels_to(labels, truth.shape, truth.affine), truth)
    known = {value: s["dice"] for value, s in found["structures"].items() if s["scored"] and s["dice"] is not None}
    dice, sd95 = found["mean"]["dice"] or 0.0, found["mean"]["sd95_mm"]
    structures = {value: round(one, 4) for value, one in known.items()}
    return {"dice": round(dice, 4), "sd95_mm": None if sd95 is None else round(sd95, 3), "structures": structures}


def means(rows: Sequence[Row], score: str = "dice") -> dict[tuple[str, float], dict[str, float]]:
    """Mean of a score over scans, by kind and level and then by model."""
    return mean_of(rows, ("kind", "level"), "model", score)


def complete(rows: Sequence[Row], what: str) -> list[Row]:
    """The rows of one experiment, of the scans that every model which took part has all variants of."""
    wanted = {(v["kind"], v["level"]) for v in variants([what])}
    taken = [row for row in rows if (row["kind"], row["level"]) in wanted]
    models = {row["model"] for row in taken if row["what"] == what}  # none of another experiment alone
    done: dict[tuple[str, str], set[tuple[str, float]]] = {}
    for row in taken:
        done.setdefault((row["scan"], row["model"]), set()).add((row["kind"], row["level"]))
    scans = {scan for scan, _ in done if all(done.get((scan, model)) == wanted for model in models)}
    return [row for row in taken if row["scan"] in scans and row["model"] in models]


def scans_of(rows: Sequence[Row]) -> int:
    return len({row["scan"] for row in rows})


def as_markdown(rows: Sequence[Row]) -> str:
    """Both experiments, each with its number of scans."""
    tables = {"resolution": resolution_table, "contrast": contrast_table}
    parts = {what: part for what in tables if (part := complete(rows, what))}
    return "\n\n".join(
        f"{what.capitalize()}, {scans_of(part)} scan(s):\n\n{tables[what](part)}" for what, part in parts.items()
    )


def models_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["model"] for row in rows))


def over_directions(rows: Sequence[Row], score: str = "dice") -> dict[float, dict[str, float]]:
    """Mean of a score over scans and directions, by spacing (1 mm is the scan as it is), as in Figure 8."""
    found: dict[float, dict[str, float]] = {}
    values = means(rows, score)
    for spacing in (1.0, *THICKNESS):
        keys = [(NOT_CHANGED, 1.0)] if spacing == 1.0 else [(direction, spacing) for direction in DIRECTIONS]
        for name in models_of(rows):
            known = [values[key][name] for key in keys if name in values.get(key, {})]
            if len(known) == len(keys):
                found.setdefault(spacing, {})[name] = statistics.mean(known)
    return found


def resolution_table(rows: Sequence[Row]) -> str:
    """Markdown: Dice (and SD95) by spacing over directions and for each direction, then what is lost."""
    names, dice, sd95, single = models_of(rows), over_directions(rows), over_directions(rows, "sd95_mm"), means(rows)
    header = ["slices", *(title for n in names for title in (f"{n}, Dice", "SD95 (mm)"))]
    first = [
        [_slices(mm), *(cell for n in names for cell in (one.get(n), _mm(sd95.get(mm, {}).get(n))))]
        for mm, one in dice.items()
    ]
    second = [
        [f"{direction}, {name}", *(single.get((direction, mm), {}).get(name) for mm in THICKNESS)]
        for name in names
        for direction in DIRECTIONS
    ]
    directions = markdown(["direction, Dice", *(f"{mm:g} mm" for mm in THICKNESS)], second)
    return "\n\n".join([markdown(header, first), directions, "\n".join(losses(rows))])


def contrast_table(rows: Sequence[Row]) -> str:
    names, values = models_of(rows), means(rows)
    words = {"gamma": "to the power of {:g}", "white": "white against grey matter {:g}", "inverted": "inverted"}
    places = [(NOT_CHANGED, 1.0), *((v["kind"], v["level"]) for v in variants(["contrast"])[1:])]
    known = [(kind, level) for kind, level in places if (kind, level) in values]
    rows_ = [[words.get(kind, kind).format(level), *map(values[kind, level].get, names)] for kind, level in known]
    return markdown(["intensities", *names], rows_)


def losses(rows: Sequence[Row]) -> list[str]:
    """Sentences: Dice lost between 1 and 7 mm, and the structures that lose most."""
    says, dice = [], over_directions(rows)
    for name in models_of(rows):
        first, last = (dice.get(spacing, {}).get(name) for spacing in (1.0, 7.0))
        if first is None or last is None:
            continue
        lost = sorted(_lost_by_structure(rows, name).items(), key=lambda one: -one[1])[:3]
        most = ", ".join(f"{structure} {loss:.3f}" for structure, loss in lost)
        says.append(f"{name} loses {first - last:.3f} Dice from 1 mm to 7 mm; most in {most}.")
    return says


def _lost_by_structure(rows: Sequence[Row], model: str) -> dict[str, float]:
    """Dice lost from 1 mm to 7 mm by structure, sides together."""
    found: dict[str, dict[bool, list[float]]] = {}
    for row in rows:
        coarse = row["what"] == "resolution" and row["level"] == 7.0
        if row["model"] == model and (coarse or row["kind"] == NOT_CHANGED):
            for value, dice in row["structures"].items():
                name = anatomy.name(int(value)).removeprefix("Left-").removeprefix("Right-")
                found.setdefault(name, {}).setdefault(coarse, []).append(dice)
    both = {name: one for name, one in found.items() if len(one) == 2}
    return {name: statistics.mean(one[False]) - statistics.mean(one[True]) for name, one in both.items()}


def _slices(spacing: float) -> str:
    return "1 mm (as it is)" if spacing == 1.0 else f"{spacing:g} mm apart, {THICKNESS[spacing]:g} mm thick"


def _mm(number: float | None) -> str | None:
    return None if number is None else f"{number:.2f}"


def draw_figure(rows: Sequence[Row], path: Path) -> None:
    """Dice against slice spacing (thick: mean of the directions; thin: each), and against the curves of contrast."""
    from matplotlib.figure import Figure

    draw = {"resolution": (_draw_resolution, 1.0), "contrast": (_draw_contrast, 1.7)}
    panels = {what: part for what in draw if (part := complete(rows, what))}
    if not panels:
        return
    widths = [draw[what][1] for what in panels]
    figure = Figure(figsize=(4.2 * sum(widths), 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True, width_ratios=widths))
    colors = {name: f"C{number}" for number, name in enumerate(models_of(rows))}
    for axis, (what, part) in zip(axes, panels.items(), strict=True):
        draw[what][0](axis, part, colors)
        axis.set_title(f"{what}, {scans_of(part)} scan(s)", fontsize=10)
        axis.grid(alpha=0.3)
    low = min(dice for part in panels.values() for one in means(part).values() for dice in one.values())
    axes[0].set_ylim(min(0.6, np.floor(10 * low) / 10), 0.9)
    axes[0].set_ylabel("mean Dice")
    axes[0].legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=130)


LINES = {"sagittal": ":", "coronal": "--", "axial": "-."}


def _draw_resolution(axis: Any, rows: Sequence[Row], colors: Mapping[str, str]) -> None:
    by_spacing, values, names = over_directions(rows), means(rows), models_of(rows)
    for name in names:
        dice = [one.get(name, np.nan) for one in by_spacing.values()]
        axis.plot([*by_spacing], dice, "o-", color=colors[name], label=name)
        for direction, line in LINES.items():
            places = [(NOT_CHANGED, 1.0), *((direction, spacing) for spacing in THICKNESS)]
            dice = [values.get(place, {}).get(name, np.nan) for place in places]
            label = direction if name == names[0] else None
            axis.plot([1, *THICKNESS], dice, line, color=colors[name], alpha=0.7, lw=1, label=label)
    axis.set_xticks([1, *THICKNESS])
    axis.set_xlabel("slice spacing (mm)")


def _draw_contrast(axis: Any, rows: Sequence[Row], colors: Mapping[str, str]) -> None:
    values = means(rows)
    sweep = [*(("gamma", g) for g in GAMMAS), None, *(("white", w) for w in WHITE), None, ("inverted", -1.0)]
    places = [(NOT_CHANGED, 1.0), None, *sweep]
    for name in models_of(rows):
        dice = [values.get(place, {}).get(name, np.nan) if place else np.nan for place in places]
        axis.plot(range(len(places)), dice, "o-", color=colors[name], label=name)
    words = {"gamma": "γ {:g}", "white": "w {:g}", NOT_CHANGED: "as it is", "inverted": "inverted"}
    ticks = [(i, words[p[0]].format(p[1])) for i, p in enumerate(places) if p]
    axis.set_xticks([i for i, _ in ticks], [text for _, text in ticks], rotation=60, fontsize=8)
    axis.set_xlabel("curve of intensities (γ: power; w: white against grey matter)", fontsize=9)


@command
def main() -> int:
    args = arguments(
        __doc__, "folder", "--out", "--scans", "--fast", "--threads", out={"default": Path("resolution")},
        models={"nargs": "+", "default": [DEFAULT], "metavar": "MODEL"},
        what={"nargs": "+", "choices": ["resolution", "contrast"], "default": ["resolution", "contrast"]},
    )  # fmt: skip
    pairs = labelled_pairs(args.folder, args.scans)
    options = {"device": "cpu", "threads": args.threads, "flip": not args.fast, "grid": "1mm"}
    networks = {name: load_model(name) for name in args.models}
    models = {n: lambda scan, m=m: segment(scan, network=m, **options).labels for n, m in networks.items()}
    rows = Rows(args.out)
    new = sweep(pairs, variants(args.what), models, tuple(rows), changed, scored, "model")
    rows.collect(new, "{scan} {kind} {level:g} {model}: Dice {dice:.3f}, {seconds} s")
    draw_figure(rows, args.out / "figure.png")
    return finish(as_markdown(rows), args.out)


if __name__ == "__main__":
    sys.exit(main())
