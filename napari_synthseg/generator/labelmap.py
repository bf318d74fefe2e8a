"""A label map made ready for generation: small indices on the device, and what each index stands for (Table S2)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.volume import bounding_box

MARGIN = 2
"""Voxels of background around a prepared map, so that points outside clamp to background."""


@dataclass(frozen=True)
class LabelMap:
    """Labels in canonical RAS orientation, as indices into a table."""

    index: torch.Tensor
    """(X, Y, Z) uint8; indices into the per-label tables below; surrounded by background."""
    values: tuple[int, ...]
    """(K,) FreeSurfer values, background (0) first."""
    classes: tuple[int, ...]
    """(K,) class whose Gaussian a label shares, 0 = background (eq. 11-13)."""
    targets: tuple[int, ...]
    """(K,) value in the segmentation target, 0 = reset to background (section 3.1.5)."""
    partners: tuple[int, ...]
    """(K,) index of the contralateral label."""
    removed: tuple[bool, ...]
    """(K,) true for labels that skull stripping removes (Table S2)."""
    spacing: float = 1.0
    """Voxel size, mm."""
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Voxel coordinates about which spatial transforms act: the middle of the brain."""
    offset: tuple[int, int, int] = (0, 0, 0)
    """Voxel of the source array at which `index` starts; negative in the margin."""
    shape: tuple[int, int, int] = (0, 0, 0)
    """(X, Y, Z) of the source array."""
    field_mm: tuple[float, float, float] = (256.0, 256.0, 256.0)
    """Field of view over which the velocity and bias fields are drawn."""
    name: str = ""
    """Where the map comes from."""

    def is_one_of(self, values: Collection[int]) -> np.ndarray:
        """(256,) bool: whether an index stands for one of some FreeSurfer values."""
        return np.array([v in values for v in self.values] + [False] * (256 - len(self.values)))

    def to(self, device: torch.device | str) -> LabelMap:
        """The same map with its voxels on a device."""
        return replace(self, index=self.index.to(device))


def prepare(data: np.ndarray, *, spacing: float = 1.0, name: str = "", center: tuple | None = None) -> LabelMap:
    """Make a label map ready for generation.

    Labels of the label table get its classes, targets and partners; any other label keeps its own value as target,
    has a class of its own and no partner, so that maps of other organs work too.

    `data` (X, Y, Z) is in canonical RAS orientation with isotropic voxels (mm); transforms act about `center` (voxel
    coordinates), by default the middle of the brain's bounding box.

    Raises:
        InputError: the array is not 3D, holds no label, more than 255 labels, or values that are negative or not whole.
    """
    data, what = np.asarray(data), name or "The label map"
    if data.ndim != 3:
        raise InputError(f"{what} has {data.ndim} dimensions: a label map has 3.")
    if data.dtype.kind == "f" and not np.array_equal(data, np.round(data)):
        raise InputError(f"{what} holds values that are not whole numbers: it is not a label map.")
    if data.size and data.min() < 0:
        raise InputError(f"{what} holds negative values: labels are 0 (background) or more.")
    found, places = _distinct(data)
    present = set(found) - {0}
    if not present:
        raise InputError(f"{what} is empty: it holds no label but background.")
    known = {s.value: s for s in anatomy.table()}
    # A map of the brain gets every generation label, present or not: its two sides may differ, and a flip swaps them.
    values = {0} | present | {known[v].contralateral for v in present if v in known}
    values |= {known[v].target for v in present if v in known}
    values |= {known[v].contralateral for v in values if v in known}
    ordered = tuple(sorted(values))
    if len(ordered) > 255:
        raise InputError(
            f"{what} holds {len(ordered)} labels, and at most 255 can be used: choose a label map, not a scan."
        )
    slot = {v: i for i, v in enumerate(ordered)}
    free = max((s.generation_class for s in known.values()), default=0) + 1
    rows = [(s := known.get(value)) and (s.generation_class, s.target, slot[s.contralateral], s.extra_cerebral)
            or (free + slot[value], value, slot[value], False) for value in ordered]  # fmt: skip
    classes, targets, partners, removed = zip(*rows, strict=True)
    index = np.array([slot[v] for v in found], dtype=np.uint8)[places]
    box = bounding_box(index > 0)
    assert box is not None
    inner, low = index[box], np.array([side.start for side in box])
    if center is None:
        of_the_brain = np.array([i > 0 and not gone for i, gone in enumerate(removed)])
        own = bounding_box(of_the_brain[inner]) or bounding_box(inner > 0) or box
        middle = np.array([(side.start + side.stop - 1) / 2.0 for side in own])
    else:
        middle = np.asarray(center, dtype=float) - low
    return LabelMap(
        index=torch.from_numpy(np.ascontiguousarray(np.pad(inner, MARGIN))),
        values=ordered,
        classes=classes,
        targets=targets,
        partners=partners,
        removed=removed,
        spacing=float(spacing),
        center=tuple(float(c) + MARGIN for c in middle),  # type: ignore[arg-type]
        offset=tuple(int(a) - MARGIN for a in low),  # type: ignore[arg-type]
        shape=data.shape,
        field_mm=tuple(float(n * spacing) for n in data.shape),  # type: ignore[arg-type]
        name=name,
    )


def _distinct(data: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The sorted distinct values of labels, and which of them each voxel has; counting is much faster than sorting."""
    top = int(data.max(initial=0))
    if top >= 1 << 16:
        values, places = np.unique(data.astype(np.int64), return_inverse=True)
        return values.tolist(), places.reshape(data.shape)
    data = data.astype(np.uint16)
    seen = np.zeros(top + 1, bool)
    seen[data.ravel(order="K")] = True
    values = np.flatnonzero(seen)
    slots = np.zeros(top + 1, np.uint16)
    slots[values] = np.arange(len(values))
    return values.tolist(), slots[data]


def save(path: Path | str, maps: list[LabelMap]) -> None:
    """Store prepared maps in one compressed file without pickles, for machines that cannot read NIfTI."""
    arrays: dict[str, np.ndarray] = {}
    for i, m in enumerate(maps):
        arrays[f"{i}/index"] = m.index.numpy()
        arrays[f"{i}/table"] = np.array([m.values, m.classes, m.targets, m.partners, m.removed], dtype=np.int32)
        arrays[f"{i}/geometry"] = np.array([m.spacing, *m.center, *m.offset, *m.shape, *m.field_mm])
        arrays[f"{i}/name"] = np.array(m.name)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load(path: Path | str) -> list[LabelMap]:
    maps = []
    with np.load(path, allow_pickle=False) as f:
        for i in range(sum(k.endswith("/index") for k in f.files)):
            values, classes, targets, partners, removed = (tuple(row) for row in f[f"{i}/table"].tolist())
            spacing, *rest = f[f"{i}/geometry"].tolist()
            center, offset, shape, field = (tuple(rest[j : j + 3]) for j in (0, 3, 6, 9))
            index, out = torch.from_numpy(f[f"{i}/index"]), tuple(map(bool, removed))
            offset, shape = tuple(map(int, offset)), tuple(map(int, shape))
            maps.append(LabelMap(index, values, classes, targets, partners, out, spacing, center, offset, shape, field,
                                 str(f[f"{i}/name"])))  # type: ignore[arg-type]  # fmt: skip
    return maps
