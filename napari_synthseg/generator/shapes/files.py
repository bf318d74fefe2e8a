"""Scenes of shapes as files, what `napari-synthseg synthesize-shapes` writes, from nothing or from records."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.generator.files import SynthesizeShapesOptions
from napari_synthseg.generator.model import Record
from napari_synthseg.generator.saving import read_record, read_record_file, refuse_to_replace, save_files
from napari_synthseg.generator.shapes.scenes import Scene, apply_scene
from napari_synthseg.jobs import Progress

SCENE_ENDS = ("image.png", "objects.png", "record.json")
"""Ends of the names of a scene's files, after the stem."""


def scene_arrays(scene: Scene, bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return image and objects without the padding, (rows, columns): uint8 or uint16, and uint16."""
    rows, columns = scene.extent
    image = (scene.image[:rows, :columns].cpu().numpy() * (2**bits - 1)).round()
    objects = scene.objects[:rows, :columns].cpu().numpy().astype(np.uint16)
    return image.astype(np.uint8 if bits == 8 else np.uint16), objects


def save_scene(
    folder: str | os.PathLike, stem: str, scene: Scene, facts: Mapping[str, Any] | None = None, bits: int = 8
) -> Path:
    """Write `<stem>_image.png`, `<stem>_objects.png` (16 bit, 0 is no object) and `<stem>_record.json`, all or none.

    Args:
        folder: made if missing.
        stem: beginning of the names; files of these names are replaced.
        scene: to write; padding is left out.
        facts: entries of the record file besides the record itself.
        bits: of the image, 8 or 16.

    Returns:
        The image's path.

    Raises:
        InputError: the folder cannot be written to.
    """
    image, objects = scene_arrays(scene, bits)
    record = json.dumps({**(facts or {}), **scene.record.to_dict()}, indent=1) + "\n"

    def write(part: Path) -> None:
        Image.fromarray(image).save(part / f"{stem}_image.png")
        Image.fromarray(objects).save(part / f"{stem}_objects.png")
        (part / f"{stem}_record.json").write_text(record, encoding="utf-8")

    save_files(folder, write)
    return Path(folder) / f"{stem}_image.png"


def synthesize_shapes(
    out: Path, options: SynthesizeShapesOptions | None = None, count: int = 1, *, overwrite: bool = False
) -> Generator[Progress, None, list[Path]]:
    """Write scenes: `<preset>_<seed>_image.png`, `_objects.png` and `_record.json` each, all or none.

    Args:
        out: folder, made if missing.
        options: see `SynthesizeShapesOptions`.
        count: number of scenes; records, if given, make one each.
        overwrite: replace files of these names.

    Returns:
        The images' paths.

    Raises:
        InputError: something cannot be used, or a file of a scene is there already; nothing is written then.
    """
    options = options or SynthesizeShapesOptions()
    if count < 1:
        raise InputError(f"{count} scenes were asked for: give a number of at least 1.")
    device = resolve_device(options.device)
    if options.record:
        paths = [Path(path) for path in options.record]
        stems = [stem_of_record(path) for path in paths]
        records = _replayed(paths)
    else:
        stems = [f"{options.preset}_{seed:04d}" for seed in range(options.seed, options.seed + count)]
        records = _drawn(options, count)
    if len(set(stems)) < len(stems):
        raise InputError("Two records have the same name: make their scenes in two runs, into two folders.")
    if not overwrite:
        refuse_to_replace(out, stems, SCENE_ENDS)
    written: list[Path] = []
    yield Progress("synthesize", 0, len(stems))
    for stem, (record, facts) in zip(stems, records, strict=True):
        written.append(save_scene(out, stem, apply_scene(record, device, options.side), facts, options.bits))
        yield Progress("synthesize", len(written), len(stems), {"file": written[-1].name})
    return written


def stem_of_record(path: Path) -> str:
    """Return the beginning of the names of a record's scene."""
    return path.name.removesuffix(".json").removesuffix("_record")


def _drawn(options: SynthesizeShapesOptions, count: int) -> Iterator[tuple[Record, dict[str, Any]]]:
    priors = options.priors()  # before anything is drawn, since it may be refused
    choices = {"preset": options.preset, "prior": list(options.prior)}
    seeds = range(options.seed, options.seed + count)
    return ((priors.sample(seed=seed), {**choices, "seed": seed}) for seed in seeds)


def _replayed(records: Sequence[Path]) -> Iterator[tuple[Record, dict[str, Any]]]:
    known = ("preset", "prior", "seed")
    facts = [{name: value for name, value in read_record_file(p).items() if name in known} for p in records]
    return zip([read_record(path, "module") for path in records], facts, strict=True)
