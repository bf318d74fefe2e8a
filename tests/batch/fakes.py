"""Small scans, networks that other processes can import by name, and a slot that works in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Hashable, Iterator
from pathlib import Path

import numpy as np

from napari_synthseg.batch import segmenter
from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.schedule import Ending, Schedule
from napari_synthseg.batch.segmenter import Segmenter, Settings
from napari_synthseg.batch.workers import Workers
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.io import write_volume
from tests.inference.fakes import FakeUNet, ball_scan

QUICK = SegmentOptions(threads=1, flip=False, device="cpu")
DEADLY_TO_READ = "deadly"
"""In the name of a scan: reading it kills the process."""


def write_scan(path: Path, seed: int = 0, size: int = 32) -> Path:
    """A small head of balls, each seed's a little different."""
    scan, _ = ball_scan(size)
    noise = np.random.default_rng(seed).normal(0, 4, scan.shape).astype(np.float32)
    write_volume(path, scan.with_data(scan.data + noise * (scan.data > 0)))
    return path


def load_fake(options: SegmentOptions) -> FakeUNet:
    """A network that reads structures off intensities."""
    return FakeUNet()


def load_deadly(options: SegmentOptions) -> FakeUNet:
    """The same in a process that does not survive reading certain scans."""
    read = segmenter.read_with_header

    def deadly_read(path, **more):
        if DEADLY_TO_READ in str(path):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(path, **more)

    segmenter.read_with_header = deadly_read
    return FakeUNet()


def load_shaken(options: SegmentOptions) -> FakeUNet:
    """The same in a process that something other than a scan breaks, at the scans that are deadly."""
    read = segmenter.read_with_header

    def shaken_read(path, **more):
        if DEADLY_TO_READ in str(path):
            raise MemoryError(f"process {os.getpid()} has no memory left")
        return read(path, **more)

    segmenter.read_with_header = shaken_read
    return FakeUNet()


class Here(Workers):
    """One slot in this process."""

    waiting_for = "Loading"
    hopeless = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.segmenter = Segmenter(settings)
        self.given: list[str] = []
        self.renewed = 0
        self._joined = False
        self._doing: tuple[Task, Task | None] | None = None

    def poll(self, schedule: Schedule, seconds: float) -> Iterator[Ending]:
        if not self._joined:
            self._joined = True
            schedule.join("here")
        elif self._doing is not None:
            (task, then), self._doing = self._doing, None
            if ending := self.finished(schedule, "here", task, self.segmenter.do(task, then)):
                yield ending

    def give(self, slot: Hashable, task: Task, then: Task | None) -> None:
        self.given.append(task.scan.name)
        self._doing = task, then

    def renew(self, slot: Hashable) -> None:
        self.renewed += 1
        self._joined = False

    def close(self) -> None:
        self.segmenter.close()

    _submit = _is_death = _gone = _refuse = NotImplemented
