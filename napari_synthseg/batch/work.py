"""Segmenting one scan after the other in one process: networks are loaded once, the next scan read meanwhile."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg.batch.identity import MADE_FROM, done, fingerprint
from napari_synthseg.batch.pictures import thumbnail_path, write_thumbnail
from napari_synthseg.batch.plan import Task
from napari_synthseg.errors import InputError, in_a_sentence
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.targets import check_earlier, check_target, picture_path, read_record
from napari_synthseg.io import read_volume
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.volume import Volume

if TYPE_CHECKING:
    from torch import nn


Load = Callable[[SegmentOptions], "nn.Module"]
BATCH = "batch"
"""Key of what a record was made from: which run of a batch did it."""


@dataclass(frozen=True)
class Settings:
    """What holds for all scans of a batch; sent to every process.

    Attributes:
        token: unlike any other batch's.
        options: how to segment.
        made: `identity.made_with` of the options.
        redo: replace results of other scans.
        load: gives the segmenter; None: the one that the options name.
    """

    token: str
    options: SegmentOptions
    made: dict[str, Any]
    redo: bool = False
    load: Load | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a scan.

    Attributes:
        reason: why it failed, in a sentence; empty if it did not.
        seconds: wall time, reading included where it was waited for.
        record: as it stands beside the labels; empty if it failed.
        shaken: whether the process should be replaced: the failure was not about the file.
        found: the labels were there already, made from the same.
    """

    reason: str
    seconds: float
    record: dict[str, Any]
    shaken: bool = False
    found: bool = False


class Segmenter:
    """Networks, and the scan that is read ahead."""

    def __init__(self, settings: Settings) -> None:
        """Load the networks.

        Raises:
            InputError: there are no such weights, or they are of another network.
        """
        from napari_synthseg.inference.networks import load_all

        self.settings = settings
        self.networks = load_all(settings.options, settings.load(settings.options) if settings.load else None)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._ahead: dict[Path, Future[tuple[dict[str, Any], Volume]]] = {}

    def close(self) -> None:
        """Forget the networks and what was read."""
        self._ahead.clear()
        self._reader.shutdown(wait=False, cancel_futures=True)

    def do(self, task: Task, then: Task | None = None, should_stop: Callable[[], bool] | None = None) -> Outcome:
        """Segment a scan and write what comes of it; never raises for a scan that cannot be segmented.

        Args:
            task: the scan.
            then: the one after it, which is read meanwhile.
            should_stop: asked at least once a block.

        Raises:
            Stopped: if `should_stop` said so.
        """
        started = time.perf_counter()
        try:
            record, found = self._do(task, then, should_stop)
        except Stopped:
            raise
        except Exception as error:  # one bad scan never stops the rest, whatever is wrong with it
            shaken = not isinstance(error, ValueError)
            return Outcome(in_a_sentence(error), time.perf_counter() - started, {}, shaken)
        return Outcome("", time.perf_counter() - started, record, found=found)

    def _do(self, task: Task, then: Task | None, should_stop: Callable[[], bool] | None) -> tuple[dict[str, Any], bool]:
        from napari_synthseg.inference.one_scan import segment_steps
        from napari_synthseg.inference.outputs import remove_unfinished, write_results

        options = self.settings.options
        current = self._ahead.pop(task.scan, None) or self._reader.submit(self._read, task)
        self._ahead.clear()
        if then is not None:
            self._ahead[then.scan] = self._reader.submit(self._read, then)
        check_place(task, options, self.settings.redo)
        remove_unfinished(task.target)
        made_from, volume = current.result()
        del current
        if record := self._finished_before(task):
            return record, True
        result = run(segment_steps(volume, options, self.networks, name=str(task.scan)), None, should_stop)
        facts = {"input": made_from, **self.settings.made, BATCH: self.settings.token}
        more = {**task.sidecar, MADE_FROM: facts}

        def picture(folder: Path) -> None:
            write_thumbnail(folder / thumbnail_path(task.target).name, volume, result.labels)

        write_results(task.target, volume, result, tissues=options.tissues, more=more, also=picture)
        return read_record(task.target), False

    def _read(self, task: Task) -> tuple[dict[str, Any], Volume]:
        made_from = fingerprint(task.scan) if task.scan.exists() else {}
        return made_from, read_volume(task.scan, index=self.settings.options.index)

    def _finished_before(self, task: Task) -> dict[str, Any]:
        """The record of a scan that another process finished in this batch before it died, or could say so."""
        record = read_record(task.target)
        mine = record.get(MADE_FROM, {}).get(BATCH) == self.settings.token
        return done(task.scan, task.target, self.settings.made) if mine else {}


def check_place(task: Task, options: SegmentOptions, redo: bool) -> None:
    """Refuses to write over what is none of ours, or over the labels of another scan.

    Raises:
        InputError: that is what would happen.
    """
    check_target(task.target, posteriors=options.posteriors, tissues=options.tissues)
    check_earlier(task.target, thumbnail_path(task.target), picture_path(task.target))
    before = read_record(task.target).get("scan", str(task.scan))
    same = before == str(task.scan) if Path(before).is_absolute() else Path(before).name == task.scan.name
    if not same and not redo:
        raise InputError(
            f"{task.target} holds the labels of another scan, {before}: choose another folder, or replace them with "
            "--redo."
        )


def about_this_process(settings: Settings, index: int = 0) -> tuple[Settings, str]:
    """Settings for this process, and what it is called: on a machine with several GPUs each has its own.

    Args:
        settings: as sent.
        index: which process of those on this machine it is.
    """
    import torch

    options = settings.options
    count = torch.cuda.device_count() if options.device in ("auto", "cuda") else 0
    if count > 1:
        settings = replace(settings, options=replace(options, device=f"cuda:{index % count}"))
    return settings, f"{socket.gethostname()}, process {os.getpid()}"
