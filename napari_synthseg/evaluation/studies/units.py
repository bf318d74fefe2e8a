"""The unit of volumes in a table: as its columns say it, or mm^3 where they can be nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from napari_synthseg.evaluation.studies import names

_WRITTEN = re.compile(r"[\W_](?:(mm\^?3|mm³)|(ml|cm\^?3|cm³|cc))\W*$", re.IGNORECASE)
MOST_ML = 2000.0
"""No structure of a head has so many ml: where most have more, they are in mm^3."""


def unit_of(structures: Sequence[str], volumes: np.ndarray) -> str:
    """`mm^3`, `ml`, or nothing where it is not known.

    Args:
        structures: what the columns are called; a unit at the end of their names is believed.
        volumes: (scans, structures), NaN where missing. Those of structures of the brain, of which most have more
            than `MOST_ML`, are in mm^3, as ours, SynthSeg's and FreeSurfer's are.
    """
    written = {_written(structure) for structure in structures}
    if len(written) == 1 and written != {""}:
        return written.pop()
    if written != {""} or not all(names.is_structure(structure) for structure in structures):
        return ""
    typical = [float(np.median(known)) for column in volumes.T if len(known := column[np.isfinite(column)])]
    return "mm^3" if typical and np.median(typical) > MOST_ML else ""


def _written(structure: str) -> str:
    found = _WRITTEN.search(structure)
    return "" if found is None else "mm^3" if found[1] else "ml"
