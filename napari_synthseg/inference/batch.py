"""Many scans: files, folders or lists in; label files and more out. One scan's failure stops no other."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from napari_synthseg.errors import InputError, in_a_sentence
from napari_synthseg.inference.networks import Networks, load_all
from napari_synthseg.inference.one_scan import Segmentation, segment_steps
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.outputs import plan_outputs, write_results
from napari_synthseg.inference.tables import Quality, Volumes, write_quality, write_volumes
from napari_synthseg.io import read_volume
from napari_synthseg.io.finding import find_scans
from napari_synthseg.jobs import Progress

logger = logging.getLogger("napari_synthseg")


@dataclass
class BatchReport:
    """How a batch went.

    Attributes:
        done: label files written, by scan.
        failed: a sentence on each scan that failed.
        warnings: what looked implausible, by scan.
        verdicts: a few words on the quality to expect, by scan.
        poor: expected mean Dice of the scans whose segmentation has probably failed, by scan.
    """

    done: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    poor: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 where every scan was segmented, else 1."""
        return 1 if self.failed else 0

    @property
    def summary(self) -> str:
        """A sentence that names the scans whose segmentation has probably failed, worst first; empty without any."""
        if not self.poor:
            return ""
        worst = sorted(self.poor, key=lambda scan: self.poor[scan])
        names = ", ".join(f"{scan} ({self.poor[scan]:.2f})" for scan in worst)
        return f"Probably failed, {len(worst)} of {len(self.done)} (expected mean Dice): {names}."


def segment_files(
    inputs: Path | str | Sequence[Path | str],
    out: Path | str,
    options: SegmentOptions | None = None,
    *,
    volumes_csv: Path | str | None = None,
    quality_csv: Path | str | None = None,
    preview: bool = False,
    model: nn.Module | None = None,
) -> Generator[Progress, None, BatchReport]:
    """Segment scans and write what came of them.

    For every scan a label file with its BIDS table (.tsv) and a record of the run (.json); a picture (.png), the
    posteriors (`_probseg.nii.gz`) and a robust network's tissue maps (`_desc-S1_dseg.nii.gz`,
    `_desc-denoised_dseg.nii.gz`) if asked for. They appear together, when the scan is finished.

    Args:
        inputs: scans, folders of scans, or text files with one path a line.
        out: the label file to write for one scan (its name ends like a scan's), else a folder, where a scan `<stem>`
            becomes `<stem>_dseg.nii.gz`.
        options: how to segment.
        volumes_csv: a table of all volumes (mm^3), one row a scan; tabs instead of commas if its name ends in .tsv.
        quality_csv: a table of expected Dice, likewise: verdict, mean, groups and structures.
        preview: write a picture too.
        model: a network already loaded.

    Raises:
        InputError: an input does not exist, the outputs clash or would replace what is no result of an earlier run, or
            the only scan cannot be used.
    """
    options = options or SegmentOptions()
    scans = find_scans([inputs] if isinstance(inputs, (str, Path)) else inputs)
    targets = plan_outputs(scans, Path(out), preview=preview, posteriors=options.posteriors, tissues=options.tissues)
    for table, what in ((volumes_csv, "volumes"), (quality_csv, "quality")):
        if table is not None and Path(table).is_dir():
            raise InputError(f"{table} is a folder; give the name of a CSV or TSV file for the {what}.")
    yield Progress("Loading the network")
    networks = load_all(options, model)
    report = BatchReport()
    volumes: dict[str, Volumes] = {}
    qualities: dict[str, Quality] = {}
    for number, (scan, target) in enumerate(zip(scans, targets, strict=True), 1):
        title = scan.name if len(scans) == 1 else f"{number}/{len(scans)} {scan.name}"
        try:
            for_one = _segment_one(scan, target, options, networks, preview)
            result = yield from _titled(for_one, title)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if len(scans) == 1:
                raise
            report.failed[str(scan)] = in_a_sentence(error)
            logger.warning("%s failed: %s", scan, in_a_sentence(error))
            continue
        report.done[str(scan)] = target
        if result.warnings:
            report.warnings[str(scan)] = result.warnings
            logger.warning("%s: %s", scan.name, " ".join(result.warnings))
        report.verdicts[str(scan)] = result.verdict.told
        if result.verdict.failed:
            report.poor[str(scan)] = result.verdict.mean
        names = {value: one.name for value, one in result.names.items()}
        volumes[str(scan)] = Volumes(result.intracranial_mm3, result.volumes, names)
        qualities[str(scan)] = Quality(result.verdict, result.quality, names)
        if volumes_csv is not None:
            write_volumes(Path(volumes_csv), volumes)
        if quality_csv is not None:
            write_quality(Path(quality_csv), qualities)
    return report


def _segment_one(
    scan: Path, target: Path, options: SegmentOptions, networks: Networks, preview: bool
) -> Generator[Progress, None, Segmentation]:
    yield Progress("Reading")
    volume = read_volume(scan, index=options.index)
    result = yield from segment_steps(volume, options, networks, name=str(scan))
    yield Progress("Writing")
    write_results(target, volume, result, preview=preview, tissues=options.tissues)
    return replace(result, posteriors=None)


def _titled(job: Generator[Progress, None, Segmentation], title: str) -> Generator[Progress, None, Segmentation]:
    """The same job, its reports saying which scan they are about."""
    try:
        while True:
            report = next(job)
            yield replace(report, stage=f"{title}: {report.stage}")
    except StopIteration as end:
        return end.value
    finally:
        job.close()
