"""Label maps to generate images from, split into those to learn from and those held out, with cases to validate on."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap, load
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import changed, differences, load_priors, preset
from napari_synthseg.generator.sample import label_map_files, prepared
from napari_synthseg.io import read_labels
from napari_synthseg.jobs import Progress
from napari_synthseg.training.data.validation import Case, labelled_scans, synthetic_cases
from napari_synthseg.training.recipe import DataOptions
from napari_synthseg.volume import Volume

logger = logging.getLogger(__name__)

BRAIN = (2, 10, 12, 17, 41, 49, 51, 53)
"""White matter, thalamus, putamen and hippocampus of both sides: a map with all of them is one of the brain."""
LESION_LOAD_ML = (0.0, 60.0)
"""Volume of the white matter lesions that `lesions` paints into label maps."""


@dataclass(frozen=True)
class GeneratedData:
    """Training and validation data of networks that learn from generated images.

    Attributes:
        labels: the sorted values that a network predicts.
        maps: label maps to generate images from.
        held_out: names of the others.
        priors: of the generative model.
        heads: synthetic heads of the maps held out, to validate on.
        scans: real scans to validate on; they choose the model if there are some.
    """

    labels: tuple[int, ...]
    maps: list[LabelMap]
    held_out: tuple[str, ...]
    priors: GenerativeModel
    heads: list[Case]
    scans: list[Case]

    @property
    def words(self) -> str:
        """For a card."""
        return f"{len(self.maps)} label maps (held out: {', '.join(self.held_out) or 'none'})"

    @property
    def settings(self) -> list[str]:
        """For a card: the priors that differ from SynthSeg's, as `--set` takes them."""
        return differences(self.priors, preset("synthseg"))


def read_data(
    options: DataOptions, priors: GenerativeModel, *, seed: int, each: int = 2
) -> Generator[Progress, None, GeneratedData]:
    """Read what the options name.

    Args:
        options: of the recipe.
        priors: of the recipe; those that the options name take their place.
        seed: of the synthetic heads.
        each: heads of each map held out.

    Raises:
        InputError: label maps, priors or scans cannot be used.
    """
    maps, held_out = split((yield from read_maps(options.label_maps)), options.hold_out)
    labels = predicted_labels(maps, options.csf)
    chosen = changed(priors, options.set) if options.priors is None else load_priors(options.priors, options.set)
    priors = with_lesions(chosen, options.lesions)
    scans = labelled_scans(options.validation, labels) if options.validation else []
    yield Progress("drawing heads for validation", 0, each * len(held_out))
    heads = synthetic_cases(held_out, with_lesions(preset("synthseg"), options.lesions), labels, each, seed)
    return GeneratedData(labels, maps, tuple(m.name for m in held_out), priors, heads, scans)


def read_maps(path: Path) -> Generator[Progress, None, list[LabelMap]]:
    """Read label maps: a prepared `.npz`, or a folder of files.

    Raises:
        InputError: there are none.
    """
    yield Progress("reading label maps")
    if path.suffix == ".npz":
        return load(path)
    files, maps = label_map_files(path), []
    for number, file in enumerate(files):
        yield Progress("reading label maps", number + 1, len(files))
        try:
            label_map, _ = prepared(table_values(read_labels(file), file.name))
        except InputError as error:
            raise error if file.name in str(error) else InputError(f"{file.name}: {error}") from error
        maps.append(replace(label_map, name=file.name.split(".")[0]))
    return maps


def table_values(labels: Volume, name: str) -> Volume:
    """Map the values of FreeSurfer's own segmentations of the brain to those of the label table.

    Label maps of other organs, whose values are not those of the table, stay unchanged.

    Raises:
        InputError: a label map of the brain contains a few unknown values.
    """
    values = {int(value) for value in np.unique(labels.data)}
    unknown = anatomy.unknown_values(labels.data)
    if not set(BRAIN) <= values or len(unknown) > len(values) / 4:
        return labels
    if unknown:
        some = ", ".join(map(str, unknown))
        raise InputError(
            f"{name} contains unknown label values ({some}). Change them to values of resources/labels.tsv, or to 0."
        )
    mapped, found = anatomy.from_freesurfer(labels.data)
    if found:
        logger.info("%s contains %d values of FreeSurfer's own, which are mapped.", name, len(found))
    return Volume(mapped, labels.affine)


def split(maps: list[LabelMap], hold_out: Sequence[str]) -> tuple[list[LabelMap], list[LabelMap]]:
    """Return the maps to train on and those held out: the named ones, by default the last tenth.

    Raises:
        InputError: a named map does not exist, or nothing is left to train on.
    """
    names = {m.name for m in maps}
    if unknown := set(hold_out) - names:
        raise InputError(
            f"There is no label map named {sorted(unknown)[0]!r} to hold out: there are {', '.join(sorted(names))}."
        )
    kept = set(hold_out) or {m.name for m in maps[len(maps) - len(maps) // 10 :]}
    held, rest = [m for m in maps if m.name in kept], [m for m in maps if m.name not in kept]
    if not rest:
        raise InputError("No label map is left to train on: hold out fewer of them.")
    return rest, held


def predicted_labels(maps: Sequence[LabelMap], csf: bool = True) -> tuple[int, ...]:
    """Return the targets of the maps, sorted, background first; SynthSeg's 33 (32) if all of them are among those."""
    standard = anatomy.predicted_values(2 if csf else 1)
    dropped = set(anatomy.predicted_values(2)) - set(standard)
    found = {t for m in maps for t in m.targets if t not in dropped} | {0}
    return standard if found <= set(standard) else tuple(sorted(found))


def with_lesions(priors: GenerativeModel, lesions: bool) -> GenerativeModel:
    """Return priors that paint white matter lesions, if asked for; a load of their own stays."""
    if not lesions or priors["lesions"].lesion_load_ml[1] > 0:
        return priors
    return priors.with_values(lesion_load_ml=LESION_LOAD_ML)
