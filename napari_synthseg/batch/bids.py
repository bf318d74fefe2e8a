"""Names of BIDS and its derivatives: which images of a dataset are structural, and what labels made of one are called.

BIDS 1.10, Derivatives: `<entities>_space-<what they lie on>[_res-]_desc-<how made>_dseg.nii.gz` with its table (.tsv)
and sidecar (.json), in `sub-/ses-/anat`; the dataset says in dataset_description.json what made it.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_synthseg import __version__
from napari_synthseg.errors import InputError
from napari_synthseg.inference.outputs import PROGRAM
from napari_synthseg.io import stem, suffix

STRUCTURAL = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "inplaneT1", "inplaneT2", "UNIT1")
"""Suffixes of images that show a head's anatomy in grey values; maps of numbers and angiograms are left out."""
ENDINGS = (".nii.gz", ".nii")
DESCRIPTION = "dataset_description.json"
BIDS_VERSION = "1.10.0"
ORDER = (
    "sub", "ses", "sample", "task", "acq", "ce", "trc", "stain", "rec", "dir", "run", "mod", "echo", "flip", "inv",
    "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg", "res", "den", "label", "desc",
)  # fmt: skip
"""Entities in the order that the specification gives them."""
_NAME = re.compile(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9+]+)*_[A-Za-z0-9]+")
IGNORED = "report*\n*.tmp\n/volumes.tsv\n/quality.tsv\n/parts/\n/slurm/\n**/*_dseg.jpg\n**/*_dseg.png\n"
"""What a BIDS validator does not know: `.bidsignore`."""


@dataclass(frozen=True)
class Name:
    """A file name of BIDS: entities in their order, and the suffix."""

    entities: Mapping[str, str]
    suffix: str

    @property
    def folder(self) -> Path:
        """Where images of it lie in a dataset: `sub-/ses-/anat`."""
        parts = [f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities]
        return Path(*parts, "anat")


def parse(path: Path) -> Name | None:
    """The BIDS name of an image, None where it has another kind of name."""
    text = stem(path)
    if not _NAME.fullmatch(text):
        return None
    *entities, last = text.split("_")
    pairs = [one.split("-", 1) for one in entities]
    found = dict(pairs)
    return Name(found, last) if len(found) == len(pairs) else None


def derivative(name: Name, grid: str) -> Path:
    """The label file, relative to the derivatives, of an image with this name.

    The image's own grid is called by its suffix (`space-T1w`), as in other derivatives, so that labels of a T1 and of a
    T2 of one session differ. If it has a space already, that stays, and the suffix moves into `desc`.

    Args:
        name: of the image.
        grid: of the labels, as in `SegmentOptions`.
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
    """The BIDS dataset that a folder or file lies in, or is."""
    folder = str(path)
    for _ in range(6):
        if _is_described(folder):
            return Path(folder)
        folder = os.path.dirname(folder)
    return None


@functools.lru_cache(1 << 16)
def _is_described(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, DESCRIPTION))


def forget_datasets() -> None:
    """Look at folders anew: which are datasets is remembered."""
    _is_described.cache_clear()


def is_dataset(folder: Path) -> bool:
    """Whether a folder is a BIDS dataset: it says so, or has a participant with an `anat` folder."""
    if (folder / DESCRIPTION).is_file():
        return True
    subjects = (one for one in folder.iterdir() if one.name.startswith("sub-") and one.is_dir())
    return any((one / "anat").is_dir() or any(one.glob("ses-*/anat")) for one in subjects)


def images(folder: Path, suffixes: tuple[str, ...] = (), participants: tuple[str, ...] = ()) -> Iterator[Path]:
    """Structural images of a dataset or of a part of it, sorted; also such as are links to nowhere.

    Args:
        folder: the dataset, or a participant's or session's folder.
        suffixes: only these, instead of `STRUCTURAL`.
        participants: only these, with or without `sub-`.
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
    """What BIDS wants to know of labels, for their record: what they were made from and what they lie on."""
    dataset = dataset_of(scan.parent)
    source = str(scan) if dataset is None else f"bids:{link_name(dataset)}:{scan.relative_to(dataset).as_posix()}"
    facts: dict[str, Any] = {"Sources": [source], "SpatialReference": source, "Manual": False}
    if grid == "1mm":
        facts["Resolution"] = {"1mm": "1 mm isotropic, in the axes of the image"}
    return facts


def link_name(dataset: Path) -> str:
    """How the sidecars call a dataset: letters and digits of its folder's name."""
    return re.sub(r"[^A-Za-z0-9]", "", dataset.name) or "source"


def check_free(folder: Path) -> None:
    """Refuses a dataset that this program has not made.

    Raises:
        InputError: it is one.
    """
    file = folder / DESCRIPTION
    if file.exists() and PROGRAM not in _makers(file):
        raise InputError(
            f"{folder} is a dataset that this program has not made: choose another folder, "
            f"such as {folder / 'derivatives' / PROGRAM}."
        )


def _makers(file: Path) -> list[str]:
    try:
        made = json.loads(file.read_text(encoding="utf-8")).get("GeneratedBy", [])
        return [one.get("Name") for one in made]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def description(datasets: list[Path], weights: Mapping[str, Any]) -> dict[str, Any]:
    """The content of dataset_description.json.

    Args:
        datasets: what the images are from.
        weights: checksums of what they are segmented with.
    """
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
