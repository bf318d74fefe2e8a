"""`evaluate` and `study`: compare labels with the truth, and volumes between people, ages and repeated scans."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from napari_synthseg.atomic_io import write_lines, write_text
from napari_synthseg.cli.terminal import DONE, SOME_FAILED, STUDIES, JsonFile, command, follow, write_json
from napari_synthseg.errors import InputError
from napari_synthseg.fields import File, Folder

if TYPE_CHECKING:
    from napari_synthseg.evaluation.scans import EvaluateOptions
    from napari_synthseg.evaluation.studies import AgeingOptions, GroupOptions, RetestOptions

TABLES = "tables of volumes (CSV, TSV), such as `segment --volumes` writes; several are put together."
Tables = Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="TABLE ...", help=TABLES)]


@command("evaluate", "evaluation.scans")
def evaluate(
    paths: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="[PRED] TRUTH")],
    scoring: EvaluateOptions,
    pred: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=PRED")] = (),
    json_file: JsonFile = None,
    tsv: Path | None = None,
    markdown: Path | None = None,
    plot: Path | None = None,
) -> int:
    """Compare labels with the truth: Dice, surface distances, volumes; several methods, with tests.

    Several methods are compared scan by scan: two-sided Wilcoxon signed-rank tests with Bonferroni's correction.

    Args:
        paths: a label file or folder of them, and the true label file or folder, matched by the beginnings of their
            names; the true one alone if --pred names the others.
        pred: a method's label file or folder, with a name for it; once for each method.
        json_file: write all figures into this JSON file.
        tsv: write a row a method, scan and structure into this table (commas if it ends in .csv).
        markdown: write a report with tables and tests into this Markdown file.
        plot: draw box plots into this picture (.png, .svg or .pdf).
    """
    from napari_synthseg.evaluation.comparison import compare_steps, named_methods
    from napari_synthseg.evaluation.reports import as_markdown, as_text, check_ending, draw_boxes, rows_of_scans

    if len(paths) > 2 or not paths:
        raise InputError("Give PRED and TRUTH, or --pred NAME=PRED for each method and TRUTH.")
    for file in (json_file, tsv, markdown, plot):
        if file is not None and file.is_dir():
            raise InputError(f"{file} is a folder; give the name of a file to write.")
    if plot is not None:
        check_ending(plot)
    methods = named_methods(pred, paths[0] if len(paths) == 2 else None)
    found = follow(compare_steps(methods, paths[-1], scoring))
    print(as_text(found))  # first: a disk may be full
    if json_file is not None:
        write_json(json_file, found if pred else next(iter(found["methods"].values())))
    if tsv is not None:
        write_lines(tsv, rows_of_scans(found))
    if markdown is not None:
        write_text(markdown, as_markdown(found))
    if plot is not None:
        draw_boxes(found, plot)
    return SOME_FAILED if any(result["failed"] for result in found["methods"].values()) else DONE


@dataclass(frozen=True)
class StudyFiles:
    """Files that a study writes."""

    json_file: Annotated[File | None, tyro.conf.arg(name="json")] = None
    """Write all figures, and what was left out, into this JSON file."""
    out: Annotated[File | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the table, or the curves, into this file (.tsv, .csv or .md)."""
    figures: Folder | None = None
    """Draw pictures into this folder."""
    form: Literal["png", "svg"] = "png"
    """Kind of the pictures."""


@command("study", "evaluation.studies", heading=STUDIES)
def study(tables: Tables, comparing: GroupOptions, files: StudyFiles, corrected: Path | None = None) -> int:
    """Compare the volumes of groups at equal age, sex and head size: effect sizes.

    Cohen's d of every structure, with bootstrap intervals.

    Args:
        corrected: write the corrected volumes of everybody into this table.
    """
    return _run("group_steps", tables, comparing, files, corrected)


@command("study ageing", "evaluation.studies", heading=STUDIES)
def ageing(tables: Tables, fitting: AgeingOptions, files: StudyFiles) -> int:
    """Fit trajectories of volumes over age (SynthSeg+).

    B-splines with soft monotonicity, terms for the slice spacing, a bias for sex.
    """
    return _run("ageing_steps", tables, fitting, files)


@command("study retest", "evaluation.studies", heading=STUDIES)
def retest(tables: Tables, measuring: RetestOptions, files: StudyFiles) -> int:
    """Measure how well volumes are reproduced in repeated scans.

    Differences, coefficients of variation, ICC and Bland-Altman limits.
    """
    return _run("retest_steps", tables, measuring, files)


def _run(steps: str, tables: list[Path], options: Any, files: StudyFiles, corrected: Path | None = None) -> int:
    """Run a study, print it and write its files; names of tables are checked before the work."""
    from napari_synthseg.evaluation import studies

    job = getattr(studies, steps)  # or the sentence about the libraries
    from napari_synthseg.evaluation.studies import report

    for path in (files.out, corrected):
        if path is not None:
            report.check_table_name(path)
    result = follow(job(tables, options))
    print(report.report_text(result))
    if files.out is not None:
        report.write_table(files.out, report.report_table(result))
    if files.json_file is not None:
        report.write_json(files.json_file, result)
    if corrected is not None:
        report.write_table(corrected, report.corrected_table(result))
    if files.figures is not None:
        from napari_synthseg.evaluation.studies.figures import write_figures

        for path in write_figures(result, files.figures, files.form):
            print(path, file=sys.stderr)
    return DONE
