"""Samples and scenes as files: images, labels or objects, and the record, all of them or none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.atomic_io import placed_files
from napari_synthseg.errors import InputError

if TYPE_CHECKING:
    from napari_synthseg.generator.degradation import Degraded
    from napari_synthseg.generator.model import Record
    from napari_synthseg.generator.sample import Synthesized
    from napari_synthseg.generator.shapes.scenes import Scene
    from napari_synthseg.io import FileHeader

ENDS = ("image.nii.gz", "labels.nii.gz", "labels.tsv", "record.json")
"""Ends of the names of a sample's files, after the stem."""
SCENE_ENDS = ("image.png", "objects.png", "record.json")
"""Those of a scene's files."""


def _existing(folder: str | os.PathLike, stems: Iterable[str], ends: Sequence[str]) -> Path | None:
    return next((path for stem in stems for end in ends if (path := Path(folder) / f"{stem}_{end}").exists()), None)


def free_stem(folder: str | os.PathLike, stem: str, ends: Sequence[str] = ENDS) -> str:
    """Return the stem, numbered if a folder holds a sample of that name (the same seed, other priors)."""
    number, found = 1, stem
    while _existing(folder, [found], ends):
        number += 1
        found = f"{stem}_{number}"
    return found


def refuse_to_replace(folder: str | os.PathLike, stems: Iterable[str], ends: Sequence[str] = ENDS) -> None:
    """Check before the work that all samples can be written.

    Raises:
        InputError: the folder holds a sample of one of these names.
    """
    if taken := _existing(folder, stems, ends):
        raise InputError(f"{taken} is there already: choose another folder or other seeds, or give --overwrite.")


def save_sample(
    folder: str | os.PathLike,
    stem: str,
    sample: Synthesized | Degraded,
    facts: Mapping[str, Any] | None = None,
    header: FileHeader | None = None,
) -> Path:
    """Write `<stem>_image.nii.gz`, `<stem>_labels.nii.gz` (with its .tsv) and `<stem>_record.json`.

    Args:
        folder: made if missing; files of these names are replaced, once all new ones are complete.
        stem: beginning of the names.
        sample: to write; without labels there is no labels file.
        facts: entries of the record file besides the record itself.
        header: of the scan that the sample was made of: it lies in the space that this names.

    Returns:
        The image's path.

    Raises:
        InputError: the folder cannot be written to, or holds the labels of an earlier sample of this name while
            this one has none: they would look like its own.
    """
    from napari_synthseg.io import write_labels, write_volume

    earlier = Path(folder) / f"{stem}_labels.nii.gz"
    if sample.labels is None and earlier.exists():
        raise InputError(f"{earlier} belongs to an earlier sample: move it away or choose another folder.")

    def write(part: Path) -> None:
        write_volume(part / f"{stem}_image.nii.gz", sample.image, header=header)
        if sample.labels is not None:
            write_labels(part / f"{stem}_labels.nii.gz", sample.labels, header=header)

    _save(folder, stem, write, sample.record, facts)
    return Path(folder) / f"{stem}_image.nii.gz"


def save_scene(
    folder: str | os.PathLike, stem: str, scene: Scene, facts: Mapping[str, Any] | None = None, bits: int = 8
) -> Path:
    """Write `<stem>_image.png`, `<stem>_objects.png` (16 bit, 0 is no object) and `<stem>_record.json`.

    Arguments, result and errors are those of `save_sample`; `bits` of the image are 8 or 16, padding is left out.
    """
    from PIL import Image

    image, objects = scene_arrays(scene, bits)

    def write(part: Path) -> None:
        Image.fromarray(image).save(part / f"{stem}_image.png")
        Image.fromarray(objects).save(part / f"{stem}_objects.png")

    _save(folder, stem, write, scene.record, facts)
    return Path(folder) / f"{stem}_image.png"


def scene_arrays(scene: Scene, bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return image and objects without the padding, (rows, columns): uint8 or uint16, and uint16."""
    rows, columns = scene.extent
    image = (scene.image[:rows, :columns].cpu().numpy() * (2**bits - 1)).round()
    objects = scene.objects[:rows, :columns].cpu().numpy().astype(np.uint16)
    return image.astype(np.uint8 if bits == 8 else np.uint16), objects


def _save(
    folder: str | os.PathLike, stem: str, write: Callable[[Path], None], record: Record, facts: Mapping[str, Any] | None
) -> None:
    text = json.dumps({**(facts or {}), **record.to_dict()}, indent=1) + "\n"
    with placed_files(folder) as part:
        write(part)
        (part / f"{stem}_record.json").write_text(text, encoding="utf-8")


def read_record(path: str | os.PathLike, step: str) -> Record:
    """Read the record of a `<stem>_record.json`, of this version or an earlier one.

    Args:
        path: the file.
        step: one that the record must have: contrast for a head, acquisition for a scan, module for a scene.

    Raises:
        InputError: it cannot be read, or is no such record.
    """
    from napari_synthseg.generator.model import Record

    try:
        record = Record.from_dict(read_record_file(path))
        if step not in record:
            raise KeyError(step)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no complete record of such a sample: choose another one.") from error
    return record


def read_record_file(path: str | os.PathLike) -> dict[str, Any]:
    """Read a `<stem>_record.json`: the facts and the record.

    Raises:
        InputError: it cannot be read, or is no record.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The record {path} cannot be read ({error.strerror}): check its name.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no record: it holds no JSON.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no record: choose a file that ends in _record.json.")
    return content
