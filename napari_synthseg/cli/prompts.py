"""`prompt` and `evaluate-prompts`: one object that is pointed at, and how well a model answers."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from napari_synthseg.cli.terminal import DONE, JsonFile, Out, follow, write_json


def make_prompt() -> Callable[..., int]:
    """Segment one object by pointing at it: points, boxes, a mask; through the slices."""
    from napari_synthseg.prompting.one_object import prompt_file
    from napari_synthseg.prompting.options import PromptOptions, PropagateOptions

    def prompt(
        scan: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCAN")],
        out: Out,
        prompts: Annotated[PromptOptions, tyro.conf.UseAppendAction],
        following: PropagateOptions,
        preview: bool = False,
    ) -> int:
        """Segment the object that is pointed at in a scan, on one slice or through all of them, or in a picture.

        Args:
            scan: a scan (NIfTI, MGZ, NRRD), or a picture (PNG, JPEG, TIFF, BMP).
            out: the label file to write (a PNG for a picture), else a folder.
            prompts: what to segment.
            following: how far to follow it.
            preview: write a PNG picture beside the label file.
        """
        done = follow(prompt_file(scan, out, prompts, following, preview=preview))
        print(f"{done.file}\t{done.size}")
        return DONE

    return prompt


def make_evaluate_prompts() -> Callable[..., int]:
    """Measure how well a model segments what it is pointed at."""
    from napari_synthseg.prompting.evaluate import EvaluatePromptsOptions, evaluate_steps, table

    def evaluate_prompts(
        manifest: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MANIFEST")],
        measuring: EvaluatePromptsOptions,
        json_file: JsonFile = None,
    ) -> int:
        """Measure how well a model segments what it is pointed at: Dice with 1 and 3 points, points outside, and a box.

        Args:
            manifest: a CSV table with the columns modality, dataset, image and mask; paths are relative to it.
            measuring: how to measure.
            json_file: write a row for each mask and setting into this JSON file.
        """
        rows = follow(evaluate_steps(manifest, measuring))
        print(table(rows))
        if json_file is not None:
            write_json(json_file, rows)
        return DONE

    return evaluate_prompts
