"""`batch`: many scans, in several processes, on a cluster, or as a job array."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any

import tyro

from napari_synthseg.cli.terminal import DONE, PROGRAM, Out, follow, short_figures
from napari_synthseg.jobs import Progress

EVERY = 60.0
"""Seconds between two lines on the progress where there is no terminal to show a bar."""


def make_batch() -> Callable[..., int]:
    """Segment many scans: a folder, a list or a BIDS dataset, here or on a cluster."""
    from napari_synthseg.batch.job import segment_many
    from napari_synthseg.batch.options import BatchOptions
    from napari_synthseg.inference.options import SegmentOptions

    def batch(
        inputs: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="IN ...")],
        out: Out,
        sharing: BatchOptions,
        segmentation: SegmentOptions,
    ) -> int:
        """Segment many scans, each once: what is done is skipped, what fails is tried again and reported.

        The folder of results is a dataset of BIDS derivatives with report.json, report.html, volumes.tsv and
        quality.tsv. Stopped or killed, the same command goes on where it was. Ends with 1 if a scan failed.

        Args:
            inputs: folders of scans, BIDS datasets, scans, or text files (.txt) with one path a line.
            out: the folder of the results.
            sharing: how the scans are shared out.
            segmentation: how to segment.
        """
        if sharing.slurm:
            from napari_synthseg.batch.slurm import submit

            for line in submit(inputs, out, segmentation, sharing):
                print(line)
            return DONE
        result = follow(with_lines(segment_many(inputs, out, segmentation, sharing)))
        print(result.page or result.report)
        print(f"{PROGRAM}: {result.summary}", file=sys.stderr)
        return result.exit_code

    return batch


def with_lines(job: Generator[Progress, None, Any]) -> Generator[Progress, None, Any]:
    """The same job; now and then it prints a line where there is no terminal, such as into the log of a cluster."""
    silent_until = time.monotonic() + EVERY
    try:
        while True:
            report = next(job)
            if time.monotonic() >= silent_until and not sys.stderr.isatty():
                figures = ", ".join(f"{name} {value}" for name, value in short_figures(report).items())
                print(f"{report.stage}: {report.done} of {report.total}, {figures}", file=sys.stderr, flush=True)
                silent_until = time.monotonic() + EVERY
            yield report
    except StopIteration as end:
        return end.value
    finally:
        job.close()
