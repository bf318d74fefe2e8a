"""`segment`: the structures of a brain."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from napari_synthseg.cli.terminal import PROGRAM, Out, follow


def make_segment() -> Callable[..., int]:
    """Label the structures of a brain in a scan, a folder of scans, or a list."""
    from napari_synthseg.inference.pipeline import SegmentOptions, segment_files

    def segment(
        inputs: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="IN ...")],
        out: Out,
        segmentation: SegmentOptions,
        volumes: Path | None = None,
        qc: Path | None = None,
        preview: bool = False,
    ) -> int:
        """Label the structures of a brain in scans of any contrast and resolution.

        Args:
            inputs: scans (NIfTI, MGZ, NRRD), folders of scans, or text files (.txt) with one path a line.
            out: the label file to write for one scan (its name ends like a scan's), else a folder.
            segmentation: how to segment.
            volumes: write the volumes of all scans (mm^3) into this CSV or TSV table.
            qc: write a verdict on every scan, and the expected Dice of its structures, into this CSV or TSV table.
            preview: write a PNG picture beside every label file.
        """
        job = segment_files(inputs, out, segmentation, volumes_csv=volumes, quality_csv=qc, preview=preview)
        report = follow(job)
        for scan, written in report.done.items():
            print(written)
            if report.verdicts[scan]:
                print(f"{PROGRAM}: {written.name}: {report.verdicts[scan]}", file=sys.stderr)
        if report.summary and len(report.done) > 1:
            print(f"{PROGRAM}: {report.summary}", file=sys.stderr)
        return report.exit_code

    return segment
