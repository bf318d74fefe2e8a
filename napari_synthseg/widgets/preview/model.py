"""The preview's jobs: samples of each generator drawn, shown small, and saved. No Qt here; torch is imported late.

A further generator is one more `Maker` here and one more tab in `tabs`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.generator.files import ENDS, free_stem, save_sample
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.layers.geometry import file_name
from napari_synthseg.widgets.preview.pictures import (
    FLAT,
    PICTURE,
    Picture,
    PreviewSource,
    Shown,
    Thumbnail,
    axial_slice,
    objects_table,
    scene_prompts,
    shown_image,
    shown_labels,
)

if TYPE_CHECKING:
    from napari_synthseg.generator.degradation import Degraded
    from napari_synthseg.generator.files import SynthesizeShapesOptions
    from napari_synthseg.generator.labelmap import LabelMap
    from napari_synthseg.generator.model import Record
    from napari_synthseg.generator.shapes.scenes import Scene
    from napari_synthseg.volume import Volume

QUICK = 2.0
"""The quick look's voxels are this much larger than the label map's."""
QUICK_MM = 2.0
"""Voxel size of the quick look at a scan."""
THUMBNAIL_VOXELS, THUMBNAIL_SIDE = 72, 128
"""Longest axis of a head's thumbnail in voxels, of a scene's in pixels."""


@dataclass(frozen=True)
class Wanted:
    """A sample to draw or save."""

    options: Any
    """`SynthesizeOptions`, `DegradeOptions` or `SynthesizeShapesOptions`: preset, changed priors, seed."""
    priors: GenerativeModel
    """The generator that they stand for."""
    sources: tuple[PreviewSource | None, ...] = ()
    """Label map; or scan and its labels."""
    letter: str = "f"
    """The step of Figure 3 to show."""
    full: bool = True
    """Draw the full size after the quick look."""
    turn: int = 0
    """Which random target of a scene, from 0."""


class Maker:
    """Draws and saves samples in a thread; keeps the latest prepared source, so that a redraw is quick."""

    preparing = "Preparing"
    ends: tuple[str, ...] = ENDS
    """Ends of the names of the files of a sample."""

    def __init__(self) -> None:
        self._latest: tuple[Hashable, Any] | None = None

    def prepare(self, wanted: Wanted) -> Any:
        raise NotImplementedError

    def picture(self, wanted: Wanted, *, quick: bool) -> Picture | None:
        """Draw a sample; None for the quick look if the full size is quick enough."""
        raise NotImplementedError

    def thumbnail(self, wanted: Wanted) -> Thumbnail:
        raise NotImplementedError

    def sample(self, wanted: Wanted) -> tuple[Any, str, dict[str, Any]]:
        """Draw a sample at full size; returns it, its name in file names, and facts for its record."""
        raise NotImplementedError

    def drawn(self, wanted: Wanted) -> Generator[Progress, None, Picture]:
        """Draw a quick look, then the full size."""
        yield Progress(self.preparing)
        self.prepare(wanted)
        yield Progress("Drawing")
        quick = self.picture(wanted, quick=True)
        if quick is not None:
            if not wanted.full:
                return quick
            yield Progress("Full size", figures={PICTURE: quick})
        full = self.picture(wanted, quick=False)
        assert full is not None
        return full

    def sampled(self, wanted: Wanted, seeds: Sequence[int]) -> Generator[Progress, None, list[Thumbnail]]:
        """Draw a thumbnail for each seed; each is also the figure `thumbnail` of a report."""
        made: list[Thumbnail] = []
        yield Progress("Samples", 0, len(seeds))
        for seed in seeds:
            made.append(self.thumbnail(replace(wanted, options=replace(wanted.options, seed=seed))))
            yield Progress("Samples", len(made), len(seeds), {"thumbnail": made[-1]})
        return made

    def saved(self, wanted: Wanted, folder: Path) -> Generator[Progress, None, Path]:
        """Write the same files as the command line, at full size, under a name that is free."""
        yield Progress("Drawing", 0, 2)
        made, name, facts = self.sample(wanted)
        yield Progress("Writing", 1, 2)
        stem = free_stem(folder, f"{file_name(name, 'sample')}_{wanted.options.seed:04d}", self.ends)
        return self.write(wanted, folder, stem, made, {**facts, **chosen(wanted.options)})

    def write(self, wanted: Wanted, folder: Path, stem: str, made: Any, facts: dict[str, Any]) -> Path:
        """Write the files of a sample; returns the image's path."""
        return save_sample(folder, stem, made, facts)

    def _kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what was made for the same key last, or make it."""
        latest = self._latest  # a job that was stopped may still be at work beside the next one
        if latest is None or latest[0] != key:
            latest = self._latest = (key, make())
        return latest[1]


def chosen(options: Any) -> dict[str, Any]:
    """Return preset, priors and seed of options, as a record file has them."""
    found = {name: getattr(options, name) for name in ("preset", "prior", "seed") if hasattr(options, name)}
    return {**found, "prior": list(found["prior"])}


def _head(record: Record, seed: int, image: Shown | None, labels: Volume | None, grid: Volume, quick: bool) -> Picture:
    shown = None if labels is None else shown_labels(labels)
    spacing = tuple(float(s) for s in grid.spacing)
    return Picture(image, shown, {"seed": seed, **record.to_dict()}, record.summary(), spacing, quick)


class BrainMaker(Maker):
    """Samples of SynthSeg's generative model from a label map."""

    preparing = "Preparing the label map"

    def prepare(self, wanted: Wanted) -> tuple[LabelMap, np.ndarray, str]:
        """Return the label map that the seed takes, its affine, and its name."""
        from napari_synthseg.generator.sample import label_map_files, picked, prepared
        from napari_synthseg.io.formats import stem

        source = wanted.sources[0]
        assert source is not None
        if source.scan is not None or source.path is None:
            path, name = None, source.name
        else:
            path = picked(label_map_files(source.path), wanted.options.seed)
            name = stem(path)
        ready = self._kept((source.key, path), lambda: prepared(path or _map_voxels(source)))
        return *ready, name

    def picture(self, wanted: Wanted, *, quick: bool) -> Picture | None:
        from napari_synthseg.generator.figure import panel

        label_map, affine, _ = self.prepare(wanted)
        coarse = label_map.spacing * QUICK
        if quick and coarse > 2.5:  # a coarse map is quick as it is
            return None
        record = wanted.priors.sample(label_map, wanted.options.seed)
        made = panel(wanted.letter, record, label_map, affine, spacing=coarse if quick else None)
        labels = made.volume if made.is_labels else made.labels
        limits = (0.0, 255.0) if made.letter == "c" else (0.0, 1.0)  # fixed: a change of contrast is seen
        image = None if made.is_labels else shown_image(made.volume, limits)
        return _head(record, wanted.options.seed, image, labels, made.volume, quick)

    def thumbnail(self, wanted: Wanted) -> Thumbnail:
        from napari_synthseg.generator.sample import replay

        label_map, affine, _ = self.prepare(wanted)
        record = wanted.priors.sample(label_map, wanted.options.seed)
        spacing = label_map.spacing * max(max(label_map.shape) / THUMBNAIL_VOXELS, 1)
        image = replay(record, label_map, affine, spacing=spacing).image
        return Thumbnail(wanted.options.seed, axial_slice(image.data), record.summary())

    def sample(self, wanted: Wanted) -> tuple[Any, str, dict[str, Any]]:
        from napari_synthseg.generator.sample import replay

        label_map, affine, name = self.prepare(wanted)
        record = wanted.priors.sample(label_map, wanted.options.seed)
        return replay(record, label_map, affine), name, {"label_map": name}


def _map_voxels(source: PreviewSource) -> Volume:
    if source.scan is not None:
        return source.scan.read()
    from napari_synthseg.widgets.layers.reader import bundled_label_map

    return bundled_label_map()


Pair = tuple["Volume", "Volume | None"]


class DegradedMaker(Maker):
    """A real scan, degraded by SynthSeg+'s model."""

    preparing = "Reading the scan"

    def prepare(self, wanted: Wanted) -> tuple[Pair, Pair | None]:
        """Return the scan and its labels, and both at the quick look's voxel size if the scan is finer."""
        key = tuple(source and source.key for source in wanted.sources)
        return self._kept(key, lambda: _scan_voxels(wanted.sources))

    def picture(self, wanted: Wanted, *, quick: bool) -> Picture | None:
        pair = self.prepare(wanted)[int(quick)]
        if pair is None:
            return None
        made = self._degraded(wanted, pair)
        return _head(made.record, wanted.options.seed, shown_image(made.image), made.labels, made.image, quick)

    def thumbnail(self, wanted: Wanted) -> Thumbnail:
        """Degrade the scan at the quick look's voxel size; returns an axial slice."""
        from napari_synthseg.volume import to_canonical

        full, quick = self.prepare(wanted)
        made = self._degraded(wanted, (quick or full)[:1] + (None,))
        return Thumbnail(wanted.options.seed, axial_slice(to_canonical(made.image).data), made.record.summary())

    def sample(self, wanted: Wanted) -> tuple[Any, str, dict[str, Any]]:
        source = wanted.sources[0]
        assert source is not None
        return self._degraded(wanted, self.prepare(wanted)[0]), source.name, {"scan": source.name}

    def _degraded(self, wanted: Wanted, pair: Pair) -> Degraded:
        from napari_synthseg.generator.degradation import degrade

        return degrade(pair[0], wanted.priors.sample(seed=wanted.options.seed), pair[1])


def _scan_voxels(sources: Sequence[PreviewSource | None]) -> tuple[Pair, Pair | None]:
    from napari_synthseg.volume import resample_image, resample_labels_to, same_grid

    scan, labels = (None if source is None or source.scan is None else source.scan.read() for source in sources)
    assert scan is not None  # the tab offers layers only
    if labels is not None and not same_grid(scan, labels, tolerance=0.01):
        labels = resample_labels_to(labels, scan.shape, scan.affine)
    if (scan.spacing >= QUICK_MM * 0.9).all():
        return (scan, labels), None
    coarse = resample_image(scan, [float(max(s, QUICK_MM)) for s in scan.spacing])
    coarse = coarse.with_data(np.asarray(coarse.data, np.float32))
    return (scan, labels), (coarse, labels and resample_labels_to(labels, coarse.shape, coarse.affine))


class SceneMaker(Maker):
    """Scenes of SynthFM's generative model."""

    ends = ("image.png", "objects.png", "record.json")

    def prepare(self, wanted: Wanted) -> Scene:
        return self._kept(replace(wanted.options, bits=8), lambda: _scene(wanted.options))

    def picture(self, wanted: Wanted, *, quick: bool) -> Picture | None:
        from napari_synthseg.generator.files import scene_arrays

        if quick:
            return None
        made = self.prepare(wanted)
        image, objects = scene_arrays(made, 16)
        return Picture(
            Shown(image.astype(np.float32) / 65535, FLAT),
            Shown(objects, FLAT, table=objects_table(made, objects)),
            {**chosen(wanted.options), **made.record.to_dict()},
            made.record.summary(),
            (1.0, 1.0),
            quick,
            scene_prompts(made, wanted.options.seed, wanted.turn),
        )

    def thumbnail(self, wanted: Wanted) -> Thumbnail:
        from napari_synthseg.generator.files import scene_arrays
        from napari_synthseg.generator.shapes.scenes import scene

        options = wanted.options
        small = scene(wanted.priors, options.seed, options.device, THUMBNAIL_SIDE)
        return Thumbnail(options.seed, scene_arrays(small)[0], small.record.summary())

    def sample(self, wanted: Wanted) -> tuple[Any, str, dict[str, Any]]:
        return self.prepare(wanted), wanted.options.preset, {}

    def write(self, wanted: Wanted, folder: Path, stem: str, made: Scene, facts: dict[str, Any]) -> Path:
        from napari_synthseg.generator.files import save_scene

        return save_scene(folder, stem, made, facts, wanted.options.bits)


def _scene(options: SynthesizeShapesOptions) -> Scene:
    from napari_synthseg.generator.presets import changed, shape_preset
    from napari_synthseg.generator.shapes.scenes import scene

    return scene(changed(shape_preset(options.preset), options.prior), options.seed, options.device, options.side)
