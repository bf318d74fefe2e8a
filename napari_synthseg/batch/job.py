"""The jobs: many scans in; labels, tables and a report out. Generators of `Progress`, as all jobs.

`segment_files` works in this process and leaves nothing but what was asked for; `segment_many` shares the scans out,
skips what is done and makes a dataset of BIDS derivatives with a report. Scans are found, segmented, tried again,
written and told about by the same code.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_synthseg.atomic_io import write_text
from napari_synthseg.batch import bids, page, provenance
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.batch.plan import Task, absolute, find, plan
from napari_synthseg.batch.report import NAME, Entry, Report, Status, entry
from napari_synthseg.batch.schedule import Ending, Event, Finished, Joined, Lost, Schedule, Workers
from napari_synthseg.batch.segmenter import Load, Outcome, Segmenter, Settings, failure
from napari_synthseg.errors import InputError, printable
from napari_synthseg.fields import changed
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.outputs import plan_outputs
from napari_synthseg.io.finding import find_scans
from napari_synthseg.io.formats import ends_like_a_file
from napari_synthseg.jobs import Progress

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger("napari_synthseg")

TICK = 0.3
"""Seconds between two reports at most: a request to stop is seen that soon."""
LOOKERS, AT_ONCE = 8, 64
"""Threads that look what is done, and scans between two reports of that: a network's disk answers slowly."""
MOST_FALSE_STARTS = 5
"""Processes in a row that may end before they have a network."""
LOCK, PART_LOCKS = ".batch.lock", ".batch-part-*.lock"
LOCK_TIMEOUT_S = 1.0
"""Another process may only be looking at a lock."""
NAMED = 5
"""Scans whose segmentation has probably failed that the summary names."""


@dataclass(frozen=True)
class BatchResult:
    """How a batch went.

    Attributes:
        entries: one a scan, in order.
        report: the JSON file; None if none was asked for.
        page: the HTML page; None for one part of a batch.
    """

    entries: tuple[Entry, ...]
    report: Path | None = None
    page: Path | None = None

    def count(self, status: str) -> int:
        """Scans of a status."""
        return sum(one.status == status for one in self.entries)

    @property
    def exit_code(self) -> int:
        """0 where every scan has its labels, else 1."""
        return 1 if self.count("failed") else 0

    @property
    def summary(self) -> str:
        """A sentence on all of them, which names those whose segmentation has probably failed, worst first."""
        counts = f"{self.count('ok')} segmented, {self.count('skipped')} done before, {self.count('failed')} failed"
        doubtful = sorted((one for one in self.entries if one.verdict == "likely failed"), key=_worst_first)
        if not doubtful:
            return f"{counts}."
        have = "segmentation has" if len(doubtful) == 1 else "segmentations have"
        named = ", ".join(map(self._named, doubtful[:NAMED]))
        where = self.page or self.report
        rest = f", and {len(doubtful) - NAMED} more{f': see {where.name}' if where else ''}"
        return f"{counts}; {len(doubtful)} {have} probably failed: {named}{rest if len(doubtful) > NAMED else ''}."

    def _named(self, one: Entry) -> str:
        """A scan's name, its path where others are called alike, and the expected Dice where it is known."""
        name = Path(one.input).name
        alike = sum(Path(other.input).name == name for other in self.entries) > 1
        dice = "" if one.expected_dice is None else f" (expected Dice {one.expected_dice:.2f})"
        return f"{one.input if alike else name}{dice}"


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
    """Segment scans one after the other in this process, also those that were segmented before.

    For every scan a label file with its BIDS table (.tsv) and a record of the run (.json); a picture (.png), the
    posteriors (`_probseg.nii.gz`) and a robust network's tissue maps (`_desc-S1_dseg.nii.gz`,
    `_desc-denoised_dseg.nii.gz`) if asked for. They appear together, when the scan is finished.

    Args:
        inputs: scans, folders of scans, or text files with one path a line.
        out: the label file to write for one scan (its name ends like a scan's), else a folder, where a scan `<stem>`
            becomes `<stem>_dseg.nii.gz`.
        segmentation: how to segment.
        volumes_csv: a table of all volumes (mm^3), one row a scan; tabs instead of commas if its name ends in .tsv.
        quality_csv: a table of expected Dice, likewise: verdict, mean, groups and structures.
        preview: write a picture too.
        model: a network already loaded.

    Raises:
        InputError: an input does not exist, the outputs clash or would replace what is no result of an earlier run, or
            the only scan cannot be used.
    """
    options = segmentation or SegmentOptions()
    scans = find_scans([inputs] if isinstance(inputs, (str, Path)) else inputs)
    targets = plan_outputs(scans, Path(out), preview=preview, posteriors=options.posteriors, tissues=options.tissues)
    tasks = [Task(number, *pair) for number, pair in enumerate(zip(scans, targets, strict=True))]
    tables = [None if table is None else Path(table) for table in (volumes_csv, quality_csv)]
    for table, what in zip(tables, ("volumes", "quality"), strict=True):
        if table is not None and table.is_dir():
            raise InputError(f"{table} is a folder: give the name of a CSV or TSV file for the {what}.")
    yield Progress("Loading the network")
    made = provenance.made_with(options) if model is None else {}
    load = None if model is None else lambda _: model
    settings = Settings(uuid.uuid4().hex, options, made, load=load, preview=preview, thumbnail=False)
    report = Report(None, tasks)
    schedule = Schedule(tasks, retries=0, deaths=1)
    schedule.join("here")
    with closing(Segmenter(settings)) as segmenter:
        while schedule.going:
            for slot, task, then in list(schedule.assign()):
                title = task.scan.name if len(tasks) == 1 else f"{task.number + 1}/{len(tasks)} {task.scan.name}"
                started = time.perf_counter()
                try:
                    outcome = yield from _titled(segmenter.steps(task, then), title)
                except (ValueError, OSError, RuntimeError, MemoryError) as error:
                    if len(tasks) == 1:
                        raise
                    outcome = failure(error, started)
                ending = schedule.finish(slot, task, outcome)
                if ending is not None:
                    report.add(task.number, one := _entry(ending))
                    if one.warnings:
                        logger.warning("%s: %s", task.scan.name, " ".join(one.warnings))
                    report.write_tables(*tables)
    return BatchResult(tuple(report.entries))


def _titled(job: Generator[Progress, None, Outcome], title: str) -> Generator[Progress, None, Outcome]:
    """The same job, its reports naming the scan they are about."""
    with closing(job):
        while True:
            try:
                report = next(job)
            except StopIteration as end:
                return end.value
            yield replace(report, stage=f"{title}: {report.stage}")


def segment_many(
    inputs: Path | str | Sequence[Path | str],
    out: Path | str,
    segmentation: SegmentOptions | None = None,
    options: BatchOptions | None = None,
    *,
    load: Load | None = None,
    workers: Callable[[Settings], Workers] | None = None,
) -> Generator[Progress, None, BatchResult]:
    """Segment scans in several processes or on several machines; what is done already is left as it is.

    Stopped or killed at any moment, it loses at most the scans in work, and goes on when it is called again.

    Args:
        inputs: scans, folders of scans, BIDS datasets, or text files with one path a line.
        out: the folder of the results, a dataset of BIDS derivatives.
        segmentation: how to segment.
        options: how to share out the scans.
        load: gives the network, instead of the one that the options name; a function that other processes can import.
        workers: gives what segments, instead of what the options say.

    Raises:
        InputError: an input or option cannot be used, names clash, or another batch is at it.
        RuntimeError: there is nothing left to segment with.
    """
    segmentation, options = segmentation or SegmentOptions(), options or BatchOptions()
    out, share = absolute(out), options.share()
    if ends_like_a_file(out) and not out.exists():
        raise InputError(f"{out} is called like a file, but the results need a folder: choose another name.")
    bids.check_free(out)
    made = provenance.made_with(segmentation)
    yield Progress("Looking for scans")
    sources = find([inputs] if isinstance(inputs, (str, Path)) else list(inputs), out, options)
    tasks = plan(sources, out, segmentation.grid)[share[0] - 1 :: share[1]]
    settings = Settings(uuid.uuid4().hex, segmentation, made, options.redo, load)
    with _alone(out, share):
        datasets = sorted({source.dataset for source in sources if source.dataset is not None})
        report = Report(_report_path(out, share), tasks, lambda: _describe(out, datasets, made["weights"]))
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
                logger.warning("The report in %s could not be written (%s): run the same command again.", out, error)
                written = None
    return BatchResult(tuple(report.entries), report.path, written)


@contextmanager
def _alone(out: Path, part: tuple[int, int]) -> Iterator[None]:
    """Hold a folder of results. Different parts of one batch may go on side by side, as in a job array.

    Each takes its own lock before it looks for others': of two that start at once at least one sees the other.

    Args:
        out: the folder; made if missing.
        part: which share of the scans, and of how many.

    Raises:
        InputError: another batch is running there, or the folder cannot be written to.
    """
    number, count = part
    name = LOCK if count == 1 else f".batch-part-{number}of{count}.lock"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(FileLock(str(out / name), timeout=LOCK_TIMEOUT_S))
            for other in [out / LOCK] if count > 1 else sorted(out.glob(PART_LOCKS)):
                if other.exists():
                    FileLock(str(other), timeout=LOCK_TIMEOUT_S).acquire().lock.release()
            yield
    except Timeout:
        raise InputError(
            f"Another batch is writing into {out}: wait for it, stop it, or choose another folder."
        ) from None
    except (NotADirectoryError, FileExistsError):
        raise InputError(f"{out} is a file: give a folder for the results.") from None
    except PermissionError:
        raise InputError(f"{out} cannot be written to: choose another folder.") from None


def _worst_first(one: Entry) -> float:
    return -1.0 if one.expected_dice is None else one.expected_dice


def _describe(out: Path, datasets: list[Path], weights: dict[str, str]) -> None:
    """Write what makes the folder a dataset of BIDS."""
    write_text(out / bids.DESCRIPTION, json.dumps(bids.description(datasets, weights), indent=1) + "\n")
    write_text(out / ".bidsignore", bids.IGNORED)


def _report_path(out: Path, share: tuple[int, int]) -> Path:
    number, count = share
    return out / NAME if count == 1 else out / "parts" / f"{number}of{count}.json"


def _workers(options: BatchOptions, out: Path, scans: int) -> Callable[[Settings], Workers]:
    """What segments: a cluster's workers, or processes here, no more than there are scans."""
    address = options.scheduler
    if address is not None:
        from napari_synthseg.batch.cluster import Cluster

        return lambda settings: Cluster(address, settings, out)
    from napari_synthseg.batch.processes import Processes

    return lambda settings: Processes(min(options.jobs, scans), settings)


def _not_done(tasks: Sequence[Task], made: dict, report: Report) -> Generator[Progress, None, list[Task]]:
    """The scans that have no labels yet, or no longer the right ones; the others are reported as skipped."""
    todo = []
    with ThreadPoolExecutor(LOOKERS) as pool:
        for first in range(0, len(tasks), AT_ONCE):
            yield Progress("Looking what is done", first, len(tasks))
            some = tasks[first : first + AT_ONCE]
            records = pool.map(lambda task: provenance.done(task.scan, task.target, made), some)
            for task, record in zip(some, records, strict=True):
                if record:
                    report.add(task.number, entry(task, "skipped", record))
                else:
                    todo.append(task)
    return todo


def _segment(
    tasks: Sequence[Task], workers: Workers, options: BatchOptions, report: Report
) -> Generator[Progress, None, None]:
    """Share the scans out until all are over."""
    schedule = Schedule(tasks, retries=options.retries, deaths=options.deaths)
    over, failed, false_starts, began = 0, 0, 0, 0.0
    while schedule.going:
        for slot, task, then in list(schedule.assign()):
            began = began or time.monotonic()
            workers.give(slot, task, then)
        for event in workers.poll(TICK):
            early = isinstance(event, Lost) and event.slot not in schedule.slots
            false_starts = 0 if isinstance(event, Joined) else false_starts + early
            if false_starts >= MOST_FALSE_STARTS and isinstance(event, Lost):
                raise RuntimeError(f"the processes end before they have loaded the network ({event.why})")
            ending = _take(event, schedule, workers)
            if ending is not None:
                over, failed = over + 1, failed + bool(ending.outcome.reason)
                report.add(ending.task.number, _entry(ending))
        pace = over / (time.monotonic() - began) if began and over else 0.0
        left = {"left": page.in_words((len(tasks) - over) / pace)} if pace else {}
        stage = "Segmenting" if schedule.slots or began else workers.waiting_for
        yield Progress(stage, over, len(tasks), {"failed": failed, "at once": len(schedule.slots), **left})


def _take(event: Event, schedule: Schedule, workers: Workers) -> Ending | None:
    """Let the schedule know; gives a scan that is over.

    Raises:
        InputError: no slot can segment, or there is no space for results.
    """
    if isinstance(event, Joined):
        schedule.join(event.slot)
        return None
    if isinstance(event, Lost):
        return schedule.leave(event.slot, event.why)
    if isinstance(event, Finished):
        if event.outcome.disk_full:
            raise InputError(
                f"There is no space left for {event.task.target.parent}: results so far are complete, so make room and "
                "run the same command again."
            )
        ending = schedule.finish(event.slot, event.task, event.outcome)
        if event.outcome.shaken and event.slot in schedule.slots:
            schedule.release(event.slot)
            workers.renew(event.slot)
        return ending
    if event.for_all or (workers.hopeless and not schedule.slots):
        raise InputError(event.sentence if event.for_all else f"Nothing here can segment: {event.sentence}.")
    logger.warning("%s cannot segment: %s", event.slot, event.sentence)
    return None


def _entry(ending: Ending) -> Entry:
    task, outcome = ending.task, ending.outcome
    if outcome.reason:
        named = printable(str(task.scan)) in outcome.reason
        logger.warning("%s", outcome.reason if named else printable(f"{task.scan} failed: {outcome.reason}"))
    status: Status = "failed" if outcome.reason else "ok"
    more = {"reason": outcome.reason, "seconds": round(outcome.seconds, 2), "attempts": ending.attempts}
    return entry(task, status, outcome.record, **more)


def _write_page(
    out: Path, report: Report, segmentation: SegmentOptions, options: BatchOptions, seconds: float
) -> Path | None:
    """Write report, tables and page, of what is over; the report alone for one part of a batch."""
    if not report.entries:
        return None
    report.write()
    if options.share()[1] > 1:
        return None
    labelled = [one for one in report.entries if one.status != "failed"]
    unusual = page.find_outliers(
        {one.input: one.volumes_mm3 for one in labelled}, {one.input: one.intracranial_mm3 for one in labelled}
    )
    report.mark({scan: [each.name for each in found] for scan, found in unusual.items()})
    report.write()
    report.write_tables(out / "volumes.tsv", out / "quality.tsv")
    done = sum(one.status == "ok" for one in report.entries)
    facts = page.facts(changed(segmentation) or {"": "as they come"}, seconds, done)
    text = page.page(report.entries, unusual, facts, out, options.pictures)
    write_text(out / page.NAME, printable(text))
    return out / page.NAME
