"""`study`, `study ageing` and `study retest`: what tables of volumes say about groups, ages and repeated scans."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from napari_synthseg.cli.terminal import DONE, JsonFile, follow

Tables = Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="TABLE ...")]
TableFile = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]
Form = Literal["png", "svg"]


def make_study() -> Callable[..., int]:
    """Compare groups: correction for age, sex and head size, effect sizes of structures."""
    from napari_synthseg.evaluation.studies.options import GroupOptions

    def study(
        tables: Tables,
        comparing: GroupOptions,
        json_file: JsonFile = None,
        out: TableFile = None,
        figures: Path | None = None,
        form: Form = "png",
        corrected: Path | None = None,
    ) -> int:
        """Compare the volumes of groups at equal age, sex and head size: Cohen's d of every structure.

        Args:
            tables: tables of volumes (CSV, TSV), such as `segment --volumes` writes; several are put together.
            comparing: what to compare, and how.
            json_file: write all figures, and what was left out, into this JSON file.
            out: write the table into this file (.tsv, .csv or .md).
            figures: draw effect sizes and corrected volumes into this folder.
            form: kind of the pictures.
            corrected: write the corrected volumes of everybody into this table.
        """
        return _run("group_steps", tables, comparing, json_file, out, figures, form, corrected)

    return study


def make_ageing() -> Callable[..., int]:
    """Fit trajectories of volumes over age (SynthSeg+)."""
    from napari_synthseg.evaluation.studies.options import AgeingOptions

    def ageing(
        tables: Tables,
        fitting: AgeingOptions,
        json_file: JsonFile = None,
        out: TableFile = None,
        figures: Path | None = None,
        form: Form = "png",
    ) -> int:
        """Fit trajectories of volumes over age: B-splines with soft monotonicity, slice spacing, a bias for sex.

        Args:
            tables: tables of volumes (CSV, TSV), such as `segment --volumes` writes; several are put together.
            fitting: what to fit, and how.
            json_file: write all figures and curves, and what was left out, into this JSON file.
            out: write the curves into this table (.tsv, .csv or .md).
            figures: draw the trajectories into this folder.
            form: kind of the pictures.
        """
        return _run("ageing_steps", tables, fitting, json_file, out, figures, form)

    return ageing


def make_retest() -> Callable[..., int]:
    """Measure how well volumes are reproduced in repeated scans."""
    from napari_synthseg.evaluation.studies.options import RetestOptions

    def retest(
        tables: Tables,
        measuring: RetestOptions,
        json_file: JsonFile = None,
        out: TableFile = None,
        figures: Path | None = None,
        form: Form = "png",
    ) -> int:
        """Measure how alike the volumes of repeated scans of the same people are: differences, CV, ICC, Bland-Altman.

        Args:
            tables: tables of volumes (CSV, TSV), such as `segment --volumes` writes; several are put together.
            measuring: whose scans they are.
            json_file: write all figures, and what was left out, into this JSON file.
            out: write the table into this file (.tsv, .csv or .md).
            figures: draw differences and Bland-Altman plots into this folder.
            form: kind of the pictures.
        """
        return _run("retest_steps", tables, measuring, json_file, out, figures, form)

    return retest


def _run(
    steps: str,
    tables: list[Path],
    options: Any,
    json_file: Path | None,
    out: Path | None,
    figures: Path | None,
    form: Form,
    corrected: Path | None = None,
) -> int:
    """Run a study, print it and write its files; names of tables are checked before the work."""
    from napari_synthseg.evaluation import studies

    job = getattr(studies, steps)  # or the sentence about the libraries
    from napari_synthseg.evaluation.studies import report

    for path in (out, corrected):
        if path is not None:
            report.check_table_name(path)
    result = follow(job(tables, options))
    print(report.report_text(result))
    if out is not None:
        report.write_table(out, report.report_table(result))
    if json_file is not None:
        report.write_json(json_file, result)
    if corrected is not None:
        report.write_table(corrected, report.corrected_table(result))
    if figures is not None:
        from napari_synthseg.evaluation.studies.figures import write_figures

        for path in write_figures(result, figures, form):
            print(path, file=sys.stderr)
    return DONE


STUDIES: dict[str, Callable[[], Callable[..., int]]] = {
    "study ageing": make_ageing,
    "study retest": make_retest,
    "study": make_study,
}
"""The longer names first: `study` is the beginning of all of them."""
