"""Corrected volumes as a table, for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_synthseg.evaluation.studies.groups import GroupStudy
from napari_synthseg.evaluation.studies.saving import write_table


def write_corrected(path: Path, study: GroupStudy) -> None:
    """Write a row for each comparison and person: volumes at the mean of the covariates over both groups."""
    structures = list(dict.fromkeys(e.structure for one in study.comparisons for e in one.effects))
    rows = []
    for one in study.comparisons:
        place = {e.structure: i for i, e in enumerate(one.effects)}
        for person, subject in enumerate(one.people.subjects):
            group = one.group if one.is_other[person] else one.reference
            volumes = [float(one.corrected[person, place[s]]) if s in place else float("nan") for s in structures]
            cells = ["n/a" if np.isnan(v) else f"{v:.1f}" for v in volumes]
            rows.append([subject, group, f"{one.reference}-{one.group}", *cells])
    write_table(path, ["participant_id", "group", "comparison", *structures], rows)
