"""Agreement of one label map with another: Dice overlap, surface distances and volumes, structure by structure.

Dice and SD95 are the scores of the SynthSeg paper (section 4.3). SD95 is the 95th percentile of the distances (mm) from
every surface voxel of either segmentation to the surface of the other one, both directions pooled; the mean surface
distance is their mean. Surface voxels are those with a face neighbour outside the structure; beyond the field of view
counts as outside. The volume difference is 100 (segmentation - truth) / truth, in percent.

A structure that only one of the two label maps holds scores a Dice of 0 and has no distances (None); one that neither
holds has no scores and enters no mean. So the mean Dice punishes a missing structure while mean distances cannot: the
missing ones are listed beside the means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from typing import Any

import edt
import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import find_objects

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, run
from napari_synthseg.resampling import ranks
from napari_synthseg.volume import Volume, same_grid, to_canonical

PERCENTILE = 95.0
_COUNTED_BELOW = 1 << 20
"""Values for which a table of counts is small; greater ones are sorted."""


def evaluate(
    pred: Volume,
    truth: Volume,
    values: Iterable[int] | None = None,
    *,
    names: tuple[str, str] = ("the segmentation", "the ground truth"),
) -> dict[str, Any]:
    """Scores a segmentation against a ground truth.

    Args:
        pred, truth: label maps of FreeSurfer values on one grid, axis order and directions aside.
        values: to score; default all that a network predicts, of which the means take the scored ones
            (`Structure.evaluated`). Given values all enter the means.
        names: what messages call the two.

    Returns:
        `structures`: by value (as text), `name`, `dice`, `sd95_mm`, `msd_mm` (mean surface distance), `volume_mm3`,
        `truth_volume_mm3`, `difference_percent`, `scored`;
        `notes`: sentences on values that were mapped to those of a network (`anatomy.from_freesurfer`);
        `lacking`: sentences on structures that one of the two lacks although they enter the means;
        `mean`: `dice`, `sd95_mm`, `msd_mm` and `absolute_difference_percent` over the scored structures that either
        holds, `structures` (how many those are), `missing` and `extra` (scored values that only the truth, only the
        segmentation holds).

    Raises:
        InputError: The grids differ, or one of the two is no label map.
    """
    a, b, spacing = aligned(pred, truth, names)
    asked = None if values is None else [int(value) for value in values]
    own, notes = (a, b), list[str]()
    if asked is None or not {*anatomy.FREESURFER, *anatomy.SIDELESS} & set(asked):
        (a, b), notes = in_table(a, b, names, keep=asked or ())
    chosen = list(anatomy.predicted_values()[1:]) if asked is None else asked
    scored = set(chosen) if asked is not None else {s.value for s in anatomy.table() if s.evaluated}
    found = run(scores_steps(a, b, spacing, chosen, scored))
    held = sorted({int(value) for labels in own for value in np.unique(labels)} - {0})
    if held and asked is None and all(one["dice"] is None for one in found["structures"].values()):
        listed = " ".join(map(str, held[:6])) + (" ..." if len(held) > 6 else "")
        notes = [
            f"Neither {names[0]} nor {names[1]} holds a structure of the brain: score others by --values {listed}."
        ]
    return {**found, "notes": notes, "lacking": lacking([found["structures"]], names)}


def in_table(
    a: np.ndarray, b: np.ndarray, names: tuple[str, str], *, keep: Collection[int] = ()
) -> tuple[tuple[np.ndarray, np.ndarray], list[str]]:
    """Map FreeSurfer's own values in a segmentation and a truth to those that a network predicts; `keep` stay.

    Returns:
        Both arrays (X, Y, Z), and a sentence on each in which something was mapped.
    """
    mapped, notes = [], []

    def listed(found: Sequence[int]) -> str:
        return ", ".join(map(str, found[:6])) + (", ..." if len(found) > 6 else "")

    for labels, name in ((a, names[0]), (b, names[1])):
        labels, found = anatomy.from_freesurfer(labels, keep=keep, predicted=True)
        mapped.append(labels)
        if found:
            notes.append(
                f"{name} holds values of FreeSurfer's aseg or aparc ({listed(list(found))}), which were taken for the "
                "structures that a network predicts, such as parts of the cortex for cortex, the corpus callosum for "
                "white matter."
            )
        if unknown := [v for v in map(int, np.unique(labels)) if not anatomy.known(v) and v not in keep]:
            notes.append(
                f"{name} holds values of no structure of the brain ({listed(unknown)}), which were not scored."
            )
    return (mapped[0], mapped[1]), notes


def lacking(scans: Sequence[Mapping[str, Mapping[str, Any]]], names: tuple[str, str]) -> list[str]:
    """Say which scored structures one side lacks, in how many scans, and how the means count them.

    Args:
        scans: `structures` of each scan.
        names: what to call the two sides.
    """
    said = []
    for key, name in zip(("volume_mm3", "truth_volume_mm3"), names, strict=True):
        absent = Counter(
            s["name"] for scan in scans for s in scan.values() if s["scored"] and s["dice"] is not None and s[key] == 0
        )
        if absent:
            listed = ", ".join(f"{one} ({n} of {len(scans)} scans)" if scans[1:] else one for one, n in absent.items())
            said.append(
                f"{name} lacks {listed}: a Dice of 0 each in the mean, none of the distances (--values chooses "
                "structures)."
            )
    return said


def scores_steps(
    a: np.ndarray, b: np.ndarray, spacing: ArrayLike, values: list[int], scored: set[int]
) -> Generator[Progress, None, dict[str, Any]]:
    """The scores of `evaluate` for two integer arrays (X, Y, Z) on one grid of a given spacing (mm)."""
    boxes = boxes_of(a, b, values)
    structures: dict[str, dict[str, Any]] = {}
    for done, value in enumerate(values):
        yield Progress("Comparing", done, len(values))
        box = boxes.get(value)
        empty = np.zeros(0, bool)
        in_a, in_b = (empty, empty) if box is None else (a[box] == value, b[box] == value)
        structures[str(value)] = {
            "name": anatomy.name(value),
            **_scores_of_masks(in_a, in_b, spacing),
            "scored": value in scored,
        }
    return {"structures": structures, "mean": _mean(structures)}


def _scores_of_masks(in_a: np.ndarray, in_b: np.ndarray, spacing: ArrayLike) -> dict[str, float | None]:
    voxel = float(np.prod(np.asarray(spacing)))
    size_a, size_b = int(in_a.sum()), int(in_b.sum())
    distances = surface_distances(in_a, in_b, spacing) if size_a and size_b else None
    return {
        "dice": dice(in_a, in_b) if size_a or size_b else None,
        "sd95_mm": None if distances is None else float(np.percentile(distances, PERCENTILE)),
        "msd_mm": None if distances is None else float(distances.mean(dtype=np.float64)),
        "volume_mm3": size_a * voxel,
        "truth_volume_mm3": size_b * voxel,
        "difference_percent": 100.0 * (size_a - size_b) / size_b if size_b else None,
    }


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice overlap of two masks of one shape, 0 to 1; 1 when both are empty."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 1.0 if total == 0 else 2.0 * int(np.count_nonzero(np.logical_and(a, b))) / total


def surface_distance(
    a: np.ndarray, b: np.ndarray, spacing: ArrayLike = (1.0, 1.0, 1.0), percentile: float = PERCENTILE
) -> float:
    """Return a percentile of `surface_distances`, mm: 95 for SD95, 100 for the Hausdorff distance."""
    return float(np.percentile(surface_distances(a, b, spacing), percentile))


def surface_distances(a: np.ndarray, b: np.ndarray, spacing: ArrayLike = (1.0, 1.0, 1.0)) -> np.ndarray:
    """(N,) distances in mm from every surface voxel of either mask (X, Y, Z) to the surface of the other one.

    Args:
        a, b: of one shape.
        spacing: voxel size along each axis, mm.

    Raises:
        ValueError: One of the masks is empty, so that it has no surface.
    """
    if not a.any() or not b.any():
        raise ValueError("A surface distance needs two masks that are not empty.")
    surfaces = [_surface(mask) for mask in (a, b)]
    to_a, to_b = (
        edt.edt(~s, anisotropy=tuple(np.asarray(spacing, dtype=float).tolist()), black_border=False) for s in surfaces
    )
    return np.concatenate([to_b[surfaces[0]], to_a[surfaces[1]]])


def aligned(pred: Volume, truth: Volume, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels of two volumes as int32 (X, Y, Z) arrays on one canonical grid, and its spacing in mm.

    Raises:
        InputError: The grids differ by more than axis swaps and flips (a twentieth of a voxel is forgiven), or one of
            the two holds values that are not whole numbers.
    """
    a, b = to_canonical(pred), to_canonical(truth)
    if not same_grid(a, b, tolerance=0.05):
        raise InputError(
            f"{names[0]} and {names[1]} lie on different grids ({_grid(a)} against {_grid(b)}): "
            "segment with --grid input on the scan that the ground truth was drawn on."
        )
    return _whole(a.data, names[0]), _whole(b.data, names[1]), np.asarray(b.spacing, dtype=float)


def _whole(data: np.ndarray, name: str) -> np.ndarray:
    exact = np.issubdtype(data.dtype, np.integer) or data.dtype == bool
    if not exact and not (np.isfinite(data).all() and (data == np.round(data)).all()):
        raise InputError(f"{name} holds values that are not whole numbers: give a label map, not an image.")
    return data.astype(np.int32)


def _grid(volume: Volume) -> str:
    spacing = " x ".join(f"{x:.3g}" for x in volume.spacing)
    origin = ", ".join(f"{x:.4g}" for x in volume.affine[:3, 3])
    return f"{' x '.join(map(str, volume.shape))} voxels of {spacing} mm from ({origin})"


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask with a face neighbour outside it."""
    padded = np.pad(mask, 1)
    core = padded.copy()
    for axis in range(3):
        core &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return mask & ~core[1:-1, 1:-1, 1:-1]


def boxes_of(a: np.ndarray, b: np.ndarray, values: list[int]) -> dict[int, tuple[slice, ...]]:
    """For each value in either array, the slices of its bounding box over both."""
    boxes: dict[int, tuple[slice, ...]] = {}
    for labels in (a, b):
        found = find_objects(ranks(labels, values), max_label=len(values))
        for value, box in zip(values, found, strict=True):
            if box is not None:
                old = boxes.get(value, box)
                boxes[value] = tuple(
                    slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(old, box, strict=True)
                )
    return boxes


def _mean(structures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over the scored structures that either label map holds, and which of them one does not hold."""
    scored = {v: s for v, s in structures.items() if s["scored"] and s["dice"] is not None}
    sizes = [s["difference_percent"] for s in scored.values()]
    return {
        **{score: mean_known(s[score] for s in scored.values()) for score in ("dice", "sd95_mm", "msd_mm")},
        "absolute_difference_percent": mean_known(None if size is None else abs(size) for size in sizes),
        "structures": len(scored),
        "missing": [int(v) for v, s in scored.items() if s["volume_mm3"] == 0],
        "extra": [int(v) for v, s in scored.items() if s["truth_volume_mm3"] == 0],
    }


def mean_known(figures: Iterable[float | None]) -> float | None:
    known = [one for one in figures if one is not None]
    return float(np.mean(known)) if known else None


# --- volumes ----------------------------------------------------------------------------------------------------------


def count_labels(labels: np.ndarray) -> dict[int, int]:
    """Voxels of each value that occurs, background among them, sorted by value."""
    if labels.size == 0:
        return {}
    if labels.min() < 0 or labels.max() >= _COUNTED_BELOW:
        found, numbers = np.unique(labels, return_counts=True)
        return {int(v): int(n) for v, n in zip(found, numbers, strict=True)}
    counts = np.zeros(int(labels.max()) + 1, np.int64)
    for part in np.atleast_2d(labels):  # counting needs 8 bytes a voxel: a plane at a time
        counts += np.bincount(part.astype(np.intp, copy=False).ravel(), minlength=len(counts))
    return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}


def asymmetry_index(left: float, right: float) -> float | None:
    """200 (L - R) / (L + R) in percent, -200 to 200: positive where the left is larger; None where both are empty."""
    return None if left + right == 0 else 200.0 * (left - right) / (left + right)


def side_pairs(values: Iterable[int]) -> list[tuple[int, int]]:
    """The (left, right) values of the structures of which both sides are among `values`, sorted by the left one."""
    there = {int(v) for v in values}
    known = [anatomy.structure(v) for v in sorted(there) if anatomy.known(v)]
    return [(s.value, s.contralateral) for s in known if s.side == "left" and s.contralateral in there - {s.value}]


def compare_volumes(
    pred: Sequence[Mapping[int, float]], truth: Sequence[Mapping[int, float]]
) -> dict[int, dict[str, float | int | None]]:
    """Agreement of the volumes (mm^3) of several scans, structure by structure.

    Args:
        pred, truth: volumes of the same scans in one order, by value.

    Returns:
        For each value that a true scan holds: `scans` (in how many), `difference_percent` (mean relative difference,
        the bias), `absolute_difference_percent` (mean of its absolute value) and `correlation` (Pearson; None for
        fewer than three scans or when either side does not vary).

    Raises:
        ValueError: The two sequences differ in length.
    """
    if len(pred) != len(truth):
        raise ValueError(f"Volumes of {len(pred)} scans cannot be compared with those of {len(truth)}.")
    out: dict[int, dict[str, float | int | None]] = {}
    for value in sorted({v for scan in truth for v, size in scan.items() if size > 0}):
        pairs = np.array(
            [(p.get(value, 0.0), t[value]) for p, t in zip(pred, truth, strict=True) if t.get(value, 0) > 0]
        )
        difference = 100.0 * (pairs[:, 0] - pairs[:, 1]) / pairs[:, 1]
        varies = len(pairs) > 2 and (np.ptp(pairs, 0) > 0).all()
        out[value] = {
            "scans": len(pairs),
            "difference_percent": float(difference.mean()),
            "absolute_difference_percent": float(np.abs(difference).mean()),
            "correlation": float(np.corrcoef(pairs.T)[0, 1]) if varies else None,
        }
    return out
