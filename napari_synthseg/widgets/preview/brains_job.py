"""What the Brains tab has done in a thread: label maps made ready, samples drawn and saved. Torch is imported here."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.preview.pictures import Picture, Thumbnail, shown_image, shown_labels
from napari_synthseg.widgets.preview.redrawer import PICTURE
from napari_synthseg.widgets.preview.source_chooser import Source

if TYPE_CHECKING:
    from napari_synthseg.generator.figure import Panel
    from napari_synthseg.generator.labelmap import LabelMap
    from napari_synthseg.generator.model import Record

QUICK = 2.0
"""The quick look's voxels are this much larger than the map's."""
THUMBNAIL_VOXELS = 72
"""Along the longest axis of a thumbnail."""


@dataclass(frozen=True)
class Wanted:
    """What to draw."""

    source: Source
    priors: GenerativeModel
    seed: int
    letter: str = "f"
    """The step of Figure 3."""
    full: bool = True
    """Whether the full size follows the quick look."""
    record: Path | None = None
    """The file of the record that says how it is made, in place of priors and seed."""


class Studio:
    """Keeps the label map that was made ready last, so that a redraw need not."""

    def __init__(self) -> None:
        self._ready: tuple[Hashable, LabelMap, np.ndarray] | None = None

    def ready(self, source: Source, seed: int) -> tuple[LabelMap, np.ndarray, str]:
        """The map that a seed takes of a source, its affine, and its name in file names."""
        from napari_synthseg.generator.sample import prepared

        path, name = self._file(source, seed)
        key = (source.key, path)
        kept = self._ready
        if kept is None or kept[0] != key:
            kept = (key, *prepared(_voxels(source, path)))
            self._ready = kept
        return kept[1], kept[2], name

    def _file(self, source: Source, seed: int) -> tuple[Path | None, str]:
        from napari_synthseg.generator.sample import label_map_files, picked
        from napari_synthseg.io.formats import stem

        if source.scan is not None or source.path is None:
            return None, source.name
        path = picked(label_map_files(source.path), seed)
        return path, stem(path)


def drawn(wanted: Wanted, studio: Studio) -> Generator[Progress, None, Picture]:
    """A quick look, then the full size, of one step of one sample."""
    yield Progress("Preparing the label map")
    label_map, affine, _ = studio.ready(wanted.source, wanted.seed)
    yield Progress("Drawing")
    record = _record(wanted, label_map)
    quick = None
    coarse = label_map.spacing * QUICK
    if coarse <= 2.5:  # a coarse map is quick as it is
        quick = _picture(wanted, record, label_map, affine, coarse)
        if not wanted.full:
            return quick
        yield Progress("Full size", figures={PICTURE: quick})
    return _picture(wanted, record, label_map, affine, None)


def sampled(
    source: Source, priors: GenerativeModel, seeds: Sequence[int], studio: Studio
) -> Generator[Progress, None, list[Thumbnail]]:
    """A thumbnail of each seed; each is also a report's figure `thumbnail`."""
    from napari_synthseg.generator.sample import replay

    made: list[Thumbnail] = []
    yield Progress("Samples", 0, len(seeds))
    for seed in seeds:
        wanted = Wanted(source, priors, seed)
        label_map, affine, _ = studio.ready(source, seed)
        record = _record(wanted, label_map)
        spacing = max(label_map.spacing * max(label_map.shape) / THUMBNAIL_VOXELS, label_map.spacing)
        image = replay(record, label_map, affine, spacing=spacing).image
        made.append(Thumbnail(seed, _axial(image.data), record.summary()))
        yield Progress("Samples", len(made), len(seeds), {"thumbnail": made[-1]})
    return made


def saved(wanted: Wanted, folder: Path, preset: str, studio: Studio) -> Generator[Progress, None, Path]:
    """The sample's files, at full size: those of the command line, but none that is there is replaced."""
    from napari_synthseg.generator.presets import differences
    from napari_synthseg.generator.presets import preset as priors_of
    from napari_synthseg.generator.sample import replay
    from napari_synthseg.generator.saving import free_stem, save_sample

    yield Progress("Drawing", 0, 2)
    label_map, affine, name = studio.ready(wanted.source, wanted.seed)
    made = replay(_record(wanted, label_map), label_map, affine)
    yield Progress("Writing", 1, 2)
    settings = differences(wanted.priors, priors_of(preset))
    facts = {"label_map": name, "preset": preset, "prior": settings, "seed": wanted.seed}
    return save_sample(folder, free_stem(folder, f"{safe(name)}_{wanted.seed:04d}"), made, facts)


def safe(name: str) -> str:
    """A layer's name as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name).strip("_.") or "sample"


def _voxels(source: Source, path: Path | None) -> Any:
    if source.scan is not None:
        return source.scan.read()
    if path is not None:
        return path
    from napari_synthseg.widgets.layers.samples import bundled_label_map

    return bundled_label_map()


def _record(wanted: Wanted, label_map: LabelMap) -> Record:
    from napari_synthseg.generator.saving import read_record

    if wanted.record is not None:
        found = read_record(wanted.record, "contrast")
        if len(found["contrast"]["means"]) != len(label_map.classes):
            raise InputError(f"{wanted.record.name} was made from another label map: choose that one.")
        return found
    return wanted.priors.sample(label_map, wanted.seed)


def _picture(wanted: Wanted, record: Record, label_map: LabelMap, affine: np.ndarray, spacing: float | None) -> Picture:
    from napari_synthseg.generator.figure import panel

    made = panel(wanted.letter, record, label_map, affine, spacing=spacing)
    labels = made.volume if made.is_labels else made.labels
    return Picture(
        image=None if made.is_labels else shown_image(made.volume, _limits(made)),
        labels=None if labels is None else shown_labels(labels),
        record={"seed": wanted.seed, **record.to_dict()},
        summary=record.summary(),
        spacing=tuple(float(s) for s in made.volume.spacing),  # type: ignore[arg-type]
        quick=spacing is not None,
    )


def _limits(made: Panel) -> tuple[float, float]:
    """Steady ones, so that a change of contrast is seen: the mixture is in 0-255, what follows it in 0-1."""
    return (0.0, 255.0) if made.letter == "c" else (0.0, 1.0)


def _axial(data: np.ndarray) -> np.ndarray:
    """The middle axial slice of a canonical (R, A, S) image in 0-1, front up, left on the left."""
    plane = data[:, ::-1, int(data.shape[2] * 0.55)].T
    return np.ascontiguousarray(np.clip(plane * 255, 0, 255).astype(np.uint8))
