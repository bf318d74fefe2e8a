"""Label maps of any organ made rich enough to generate from (SynthSeg, section 5.4 and Supplement 6).

The generative model needs a label for all that is seen on a scan, and manual labels cover a few structures only. So the
intensities of the labelled scan are clustered by Expectation-Maximization: every label is split in two, which models
blood pools, and the background into N classes, which stand for vessels, bones, airways and all else. N varies from step
to step, so that the background is modeled at different levels of granularity. The target stays the original labels.

A Gaussian mixture of intensities is a rule from intensity to class. So all N are kept as one small table a scan, and a
step looks its sub-regions up: nothing grows with the number of levels of granularity.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import MARGIN, LabelMap

PARTS = 2
"""Sub-regions of every foreground label."""
BACKGROUNDS = tuple(range(3, 11))
"""How many classes the background may have."""
LEVELS = 1024
"""Gray levels that intensities are told apart by; the darkest and the brightest 0.1% share the first and the last."""
CLIPPED = (0.1, 99.9)
FEWEST = 20
"""Voxels that a label needs for each of its classes; with fewer it gets fewer classes, at last one."""
SAMPLE = 10_000
"""Voxels of a label at most that a mixture is fitted to."""
MANY_VALUES = 1_000_000
"""Where the values of sub-regions begin: far from FreeSurfer's, which mean something to the generator."""
MOST = 250
"""Sub-regions that fit into 8 bits, with room for the background beyond the scan."""


@dataclass(frozen=True)
class Split:
    """A labelled scan whose labels can be split into sub-regions."""

    label_map: LabelMap
    """The labels as they are: one class a label, one for the background of the scan, 0 beyond the scan."""
    levels: torch.Tensor
    """(X, Y, Z) int16 gray levels, on the voxels of `label_map.index`."""
    tables: Mapping[int, torch.Tensor]
    """For each number of classes of the background, (K, LEVELS) uint8: the sub-region by index and gray level."""
    values: tuple[int, ...]
    """(K,) the original label of each row of the tables; the first is what lies beyond the scan."""

    def to(self, device: torch.device | str) -> Split:
        tables = {n: table.to(device) for n, table in self.tables.items()}
        return replace(self, label_map=self.label_map.to(device), levels=self.levels.to(device), tables=tables)

    def into(self, backgrounds: int) -> LabelMap:
        """Return the label map of the sub-regions for some background classes; its targets are the original labels."""
        table = self.tables[backgrounds]
        at = self.label_map.index.long().mul_(LEVELS).add_(self.levels)
        index = table.reshape(-1).index_select(0, at.reshape(-1)).reshape(at.shape)
        return replace(self.label_map, index=index, **self._rows[backgrounds])

    @cached_property
    def _rows(self) -> dict[int, dict[str, Any]]:
        """Rows of the table of each number of classes, by the fields of `LabelMap`."""
        rows = {}
        for n, table in self.tables.items():
            owner = np.zeros(int(table.max()) + 1, int)
            for k, row in enumerate(table.cpu().numpy()):
                owner[np.unique(row)] = k
            rows[n] = rows_of([self.values[k] for k in owner])
        return rows


def rows_of(targets: Sequence[int]) -> dict[str, Any]:
    """Return the rows of a label map, by its fields, in which every index has a class of its own and no partner."""
    k = len(targets)
    return {
        "values": (0, *range(MANY_VALUES, MANY_VALUES + k - 1)),
        "classes": tuple(range(k)),
        "targets": tuple(int(t) for t in targets),
        "partners": tuple(range(k)),
        "removed": (False,) * k,
    }


def split(
    image: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int = 0,
    name: str = "",
    parts: int = PARTS,
    backgrounds: Sequence[int] = BACKGROUNDS,
) -> Split:
    """Cluster the intensities of a labelled scan.

    A label with fewer than `FEWEST` voxels for each of its classes, or fewer gray levels than classes, gets as many
    classes as it has room for: a constant label stays whole.

    Args:
        image: (X, Y, Z) intensities in any unit.
        labels: (X, Y, Z) whole numbers, 0 for the background; isotropic voxels.
        seed: of the voxels that mixtures are fitted to, and of where the fits start.
        name: shown in records.
        parts: classes of each label; 1 leaves them whole.
        backgrounds: numbers of classes of the background, one of which is drawn for each image.

    Raises:
        InputError: shapes differ, there is no label, there are too many, or scikit-learn is missing.
    """
    if image.shape != labels.shape or image.ndim != 3:
        raise InputError(f"{name or 'The scan'} and its labels differ in shape: {image.shape} and {labels.shape}.")
    values, places = np.unique(labels, return_inverse=True)
    kept = values[values != 0].tolist()
    most = (MOST - max(backgrounds)) // parts
    if not kept or len(kept) > most:
        raise InputError(f"{name or 'The scan'} has {len(kept)} labels: it must have from 1 to {most}.")
    rows = (0, 0, *kept)  # beyond the scan, its background, its labels
    slot = np.array([1 if v == 0 else 2 + kept.index(v) for v in values.tolist()], np.uint8)
    index = slot[places.reshape(labels.shape)]
    levels = gray_levels(image)
    rng = np.random.default_rng(seed)
    foreground = [clusters(levels[index == k], parts, rng) for k in range(2, len(rows))]
    inside = levels[index == 1]
    tables = {n: _table([clusters(inside, n, rng), *foreground]) for n in backgrounds}
    whole = np.argwhere(index > 1)
    x, y, z = ((whole.min(0) + whole.max(0)) / 2 + MARGIN).tolist()
    field: Any = tuple(float(n) for n in labels.shape)
    plain = LabelMap(
        torch.from_numpy(np.pad(index, MARGIN)),
        **rows_of(rows),
        center=(x, y, z),
        offset=(-MARGIN,) * 3,
        shape=labels.shape,
        field_mm=field,
        name=name,
    )
    return Split(plain, torch.from_numpy(np.pad(levels, MARGIN)), tables, rows)


def gray_levels(image: np.ndarray) -> np.ndarray:
    """Return (X, Y, Z) int16 levels from 0 to `LEVELS` - 1; what is not finite counts as 0."""
    data = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
    low, high = np.percentile(data, CLIPPED)
    if not high > low:
        low, high = float(data.min()), float(data.max())
    scale = (LEVELS - 1) / max(high - low, 1e-12)
    return np.clip(np.rint((data - low) * scale), 0, LEVELS - 1).astype(np.int16)


def clusters(levels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the class (LEVELS,) uint8 of each gray level: a mixture of up to `n` Gaussians, fitted to some voxels.

    Darker ones come first; `rng` chooses the voxels that are looked at, and where the fit starts.
    """
    count = np.bincount(levels.reshape(-1), minlength=LEVELS)
    start = int(rng.integers(2**31))
    room = min(n, int(count.sum()) // FEWEST, int(np.count_nonzero(count)))
    if room < 2:
        return np.zeros(LEVELS, np.uint8)
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise InputError(
            "Splitting labels by intensity needs scikit-learn: pip install 'napari-synthseg[train]'."
        ) from error

    chosen = np.repeat(np.arange(LEVELS), count)
    if len(chosen) > SAMPLE:
        chosen = rng.choice(chosen, SAMPLE, replace=False)
        room = min(room, len(np.unique(chosen)))
    # Half a level is how well intensities are known: classes are not narrower, and constant regions do no harm.
    mixture = GaussianMixture(room, reg_covar=0.25, tol=1e-2, max_iter=100, random_state=start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that goes on for long has classes enough by then
        mixture.fit(chosen[:, None].astype(np.float64))
    found = mixture.predict(np.arange(LEVELS, dtype=np.float64)[:, None])
    order = np.argsort(np.argsort(mixture.means_[:, 0]))
    return order[found].astype(np.uint8)


def _table(classes: Sequence[np.ndarray]) -> torch.Tensor:
    """Return (K, LEVELS) uint8 sub-regions; the first row is what lies beyond the scan, whatever its level."""
    rows, first = [np.zeros(LEVELS, np.uint8)], 1
    for one in classes:
        rows.append(one + np.uint8(first))
        first += int(one.max()) + 1
    return torch.from_numpy(np.stack(rows))


def drawn(split_scan: Split, generator: torch.Generator) -> LabelMap:
    """Return the label map of a step, with a random number of background classes."""
    choices = sorted(split_scan.tables)
    return split_scan.into(choices[int(torch.randint(len(choices), (1,), generator=generator))])
