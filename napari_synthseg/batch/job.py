"""The batch jobs: many scans in; labels, tables and a report out. Both are generators of `Progress`.

`segment_files` runs in this process and writes only what was asked for; `segment_many` distributes the scans, skips
finished ones, and makes a dataset of BIDS derivatives with a report.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_synthseg.atomic_io import is_disk_full, write_text, writing
from napari_synthseg.batch import bids
from napari_synthseg.batch.executors import Cluster, Processes
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.batch.plan import Task, absolute, done, find, made_with, plan
from napari_synthseg.batch.report import NAME, PAGE, Entry, Report, entry, find_outliers, page, run_facts
from napari_synthseg.batch.schedule import Ending, Schedule
from napari_synthseg.batch.segmenter import Load, Segmenter, Settings, failure
from napari_synthseg.batch.workers import Workers
from napari_synthseg.errors import InputError, printable
from napari_synthseg.fields import changed
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.outputs import plan_outputs
from napari_synthseg.io.finding import find_scans
from napari_synthseg.io.formats import ends_like_a_file
from napari_synthseg.jobs import Progress, duration, titled

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger("napari_synthseg")

TICK_S = 0.3
"""Longest interval between two reports, and so until a request to stop is seen."""
CHECK_THREADS, CHECK_CHUNK = 8, 64
"""Threads that look for finished scans, and scans between two reports of it: network file systems are slow."""
LOCK, PART_LOCKS = ".batch.lock", ".batch-part-*.lock"
LOCK_TIMEOUT_S = 1.0
"""Another process may hold a lock only to check it."""
NAMED = 5
"""Probably failed scans named in the summary."""


@dataclass(frozen=True)
class BatchResult:
    """The result of a batch."""

    entries: tuple[Entry, ...]
    """One per scan, in order."""
    report: Path | None = None
    """The JSON file, if one was written."""
    page: Path | None = None
    """The HTML page; None for a part of a batch."""

    def count(self, status: str) -> int:
        """Return the number of scans of a status."""
        return sum(one.status == status for one in self.entries)

    @property
    def exit_code(self) -> int:
        """0 if every scan has labels, else 1."""
        return 1 if self.count("failed") else 0

    @property
    def summary(self) -> str:
        """Counts of scans, and the names of those whose segmentation has probably failed, worst first."""
        counts = f"{self.count('ok')} segmented, {self.count('skipped')} done before, {self.count('failed')} failed"
        doubtful = [one for one in self.entries if one.verdict == "likely failed"]
        if not doubtful:
            return f"{counts}."
        names = Counter(Path(one.input).name for one in self.entries)
        told = []
        for one in sorted(doubtful, key=lambda one: one.expected_dice or 0.0)[:NAMED]:
            name = Path(one.input).name
            dice = "" if one.expected_dice is None else f" (expected Dice {one.expected_dice:.2f})"
            told.append(f"{one.input if names[name] > 1 else name}{dice}")
        if (more := len(doubtful) - NAMED) > 0:
            where = self.page or self.report
            told.append(f"and {more} more{f': see {where.name}' if where else ''}")
        have = "segmentation has" if len(doubtful) == 1 else "segmentations have"
        return f"{counts}; {len(doubtful)} {have} probably failed: {', '.join(told)}."


def segment_files(
    inputs: Path | str | Sequence[Path | str],
    out: Path | str,
    segmentation: SegmentOptions | None = None,
    *,
    volumes_csv: Path | str | None = None,
    quality_csv: Path | str | None = None,
    preview: bool = False,
    model: nn.Module | None = None,
) -> Generator[Progress, None, BatchResult]:
    """Segment scans one after the other in this process, also finished ones.

    Each scan gets a label file with its BIDS table (.tsv) and a record of the run (.json); on request a picture (.png),
    the posteriors (`_probseg.nii.gz`) and a robust network's tissue maps (`_desc-S1_dseg.nii.gz`,
    `_desc-denoised_dseg.nii.gz`). They appear together when the scan is finished.

    Args:
        inputs: scans, folders of scans, or text files with one path per line.
        out: the label file of a single scan (its name ends like a scan's), or a folder, where a scan `<stem>` becomes
            `<stem>_dseg.nii.gz`.
        segmentation: how to segment.
        volumes_csv: a table of all volumes (mm^3), one row per scan; with tabs if its name ends in .tsv.
        quality_csv: a table of expected Dice: verdict, mean, groups and structures.
        preview: write a picture too.
        model: a loaded network.

    Raises:
        InputError: an input does not exist, the outputs clash or would replace a file that is no result of an earlier
            run, or the only scan cannot be used.
    """
    options = segmentation or SegmentOptions()
    scans = find_scans([inputs] if isinstance(inputs, (str, Path)) else inputs)
    targets = plan_outputs(scans, Path(out), options, preview=preview)
    tasks = [Task(number, *pair) for number, pair in enumerate(zip(scans, targets, strict=True))]
    tables = [None if table is None else Path(table) for table in (volumes_csv, quality_csv)]
    for table, what in zip(tables, ("volumes", "quality"), strict=True):
        if table is not None and table.is_dir():
            raise InputError(f"{table} is a folder: give the name of a CSV or TSV file for the {what}.")
    yield Progress("Loading the network")
    made = made_with(options) if model is None else {}
    load = None if model is None else lambda _: model
    settings = Settings(uuid.uuid4().hex, options, made, load=load, preview=preview, thumbnail=False)
    report = Report(None, tasks)
    with closing(Segmenter(settings)) as segmenter:
        for task, then in zip(tasks, [*tasks[1:], None], strict=True):
            title = task.scan.name if len(tasks) == 1 else f"{task.number + 1}/{len(tasks)} {task.scan.name}"
            started = time.perf_counter()
            try:
                outcome = yield from titled(segmenter.steps(task, then), f"{title}: ")
            except (ValueError, OSError, RuntimeError, MemoryError) as error:
                if len(tasks) == 1 or is_disk_full(error):
                    raise
                outcome = failure(error, started)
            report.add(task.number, one := _entry(Ending(task, outcome, attempts=1)))
            if one.warnings:
                logger.warning("%s: %s", task.scan.name, " ".join(one.warnings))
            report.write_tables(*tables)
    return BatchResult(tuple(report.entries))


def segment_many(
    inputs: Path | str | Sequence[Path | str],
    out: Path | str,
    segmentation: SegmentOptions | None = None,
    options: BatchOptions | None = None,
    *,
    load: Load | None = None,
    workers: Callable[[Settings], Workers] | None = None,
) -> Generator[Progress, None, BatchResult]:
    """Segment scans in several processes or on several machines; finished scans are skipped.

    If it is stopped or killed, only the scans in progress are lost: call it again to continue.

    Args:
        inputs: scans, folders of scans, BIDS datasets, or text files with one path per line.
        out: the folder of results, a dataset of BIDS derivatives.
        segmentation: how to segment.
        options: how to distribute the scans.
        load: loads the network instead of the one that the options name; a function that other processes can import.
        workers: makes the workers, instead of those that the options name.

    Raises:
        InputError: an input or option cannot be used, names clash, or another batch is running in the folder.
        RuntimeError: no worker is left.
    """
    segmentation, options = segmentation or SegmentOptions(), options or BatchOptions()
    out, share = absolute(out), options.share()
    if ends_like_a_file(out) and not out.exists():
        raise InputError(f"{out} has the name of a file, but the results need a folder: choose another name.")
    bids.check_free(out)
    made = made_with(segmentation)
    yield Progress("Looking for scans")
    sources = find([inputs] if isinstance(inputs, (str, Path)) else list(inputs), out, options)
    tasks = plan(sources, out, segmentation.grid)[share[0] - 1 :: share[1]]
    settings = Settings(uuid.uuid4().hex, segmentation, made, options.redo, load)
    with _alone(out, share):
        datasets = sorted({source.dataset for source in sources if source.dataset is not None})
        path = out / NAME if share[1] == 1 else out / "parts" / f"{share[0]}of{share[1]}.json"

        def describe() -> None:
            content = bids.description(datasets, made["weights"])
            write_text(out / bids.DESCRIPTION, json.dumps(content, indent=1) + "\n")
            write_text(out / ".bidsignore", bids.IGNORED)

        report = Report(path, tasks, describe)
        started = time.monotonic()
        try:
            todo = tasks if options.redo else (yield from _not_done(tasks, made, report))
            if todo:
                with closing((workers or _workers(options, out, len(todo)))(settings)) as slots:
                    yield from _segment(todo, slots, options, report)
        finally:
            try:
                written = _write_page(out, report, segmentation, options, time.monotonic() - started)
            except OSError as error:
                logger.warning("The report is incomplete (%s): run the same command again.", str(error).rstrip("."))
                written = None
    return BatchResult(tuple(report.entries), report.path, written)


@contextmanager
def _alone(out: Path, part: tuple[int, int]) -> Iterator[None]:
    """Lock a folder of results, which is made if missing; parts of one batch may run at the same time.

    Each part takes its own lock before it looks for others: of two that start at once at least one sees the other.

    Raises:
        InputError: another batch is running there, or the folder cannot be written to.
    """
    number, count = part
    name = LOCK if count == 1 else f".batch-part-{number}of{count}.lock"
    with ExitStack() as held:
        try:
            out.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(str(out / name), timeout=LOCK_TIMEOUT_S))
            for other in [out / LOCK] if count > 1 else sorted(out.glob(PART_LOCKS)):
                if other.exists():
                    FileLock(str(other), timeout=LOCK_TIMEOUT_S).acquire().lock.release()
        except Timeout:
            raise InputError(
                f"Another batch is writing into {out}: wait for it, stop it, or choose another folder."
            ) from None
        except OSError:
            with writing(out):
                raise
        yield


def _workers(options: BatchOptions, out: Path, scans: int) -> Callable[[Settings], Workers]:
    address = options.scheduler
    if address is not None:
        return lambda settings: Cluster(address, settings, out)
    return lambda settings: Processes(min(options.jobs, scans), settings, out)


def _not_done(tasks: Sequence[Task], made: dict, report: Report) -> Generator[Progress, None, list[Task]]:
    """Return the scans without up-to-date labels; the others are reported as skipped."""
    todo = []
    with ThreadPoolExecutor(CHECK_THREADS) as pool:
        for first in range(0, len(tasks), CHECK_CHUNK):
            yield Progress("Looking for finished scans", first, len(tasks))
            some = tasks[first : first + CHECK_CHUNK]
            records = pool.map(lambda task: done(task.scan, task.target, made), some)
            for task, record in zip(some, records, strict=True):
                if record:
                    report.add(task.number, entry(task, "skipped", record))
                else:
                    todo.append(task)
    return todo


def _segment(
    tasks: Sequence[Task], workers: Workers, options: BatchOptions, report: Report
) -> Generator[Progress, None, None]:
    schedule = Schedule(tasks, retries=options.retries, deaths=options.deaths)
    over, failed, began = 0, 0, 0.0
    while schedule.unfinished:
        for slot, task, then in list(schedule.assign()):
            began = began or time.monotonic()
            workers.give(slot, task, then)
        for ending in workers.poll(schedule, TICK_S):
            over, failed = over + 1, failed + bool(ending.outcome.reason)
            report.add(ending.task.number, _entry(ending))
        pace = over / (time.monotonic() - began) if began and over else 0.0
        left = {"left": duration((len(tasks) - over) / pace)} if pace else {}
        stage = "Segmenting" if schedule.slots or began else workers.waiting_for
        yield Progress(stage, over, len(tasks), {"failed": failed, "at once": len(schedule.slots), **left})


def _entry(ending: Ending) -> Entry:
    task, outcome = ending.task, ending.outcome
    if outcome.reason:
        named = printable(str(task.scan)) in outcome.reason
        logger.warning("%s", outcome.reason if named else printable(f"{task.scan} failed: {outcome.reason}"))
    more = {"reason": outcome.reason, "seconds": round(outcome.seconds, 2), "attempts": ending.attempts}
    return entry(task, "failed" if outcome.reason else "ok", outcome.record, **more)


def _write_page(
    out: Path, report: Report, segmentation: SegmentOptions, options: BatchOptions, seconds: float
) -> Path | None:
    """Write report, tables and page of the finished scans; only the report for a part of a batch."""
    if not report.entries:
        return None
    report.write()
    if options.share()[1] > 1:
        return None
    labelled = [one for one in report.entries if one.status != "failed"]
    unusual = find_outliers(
        {one.input: one.volumes_mm3 for one in labelled}, {one.input: one.intracranial_mm3 for one in labelled}
    )
    report.mark({scan: [each.name for each in found] for scan, found in unusual.items()})
    report.write()
    report.write_tables(out / "volumes.tsv", out / "quality.tsv")
    segmented = sum(one.status == "ok" for one in report.entries)
    facts = run_facts(changed(segmentation) or {"": "as they come"}, seconds, segmented)
    text = page(report.entries, unusual, facts, out, options.pictures)
    write_text(out / PAGE, printable(text))
    return out / PAGE
