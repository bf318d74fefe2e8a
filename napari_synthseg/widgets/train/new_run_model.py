"""Qt-free model of the page *New run*: data, presets, and the request that a run is made from.

Layers are written as NIfTI into the run's own folder (`data/<option>/`), so that a run needs nothing but that folder.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.anatomy import resources
from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.jobs import Progress
from napari_synthseg.training import runs
from napari_synthseg.widgets.layers.geometry import file_name, unique_names

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_synthseg.widgets.layers.geometry import LayerScan

LABELS, SCANS, PAIRS = "labels", "scans", "pairs"
DATA = "data"
"""Folder in a run's folder for data from layers."""


def data_fields(options: type) -> list[Field]:
    """Return the options that name folders of data, required ones first; `info.data` is their kind."""
    found = [one for one in fields_of(options) if one.info.data is not None]
    return sorted(found, key=lambda one: not one.required)


@dataclass(frozen=True)
class DataSource:
    """Data chosen for one option: a path that is used in place, or files and layers for the run's own folder."""

    path: Path | None = None
    files: tuple[Path, ...] = ()
    scans: tuple[LayerScan, ...] = ()
    labels: tuple[LayerScan, ...] = ()
    """One for each scan, if there are scans."""


def bundled(kind: str) -> tuple[Path, ...]:
    if kind == LABELS:
        path = resources() / "samples" / "mni152_labels.nii.gz"
        return (path,) if path.is_file() else ()
    if kind == SCANS:
        from napari_synthseg.widgets.layers.reader import mni152_path  # slow to import

        scan = mni152_path()
        return () if scan is None else (scan,)
    return ()


def _fill(folder: Path, source: DataSource) -> None:
    from napari_synthseg.io import write_labels, write_volume  # slow to import

    folder.mkdir(parents=True, exist_ok=True)
    for file in source.files:
        shutil.copy2(file, folder / file.name)
    paired = bool(source.scans and source.labels)
    plain = (file_name(one.name) for one in source.scans or source.labels)
    names = unique_names((name.replace("_", "-") if paired else name for name in plain), "-")  # "_" ends a pair's name
    for name, scan in zip(names, source.scans, strict=False):
        write_volume(folder / f"{name}{'_t1' if paired else ''}.nii.gz", scan.read())
    for name, labels in zip(names, source.labels, strict=False):
        write_labels(folder / f"{name}{'_labels' if paired else ''}.nii.gz", labels.read())


def partner(image: Layer, labels: Sequence[Layer]) -> Layer | None:
    """Return the Labels layer of a scan: on the same grid, and of several the one that shares its name."""
    place = image.extent.world
    same = [one for one in labels if one.data.shape == image.data.shape]
    same = [one for one in same if np.allclose(one.extent.world, place, atol=1e-2)]
    named = [one for one in same if one.name.lower().startswith(image.name.lower().split("_")[0])]
    return (named or same or [None])[0]


TRY, STANDARD, PAPER = "Try it", "Standard", "Paper"
TRY_STEPS = 60
"""Steps in all of a first try: a few minutes on a processor, enough to see curves and a validation."""
PRESET_TIPS = {
    TRY: f"Minutes: about {TRY_STEPS} steps in all, to see that everything works.",
    STANDARD: "This program's own network and schedule.",
    PAPER: "The published network and schedule, as far as the recipe has them: for a large GPU.",
}
SWITCHES = ("preset", "plan", "size")
"""Options that choose between a quick way and the paper's; the first one that there is counts."""
STEPS = "steps"


def presets(options: type) -> dict[str, dict[str, Any]]:
    """Return the presets of a recipe's options by name: the changed ones; the others have their defaults."""
    fields = {one.name: one for one in fields_of(options)}
    switch = next((one for one in SWITCHES if one in fields and "paper" in fields[one].choices), "")
    if switch == "size" and "network" not in fields:  # of fine-tuning, size concerns few networks
        switch = ""
    ways = [next(one for one in fields[switch].choices if one != "paper"), "paper"] if switch else []
    standard, *paper = [{switch: way} if way != fields[switch].default else {} for way in ways] or [{}]
    steps = step_fields(options)
    each = max(1, TRY_STEPS // max(1, len(steps)))
    trial = dict.fromkeys(steps, each)
    trial |= {name: max(1, each // 3) for name in ("validate_every", "teach_from") if name in fields}
    return dict(zip(PRESET_TIPS, (standard | trial, standard, *paper), strict=False))


def step_fields(options: type) -> list[str]:
    """Return the options with numbers of steps: "steps", or one for each stage."""
    return [one.name for one in fields_of(options) if one.kind == "integer" and one.name.split("_")[0] == STEPS]


LATER = Path("chosen later")
"""Stands for folders that are only made when the run is."""


@dataclass(frozen=True)
class Request:
    recipe: str
    values: Mapping[str, Any]
    """Options without `out` and data."""
    sources: Mapping[str, DataSource]
    """Data by option."""
    here: bool = False
    """Train in this process."""


def make_run(request: Request) -> Generator[Progress, None, Path]:
    """Create the run's folder with its data; nothing of it stays if that fails.

    Returns:
        The run's folder.

    Raises:
        InputError: data or options cannot be used.
    """
    out = runs.new_folder(request.recipe, str(request.values.get("name") or ""))
    try:
        options = yield from _options(request, out)
        yield Progress("Making the run")
        return runs.create(request.recipe, options)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def try_out(request: Request) -> Generator[Progress, None, Any]:
    """Estimate time and memory (`training.runs.Estimate`) from a few steps in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="estimate-", ignore_cleanup_errors=True) as folder:
        options = yield from _options(request, Path(folder) / "run")
        return (yield from runs.estimate(request.recipe, options))


def _options(request: Request, out: Path) -> Generator[Progress, None, Any]:
    """Write layers into the run's folder, and copy data that would be deleted with another run's folder."""
    paths = {}
    for name, source in request.sources.items():
        paths[name] = folder = out / DATA / name
        yield Progress(f"Writing {name.replace('_', ' ')}")
        if source.path is None:
            _fill(folder, source)
        elif not source.path.exists():
            raise InputError(f"{source.path} does not exist: choose another folder.")
        elif source.path.parent.name == DATA and (source.path.parent.parent / "config.json").exists():
            shutil.copytree(source.path, folder)
        else:
            paths[name] = source.path
    return runs.RECIPES[request.recipe].options(**request.values, **paths, out=out)
