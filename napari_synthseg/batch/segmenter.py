"""Segment scans one after the other in one process: networks are loaded once, and the next scan is read ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg.atomic_io import is_disk_full
from napari_synthseg.batch.plan import MADE_FROM, Task, done, fingerprint
from napari_synthseg.errors import InputError, in_a_sentence
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.outputs import check_earlier, check_target, picture_path, read_record
from napari_synthseg.io import FileHeader, read_with_header, stem
from napari_synthseg.jobs import Progress, Stopped, run
from napari_synthseg.volume import Volume

if TYPE_CHECKING:
    from torch import nn

Load = Callable[[SegmentOptions], "nn.Module"]
BATCH = "batch"
"""Key of the provenance in a record: the batch that made it."""
THUMBNAIL_COLUMNS, THUMBNAIL_PIXELS = 3, 480
"""Slices of each plane in a small picture, and its width."""


@dataclass(frozen=True)
class Settings:
    """Settings for all scans of a batch; sent to every process."""

    token: str
    """Unique to this batch."""
    options: SegmentOptions
    made: dict[str, Any] = field(default_factory=dict)
    """`plan.made_with` of the options; empty for a network that is no file."""
    redo: bool = False
    """Replace results of other scans."""
    load: Load | None = None
    """Loads the segmenter; None for the one that the options name."""
    preview: bool = False
    """Write a PNG picture beside the labels."""
    thumbnail: bool = True
    """Write a small picture for the report."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt at a scan."""

    reason: str
    """Why it failed, in a sentence; empty if it did not."""
    seconds: float
    """Wall time, with the wait for reading."""
    record: dict[str, Any]
    """The record beside the labels; empty if it failed."""
    shaken: bool = False
    """Whether the process should be replaced, because the failure was not about the file."""
    found: bool = False
    """The labels existed already, made from the same scan."""
    disk_full: bool = False


class Segmenter:
    """The networks of a process, and the scan that is read ahead.

    Raises:
        InputError: the weights do not exist, or are of another network.
    """

    def __init__(self, settings: Settings) -> None:
        from napari_synthseg.inference.state import load_all

        self.settings = settings
        self.networks = load_all(settings.options, settings.load(settings.options) if settings.load else None)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._ahead: dict[Path, Future[tuple[dict[str, Any], Volume, FileHeader | None]]] = {}

    def close(self) -> None:
        """Forget the scan that was read ahead."""
        self._ahead.clear()
        self._reader.shutdown(wait=False, cancel_futures=True)

    def do(self, task: Task, then: Task | None = None, should_stop: Callable[[], bool] | None = None) -> Outcome:
        """Segment a scan and write its results, while `then` is read; returns an `Outcome` even if that fails.

        Raises:
            Stopped: `should_stop`, asked at least once a block, returned True.
        """
        started = time.perf_counter()
        try:
            return run(self.steps(task, then), None, should_stop)
        except Stopped:
            raise
        except Exception as error:  # one bad scan never stops the others
            return failure(error, started)

    def steps(self, task: Task, then: Task | None = None) -> Generator[Progress, None, Outcome]:
        """Segment a scan and write its results, reporting at least once a block; see `do`.

        Raises:
            Exception: the scan cannot be read or segmented, or its results cannot be written.
        """
        from napari_synthseg.inference.outputs import remove_unfinished, write_results
        from napari_synthseg.inference.pipeline import segment_steps

        started = time.perf_counter()
        settings, options = self.settings, self.settings.options
        yield Progress("Reading")
        current = self._ahead.pop(task.scan, None) or self._reader.submit(self._read, task)
        self._ahead.clear()
        if then is not None:
            self._ahead[then.scan] = self._reader.submit(self._read, then)
        check_place(task, settings)
        remove_unfinished(task.target)
        made_from, volume, header = current.result()
        del current
        before = read_record(task.target)
        if before.get(MADE_FROM, {}).get(BATCH) == settings.token and done(task.scan, task.target, settings.made):
            # another process finished it in this batch before it died
            return Outcome("", time.perf_counter() - started, before, found=True)
        result = yield from segment_steps(volume, options, self.networks, name=str(task.scan))
        yield Progress("Writing")
        facts = {"input": made_from, **settings.made, BATCH: settings.token}
        more = {**task.sidecar, **({MADE_FROM: facts} if settings.made else {})}

        def picture(folder: Path) -> None:
            write_thumbnail(folder / thumbnail_path(task.target).name, volume, result.labels)

        also = picture if settings.thumbnail else None
        write_results(
            task.target,
            volume,
            result,
            preview=settings.preview,
            tissues=options.tissues,
            header=header,
            more=more,
            also=also,
        )
        return Outcome("", time.perf_counter() - started, read_record(task.target))

    def _read(self, task: Task) -> tuple[dict[str, Any], Volume, FileHeader | None]:
        made_from = fingerprint(task.scan) if self.settings.made and task.scan.exists() else {}
        return made_from, *read_with_header(task.scan, index=self.settings.options.index)


def failure(error: BaseException, started: float) -> Outcome:
    """Return the outcome of a scan that raised an error; `started` is of `time.perf_counter`."""
    full = is_disk_full(error)
    shaken = not (full or isinstance(error, ValueError))
    return Outcome(in_a_sentence(error), time.perf_counter() - started, {}, shaken, disk_full=full)


def check_place(task: Task, settings: Settings) -> None:
    """Check that no foreign file and no labels of another scan would be replaced.

    Raises:
        InputError: one would be.
    """
    check_target(task.target, settings.options, preview=settings.preview)
    if settings.thumbnail:
        check_earlier(task.target, thumbnail_path(task.target), picture_path(task.target))
    before = read_record(task.target).get("scan", str(task.scan))
    same = before == str(task.scan) if Path(before).is_absolute() else Path(before).name == task.scan.name
    if not same and not settings.redo:
        raise InputError(
            f"{task.target} holds the labels of another scan, {before}: choose another folder, or replace them with "
            "--redo."
        )


def on_own_gpu(settings: Settings, seat: int = 0) -> Settings:
    """Return the settings for the `seat`-th process of this machine: with several GPUs each process has its own."""
    import torch

    options = settings.options
    count = torch.cuda.device_count() if options.device in ("auto", "cuda") else 0
    return settings if count < 2 else replace(settings, options=replace(options, device=f"cuda:{seat % count}"))


def thumbnail_path(target: Path) -> Path:
    """Return the path of the small picture of a label file."""
    return target.with_name(f"{stem(target)}.jpg")


def write_thumbnail(path: Path, scan: Volume, labels: Volume) -> None:
    """Write a JPEG of slices in three planes, left on the left; the labels may be on another grid than the scan."""
    from PIL import Image

    from napari_synthseg.inference.outputs import resampled
    from napari_synthseg.inference.preview import mosaic
    from napari_synthseg.volume import same_grid

    shown = scan if same_grid(scan, labels) else resampled(scan, labels)
    picture, _ = mosaic(shown, labels, THUMBNAIL_COLUMNS)
    image = Image.fromarray(picture)
    if image.width > THUMBNAIL_PIXELS:
        height = max(1, round(image.height * THUMBNAIL_PIXELS / image.width))
        image = image.resize((THUMBNAIL_PIXELS, height), Image.Resampling.LANCZOS)
    image.save(path, format="JPEG", quality=80, optimize=True)
