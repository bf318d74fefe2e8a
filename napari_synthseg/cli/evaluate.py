"""`evaluate`: labels beside the truth, of one method or of several."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from napari_synthseg.cli.terminal import DONE, SOME_FAILED, JsonFile, follow
from napari_synthseg.errors import InputError


def make_evaluate() -> Callable[..., int]:
    """Compare labels with the truth: Dice, surface distances, volumes; several methods, with tests."""
    from napari_synthseg.evaluation.comparison import compare_steps, named_methods
    from napari_synthseg.evaluation.plots import check_ending, draw_boxes
    from napari_synthseg.evaluation.reports import as_markdown, as_text, rows_of_scans, write_rows, write_text
    from napari_synthseg.evaluation.scans import EvaluateOptions

    def evaluate(
        paths: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="[PRED] TRUTH")],
        scoring: EvaluateOptions,
        pred: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=PRED")] = (),
        json_file: JsonFile = None,
        tsv: Path | None = None,
        markdown: Path | None = None,
        plot: Path | None = None,
    ) -> int:
        """Compare label files with true ones: Dice, SD95, mean surface distance and volume difference per structure.

        Several methods are compared scan by scan: two-sided Wilcoxon signed-rank tests with Bonferroni's correction.

        Args:
            paths: a label file or folder of them, and the true label file or folder, matched by the beginnings of their
                names; the true one alone where --pred names the others.
            scoring: what to score.
            pred: a method's label file or folder, with a name for it; once for each method.
            json_file: write all figures into this JSON file.
            tsv: write a row a method, scan and structure into this table (commas if it ends in .csv).
            markdown: write a report with tables and tests into this Markdown file.
            plot: draw box plots into this picture (.png, .svg or .pdf).
        """
        if len(paths) > 2 or not paths:
            raise InputError("Give PRED and TRUTH, or --pred NAME=PRED for each method and TRUTH.")
        for file in (json_file, tsv, markdown, plot):
            if file is not None and file.is_dir():
                raise InputError(f"{file} is a folder; give the name of a file to write.")
        if plot is not None:
            check_ending(plot)
        methods = named_methods(pred, paths[0] if len(paths) == 2 else None)
        found = follow(compare_steps(methods, paths[-1], scoring))
        if json_file is not None:
            content = found if pred else next(iter(found["methods"].values()))
            write_text(json_file, json.dumps(content, indent=1) + "\n")
        if tsv is not None:
            write_rows(tsv, rows_of_scans(found))
        if markdown is not None:
            write_text(markdown, as_markdown(found))
        print(as_text(found))
        if plot is not None:
            draw_boxes(found, plot)
        return SOME_FAILED if any(result["failed"] for result in found["methods"].values()) else DONE

    return evaluate
