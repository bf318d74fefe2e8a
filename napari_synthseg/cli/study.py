"""`study`, `study ageing` and `study retest`: what tables of volumes say about groups, ages and repeated scans."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from napari_synthseg.cli.ends import DONE
from napari_synthseg.cli.following import follow
from napari_synthseg.cli.parts import JsonFile

Tables = Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="TABLE ...")]
TableFile = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]
Form = Literal["png", "svg"]


def make_study() -> Callable[..., int]:
    """Compare groups: correction for age, sex and head size, effect sizes of structures."""
    from napari_synthseg.evaluation.studies import groups, telling
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
        _check(out, corrected)
        result = follow(groups.group_steps(tables, comparing))
        _finish(telling.group_text(result), telling.group_rows(result), out)
        if corrected is not None:
            from napari_synthseg.evaluation.studies.corrected import write_corrected

            write_corrected(corrected, result)
        if json_file is not None:
            _write_json(json_file, telling.group_json(result))
        return _draw("group_figures", result, figures, form)

    return study


def make_ageing() -> Callable[..., int]:
    """Fit trajectories of volumes over age (SynthSeg+)."""
    from napari_synthseg.evaluation.studies import ageing as job
    from napari_synthseg.evaluation.studies import telling
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
        _check(out)
        result = follow(job.ageing_steps(tables, fitting))
        _finish(telling.ageing_text(result), telling.ageing_rows(result), out)
        if json_file is not None:
            _write_json(json_file, telling.ageing_json(result))
        return _draw("ageing_figures", result, figures, form)

    return ageing


def make_retest() -> Callable[..., int]:
    """Measure how well volumes are reproduced in repeated scans."""
    from napari_synthseg.evaluation.studies import retest as job
    from napari_synthseg.evaluation.studies import telling
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
        _check(out)
        result = follow(job.retest_steps(tables, measuring))
        _finish(telling.retest_text(result), telling.retest_rows(result), out)
        if json_file is not None:
            _write_json(json_file, telling.retest_json(result))
        return _draw("retest_figures", result, figures, form)

    return retest


def _check(*tables: Path | None) -> None:
    """Refuse names of tables before the work, not after it."""
    from napari_synthseg.evaluation.studies.saving import check_table_name

    for table in tables:
        if table is not None:
            check_table_name(table)


def _finish(text: str, rows: tuple[list[str], list[list[object]]], out: Path | None) -> None:
    from napari_synthseg.evaluation.studies.saving import write_table

    print(text)
    if out is not None:
        write_table(out, *rows)


def _write_json(path: Path, content: Any) -> None:
    from napari_synthseg.evaluation.studies.saving import write_json

    write_json(path, content)


def _draw(name: str, result: Any, folder: Path | None, form: str) -> int:
    if folder is not None:
        from napari_synthseg.evaluation.studies import figures

        for path in getattr(figures, name)(result, folder, form):
            print(path, file=sys.stderr)
    return DONE


STUDIES: dict[str, Callable[[], Callable[..., int]]] = {
    "study ageing": make_ageing,
    "study retest": make_retest,
    "study": make_study,
}
"""The longer names first: `study` is the beginning of all of them."""
