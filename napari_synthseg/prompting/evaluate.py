"""Evaluation of promptable models: a manifest of images and masks in, Dice and seconds out.

A manifest is a CSV table, checked before any work is done. The settings and how points are drawn:
`evaluation.prompt_protocol` (SynthFM, section 4).
"""

from __future__ import annotations

import csv
import statistics
import time
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_synthseg.atomic_io import delimiter_of, read_text
from napari_synthseg.devices import threads
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation import prompt_protocol as protocol
from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.evaluation.prompt_protocol import SETTINGS, Sampling, Setting
from napari_synthseg.fields import PositiveInt
from napari_synthseg.fields import check as check_options
from napari_synthseg.jobs import Progress, checkpoint, run
from napari_synthseg.prompting.session import Session
from napari_synthseg.prompting.target import read_picture

COLUMNS = ("modality", "dataset", "image", "mask")
"""Columns of a manifest; others are ignored."""


@dataclass(frozen=True)
class PromptCase:
    """A structure to segment: a line of a manifest."""

    modality: str
    dataset: str
    image: str
    mask: str
    """Paths relative to the manifest; the structure is above 0."""
    folder: Path
    where: str
    """The line, for messages."""

    @property
    def image_path(self) -> Path:
        return self.folder / self.image

    @property
    def mask_path(self) -> Path:
        return self.folder / self.mask


def read_manifest(path: Path | str) -> list[PromptCase]:
    """Read the lines of a manifest; its images are not opened.

    Raises:
        InputError: it cannot be read, a column is missing, a cell is empty, or it has no lines.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}: give a CSV table with the columns {', '.join(COLUMNS)}.")
    cases = []
    try:
        text = read_text(path)
        table = csv.DictReader(text.splitlines(), delimiter=delimiter_of(text))
        missing = [name for name in COLUMNS if name not in (table.fieldnames or [])]
        if missing:
            raise InputError(
                f"{path.name} has no column {missing[0]!r}: its first line must name {', '.join(COLUMNS)}."
            )
        for line in table:
            where = f"line {table.line_num} of {path.name}"
            cells = {name: (line[name] or "").strip() for name in COLUMNS}
            empty = next((name for name in COLUMNS if not cells[name]), None)
            if empty is not None:
                raise InputError(f"The column {empty!r} is empty in {where}: fill it in.")
            cases.append(PromptCase(**cells, folder=path.parent, where=where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV table ({error}): save it as CSV in UTF-8.") from error
    if not cases:
        raise InputError(f"{path.name} lists no images: give each mask a line below the columns' names.")
    return cases


def check(cases: list[PromptCase]) -> Generator[Progress, None, None]:
    """Check all files of a manifest before the work begins."""
    for done, case in enumerate(cases):
        yield Progress("checking", done, len(cases))
        rows, columns = read_image(case).shape[:2]
        mask = read_mask(case)
        if mask.shape != (rows, columns):
            raise InputError(
                f"The mask {case.mask} has {mask.shape[0]} x {mask.shape[1]} pixels and its image {rows} x {columns} "
                f"({case.where}): give a mask of the image's shape."
            )
        if not mask.any():
            raise InputError(f"The mask {case.mask} is empty ({case.where}): remove the line.")
    yield Progress("checking", len(cases), len(cases))


def read_image(case: PromptCase) -> np.ndarray:
    """Read the image of a line: (rows, columns) or (rows, columns, 3 or 4), as a session takes it."""
    return _read(case, case.image_path, "image")


def read_mask(case: PromptCase) -> np.ndarray:
    """Read the mask of a line: (rows, columns), bool; in color any channel counts, opacity does not."""
    values: np.ndarray = _read(case, case.mask_path, "mask", palette=False) > 0
    return values if values.ndim == 2 else np.any(values[..., :3], axis=-1)


def _read(case: PromptCase, path: Path, noun: str, palette: bool = True) -> np.ndarray:
    try:
        return read_picture(path, remedy="save each as a file of its own", palette=palette, noun=noun)
    except InputError as error:
        raise InputError(f"In {case.where}: {error}") from error


Row = dict[str, Any]


@dataclass(frozen=True)
class EvaluatePromptsOptions:
    """How to measure."""

    model: str = "default"
    """default (ours), mobilesam, vit_b, vit_l or vit_h (with their own decoders), or a file."""
    sampling: Sampling = "band"
    """Points outside lie in a band around the structure, or far from it."""
    draws: PositiveInt = 1
    """Random draws of the points for each mask and setting; their scores are averaged."""
    seed: int = 0
    """Seed of the points."""
    connected: bool | None = None
    """Keep only the parts of an answer that a prompt means; by default on for our decoders, off for SAM's own."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads; by default as many as torch chooses."""

    def __post_init__(self) -> None:
        check_options(self)


def evaluate(
    manifest: Path | str, options: EvaluatePromptsOptions | None = None, session: Session | None = None
) -> list[Row]:
    """Measure a model on a manifest; see `evaluate_steps`."""
    return run(evaluate_steps(manifest, options, session))


def evaluate_steps(
    manifest: Path | str, options: EvaluatePromptsOptions | None = None, session: Session | None = None
) -> Generator[Progress, None, list[Row]]:
    """Measure a model on a manifest, one report a mask; a session is used in place of a new one, and stays open.

    Each image is encoded once. The points of a mask depend on the seed, its dataset, the names of both files and the
    setting, not on the order of lines, so that two models always get the same ones.

    Returns:
        A row for each mask and setting, in the order of the manifest: dataset, modality, image, mask, n_pos, n_neg,
        prompt ("points" or "box"), dsc (0-1, mean over draws), encode_s (seconds for the image, the same in all its
        rows) and decode_s (seconds from the prompts to the mask, mean over draws).

    Raises:
        InputError: the manifest or a file that it names cannot be used (the message says which line), or there is no
            such model or device.
    """
    options = options or EvaluatePromptsOptions()
    cases = read_manifest(manifest)
    yield from check(cases)
    with threads(options.threads):
        if session is not None:
            return (yield from _measure(cases, options, session))
        yield Progress("loading the model")
        # images come one after the other: none is kept
        own = Session(options.model, options.device, memory=0, connected=options.connected)
        try:
            return (yield from _measure(cases, options, own))
        finally:
            own.close()


def _measure(
    cases: list[PromptCase], options: EvaluatePromptsOptions, session: Session
) -> Generator[Progress, None, list[Row]]:
    of_image: dict[Path, list[int]] = {}
    for number, case in enumerate(cases):
        of_image.setdefault(case.image_path, []).append(number)
    rows: dict[int, list[Row]] = {}
    scores: list[float] = []
    for numbers in of_image.values():
        image, start = read_image(cases[numbers[0]]), time.perf_counter()
        session.set_image(image)
        _wait(session.device)
        encode_s = time.perf_counter() - start
        for number in numbers:
            yield Progress("segmenting", len(rows), len(cases), {"dsc": statistics.fmean(scores)} if scores else {})
            case, truth = cases[number], read_mask(cases[number])
            rows[number] = [_row(case, truth, setting, options, session, encode_s) for setting in SETTINGS]
            scores += [row["dsc"] for row in rows[number]]
    yield Progress("segmenting", len(cases), len(cases), {"dsc": statistics.fmean(scores)})
    return [row for number in range(len(cases)) for row in rows[number]]


def _row(
    case: PromptCase,
    truth: np.ndarray,
    setting: Setting,
    options: EvaluatePromptsOptions,
    session: Session,
    encode_s: float,
) -> Row:
    draws = 1 if setting.prompt == "box" else options.draws  # there is but one tight box
    answers = [_answer(case, truth, setting, options, draw, session) for draw in range(draws)]
    return {
        **{"dataset": case.dataset, "modality": case.modality, "image": case.image, "mask": case.mask},
        **{"n_pos": setting.n_pos, "n_neg": setting.n_neg, "prompt": setting.prompt},
        "dsc": statistics.fmean(dsc for dsc, _ in answers),
        "encode_s": encode_s,
        "decode_s": statistics.fmean(seconds for _, seconds in answers),
    }


def _answer(
    case: PromptCase, truth: np.ndarray, setting: Setting, options: EvaluatePromptsOptions, draw: int, session: Session
) -> tuple[float, float]:
    """Return Dice, and seconds from the prompts to the mask."""
    checkpoint()
    session.reset()
    if setting.prompt == "box":
        session.add_box(protocol.tight_box(truth))
    else:
        names = (case.dataset, Path(case.image).name, Path(case.mask).name, setting.name, draw)
        generator = protocol.generator_for(options.seed, *names)
        points, positive = protocol.prompts_for(truth, setting.n_pos, setting.n_neg, generator, options.sampling)
        for (row, column), inside in zip(points, positive, strict=True):
            session.add_point((float(row), float(column)), bool(inside))
    start = time.perf_counter()
    mask = session.predict()
    return dice(mask, truth), time.perf_counter() - start


def _wait(device: torch.device) -> None:
    """Wait for the device, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def dataset_means(rows: Iterable[Row]) -> dict[tuple[str, str], dict[str, float]]:
    """Return the mean Dice over the masks of each (modality, dataset), for each setting by its name."""
    found = _means(((row["modality"], row["dataset"]), setting_name(row), row["dsc"]) for row in rows)
    return {key: found[key] for key in sorted(found)}


def modality_means(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Return the mean Dice over the datasets of each modality, whatever their size, for each setting."""
    means = dataset_means(rows).items()
    return _means((modality, name, dsc) for (modality, _), settings in means for name, dsc in settings.items())


def _means(scores: Iterable[tuple[Any, str, float]]) -> dict[Any, dict[str, float]]:
    found: dict[Any, dict[str, list[float]]] = {}
    for key, name, dsc in scores:
        found.setdefault(key, {}).setdefault(name, []).append(dsc)
    return {key: {name: statistics.fmean(dscs) for name, dscs in by.items()} for key, by in found.items()}


def setting_name(row: Row) -> str:
    """Return the name of a row's setting."""
    return Setting(row["n_pos"], row["n_neg"], row["prompt"]).name


def table(rows: list[Row]) -> str:
    """Format rows as text: Dice for each dataset and, over its datasets, each modality; median seconds below."""
    names = [setting.name for setting in SETTINGS]
    means, datasets = modality_means(rows), dataset_means(rows)
    lines_of = Counter((row["modality"], row["dataset"]) for row in rows)
    masks = {key: count // len(SETTINGS) for key, count in lines_of.items()}
    width = max(len("mean of 99 datasets"), *(len(dataset) for _, dataset in datasets)) + 2
    left = max(len("modality"), *(len(modality) for modality in means)) + 2

    def line(modality: str, dataset: str, count: int | str, cells: Iterable[float | str]) -> str:
        text = "".join(f"{c if isinstance(c, str) else format(c, '.3f'):>8}" for c in cells)
        return f"{modality:<{left}}{dataset:<{width}}{count:>6}{text}"

    lines = [line("modality", "dataset", "masks", names)]
    for modality, mean in means.items():
        own = [key for key in datasets if key[0] == modality]
        lines += [line(*key, masks[key], [datasets[key][name] for name in names]) for key in own]
        if len(own) > 1:
            total = sum(masks[key] for key in own)
            lines.append(line(modality, f"mean of {len(own)} datasets", total, [mean[name] for name in names]))
    encode = statistics.median({row["image"]: row["encode_s"] for row in rows}.values())
    decode = statistics.median(row["decode_s"] for row in rows)
    lines += ["", f"median seconds: {encode:.3f} to encode an image, {decode:.3f} to answer prompts"]
    return "\n".join(lines)
