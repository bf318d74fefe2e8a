"""Label maps to generate images from, split into those to learn from and those held out, with cases to validate on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap, load
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import differences, preset
from napari_synthseg.generator.sample import label_map_files, prepared
from napari_synthseg.io import read_labels
from napari_synthseg.jobs import Progress
from napari_synthseg.training.data.cases import Scores, ValidationCase, labelled_cases, synthetic_cases
from napari_synthseg.training.data.labelled_scans import hold_out
from napari_synthseg.training.recipe import DataOptions
from napari_synthseg.volume import Volume

logger = logging.getLogger(__name__)

BRAIN = (2, 10, 12, 17, 41, 49, 51, 53)
"""White matter, thalamus, putamen and hippocampus of both sides: a map with most of them is one of the brain, as is one
with any and parts of the cortex; structures may lie outside the scan, or have been removed."""
LESION_LOAD_ML = (0.0, 60.0)
"""Volume of the white matter lesions that `lesions` paints into label maps."""


@dataclass(frozen=True)
class GeneratedData:
    """Training and validation data of networks that learn from generated images."""

    labels: tuple[int, ...]
    """The sorted values that a network predicts."""
    maps: list[LabelMap]
    """Label maps to generate images from."""
    held_out: tuple[str, ...]
    """Names of the others."""
    priors: GenerativeModel
    heads: list[ValidationCase]
    """Synthetic heads of the maps held out, to validate on."""
    scans: list[ValidationCase]
    """Real scans to validate on; they choose the model if there are some."""
    labelled: list[ValidationCase]
    """Real scans to learn from, besides generated images."""

    @property
    def words(self) -> str:
        """For a card."""
        return f"{len(self.maps)} label maps (held out: {', '.join(self.held_out) or 'none'})"

    @property
    def settings(self) -> list[str]:
        """For a card: the priors that differ from SynthSeg's, as `--set` takes them."""
        return differences(self.priors, preset("synthseg"))

    def validation(
        self, score: Callable[[Any, Sequence[ValidationCase], torch.device], Scores], device: torch.device
    ) -> Callable[[nn.Module], dict[str, Any]]:
        """Return the validation that scores a network on synthetic heads and on real scans, given a score on cases."""

        def figures(model: nn.Module) -> dict[str, Any]:
            synthetic = score(model, self.heads, device)
            chosen = score(model, self.scans, device) if self.scans else synthetic
            return {"synthetic": synthetic.mean, "score": chosen.mean, "dice": chosen.structures}

        return figures


def read_data(
    options: DataOptions, priors: GenerativeModel, *, seed: int, each: int = 2, labelled: Path | None = None
) -> Generator[Progress, None, GeneratedData]:
    """Read the data that the options of a recipe name.

    Args:
        options: of the recipe.
        priors: of the recipe; those that the options name take their place.
        seed: of the run.
        each: synthetic heads of each map held out.
        labelled: folder of real scans to learn from.

    Raises:
        InputError: label maps, priors or scans cannot be used.
    """
    maps, held_out = hold_out((yield from read_maps(options.label_maps)), options.hold_out, "label map")
    labels = predicted_labels(maps, options.csf)
    priors = with_lesions(options.generative_model(priors), options.lesions)
    scans = labelled_cases(options.validation, labels) if options.validation else []
    yield Progress("drawing heads for validation", 0, each * len(held_out))
    plain = with_lesions(preset("synthseg"), options.lesions)
    heads = synthetic_cases(held_out, plain, labels, each, seed + 5)
    learned = labelled_cases(labelled, labels) if labelled else []
    return GeneratedData(labels, maps, tuple(m.name for m in held_out), priors, heads, scans, learned)


def read_maps(path: Path) -> Generator[Progress, None, list[LabelMap]]:
    """Read label maps: a prepared `.npz`, or a folder of files; an `InputError` if there are none."""
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

    Label maps of other organs stay unchanged; an `InputError` names a few unknown values in one of the brain.
    """
    values = {int(value) for value in np.unique(labels.data)}
    unknown = anatomy.unknown_values(labels.data)
    shown, parts = set(BRAIN) & values, {value for value in values if value > 1000} - set(unknown)
    if len(shown) < (1 if parts else 5) or len(unknown) > len(values) / 5:
        return labels
    if unknown:
        raise anatomy.unknown_error(name, unknown)
    mapped, found = anatomy.from_freesurfer(labels.data)
    if found:
        logger.info("%s contains %d values of FreeSurfer's own, which are mapped.", name, len(found))
    return Volume(mapped, labels.affine)


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
