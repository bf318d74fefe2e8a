"""What the form asks for: a recipe, its options, and the data they name; and how a run is made of it. No Qt here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.train.sources import Source, write_sources

LATER = Path("chosen later")
"""Stands for folders that are only made when the run is."""


@dataclass(frozen=True)
class Request:
    """A run to be.

    Attributes:
        recipe: its name.
        values: options, without `out` and without data.
        sources: data, by option.
        here: train in this process.
    """

    recipe: str
    values: Mapping[str, Any]
    sources: Mapping[str, Source]
    here: bool = False


def make_run(request: Request) -> Generator[Progress, None, Path]:
    """Make the run's folder with its data; nothing of it stays where that fails.

    Returns:
        The run's folder.

    Raises:
        InputError: data or options cannot be used.
    """
    from napari_synthseg.training import runs

    out = runs.new_folder(request.recipe, str(request.values.get("name") or ""))
    try:
        options = yield from _options(request, out)
        yield Progress("Making the run")
        return runs.create(request.recipe, options)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def try_out(request: Request) -> Generator[Progress, None, Any]:
    """Estimate time and memory from a few steps in a folder that is deleted afterwards.

    Returns:
        A `training.runs.Estimate`.
    """
    from napari_synthseg.training import runs

    with tempfile.TemporaryDirectory(prefix="estimate-", ignore_cleanup_errors=True) as folder:
        options = yield from _options(request, Path(folder) / "run")
        return (yield from runs.estimate(request.recipe, options))


def _options(request: Request, out: Path) -> Generator[Progress, None, Any]:
    from napari_synthseg.training import runs

    paths = yield from write_sources(request.sources, out)
    return runs.RECIPES[request.recipe].options(**request.values, **paths, out=out)
