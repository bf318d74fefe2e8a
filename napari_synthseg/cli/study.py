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
    from napari_synthseg.evaluation.studies import groups
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
        _finish("group", result, out, json_file)
        if corrected is not None:
            from napari_synthseg.evaluation.studies.corrected import write_corrected

            write_corrected(corrected, result)
        return _draw("group", result, figures, form)

    return study


def make_ageing() -> Callable[..., int]:
    """Fit trajectories of volumes over age (SynthSeg+)."""
    from napari_synthseg.evaluation.studies import ageing as job
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
        _finish("ageing", result, out, json_file)
        return _draw("ageing", result, figures, form)

    return ageing


def make_retest() -> Callable[..., int]:
    """Measure how well volumes are reproduced in repeated scans."""
    from napari_synthseg.evaluation.studies import retest as job
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
        _finish("retest", result, out, json_file)
        return _draw("retest", result, figures, form)

    return retest


def _check(*tables: Path | None) -> None:
    """Refuse names of tables before the work, not after it."""
    from napari_synthseg.evaluation.studies.saving import check_table_name

    for table in tables:
        if table is not None:
            check_table_name(table)


def _finish(kind: str, result: Any, out: Path | None, json_file: Path | None) -> None:
    from napari_synthseg.evaluation.studies import telling
    from napari_synthseg.evaluation.studies.saving import write_json, write_table

    print(getattr(telling, f"{kind}_text")(result))
    if out is not None:
        write_table(out, *getattr(telling, f"{kind}_rows")(result))
    if json_file is not None:
        write_json(json_file, getattr(telling, f"{kind}_json")(result))


def _draw(kind: str, result: Any, folder: Path | None, form: str) -> int:
    if folder is not None:
        from napari_synthseg.evaluation.studies import figures

        for path in getattr(figures, f"{kind}_figures")(result, folder, form):
            print(path, file=sys.stderr)
    return DONE


STUDIES: dict[str, Callable[[], Callable[..., int]]] = {
    "study ageing": make_ageing,
    "study retest": make_retest,
    "study": make_study,
}
"""The longer names first: `study` is the beginning of all of them."""
