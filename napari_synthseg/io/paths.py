"""File names: which endings we read and write, and a name without its ending."""

from __future__ import annotations

from pathlib import Path

PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")
NIFTI = (".nii.gz", ".nii", *PAIRS)
MGH = (".mgz", ".mgh", ".mgh.gz")
NRRD = (".nrrd", ".nhdr")
DICOM = (".dcm", ".dicom", ".ima")

READABLE = (*NIFTI, *MGH, *NRRD, *DICOM)
"""Endings of files that `read_volume` reads (DICOM: with the `dicom` extra; a folder of slices, too)."""

SCANS = tuple(ending for ending in READABLE if ending not in (*DICOM, ".img", ".img.gz"))
"""Endings of what counts as a scan in a folder; an .img goes with its .hdr."""

WRITABLE = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd")
"""Endings of files that `write_volume` and `write_labels` write."""

OTHERS = (
    ".txt", ".lst", ".csv", ".tsv", ".json", ".md", ".log", ".xls", ".xlsx", ".ods", ".html", ".htm", ".pdf", ".png",
    ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".svg", ".zip", ".gz", ".tar", ".tgz", ".npy", ".npz", ".mat",
    ".h5", ".safetensors",
)  # fmt: skip
"""Endings of files that are no scans: who gives a folder such a name has meant something else."""


def ends_like_a_file(path: Path) -> bool:
    """Whether a name ends like that of a file, a scan's or another, so that a folder is hardly meant."""
    return suffix(path) in READABLE or path.suffix.lower() in OTHERS


def suffix(path: str | Path) -> str:
    """The ending of a known format, in lower case (`.nii.gz`), or whatever follows the last dot of the name."""
    name = Path(path).name.lower()
    known = [ending for ending in READABLE if name.endswith(ending)]
    return max(known, key=len) if known else Path(name).suffix


def stem(path: str | Path) -> str:
    """The name without folder and format ending: `sub-01_T1w` of `scans/sub-01_T1w.nii.gz`."""
    name = Path(path).name
    return name[: len(name) - len(suffix(path))] if suffix(path) else name


def exists(path: Path) -> bool:
    """Whether something is there; False also for a name that no file system takes, where pathlib raises."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long; a NUL in it
        return False
