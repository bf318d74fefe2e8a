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
    from napari_synthseg.batch.job import segment_files
    from napari_synthseg.inference.options import SegmentOptions

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
        result = follow(job)
        for one in result.entries:
            if one.status == "failed":
                continue
            print(one.output)
            if one.told:
                print(f"{PROGRAM}: {Path(one.output).name}: {one.told}", file=sys.stderr)
        if len(result.entries) > 1:
            print(f"{PROGRAM}: {result.summary}", file=sys.stderr)
        return result.exit_code

    return segment
