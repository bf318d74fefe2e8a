"""BIDS datasets and derivatives: structural images of a dataset, and the names and metadata of their labels.

BIDS 1.10, Derivatives: `<entities>_space-<grid>[_res-]_desc-<method>_dseg.nii.gz` with its table (.tsv) and sidecar
(.json), in `sub-/ses-/anat`; dataset_description.json names the program.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_synthseg import __version__
from napari_synthseg.errors import InputError
from napari_synthseg.inference.outputs import PROGRAM
from napari_synthseg.io import stem, suffix

STRUCTURAL = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "inplaneT1", "inplaneT2", "UNIT1")
"""Suffixes of anatomical images; quantitative maps and angiograms are left out."""
ENDINGS = (".nii.gz", ".nii")
DESCRIPTION = "dataset_description.json"
BIDS_VERSION = "1.10.0"
ORDER = (
    "sub", "ses", "sample", "task", "acq", "ce", "trc", "stain", "rec", "dir", "run", "mod", "echo", "flip", "inv",
    "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg", "res", "den", "label", "desc",
)  # fmt: skip
"""Entities in the order of the specification."""
_NAME = re.compile(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9+]+)*_[A-Za-z0-9]+")
IGNORED = "report*\n*.tmp\n/volumes.tsv\n/quality.tsv\n/parts/\n/slurm/\n**/*_dseg.jpg\n**/*_dseg.png\n"
"""Content of `.bidsignore`."""


@dataclass(frozen=True)
class Name:
    """A BIDS file name: entities in order, and the suffix."""

    entities: Mapping[str, str]
    suffix: str

    @property
    def folder(self) -> Path:
        """Folder of its images in a dataset: `sub-/ses-/anat`."""
        parts = [f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities]
        return Path(*parts, "anat")


def parse(path: Path) -> Name | None:
    """Return the BIDS name of an image, or None."""
    text = stem(path)
    if not _NAME.fullmatch(text):
        return None
    *entities, last = text.split("_")
    pairs = [one.split("-", 1) for one in entities]
    found = dict(pairs)
    return Name(found, last) if len(found) == len(pairs) else None


def derivative(name: Name, grid: str) -> Path:
    """Return the label file of an image, relative to the derivatives, for a `grid` of `SegmentOptions`.

    The space is the image's suffix (`space-T1w`), as in other derivatives, so that labels of a T1 and a T2 of one
    session differ. If the image has a space, that is kept, and the suffix moves into `desc`.
    """
    entities = dict(name.entities)
    words = [entities.get("desc", ""), name.suffix if "space" in entities else "", "synthseg"]
    first, *others = [word for word in words if word]
    entities.setdefault("space", name.suffix)
    if grid == "1mm":
        entities["res"] = "1mm"
    entities["desc"] = first + "".join(word[:1].upper() + word[1:] for word in others)
    known = sorted(entities, key=lambda key: ORDER.index(key) if key in ORDER else ORDER.index("space"))
    return name.folder / ("_".join(f"{key}-{entities[key]}" for key in known) + "_dseg.nii.gz")


def dataset_of(path: Path) -> Path | None:
    """Return the BIDS dataset that contains a path, or is it."""
    return next((Path(one) for one in (str(path), *map(str, path.parents[:5])) if _is_described(one)), None)


@functools.lru_cache(1 << 16)
def _is_described(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, DESCRIPTION))


forget_datasets = _is_described.cache_clear
"""Look at folders again."""


def is_dataset(folder: Path) -> bool:
    """Return whether a folder has a dataset_description.json, or a participant with an `anat` folder."""
    if (folder / DESCRIPTION).is_file():
        return True
    subjects = (one for one in folder.iterdir() if one.name.startswith("sub-") and one.is_dir())
    return any((one / "anat").is_dir() or any(one.glob("ses-*/anat")) for one in subjects)


def images(folder: Path, suffixes: tuple[str, ...] = (), participants: tuple[str, ...] = ()) -> Iterator[Path]:
    """Return the structural images of a dataset, participant or session, sorted; broken links too.

    Args:
        folder: to look in.
        suffixes: to return instead of `STRUCTURAL`.
        participants: to return, with or without `sub-`; by default all.
    """
    wanted = {one.removeprefix("sub-") for one in participants}
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if one == "anat" or one.startswith(("sub-", "ses-")))
        if Path(here).name != "anat":
            continue
        for file in sorted(files):
            name = parse(Path(file)) if suffix(file) in ENDINGS else None
            if name is None or name.suffix not in (suffixes or STRUCTURAL) or name.entities.get("part") == "phase":
                continue
            if not wanted or name.entities["sub"] in wanted:
                yield Path(here) / file


def sidecar(scan: Path, grid: str) -> dict[str, Any]:
    """Return the BIDS fields for the record of labels: source and grid."""
    dataset = dataset_of(scan.parent)
    source = str(scan) if dataset is None else f"bids:{link_name(dataset)}:{scan.relative_to(dataset).as_posix()}"
    facts: dict[str, Any] = {"Sources": [source], "SpatialReference": source, "Manual": False}
    return facts if grid != "1mm" else {**facts, "Resolution": {"1mm": "1 mm isotropic, in the axes of the image"}}


def link_name(dataset: Path) -> str:
    """Return the name of a dataset in sidecars: letters and digits of its folder's name."""
    return re.sub(r"[^A-Za-z0-9]", "", dataset.name) or "source"


def check_free(folder: Path) -> None:
    """Check that a folder is no dataset of another program.

    Raises:
        InputError: it is.
    """
    file = folder / DESCRIPTION
    makers: list[Any] = []
    with suppress(OSError, ValueError, AttributeError, TypeError):
        makers = [one.get("Name") for one in json.loads(file.read_text(encoding="utf-8")).get("GeneratedBy", [])]
    if file.exists() and PROGRAM not in makers:
        raise InputError(
            f"{folder} is a dataset that this program has not made: choose another folder, "
            f"such as {folder / 'derivatives' / PROGRAM}."
        )


def description(datasets: list[Path], weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of dataset_description.json: source datasets, and checksums of the weights."""
    facts: dict[str, Any] = {
        "Name": "Structures of the brain, segmented by napari-synthseg",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": PROGRAM, "Version": __version__, "Description": f"weights (SHA-256): {json.dumps(dict(weights))}"}
        ],
    }
    if datasets:
        facts["SourceDatasets"] = [{"URL": one.as_uri()} for one in datasets]
        facts["DatasetLinks"] = {link_name(one): one.as_uri() for one in datasets}
    return facts
