"""What the Degrade tab has done in a thread: a real scan degraded and saved. Torch is imported here."""

from __future__ import annotations

from collections.abc import Generator, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.preview.brains_job import safe
from napari_synthseg.widgets.preview.pictures import Picture, shown_image, shown_labels
from napari_synthseg.widgets.preview.redrawer import PICTURE
from napari_synthseg.widgets.preview.source_chooser import Source

if TYPE_CHECKING:
    from napari_synthseg.generator.degradation import Degraded
    from napari_synthseg.volume import Volume

QUICK_MM = 2.0
"""Voxel size of the quick look."""


@dataclass(frozen=True)
class WantedDegradation:
    """What to degrade, and how."""

    source: Source
    labels: Source | None
    priors: GenerativeModel
    seed: int
    full: bool = True
    record: Path | None = None
    """The file of the record that says how, in place of priors and seed."""


class ScanKeeper:
    """Keeps the scan that was read last and its coarse copy, so that a redraw need not make them."""

    def __init__(self) -> None:
        self._read: dict[Hashable, tuple[Volume, Volume | None]] = {}

    def scan(self, wanted: WantedDegradation) -> tuple[Volume, Volume | None]:
        """The scan and its labels at full size."""
        return self._kept(("full", *self._key(wanted)), lambda: _voxels(wanted))

    def quick(self, wanted: WantedDegradation) -> tuple[Volume, Volume | None] | None:
        """The same at the quick look's voxel size; None for a scan that is not finer."""
        scan, labels = self.scan(wanted)
        if (scan.spacing >= QUICK_MM * 0.9).all():
            return None
        return self._kept(("quick", *self._key(wanted)), lambda: _coarse(scan, labels))

    @staticmethod
    def _key(wanted: WantedDegradation) -> tuple[Hashable, Hashable]:
        return wanted.source.key, wanted.labels.key if wanted.labels else None

    def _kept(self, key: Hashable, make):
        found = self._read.get(key)  # a job that was stopped may still be at work beside the next one
        if found is None:
            found = make()
            self._read = {k: v for k, v in self._read.items() if k[1:] == key[1:]} | {key: found}  # type: ignore[index]
        return found


def degraded_steps(wanted: WantedDegradation, keeper: ScanKeeper) -> Generator[Progress, None, Picture]:
    """A quick look, then the full size."""
    yield Progress("Reading the scan")
    quick = keeper.quick(wanted)
    yield Progress("Degrading")
    if quick is not None:
        picture = _picture(_made(wanted, quick), wanted.seed, quick=True)
        if not wanted.full:
            return picture
        yield Progress("Full size", figures={PICTURE: picture})
    return _picture(_made(wanted, keeper.scan(wanted)), wanted.seed, quick=False)


def saved_degraded(wanted: WantedDegradation, folder: Path, keeper: ScanKeeper) -> Generator[Progress, None, Path]:
    """The degraded scan's files, at full size; none that is there is replaced."""
    from napari_synthseg.generator.presets import degradation, differences
    from napari_synthseg.generator.saving import free_stem, save_sample

    yield Progress("Degrading", 0, 2)
    made = _made(wanted, keeper.scan(wanted))
    yield Progress("Writing", 1, 2)
    settings = differences(wanted.priors, degradation())
    facts = {"scan": wanted.source.name, "prior": settings, "seed": wanted.seed}
    return save_sample(folder, free_stem(folder, f"{safe(wanted.source.name)}_{wanted.seed:04d}"), made, facts)


def _made(wanted: WantedDegradation, pair: tuple[Volume, Volume | None]) -> Degraded:
    from napari_synthseg.generator.degradation import degrade
    from napari_synthseg.generator.saving import read_record

    if wanted.record is not None:
        record = read_record(wanted.record, "acquisition")
    else:
        record = wanted.priors.sample(seed=wanted.seed)
    return degrade(pair[0], record, pair[1])


def _picture(made: Degraded, seed: int, *, quick: bool) -> Picture:
    return Picture(
        image=shown_image(made.image),
        labels=None if made.labels is None else shown_labels(made.labels),
        record={"seed": seed, **made.record.to_dict()},
        summary=made.record.summary(),
        spacing=tuple(float(s) for s in made.image.spacing),  # type: ignore[arg-type]
        quick=quick,
    )


def _voxels(wanted: WantedDegradation) -> tuple[Volume, Volume | None]:
    from napari_synthseg.volume import resample_labels_to, same_grid

    assert wanted.source.scan is not None  # the tab offers layers only
    scan = wanted.source.scan.read()
    labels = wanted.labels.scan.read() if wanted.labels is not None and wanted.labels.scan is not None else None
    if labels is not None and not same_grid(scan, labels, tolerance=0.01):
        labels = resample_labels_to(labels, scan.shape, scan.affine)
    return scan, labels


def _coarse(scan: Volume, labels: Volume | None) -> tuple[Volume, Volume | None]:
    from napari_synthseg.volume import resample_image, resample_labels_to

    coarse = resample_image(scan, [float(max(s, QUICK_MM)) for s in scan.spacing])
    coarse = coarse.with_data(np.asarray(coarse.data, np.float32))
    return coarse, None if labels is None else resample_labels_to(labels, coarse.shape, coarse.affine)
