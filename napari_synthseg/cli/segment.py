"""`segment`, `batch`, `prompt`, `evaluate-prompts`: the structures of the brain in scans; objects from prompts."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from napari_synthseg.cli.terminal import (
    DONE,
    PROGRAM,
    STUDIES,
    JsonFile,
    Out,
    command,
    follow,
    put,
    say,
    short_figures,
    write_json,
)
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, mapped

if TYPE_CHECKING:
    from napari_synthseg.batch.options import BatchOptions
    from napari_synthseg.inference.options import SegmentOptions
    from napari_synthseg.prompting.evaluate import EvaluatePromptsOptions
    from napari_synthseg.prompting.options import PromptOptions, PropagateOptions, SimilarOptions


Inputs = Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="IN ...")]
SYNTHSEG_FLAGS = {"--vol": "--volumes", "--post": "--posteriors", "--parc": "--parcellation"}
"""Flags of `mri_synthseg` that have longer names here; --qc, --robust, --fast, --ct and --threads have the same."""
FREESURFER_FLAGS = {"--i": "", "--o": "-o"}
WEIGHTS, SCANS = (".safetensors", ".h5"), (".nii", ".nii.gz", ".mgz")
EVERY = 60.0
"""Seconds between two lines on the progress if there is no terminal to show a bar."""


def translate(words: Sequence[str]) -> list[str]:
    """Replace the flags of `mri_synthseg` by this program's.

    Raises:
        InputError: scans are given with --i, as FreeSurfer has them, or there are no weights for --parc.
    """
    found: list[str] = []
    for before, word, after in zip(["", *words[:-1]], words, [*words[1:], ""], strict=True):
        if before == "--post" and word.endswith(SCANS) and not Path(word).exists():
            say(f"the posteriors are written beside the labels, not to {word}")
            continue
        flag, equals, value = word.partition("=")
        if flag in FREESURFER_FLAGS:
            found += [part for part in (FREESURFER_FLAGS[flag], value) if part]
        else:
            found.append(SYNTHSEG_FLAGS.get(flag, flag) + equals + value)
        if word == "--parc" and not after.endswith(WEIGHTS):
            found.append(str(_parcellation_weights()))
    if any(word.partition("=")[0] in FREESURFER_FLAGS for word in words):
        call = shlex.join([PROGRAM, "segment", *found])
        raise InputError(f"Scans are given by their names alone, and the output by -o. Type: {call}")
    return found


def _parcellation_weights() -> Path:
    from napari_synthseg.networks.registry import spec_of
    from napari_synthseg.weights import catalogue

    for card in catalogue.available(["helper"]):
        if spec_of(card).option == "parcellation":
            return Path(card["path"])
    raise InputError(
        "There are no weights of SynthSeg's parcellation: convert synthseg_parc_2.0.h5 with `import-weights`, or give "
        "the file with --parcellation FILE."
    )


@command("segment", "inference.options", translate=translate)
def segment(
    inputs: Inputs,
    out: Out,
    segmentation: SegmentOptions,
    volumes: Path | None = None,
    qc: Path | None = None,
    preview: bool = False,
) -> int:
    """Label the structures of a brain in scans of any contrast and resolution.

    The flags --vol, --post and --parc of FreeSurfer's mri_synthseg are understood too.

    Args:
        inputs: scans (NIfTI, MGZ, NRRD), folders of scans, or text files (.txt) with one path a line.
        out: the label file to write for one scan (its name ends like a scan's), else a folder.
        volumes: write the volumes of all scans (mm^3) into this CSV or TSV table.
        qc: write the quality of every scan, and the expected Dice of its structures, into this CSV or TSV table.
        preview: write a PNG picture beside every label file.
    """
    from napari_synthseg.batch.job import segment_files

    job = segment_files(inputs, out, segmentation, volumes_csv=volumes, quality_csv=qc, preview=preview)
    result = follow(job)
    for one in result.entries:
        if one.status == "failed":
            continue
        put(one.output)
        if one.summary:
            say(f"{Path(one.output).name}: {one.summary}")
    if len(result.entries) > 1:
        say(result.summary)
    return result.exit_code


@command("batch", "batch.options", "inference.options", translate=translate)
def batch(inputs: Inputs, out: Out, sharing: BatchOptions, segmentation: SegmentOptions) -> int:
    """Segment many scans: a folder, a list or a BIDS dataset, here or on a cluster.

    Each scan is segmented once: scans that are done are skipped, and those that fail are tried again and reported. The
    folder of results is a dataset of BIDS derivatives with report.json, report.html, volumes.tsv and quality.tsv.
    Stopped or killed, the same command continues. The exit code is 1 if a scan failed.

    Args:
        inputs: folders of scans, BIDS datasets, scans, or text files (.txt) with one path a line.
        out: the folder of the results.
    """
    if sharing.slurm:
        from napari_synthseg.batch.executors import submit

        for line in submit(inputs, out, segmentation, sharing):
            print(line)
        return DONE
    from napari_synthseg.batch.job import segment_many

    result = follow(with_lines(segment_many(inputs, out, segmentation, sharing)))
    print(result.page or result.report)
    say(result.summary)
    return result.exit_code


def with_lines(job: Generator[Progress, None, Any]) -> Generator[Progress, None, Any]:
    """Run a job, printing a line now and then if there is no terminal, such as into the log of a cluster."""
    silent_until = time.monotonic() + EVERY

    def tell(report: Progress) -> Progress:
        nonlocal silent_until
        if time.monotonic() >= silent_until and not sys.stderr.isatty():
            figures = ", ".join(f"{name} {value}" for name, value in short_figures(report).items())
            print(f"{report.stage}: {report.done} of {report.total}, {figures}", file=sys.stderr, flush=True)
            silent_until = time.monotonic() + EVERY
        return report

    return mapped(job, tell)


@command("prompt", "prompting.options")
def prompt(
    scan: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCAN")],
    out: Out,
    prompts: Annotated[PromptOptions, tyro.conf.UseAppendAction],
    propagation: PropagateOptions,
    similar: SimilarOptions,
    preview: bool = False,
) -> int:
    """Segment an object from points, strokes, boxes or a mask; through the slices, or all like it.

    Args:
        scan: a scan (NIfTI, MGZ, NRRD), or a picture (PNG, JPEG, TIFF, BMP).
        out: the label file to write (a PNG for a picture), else a folder.
        preview: write a PNG picture beside the label file.
    """
    from napari_synthseg.prompting.one_object import prompt_file

    done = follow(prompt_file(scan, out, prompts, propagation, similar, preview=preview))
    put(f"{done.file}\t{done.size}")
    return DONE


@command("evaluate-prompts", "prompting.evaluate", heading=STUDIES)
def evaluate_prompts(
    manifest: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MANIFEST")],
    measuring: EvaluatePromptsOptions,
    json_file: JsonFile = None,
) -> int:
    """Measure how well a model segments objects from prompts.

    Dice with 1 and 3 points, points outside, and a box.

    Args:
        manifest: a CSV table with the columns modality, dataset, image and mask; paths are relative to it.
        json_file: write a row for each mask and setting into this JSON file.
    """
    from napari_synthseg.prompting.evaluate import evaluate_steps, table

    rows = follow(evaluate_steps(manifest, measuring))
    print(table(rows))
    if json_file is not None:
        write_json(json_file, rows)
    return DONE
