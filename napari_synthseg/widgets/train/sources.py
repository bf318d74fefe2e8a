"""What a run is trained on: folders, layers of the viewer, the bundled sample; and how layers become its files. No Qt.

Layers are written as NIfTI into the run's own folder (`data/<option>/`), so that a run needs nothing but that folder.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.anatomy import resources
from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.train.words import file_name

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_synthseg.widgets.layers.geometry import LayerScan

LABELS, SCANS, PAIRS = "labels", "scans", "pairs"
DATA = "data"
"""Folder in a run's folder that keeps what was made of layers."""
_MNI152 = Path("datasets", "data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")


@dataclass(frozen=True)
class DataField:
    """An option that names a folder of data.

    Attributes:
        field: the option.
        kind: label maps, scans, or scans with their labels.
    """

    field: Field
    kind: str

    @property
    def name(self) -> str:
        """Of the option."""
        return self.field.name


def data_fields(options: type) -> list[DataField]:
    """The options that name folders of data, those that must be given first."""
    found = [DataField(one, one.info.data) for one in fields_of(options) if one.info.data is not None]
    return sorted(found, key=lambda one: not one.field.required)


@dataclass(frozen=True)
class Source:
    """What was chosen for one option.

    Attributes:
        path: a folder or file that is used where it lies.
        files: single files, copied into the run's folder.
        scans: of Image layers.
        labels: of Labels layers, one for each scan where there are both.
    """

    path: Path | None = None
    files: tuple[Path, ...] = ()
    scans: tuple[LayerScan, ...] = ()
    labels: tuple[LayerScan, ...] = ()

    @property
    def inside(self) -> bool:
        """Whether it goes into the run's own folder."""
        return bool(self.files or self.scans or self.labels)


def bundled(kind: str) -> tuple[Path, ...]:
    """Files that come with the program, or with nilearn; empty where there are none of the kind."""
    if kind == LABELS:
        path = resources() / "samples" / "mni152_labels.nii.gz"
        return (path,) if path.is_file() else ()
    if kind == SCANS:
        package = importlib.util.find_spec("nilearn")  # found, not imported: nilearn is slow to import
        scan = Path(package.origin).parent / _MNI152 if package and package.origin else None
        return (scan,) if scan is not None and scan.is_file() else ()
    return ()


def write_sources(sources: Mapping[str, Source], run: Path) -> Generator[Progress, None, dict[str, Path]]:
    """Write what lies in no file yet, and what another run's folder would take with it when that is deleted.

    Args:
        sources: by option.
        run: the run's folder, which need not exist.

    Returns:
        The folder or file of each option.

    Raises:
        InputError: a layer cannot be read or written, or a folder is not there.
    """
    paths: dict[str, Path] = {}
    for name, source in sources.items():
        folder = run / DATA / name
        yield Progress(f"Writing {name.replace('_', ' ')}")
        if source.inside:
            _fill(folder, source)
            paths[name] = folder
        elif source.path is not None:
            paths[name] = _kept(source.path, folder)
    return paths


def _kept(path: Path, folder: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} does not exist: choose another folder.")
    if path.parent.name != DATA or not (path.parent.parent / "config.json").exists():
        return path
    shutil.copytree(path, folder)
    return folder


def _fill(folder: Path, source: Source) -> None:
    from napari_synthseg.io import write_labels, write_volume  # slow to import

    folder.mkdir(parents=True, exist_ok=True)
    for file in source.files:
        shutil.copy2(file, folder / file.name)
    paired = bool(source.scans and source.labels)
    names = unique_names([one.name for one in source.scans or source.labels], plain_id=paired)
    for name, scan in zip(names, source.scans, strict=False):
        write_volume(folder / f"{name}{'_t1' if paired else ''}.nii.gz", scan.read())
    for name, labels in zip(names, source.labels, strict=False):
        volume = labels.read()
        write_labels(folder / f"{name}{'_labels' if paired else ''}.nii.gz", volume)


def unique_names(names: Sequence[str], *, plain_id: bool = False) -> list[str]:
    """Names of files, all different.

    Args:
        names: of layers.
        plain_id: without underscores, where what stands before the first one is what scans and labels share.
    """
    found: list[str] = []
    for name in names:
        base = file_name(name)
        base = base.replace("_", "-") if plain_id else base
        unique, number = base, 1
        while unique in found:
            number += 1
            unique = f"{base}-{number}"
        found.append(unique)
    return found


def partner(image: Layer, labels: Sequence[Layer]) -> Layer | None:
    """The Labels layer that belongs to a scan: on the same grid, of several the one that shares its name."""
    same = [one for one in labels if one.data.shape == image.data.shape and _same_place(one, image)]
    named = [one for one in same if one.name.lower().startswith(image.name.lower().split("_")[0])]
    return (named or same or [None])[0]


def _same_place(one: Layer, other: Layer) -> bool:
    places: list[Any] = [np.asarray(layer.extent.world) for layer in (one, other)]
    return bool(np.allclose(places[0], places[1], atol=1e-2))
