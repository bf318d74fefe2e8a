"""Priors of each class's intensity, read from a file: what SynthSeg-RC needs to know of its target scans (section 5.2).

Two layouts: a table, and the arrays that SynthSeg's own scripts estimate (`prior_means_*.npy`, `prior_stds_*.npy`).
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import delimiter_of, read_text
from napari_synthseg.errors import InputError

Pairs = tuple[tuple[float, float] | None, ...]


def read_class_priors(path: Path) -> tuple[Pairs, Pairs]:
    """`Priors.class_means` and `class_stds` from a file.

    A table (.tsv, .csv) has a column `structure` (a FreeSurfer value or name; a name without its side, such as
    `Hippocampus`, means both) or `class` (a generation class), and columns `mean` and `sd` (intensities, 0-255);
    `mean_sd` and `sd_sd` say how much these vary between scans (default 0). Classes without a row stay uniform.

    An array `prior_means_*.npy` is (2, K): means over its classes, and their deviations between scans;
    `prior_stds_*.npy` beside it holds the same of the standard deviations. Where K is not the number of our classes,
    `generation_labels.npy` and a `generation_classes*.npy` with K classes beside it say what its classes are.

    Raises:
        InputError: the file is missing or cannot be read as one of these.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The class priors {path} do not exist: check the name.")
    if path.suffix.lower() == ".npy":
        return _from_arrays(path)
    if path.suffix.lower() in (".tsv", ".csv"):
        return _from_table(path)
    raise InputError(
        f"The class priors {path} are neither a table (.tsv, .csv) nor an array (.npy): give one of these."
    )


def _count() -> int:
    return max(s.generation_class for s in anatomy.table()) + 1


def _from_table(path: Path) -> tuple[Pairs, Pairs]:
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The class priors {path.name} cannot be read as text: save them as UTF-8.") from error
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter_of(text))
    columns = set(reader.fieldnames or ())
    key = "structure" if "structure" in columns else "class"
    if not {key, "mean", "sd"} <= columns:
        raise InputError(f"{path.name} lacks a column: it needs structure (or class), mean and sd.")
    means: list[tuple[float, float] | None] = [None] * _count()
    stds: list[tuple[float, float] | None] = [None] * _count()
    for line, row in enumerate(reader, start=2):
        where = f"{path.name}, line {line}"
        mean, sd, mean_sd, sd_sd = (_value(where, row, name) for name in ("mean", "sd", "mean_sd", "sd_sd"))
        for c in _classes(where, key, (row[key] or "").strip()):
            means[c], stds[c] = (mean, mean_sd), (sd, sd_sd)
    if not any(means):
        raise InputError(f"{path.name} holds no class: give it a row for each structure.")
    return tuple(means), tuple(stds)


def _value(where: str, row: dict[str, str], name: str) -> float:
    text = (row.get(name) or "").strip()
    if not text and name in ("mean_sd", "sd_sd"):
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{where}: {name} is {text!r}, and must be a number of at least 0.")
    return value


def _classes(where: str, key: str, text: str) -> set[int]:
    if key == "class":
        if text.isdecimal() and int(text) < _count():
            return {int(text)}
        raise InputError(f"{where}: there is no class {text!r}, give 0 to {_count() - 1}.")
    name = text.lower()
    found = {
        s.generation_class
        for s in anatomy.table()
        if name in (str(s.value), s.name.lower(), s.name.lower().removeprefix(f"{s.side}-"))
    }
    if not found:
        raise InputError(f"{where}: there is no structure {text!r}, give a name or value of FreeSurfer's, such as 17.")
    return found


def _from_arrays(path: Path) -> tuple[Pairs, Pairs]:
    other = path.with_name(path.name.replace("means", "stds"))
    if "means" not in path.name or not other.is_file():
        raise InputError(f"{path.name} has no standard deviations beside it: give a prior_means_*.npy with its stds.")
    means, stds = _array(path), _array(other)
    if means.ndim != 2 or len(means) != 2 or means.shape != stds.shape:
        raise InputError(f"{path.name} and {other.name} must both be (2, K), not {means.shape} and {stds.shape}.")
    columns = _columns(path, means.shape[1])
    return tuple(  # type: ignore[return-value]
        tuple(None if k is None else (float(one[0, k]), float(one[1, k])) for k in columns) for one in (means, stds)
    )


def _columns(path: Path, count: int) -> list[int | None]:
    """For each of our classes, the column of the arrays that is about it."""
    if count == _count():
        return list(range(count))
    labels = path.with_name("generation_labels.npy")
    for classes in sorted(path.parent.glob("generation_classes*.npy")):
        values = _array(classes)
        if values.max(initial=0) + 1 == count and labels.is_file() and len(values) == len(_array(labels)):
            ours = {s.value: s.generation_class for s in anatomy.table()}
            columns: list[int | None] = [None] * _count()
            for value, k in zip(_array(labels).astype(int).tolist(), values.astype(int).tolist(), strict=True):
                if value in ours:
                    columns[ours[value]] = k
            return columns
    raise InputError(
        f"{path.name} holds {count} classes and the label table has {_count()}: put SynthSeg's generation_labels.npy "
        f"and the generation_classes*.npy with {count} classes beside it."
    )


def _array(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=float)
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as a NumPy array of numbers: copy it again.") from error
