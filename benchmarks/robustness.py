"""Dice on labelled scans made worse and worse, of a plain network against a robust one.

    python benchmarks/robustness.py FOLDER --robust MODEL [--kinds noise blur ...] [--out robustness] [...]

FOLDER holds scans of 1 mm with label files beside them (`1002_t1.nii.gz`, `1002_labels.nii.gz`). Each is degraded in
one way at a time, at growing strength, with fixed seeds, and then in several ways at once, as scans from the clinic
are. Every network segments it as `napari-synthseg segment` does.

Where the robust network shows its stages, the ablations of SynthSeg+'s Figure 5 run too: "S1+S2" hands on S1's tissues
as they are; "plain+D" corrects the plain network's labels by the denoiser: where their tissue is not the one that D
makes of all of them, the nearest label of that tissue takes their place. (The paper has a denoiser of all labels for
it; none is trained here.)

Writes rows.json (a segmentation each; a run that was stopped goes on from there), table.md and figure.png to --out.
"""

from __future__ import annotations

import copy
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import PROFILE, Row, Rows, arguments, command, finish, labelled_pairs, markdown, means, sweep
from scipy.ndimage import distance_transform_edt
from torch import nn
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.metrics import evaluate
from napari_synthseg.generator.degradation import degrade, normalized
from napari_synthseg.generator.head import along, blur_matrix
from napari_synthseg.generator.model import Record
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.networks.hierarchy import RobustLocateRefine, as_channels
from napari_synthseg.volume import Volume, to_canonical
from napari_synthseg.weights.catalogue import DEFAULT
from napari_synthseg.weights.store import load_model

NOTHING: dict[str, Any] = dict(  # noqa: C408
    rotation_deg=(0, 0, 0), scaling=(1, 1, 1), shearing=(0, 0, 0), translation_mm=(0, 0, 0), velocity_std=0,
    velocity_grid=10, velocity_seed=0, bias_std=0, bias_grid=4, bias_seed=0, gamma=1, direction=2, slice_spacing_mm=1,
    slice_blur_mm=0, noise_std=0, noise_seed=0,
)  # fmt: skip
"""A degradation that changes nothing but the scale of the intensities."""
SLICES = {"sagittal": 0, "coronal": 1, "axial": 2}
LEVELS: dict[str, tuple[float, ...]] = {
    "noise": (10, 25, 50, 75, 100, 200),
    "blur": (1, 2, 3, 4, 6, 8),
    **{f"{name} slices": (3, 5, 7, 9) for name in SLICES},
    "bias": (0.3, 0.6, 1.0, 1.5),
    "contrast": (0.5, 0.25, 0.1),
    "all at once": (1, 2, 3, 4),
}
"""Standard deviation of noise (intensities in [0, 255]); of a blur in all directions, mm; spacing and thickness of
slices, mm; standard deviation of the logarithm of a bias field; share of the contrast left, with noise of 10; number of
the combination."""
COMBINED = {1: (0.7, 0.3, 3, 10), 2: (0.5, 0.6, 5, 20), 3: (0.35, 1.0, 7, 30), 4: (0.25, 1.5, 9, 40)}
"""Share of the contrast left, bias field, slices (in a direction that takes turns over scans) and noise of each."""
AS_IT_IS = ("none", 0.0)
FAILED, GOOD = 0.6, 0.8
"""Below, a plain network has failed; from here on it does well."""
Segmenter = Callable[[Volume], Volume]


def made_worse(scan: Volume, kind: str, level: float, seed: int) -> Volume:
    """A scan at a level of a kind of `LEVELS` (or "none"); the seed is that of noise and bias field."""
    seeded = {"bias_seed": seed, "noise_seed": seed}
    if kind == "noise":
        return _degraded(scan, noise_std=level, **seeded)
    if kind == "bias":
        return _degraded(scan, bias_std=level, **seeded)
    if kind.endswith(" slices"):
        direction = SLICES[kind.split()[0]]
        return _degraded(scan, direction=direction, slice_spacing_mm=level, slice_blur_mm=PROFILE * level)
    if kind == "blur":
        image = torch.from_numpy(normalized(scan.data))
        for axis, (n, mm) in enumerate(zip(image.shape, scan.spacing, strict=True)):
            image = along(image, axis, blur_matrix(n, level / float(mm)))
        return scan.with_data(image.numpy())
    if kind == "contrast":
        noise = np.random.default_rng(seed).normal(0, 10, scan.shape).astype(np.float32)
        return scan.with_data(np.clip(_squeezed(scan, level) + noise, 0, 255))
    if kind == "all at once":
        contrast, bias, slices, noise_std = COMBINED[round(level)]
        thick = {"direction": seed % 3, "slice_spacing_mm": slices, "slice_blur_mm": PROFILE * slices}
        return _degraded(
            scan.with_data(_squeezed(scan, contrast)), bias_std=bias, noise_std=noise_std, **thick, **seeded
        )
    return _degraded(scan)


def _squeezed(scan: Volume, share: float) -> np.ndarray:
    """A scan with so much of its contrast, [0, 255]; what is 0 stays so."""
    image = normalized(scan.data)
    middle = image[image > 0].mean()
    return np.where(image > 0, middle + share * (image - middle), 0).astype(np.float32)


def _degraded(scan: Volume, **changes: Any) -> Volume:
    return degrade(scan, Record.from_dict({**NOTHING, **changes})).image


class PassOn(nn.Module):
    """In a denoiser's place: says of tissue maps what they say."""

    def __init__(self, labels: Sequence[int]) -> None:
        super().__init__()
        self.labels, self.multiple = tuple(labels), 1

    def logits(self, tissues: torch.Tensor) -> torch.Tensor:
        return tissues.clamp(min=1e-6).log()

    def forward(self, tissues: torch.Tensor) -> torch.Tensor:
        return tissues


def without_denoiser(model: nn.Module) -> nn.Module:
    """S1+S2: a copy of a robust network in which S2 sees what S1 found."""
    twin = copy.deepcopy(model)
    owner = twin.locator if isinstance(twin, RobustLocateRefine) else twin
    owner.denoiser = PassOn(owner.denoiser.labels)  # type: ignore[union-attr, arg-type]
    return twin


def fitted(volume: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The middle of (B, C, X, Y, Z), cut or padded with zeros to a shape; back and forth ends where it began."""
    pads: list[int] = []
    for n, m in zip(reversed(volume.shape[2:]), reversed(tuple(shape)), strict=True):
        low = m // 2 - n // 2
        pads += [low, m - n - low]
    return F.pad(volume, pads)


@torch.inference_mode()
def denoised(model: nn.Module, classes: np.ndarray) -> np.ndarray:
    """(X, Y, Z) tissue classes at 1 mm, RAS, brain in the middle -> those that a robust network's D makes of them."""
    maps = as_channels(torch.from_numpy(classes.astype(np.int64))[None], len(anatomy.TISSUES))
    if isinstance(model, RobustLocateRefine):
        field = fitted(maps, [2 * n for n in model.head_shape])
        field[:, 0] += 1 - field.sum(1)
        out = F.interpolate(model.locator.denoiser.logits(F.avg_pool3d(field, 2)), scale_factor=2)
    else:
        shape = [-(-n // 32) * 32 for n in classes.shape]
        field = fitted(maps, shape)
        field[:, 0] += 1 - field.sum(1)
        out = model.denoiser(field)  # type: ignore[operator]
    found = fitted(out.argmax(1, keepdim=True), classes.shape)[0, 0]
    return found.numpy().astype(np.uint8)


def corrected(labels: Volume, model: nn.Module) -> Volume:
    """plain+D: labels whose tissue is the one that D makes of all of them, on the same grid."""
    out = labels.with_data(labels.data.copy())
    values = to_canonical(out).data
    inside = np.argwhere(values > 0)
    if not len(inside):
        return out
    box = tuple(
        slice(max(0, a - 16), min(n, b + 17))
        for a, b, n in zip(inside.min(0), inside.max(0), values.shape, strict=True)
    )
    part = values[box]
    tissue = {s.value: anatomy.TISSUES.index(s.tissue) for s in anatomy.table()}
    table = np.zeros(int(max(part.max(), *tissue)) + 1, np.uint8)
    table[list(tissue)] = list(tissue.values())
    before = table[part]
    after, result = denoised(model, before), part.copy()
    for one in range(len(anatomy.TISSUES)):
        wrong, own = (after == one) & (before != one), before == one
        if one == 0:
            result[wrong] = 0
        elif own.any() and wrong.any():
            nearest = distance_transform_edt(~own, return_distances=False, return_indices=True)
            result[wrong] = part[tuple(axis[wrong] for axis in nearest)]
    values[box] = result
    return out


def segmenters(plain: nn.Module, robust: nn.Module, ablations: bool, **options: Any) -> dict[str, Segmenter]:
    def by(model: nn.Module) -> Segmenter:
        return lambda scan: segment(scan, network=model, **options).labels

    newest: list[tuple[Volume, Volume]] = []  # plain+D starts from what plain has just said of the same scan

    def plainly(scan: Volume) -> Volume:
        if not newest or newest[0][0] is not scan:
            newest[:] = [(scan, by(plain)(scan))]
        return newest[0][1]

    chosen: dict[str, Segmenter] = {"plain": plainly, "robust": by(robust)}
    if ablations and hasattr(robust, "stages"):
        chosen["S1+S2"] = by(without_denoiser(robust))
        chosen["plain+D"] = lambda scan: corrected(plainly(scan), robust)
    return chosen


def changed(scan: Volume, truth: Volume, variant: Row, number: int) -> Volume:
    return made_worse(scan, variant["kind"], variant["level"], seed=number)


def scored(by: Segmenter, scan: Volume, truth: Volume) -> Row:
    """Mean Dice; 0 where no brain was found."""
    try:
        return {"dice": evaluate(by(scan), truth)["mean"]["dice"] or 0.0}
    except InputError:
        return {"dice": 0.0}


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line for each level, then what it says of scans where the plain network fails and does well."""
    names = list(dict.fromkeys(row["network"] for row in rows))
    lines = [
        [kind, f"{level:g}", *map(one.get, names)]
        for (kind, level), one in means(rows, ("kind", "level"), "network").items()
    ]
    return "\n".join([markdown(["degradation", "level", *names], lines), "", *verdict(rows)])


def verdict(rows: Sequence[Row]) -> list[str]:
    """Sentences on robust against plain, scan by scan and level by level."""
    pairs: dict[tuple, dict[str, float]] = {}
    for row in rows:
        pairs.setdefault((row["scan"], row["kind"], row["level"]), {})[row["network"]] = row["dice"]
    both = [(one["plain"], one["robust"]) for one in pairs.values() if {"plain", "robust"} <= one.keys()]
    failed = [b - a for a, b in both if a < FAILED]
    good = [a - b for a, b in both if a >= GOOD]
    says = []
    if failed:
        won = sum(gain > 0 for gain in failed)
        says.append(
            f"Where plain fails (Dice below {FAILED}): robust is better in {won} of {len(failed)}, by "
            f"{statistics.mean(failed):+.3f} on average."
        )
    if good:
        says.append(
            f"Where plain does well (Dice {GOOD} or more): robust loses {statistics.mean(good):+.3f} on average of "
            f"{len(good)}, {max(good):+.3f} at most."
        )
    return says


def draw_figure(rows: Sequence[Row], path: Path) -> None:
    """A panel for each kind: mean Dice against strength, a line for each network."""
    from matplotlib.figure import Figure

    values, names = means(rows, ("kind", "level"), "network"), list(dict.fromkeys(row["network"] for row in rows))
    kinds = [kind for kind in LEVELS if any(key[0] == kind for key in values)]
    if not kinds:
        return
    columns = min(4, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.8 * lines), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns, sharey=True)).ravel()
    for axis, kind in zip(axes, kinds, strict=False):
        levels = [key[1] for key in values if key[0] == kind]
        ticks = [*([0.0] if AS_IT_IS in values else []), *levels]
        for name in names:
            found = [(AS_IT_IS if i == 0 and AS_IT_IS in values else (kind, t)) for i, t in enumerate(ticks)]
            axis.plot(range(len(ticks)), [values[key].get(name, np.nan) for key in found], "o-", ms=3, label=name)
        axis.set_xticks(range(len(ticks)), ["-" if t == 0.0 else f"{t:g}" for t in ticks])
        axis.set_title(kind, fontsize=10)
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.3)
    for axis in axes[len(kinds) :]:
        axis.set_visible(False)
    axes[0].set_ylabel("mean Dice")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=130)


@command
def main() -> int:
    args = arguments(
        __doc__, "folder", "--out", "--scans", "--only", "--fast", "--threads", out={"default": Path("robustness")},
        plain={"default": DEFAULT}, robust={"required": True}, no_ablations={"action": "store_true"},
        kinds={"nargs": "+", "choices": LEVELS, "default": list(LEVELS)},
    )  # fmt: skip
    pairs = labelled_pairs(args.folder, args.scans, args.only)
    plain, robust = load_model(args.plain), load_model(args.robust)
    models = segmenters(plain, robust, not args.no_ablations, device="cpu", threads=args.threads, flip=not args.fast)
    levels = [AS_IT_IS, *((kind, float(level)) for kind in args.kinds for level in LEVELS[kind])]
    variants = [{"kind": kind, "level": level} for kind, level in levels]
    rows = Rows(args.out)
    new = sweep(pairs, variants, models, tuple(rows), changed, scored, "network")
    rows.collect(new, "{scan} {kind} {level:g} {network}: Dice {dice:.3f}, {seconds} s")
    draw_figure(rows, args.out / "figure.png")
    return finish(table(rows), args.out)


if __name__ == "__main__":
    sys.exit(main())
