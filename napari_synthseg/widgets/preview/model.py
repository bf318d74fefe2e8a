"""What the preview has done in a thread: samples of each generator drawn, shown small, and saved. No Qt here.

Each maker has the same three jobs, `drawn`, `sampled` and `saved`, and keeps what it made ready last, so that a redraw
need not. Torch is imported in them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.generator.files import SynthesizeShapesOptions
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.preview.pictures import (
    PICTURE,
    Picture,
    Shown,
    Source,
    Thumbnail,
    objects_table,
    scene_prompts,
    shown_image,
    shown_labels,
)

if TYPE_CHECKING:
    from napari_synthseg.generator.degradation import Degraded
    from napari_synthseg.generator.figure import Panel
    from napari_synthseg.generator.labelmap import LabelMap
    from napari_synthseg.generator.model import Record
    from napari_synthseg.generator.shapes.scenes import Scene
    from napari_synthseg.volume import Volume

QUICK = 2.0
"""The quick look's voxels are this much larger than the label map's."""
QUICK_MM = 2.0
"""Voxel size of the quick look at a scan."""
THUMBNAIL_VOXELS = 72
"""Along the longest axis of a head's thumbnail."""
THUMBNAIL_SIDE = 128
FLAT = {"scale": (1.0, 1.0), "translate": (0.0, 0.0), "axis_labels": ("row", "column")}


def _thumbnails(seeds: Sequence[int], make: Callable[[int], Thumbnail]) -> Generator[Progress, None, list[Thumbnail]]:
    """A thumbnail of each seed; each is also a report's figure `thumbnail`."""
    made: list[Thumbnail] = []
    yield Progress("Samples", 0, len(seeds))
    for seed in seeds:
        made.append(make(seed))
        yield Progress("Samples", len(made), len(seeds), {"thumbnail": made[-1]})
    return made


@dataclass(frozen=True)
class WantedBrain:
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
    preset: str = "synthseg"
    """What the priors began with."""


class BrainMaker:
    """Samples of SynthSeg's generative model from a label map."""

    def __init__(self) -> None:
        self._ready: tuple[Hashable, LabelMap, np.ndarray] | None = None

    def ready(self, source: Source, seed: int) -> tuple[LabelMap, np.ndarray, str]:
        """The map that a seed takes of a source, its affine, and its name in file names."""
        from napari_synthseg.generator.sample import prepared

        path, name = self._file(source, seed)
        key = (source.key, path)
        kept = self._ready
        if kept is None or kept[0] != key:
            kept = (key, *prepared(_map_voxels(source, path)))
            self._ready = kept
        return kept[1], kept[2], name

    def _file(self, source: Source, seed: int) -> tuple[Path | None, str]:
        from napari_synthseg.generator.sample import label_map_files, picked
        from napari_synthseg.io.formats import stem

        if source.scan is not None or source.path is None:
            return None, source.name
        path = picked(label_map_files(source.path), seed)
        return path, stem(path)

    def drawn(self, wanted: WantedBrain) -> Generator[Progress, None, Picture]:
        """A quick look, then the full size, of one step of one sample."""
        yield Progress("Preparing the label map")
        label_map, affine, _ = self.ready(wanted.source, wanted.seed)
        yield Progress("Drawing")
        record = _record(wanted, label_map)
        coarse = label_map.spacing * QUICK
        if coarse <= 2.5:  # a coarse map is quick as it is
            quick = _panel_picture(wanted, record, label_map, affine, coarse)
            if not wanted.full:
                return quick
            yield Progress("Full size", figures={PICTURE: quick})
        return _panel_picture(wanted, record, label_map, affine, None)

    def sampled(self, wanted: WantedBrain, seeds: Sequence[int]) -> Generator[Progress, None, list[Thumbnail]]:
        """An axial slice of each."""
        from napari_synthseg.generator.sample import replay

        def make(seed: int) -> Thumbnail:
            label_map, affine, _ = self.ready(wanted.source, seed)
            record = _record(replace(wanted, seed=seed, record=None), label_map)
            spacing = max(label_map.spacing * max(label_map.shape) / THUMBNAIL_VOXELS, label_map.spacing)
            return Thumbnail(
                seed, _axial(replay(record, label_map, affine, spacing=spacing).image.data), record.summary()
            )

        return (yield from _thumbnails(seeds, make))

    def saved(self, wanted: WantedBrain, folder: Path) -> Generator[Progress, None, Path]:
        """The sample's files, at full size: those of the command line, but none that is there is replaced."""
        from napari_synthseg.generator.presets import differences
        from napari_synthseg.generator.presets import preset as priors_of
        from napari_synthseg.generator.sample import replay
        from napari_synthseg.generator.saving import free_stem, save_sample

        yield Progress("Drawing", 0, 2)
        label_map, affine, name = self.ready(wanted.source, wanted.seed)
        made = replay(_record(wanted, label_map), label_map, affine)
        yield Progress("Writing", 1, 2)
        settings = differences(wanted.priors, priors_of(wanted.preset))
        facts = {"label_map": name, "preset": wanted.preset, "prior": settings, "seed": wanted.seed}
        return save_sample(folder, free_stem(folder, f"{safe(name)}_{wanted.seed:04d}"), made, facts)


def safe(name: str) -> str:
    """A layer's name as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name).strip("_.") or "sample"


def _map_voxels(source: Source, path: Path | None) -> Any:
    if source.scan is not None:
        return source.scan.read()
    if path is not None:
        return path
    from napari_synthseg.widgets.layers.reader import bundled_label_map

    return bundled_label_map()


def _record(wanted: WantedBrain, label_map: LabelMap) -> Record:
    from napari_synthseg.generator.saving import read_record

    if wanted.record is not None:
        found = read_record(wanted.record, "contrast")
        if len(found["contrast"]["means"]) != len(label_map.classes):
            raise InputError(f"{wanted.record.name} was made from another label map: choose that one.")
        return found
    return wanted.priors.sample(label_map, wanted.seed)


def _panel_picture(
    wanted: WantedBrain, record: Record, label_map: LabelMap, affine: np.ndarray, spacing: float | None
) -> Picture:
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


class DegradedMaker:
    """A real scan, degraded by SynthSeg+'s model."""

    def __init__(self) -> None:
        self._read: dict[Hashable, tuple[Volume, Volume | None]] = {}

    def scan(self, wanted: WantedDegradation) -> tuple[Volume, Volume | None]:
        """The scan and its labels at full size."""
        return self._kept(("full", *self._key(wanted)), lambda: _scan_voxels(wanted))

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

    def drawn(self, wanted: WantedDegradation) -> Generator[Progress, None, Picture]:
        """A quick look, then the full size."""
        yield Progress("Reading the scan")
        quick = self.quick(wanted)
        yield Progress("Degrading")
        if quick is not None:
            picture = _degraded_picture(_degraded(wanted, quick), wanted.seed, quick=True)
            if not wanted.full:
                return picture
            yield Progress("Full size", figures={PICTURE: picture})
        return _degraded_picture(_degraded(wanted, self.scan(wanted)), wanted.seed, quick=False)

    def saved(self, wanted: WantedDegradation, folder: Path) -> Generator[Progress, None, Path]:
        """The degraded scan's files, at full size; none that is there is replaced."""
        from napari_synthseg.generator.presets import degradation, differences
        from napari_synthseg.generator.saving import free_stem, save_sample

        yield Progress("Degrading", 0, 2)
        made = _degraded(wanted, self.scan(wanted))
        yield Progress("Writing", 1, 2)
        settings = differences(wanted.priors, degradation())
        facts = {"scan": wanted.source.name, "prior": settings, "seed": wanted.seed}
        return save_sample(folder, free_stem(folder, f"{safe(wanted.source.name)}_{wanted.seed:04d}"), made, facts)


def _degraded(wanted: WantedDegradation, pair: tuple[Volume, Volume | None]) -> Degraded:
    from napari_synthseg.generator.degradation import degrade
    from napari_synthseg.generator.saving import read_record

    if wanted.record is not None:
        record = read_record(wanted.record, "acquisition")
    else:
        record = wanted.priors.sample(seed=wanted.seed)
    return degrade(pair[0], record, pair[1])


def _degraded_picture(made: Degraded, seed: int, *, quick: bool) -> Picture:
    return Picture(
        image=shown_image(made.image),
        labels=None if made.labels is None else shown_labels(made.labels),
        record={"seed": seed, **made.record.to_dict()},
        summary=made.record.summary(),
        spacing=tuple(float(s) for s in made.image.spacing),  # type: ignore[arg-type]
        quick=quick,
    )


def _scan_voxels(wanted: WantedDegradation) -> tuple[Volume, Volume | None]:
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


@dataclass(frozen=True)
class WantedScene:
    """What to draw: the first scene that the options stand for, and which of its random targets, from 0."""

    options: SynthesizeShapesOptions
    turn: int = 0


class SceneMaker:
    """Scenes of SynthFM's generative model."""

    def __init__(self) -> None:
        self._kept: tuple[SynthesizeShapesOptions, Scene] | None = None

    def scene(self, options: SynthesizeShapesOptions) -> Scene:
        """The first scene that the options stand for."""
        key, kept = replace(options, bits=8), self._kept
        if kept is None or kept[0] != key:
            kept = (key, _scene(options))
            self._kept = kept
        return kept[1]

    def drawn(self, wanted: WantedScene) -> Generator[Progress, None, Picture]:
        """A scene with its objects, one of which is the target."""
        from napari_synthseg.generator.shapes.files import scene_arrays

        options = wanted.options
        yield Progress("Drawing")
        made = self.scene(options)
        image, objects = scene_arrays(made, 16)
        return Picture(
            image=Shown(image.astype(np.float32) / 65535, {**FLAT, "metadata": {}}),
            labels=Shown(objects, {**FLAT, "metadata": {}}, table=objects_table(made, objects)),
            record={
                "preset": options.preset,
                "prior": list(options.prior),
                "seed": options.seed,
                **made.record.to_dict(),
            },
            summary=made.record.summary(),
            spacing=FLAT["scale"],  # type: ignore[arg-type]
            quick=False,
            prompts=scene_prompts(made, options.seed, wanted.turn),
        )

    def sampled(self, wanted: WantedScene, seeds: Sequence[int]) -> Generator[Progress, None, list[Thumbnail]]:
        """A small image of each."""
        from napari_synthseg.generator.shapes.files import scene_arrays
        from napari_synthseg.generator.shapes.scenes import scene

        priors = wanted.options.priors()

        def make(seed: int) -> Thumbnail:
            small = scene(priors, seed, wanted.options.device, THUMBNAIL_SIDE)
            return Thumbnail(seed, scene_arrays(small)[0], small.record.summary())

        return (yield from _thumbnails(seeds, make))

    def saved(self, wanted: WantedScene, folder: Path) -> Generator[Progress, None, Path]:
        """The scene's files: those of the command line; none that is there is replaced."""
        from napari_synthseg.generator.saving import free_stem
        from napari_synthseg.generator.shapes.files import SCENE_ENDS, save_scene

        options = wanted.options
        yield Progress("Drawing", 0, 2)
        made = self.scene(options)
        yield Progress("Writing", 1, 2)
        facts = {"preset": options.preset, "prior": list(options.prior), "seed": options.seed}
        stem = free_stem(folder, f"{options.preset}_{options.seed:04d}", SCENE_ENDS)
        return save_scene(folder, stem, made, facts, options.bits)


def _scene(options: SynthesizeShapesOptions) -> Scene:
    from napari_synthseg.generator.saving import read_record
    from napari_synthseg.generator.shapes.scenes import apply_scene, scene

    if options.record:
        return apply_scene(read_record(options.record[0], "scene"), options.device, options.side)
    return scene(options.priors(), options.seed, options.device, options.side)
