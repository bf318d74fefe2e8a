"""Synthetic scans, degraded scans and scenes as files with their records: options and jobs of the commands.

`command_line` and `python_code` turn options into a command line or Python that writes the same files.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Generator as Job
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from napari_synthseg.atomic_io import placed_files
from napari_synthseg.errors import InputError
from napari_synthseg.fields import File, Info, PriorSettings, check, command_text, python_text
from napari_synthseg.generator.presets import changed, degradation, load_priors, shape_preset
from napari_synthseg.jobs import Progress

if TYPE_CHECKING:
    from napari_synthseg.generator.degradation import Degraded
    from napari_synthseg.generator.model import Record
    from napari_synthseg.generator.sample import Synthesized
    from napari_synthseg.generator.shapes.scenes import Scene
    from napari_synthseg.io import FileHeader

Save = Callable[..., Path]
"""Saves a sample into a folder, under a stem; returns its image."""
Settings = Annotated[PriorSettings, Info(aliases=("--set",))]
ENDS = ("image.nii.gz", "labels.nii.gz", "labels.tsv", "record.json")
"""Ends of the names of a sample's files, after the stem."""
SCENE_ENDS = ("image.png", "objects.png", "record.json")
"""Those of a scene's files."""
LABELS = ("_dseg", "_probseg", "_labels")
"""Ends of the names of labels that this program writes beside scans."""


@dataclass(frozen=True)
class SynthesizeOptions:
    """Options of synthetic scans."""

    preset: Annotated[str, Info(aliases=("--priors",))] = "synthseg"
    """Priors to start from: synthseg, synthseg-larger-gmm, synthseg-tighter-gmm, synthseg-r, synthseg-rc, no-bias,
    no-deformation, synthseg-plus, fast, or a JSON file of priors."""
    prior: Settings = ()
    """Priors to change, as name=value or name=low,high, for example mean=0,255 skull_strip=1."""
    seed: int = 0
    """Seed of the first sample; sample i has seed + i."""
    shape: tuple[int, int, int] | None = None
    """Voxels of a random crop; by default the label map's whole grid."""
    device: str = "cpu"
    """Device to compute on: auto, cpu, cuda or mps."""


@dataclass(frozen=True)
class DegradeOptions:
    """Options of degraded scans."""

    prior: Settings = ()
    """Priors of SynthSeg+'s degradation model to change, as name=low,high, for example noise_std=0,10 rotation_deg=0,0.
    """
    seed: int = 0
    """Seed of the first result; each further one has the next seed."""
    labels: File | None = None
    """Labels of the scan, moved along with it; only with one scan."""
    device: str = "cpu"
    """Device to compute on: auto, cpu, cuda or mps."""


@dataclass(frozen=True)
class SynthesizeShapesOptions:
    """Options of scenes of shapes."""

    preset: str = "both"
    """Priors to start from: both, hard-targets, shape-only, boundary-only, paper, ct, mr, ultrasound, xray or
    microscopy."""
    prior: Settings = ()
    """Priors to change, as name=value or name=low,high, for example objects=3,6 contrast=0.1,0.3."""
    seed: int = 0
    """Seed of the first scene; scene i has seed + i."""
    record: tuple[Path, ...] = ()
    """Records (..._record.json) to make the scenes of again; preset, priors, seed and count do not matter then."""
    side: Annotated[int, Info(unit="pixels", low=64, high=4096, step=8)] = 1024
    """Longer side of the image; 1024 is the input of SAM."""
    bits: Literal[8, 16] = 8
    """Bits of a pixel of the image file."""
    device: str = "cpu"
    """Device to compute on: auto, cpu, cuda or mps; shapes are the same on all of them, white noise is not."""

    def __post_init__(self) -> None:
        check(self)


def synthesize_files(
    label_map: Path, out: Path, options: SynthesizeOptions | None = None, count: int = 1, *, overwrite: bool = False
) -> Job[Progress, None, list[Path]]:
    """Write synthetic scans: `<name>_<seed>_image.nii.gz`, `_labels.nii.gz` and `_record.json` each, all or none.

    `label_map` is a file, or a folder from which each sample takes one at random; `out` a folder, made if missing.

    Returns:
        The images' paths.

    Raises:
        InputError: nothing usable is given, or a file of a sample is there and `overwrite` is off; nothing is written.
    """
    from napari_synthseg.devices import resolve_device
    from napari_synthseg.generator.sample import label_map_files, picked, prepared, replay
    from napari_synthseg.io import stem

    options = options or SynthesizeOptions()
    if options.shape is not None and min(options.shape) < 1:
        raise InputError(
            f"A crop of {' x '.join(map(str, options.shape))} voxels is empty: give numbers of at least 1."
        )
    device, priors = resolve_device(options.device), load_priors(options.preset, options.prior)
    facts = {"preset": options.preset, "prior": list(options.prior)}
    sources = label_map_files(Path(label_map))
    chosen = [(picked(sources, seed), seed) for seed in range(options.seed, options.seed + count)]

    def samples() -> Iterator[Save]:
        at: Path | None = None
        for path, seed in chosen:
            if path != at:
                ready, affine = prepared(path)
                ready, at = ready.to(device), path
            made = replay(priors.sample(ready, seed), ready, affine, options.shape)
            yield partial(save_sample, sample=made, facts={**facts, "label_map": path.name, "seed": seed})

    stems = [f"{stem(path)}_{seed:04d}" for path, seed in chosen]
    return (yield from _written("synthesize", out, stems, samples, count, overwrite))


def degrade_files(
    inputs: Sequence[Path], out: Path, options: DegradeOptions | None = None, count: int = 1, *, overwrite: bool = False
) -> Job[Progress, None, list[Path]]:
    """Write degraded scans: `<name>_<seed>_image.nii.gz`, `_labels.nii.gz` if given, and `_record.json` each.

    `inputs` are scans or folders of them, of each of which there are `count` results; all else as for
    `synthesize_files`, but that scans are read one after the other: those before one that cannot be read are written.
    """
    from napari_synthseg.devices import resolve_device
    from napari_synthseg.generator.degradation import degrade
    from napari_synthseg.io import read_labels, read_with_header, stem
    from napari_synthseg.volume import check_extent

    options = options or DegradeOptions()
    device = resolve_device(options.device)
    generator = changed(degradation(), options.prior)
    scans = [scan for path in inputs for scan in _scans(Path(path))]
    if not scans:
        raise InputError("There is no scan to degrade: give a file or a folder.")
    if options.labels is not None and len(scans) != 1:
        raise InputError(f"Labels belong to one scan, and {len(scans)} were given: degrade them one by one.")
    labels = None if options.labels is None else read_labels(options.labels)
    seeds = [range(options.seed + n * count, options.seed + (n + 1) * count) for n in range(len(scans))]

    def samples() -> Iterator[Save]:
        for path, own in zip(scans, seeds, strict=True):
            scan, header = read_with_header(path)
            check_extent(scan, name=str(path))
            for seed in own:
                facts = {"scan": path.name, "prior": list(options.prior), "seed": seed}
                made = degrade(scan, generator.sample(seed=seed), labels, device)
                yield partial(save_sample, sample=made, facts=facts, header=header)

    stems = [f"{stem(path)}_{seed:04d}" for path, own in zip(scans, seeds, strict=True) for seed in own]
    return (yield from _written("degrade", out, stems, samples, count, overwrite))


def synthesize_shapes(
    out: Path, options: SynthesizeShapesOptions | None = None, count: int = 1, *, overwrite: bool = False
) -> Job[Progress, None, list[Path]]:
    """Write scenes: `<preset>_<seed>_image.png`, `_objects.png` and `_record.json` each, all or none.

    Records, if the options name some, make one each; all else as for `synthesize_files`.
    """
    from napari_synthseg.devices import resolve_device
    from napari_synthseg.generator.shapes.scenes import apply_scene

    options = options or SynthesizeShapesOptions()
    device = resolve_device(options.device)
    seeds = range(options.seed, options.seed + count)
    facts = {"preset": options.preset, "prior": list(options.prior)}
    if options.record:
        stems = [Path(path).name.removesuffix(".json").removesuffix("_record") for path in options.record]
        contents = [read_record_file(path) for path in options.record]
        of_each = [{name: content[name] for name in (*facts, "seed") if name in content} for content in contents]
        records = iter([read_record(path, "module") for path in options.record])
    else:
        priors = changed(shape_preset(options.preset), options.prior)  # now, since it may be refused
        stems = [f"{options.preset}_{seed:04d}" for seed in seeds]
        of_each = [{**facts, "seed": seed} for seed in seeds]
        records = (priors.sample(seed=seed) for seed in seeds)
    if len(set(stems)) < len(stems):
        raise InputError("Two records have the same name: make their scenes in two runs, into two folders.")

    def samples() -> Iterator[Save]:
        for record, own in zip(records, of_each, strict=True):
            made = apply_scene(record, device, options.side)
            yield partial(save_scene, scene=made, facts=own, bits=options.bits)

    return (yield from _written("synthesize", out, stems, samples, count, overwrite, SCENE_ENDS))


def _written(
    stage: str,
    out: Path,
    stems: Sequence[str],
    samples: Callable[[], Iterator[Save]],
    count: int,
    overwrite: bool,
    ends: Sequence[str] = ENDS,
) -> Job[Progress, None, list[Path]]:
    if count < 1:
        raise InputError(f"{count} samples were asked for: give a number of at least 1.")
    if not overwrite:
        refuse_to_replace(out, stems, ends)
    written: list[Path] = []
    yield Progress(stage, 0, len(stems))
    for stem, save in zip(stems, samples(), strict=True):
        written.append(save(out, stem))
        yield Progress(stage, len(written), len(stems), {"file": written[-1].name})
    return written


def _scans(path: Path) -> list[Path]:
    from napari_synthseg.io import stem
    from napari_synthseg.io.finding import find_scans

    return [scan for scan in find_scans([path]) if scan == path or not stem(scan).endswith(LABELS)]


# Samples: all files of one, or none


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
    """Check before the work that a folder holds no sample of these names."""
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

    The folder is made if missing; files of these names are replaced once all new ones are complete. `facts` are further
    entries of the record file. The sample lies in the space that a scan's header names.

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

    Raises:
        InputError: it cannot be read, or lacks a step (contrast of a head, acquisition of a scan, module of a scene).
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
    """Read a `<stem>_record.json`, the facts and the record; InputError if it cannot be read."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The record {path} cannot be read ({error.strerror}): check its name.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no record: it holds no JSON.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no record: choose a file that ends in _record.json.")
    return content


# The same as text

VERBS: dict[type, tuple[str, Callable[..., Any]]] = {
    SynthesizeOptions: ("synthesize", synthesize_files),
    DegradeOptions: ("degrade", degrade_files),
    SynthesizeShapesOptions: ("synthesize-shapes", synthesize_shapes),
}
"""Command and function of each kind of options."""


def command_line(source: Path | str | None, out: Path | str, options: Any, count: int = 1) -> str:
    """Return the command that writes these samples, for a POSIX shell; only options that differ from the defaults.

    `source` is the label map, the scan, or a folder of them; None for scenes of shapes.
    """
    words = ["napari-synthseg", VERBS[type(options)][0], *([] if source is None else [str(source)]), "-o", str(out)]
    replayed = ("preset", "prior", "seed") if getattr(options, "record", ()) else ()
    words += shlex.split(command_text(options, replayed)) + ([] if count == 1 else ["--count", str(count)])
    return shlex.join(words)


def python_code(source: Path | str | None, out: Path | str, options: Any, count: int = 1) -> str:
    """Return Python that writes the same files as `command_line`; arguments as there."""
    verb, function = VERBS[type(options)]
    place = f"Path({str(source)!r})"
    given = [] if source is None else [place if verb == "synthesize" else f"[{place}]"]
    call = ", ".join([*given, f"Path({str(out)!r})", "options", *([f"count={count}"] if count != 1 else [])])
    return (
        f"from pathlib import Path\n\nfrom {__name__} import {type(options).__name__}, {function.__name__}\n"
        "from napari_synthseg.jobs import run\n\n"
        f"options = {python_text(options)}\nrun({function.__name__}({call}))\n"
    )
