"""Evaluation of label files: a pair of them, or two folders whose files are matched by the names of their scans.

How folders are matched: a name is cut at its underscores (`1002_t1_dseg.nii.gz` is `1002`, `t1`, `dseg`), and each
prediction goes with the truth that shares most leading parts with it, at least one (`1002_labels.nii.gz`). Files that
disagree in a BIDS entity (`ses-1` against `ses-2`, `desc-` aside) never match; between equals the same name wins, and
what stays ambiguous is an error. In a folder that holds names ending in `_dseg`, `_labels`, `_seg` and the like, only
those files are taken, so that scans may lie beside them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import write_text
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation import metrics
from napari_synthseg.evaluation.metrics import compare_volumes, mean_known
from napari_synthseg.io import read_label_table, read_labels, stem
from napari_synthseg.io.finding import is_series, scans_at, walk
from napari_synthseg.io.formats import exists
from napari_synthseg.jobs import Progress, run
from napari_synthseg.volume import Volume

logger = logging.getLogger("napari_synthseg")

DERIVED = "derivatives"
"""Folder of a BIDS dataset that holds what programs made of its scans."""
MOST_NOTES = 12
_LABEL_ENDINGS = ("dseg", "labels", "label", "seg", "aseg", "synthseg", "segmentation")


@dataclass(frozen=True)
class EvaluateOptions:
    """What to score."""

    values: tuple[int, ...] = ()
    """Values to score; without any, all that a network of the brain predicts, with means over those of the paper."""
    reduce: bool = False
    """Reduce the truth to what a network predicts first (lesions to white matter, extra-cerebral labels to background):
    for label maps made for training."""


def evaluate_files(
    pred: Path | str, truth: Path | str, json_path: Path | str | None = None, options: EvaluateOptions | None = None
) -> dict[str, Any]:
    """Scores label files against true ones; see `evaluate_steps`. Writes the result as JSON where a path is given."""
    result = run(evaluate_steps(pred, truth, options))
    if json_path is not None:
        write_text(Path(json_path), json.dumps(result, indent=1) + "\n")
    return result


def evaluate_steps(
    pred: Path | str, truth: Path | str, options: EvaluateOptions | None = None
) -> Generator[Progress, None, dict[str, Any]]:
    """Score a label file or a folder of them against true ones, matched as the module says; one report a scan.

    A pair of a folder that cannot be scored (unreadable, another grid) is reported and stops no other.

    Returns:
        A dictionary ready for JSON: `mean` (`dice`, `sd95_mm`, `msd_mm`, `absolute_difference_percent`: means over
        scans of each scan's means; `scans`; `missing`: structures missing, all scans together), `structures` (by value:
        means over scans of `dice`, `sd95_mm` and `msd_mm`, and the agreement of volumes of
        `volumetry.compare_volumes`), `scans` (the paths and what `metrics.evaluate` says, for each), `failed` (paths
        and `reason` of pairs that could not be scored) and `unmatched` (`pred`, `truth`: files without a partner).

    Raises:
        InputError: Nothing matches, a match is ambiguous, or the only pair cannot be scored: a file that cannot be read
            or is no label map, grids that differ.
    """
    options = options or EvaluateOptions()
    pairs, unmatched = pair_up(Path(pred), Path(truth))
    scans: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for done, (pred_path, truth_path) in enumerate(pairs):
        yield Progress("evaluating", done, len(pairs), {"scan": pred_path.name})
        paths = {"pred": str(pred_path), "truth": str(truth_path)}
        try:
            scans.append({**paths, **_scored(pred_path, truth_path, options)})
        except (ValueError, OSError, MemoryError) as error:
            if len(pairs) == 1:
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            failed.append({**paths, "reason": reason})
            logger.warning("%s was not scored: %s", pred_path.name, reason)
    yield Progress("evaluating", len(pairs), len(pairs))
    found = {"mean": _overall(scans), "structures": _by_structure(scans)}
    return {**found, "scans": scans, "failed": failed, "unmatched": unmatched}


def _scored(pred: Path, truth: Path, options: EvaluateOptions) -> dict[str, Any]:
    """What `metrics.evaluate` says of two files, its structures called as their tables say."""
    true = read_labels(truth)
    result = metrics.evaluate(
        read_labels(pred),
        _reduced(true, truth.name) if options.reduce else true,
        options.values or None,
        names=(pred.name, truth.name),
    )
    for value, label in {**read_label_table(truth), **read_label_table(pred)}.items():
        if str(value) in result["structures"]:  # of another organ than the brain, perhaps
            result["structures"][str(value)]["name"] = label.name
    return result


LEGEND = (
    "* enters the mean; SD95, mean: 95th percentile and mean of the distances between the surfaces; "
    "vol. %: 100 (labels - truth) / truth;\nr: correlation of the volumes over the scans"
)


def table(result: dict[str, Any]) -> str:
    """A result of `evaluate_steps` as text: one line a structure, one a scan, the mean, and what was left out."""
    header = f"{'structure':<31}{'Dice':>7}{'SD95 mm':>9}{'mean mm':>9}{'vol. %':>8}{'r':>7}"
    lines = [header]
    for s in result["structures"].values():
        if s["dice"] is not None:
            name = s["name"] + (" *" if s["scored"] else "")
            lines.append(f"{name:<31}{_figures_text(s, 'difference_percent')}{_text(s['correlation'], 7, 2)}")
    lines += [LEGEND, ""]
    scans, last = result["scans"], "absolute_difference_percent"
    if scans[1:]:
        lines += [*(f"{stem(one['pred'])[:30]:<31}{_figures_text(one['mean'], last)}" for one in scans), ""]
    lines.append(f"{'mean of ' + str(len(scans)) + ' scan(s)':<31}{_figures_text(result['mean'], last)}")
    return "\n".join([*lines, *left_out(result)])


def left_out(result: dict[str, Any]) -> list[str]:
    """Return the notes on scans, what one side lacks, and a line on every file that was not scored, and why."""
    scans = result["scans"]
    notes = list(dict.fromkeys(note for scan in scans for note in scan.get("notes", ())))
    lines = notes[:MOST_NOTES] + ([f"and {len(notes) - MOST_NOTES} more notes"] if len(notes) > MOST_NOTES else [])
    if len(scans) == 1:
        lines += scans[0].get("lacking", ())
    else:
        lines += metrics.lacking([scan["structures"] for scan in scans], ("the segmentation", "the truth"))
    lines += [f"not scored: {Path(one['pred']).name}: {one['reason']}" for one in result["failed"]]
    for side, other in (("pred", "truth"), ("truth", "segmentation")):
        lines += [f"no {other} for {name}" for name in result["unmatched"][side]]
    return lines


def is_label_name(path: Path | str) -> bool:
    """Whether a file's name says that it holds labels."""
    return stem(path).split("_")[-1].lower() in _LABEL_ENDINGS


def labelled_scans(folder: Path, labels: Path | None = None) -> list[tuple[Path, Path]]:
    """Scans of a folder, each with its label file; scans without one are left out.

    A label file belongs to the scans whose names begin with its own, its ending (`_labels`, `_label`, ...) aside:
    `1002_labels` to `1002_t1`, `mr_train_1001_label` to `mr_train_1001_image`. The longest such name wins. In names of
    BIDS (`sub-01_desc-x_dseg`) the same subject is enough where it has one label file only.

    Args:
        folder: of scans.
        labels: folder of the label files, whose names then need no ending (`la_003` to `la_003_0000`); by default they
            lie beside the scans.
    """
    files = scans_at(folder)
    if labels is None or labels.resolve() == folder.resolve():
        found, scans = [p for p in files if is_label_name(p)], [p for p in files if not is_label_name(p)]
    else:
        found, scans = _label_files(labels), files
    pairs = [(scan, _labels_of(scan, found)) for scan in scans]
    return [(scan, path) for scan, path in pairs if path is not None]


def _labels_of(scan: Path, labels: Sequence[Path]) -> Path | None:
    own = _parts(scan)
    names = {path: _parts(path)[:-1] if is_label_name(path) else _parts(path) for path in labels}
    fitting = [path for path, name in names.items() if name and own[: len(name)] == name]
    if fitting:
        return max(fitting, key=lambda path: len(names[path]))
    same = [path for path in labels if "-" in own[0] and _parts(path)[0] == own[0]]
    return same[0] if len(same) == 1 else None


def pair_up(pred: Path, truth: Path) -> tuple[list[tuple[Path, Path]], dict[str, list[str]]]:
    """Pairs of files to compare, sorted by name, and the names of the files without a partner.

    Segmentations are looked for in all folders below, as `batch` writes them; the truth there only where it has no file
    at the top. What lies in the other folder is of the other side, and derivatives of BIDS are of neither.

    Raises:
        InputError: A path does not exist, a file is set against a folder, nothing matches, or a match is ambiguous.
    """
    for path in (pred, truth):
        if not exists(path):
            raise InputError(f"{path} does not exist: give a label file or a folder of label files.")
    single = [not path.is_dir() or is_series(path) for path in (pred, truth)]
    if single[0] != single[1]:
        raise InputError(f"{pred} and {truth} are a file and a folder: give two files or two folders.")
    if single[0]:
        return [(pred, truth)], {"pred": [], "truth": []}
    truths = _label_files(truth) or _label_files(truth, pred)
    pairs: dict[Path, Path] = {}
    alone = []
    for path in _label_files(pred, truth):
        partner = _partner(path, truths, pred, truth)
        if partner is None:
            alone.append(path.relative_to(pred).as_posix())
        elif partner in pairs:
            raise InputError(f"{pairs[partner].name} and {path.name} both match {partner.name}: keep one in {pred}.")
        else:
            pairs[partner] = path
    if not pairs:
        raise InputError(f"No label file in {pred} shares the beginning of its name with one in {truth}: rename them.")
    left = [path.relative_to(truth).as_posix() for path in truths if path not in pairs]
    return sorted((p, t) for t, p in pairs.items()), {"pred": alone, "truth": left}


def _label_files(folder: Path, other: Path | None = None) -> list[Path]:
    """The label files of a folder; with another one also those below, but for what is derived, or of the other side."""
    home, aside = folder.resolve(), None if other is None else other.resolve()
    if aside in (home, *home.parents):
        aside = None
    files = []
    for path in scans_at(folder) if other is None else sorted(p for here, _ in walk(folder) for p in scans_at(here)):
        inside = path.relative_to(folder)
        if DERIVED not in inside.parts[:-1] and not (aside and (home / inside).is_relative_to(aside)):
            files.append(path)
    return [path for path in files if is_label_name(path)] or files


def _parts(path: Path) -> list[str]:
    return stem(path).split("_")


def _partner(path: Path, candidates: Sequence[Path], root: Path, other_root: Path) -> Path | None:
    """The candidate that shares most leading parts of its name with a path, or None.

    Of several that share as many, the one in the folder of the same name below its root.
    """
    ranks = [_rank(_parts(path), _parts(candidate)) for candidate in candidates]
    best = max(ranks, default=(0, False))
    if best[0] == 0:
        return None
    found = [c for c, rank in zip(candidates, ranks, strict=True) if rank == best]
    beside = [c for c in found if c.parent.relative_to(other_root) == path.parent.relative_to(root)]
    if len(found) > 1 and len(beside) != 1:
        raise InputError(f"{path.name} matches {found[0].name} as well as {found[1].name}: rename them apart.")
    return found[0] if len(found) == 1 else beside[0]


def _rank(a: list[str], b: list[str]) -> tuple[int, bool]:
    """(leading parts shared, whether the names agree but for a label ending); (0, False) where entities disagree."""
    entities_a, entities_b = (dict(p.split("-", 1) for p in parts if "-" in p) for parts in (a, b))
    shared_keys = (entities_a.keys() & entities_b.keys()) - {"desc"}
    if any(entities_a[key] != entities_b[key] for key in shared_keys):
        return 0, False
    common = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    bare = [[p for n, p in enumerate(parts) if n == 0 or p.lower() not in _LABEL_ENDINGS] for parts in (a, b)]
    return common, bare[0] == bare[1]


def _reduced(labels: Volume, name: str) -> Volume:
    lookup = anatomy.mapping("target")
    values = labels.data.astype(np.intp)
    if values.min() < 0 or values.max() >= len(lookup):
        raise InputError(f"{name} holds values outside the label table: evaluate it without reducing its labels.")
    return Volume(lookup[values], labels.affine)


def _overall(scans: list[dict[str, Any]]) -> dict[str, Any]:
    means = [scan["mean"] for scan in scans]
    scores = ("dice", "sd95_mm", "msd_mm", "absolute_difference_percent")
    return {
        **{score: mean_known(m[score] for m in means) for score in scores},
        "scans": len(scans),
        "missing": sum(len(m["missing"]) for m in means),
    }


def _by_structure(scans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    def volumes(key: str) -> list[dict[int, float]]:
        return [{int(v): s[key] for v, s in scan["structures"].items()} for scan in scans]

    agreement = compare_volumes(volumes("volume_mm3"), volumes("truth_volume_mm3"))
    nothing = {"difference_percent": None, "absolute_difference_percent": None, "correlation": None}
    out = {}
    for value, first in scans[0]["structures"].items() if scans else ():
        of_scans = [scan["structures"][value] for scan in scans]
        out[value] = {
            "name": first["name"],
            "scored": first["scored"],
            **{score: mean_known(s[score] for s in of_scans) for score in ("dice", "sd95_mm", "msd_mm")},
            "scans": sum(s["dice"] is not None for s in of_scans),
            **{k: v for k, v in agreement.get(int(value), nothing).items() if k != "scans"},
        }
    return out


def _figures_text(one: dict[str, Any], last: str) -> str:
    keys = {"dice": (7, 3), "sd95_mm": (9, 2), "msd_mm": (9, 2), last: (8, 1)}
    return "".join(_text(one[key], *form) for key, form in keys.items())


def _text(figure: float | None, width: int, digits: int) -> str:
    return f"{'-' if figure is None else format(figure, f'.{digits}f'):>{width}}"
