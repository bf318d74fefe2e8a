"""`prompt` and `evaluate-prompts`: segment one object from prompts, and measure how well a model does that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from napari_synthseg.cli.terminal import DONE, STUDIES, JsonFile, Out, command, follow, write_json

if TYPE_CHECKING:
    from napari_synthseg.prompting.evaluate import EvaluatePromptsOptions
    from napari_synthseg.prompting.options import PromptOptions, PropagateOptions, SimilarOptions


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
    print(f"{done.file}\t{done.size}")
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
