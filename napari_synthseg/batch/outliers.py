"""Scans whose volumes are unlike those of the others in a batch.

Of every structure the share of the intracranial volume is taken (head size alone makes no outlier), its logarithm
(volumes are skewed: ventricles most of all), and the modified z-score of it over the batch,
`z = (x - median) / (1.4826 MAD)`. Beyond +-3.5 counts as an outlier (Iglewicz and Hoaglin, How to Detect and Handle
Outliers, 1993). The intracranial volume itself is judged likewise. What is missing in one scan and has a usual volume
of more than `PRESENT` in the others is one too. Of fewer than `FEWEST` scans nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LIMIT = 3.5
"""Modified z-scores beyond it are outliers."""
FEWEST = 10
"""Scans that are needed to say what is usual."""
PRESENT = 100.0
"""mm^3: a structure whose median is above it can be missed."""
LEAST_SPREAD = 0.005
"""Least MAD of log volumes: where repeated scans agree to half a percent, a percent more is no outlier."""
INTRACRANIAL = "intracranial"


@dataclass(frozen=True)
class Outlier:
    """A volume that is unlike the others'.

    Attributes:
        name: of the structure, or `INTRACRANIAL`.
        z: modified z-score of the log share; -inf where the structure is missing.
        mm3: its volume.
    """

    name: str
    z: float
    mm3: float


def find(rows: Mapping[str, Mapping[str, float]], totals: Mapping[str, float | None]) -> dict[str, list[Outlier]]:
    """Outliers of every scan that has some, most extreme first.

    Args:
        rows: volumes by scan and name, mm^3.
        totals: intracranial volumes by scan; None where there is none: shares are of the sum of all structures then.
    """
    if len(rows) < FEWEST:
        return {}
    scans = list(rows)
    whole = np.array([_whole(rows[scan], totals.get(scan)) for scan in scans])
    found: dict[str, list[Outlier]] = {}
    names = dict.fromkeys(name for row in rows.values() for name in row)
    columns = {name: np.array([rows[scan].get(name, 0.0) for scan in scans]) for name in names}
    judged = {INTRACRANIAL: (whole, np.ones_like(whole))} | {name: (mm3, whole) for name, mm3 in columns.items()}
    for name, (volumes, of) in judged.items():
        for index, z in enumerate(modified_z(volumes, of)):
            if abs(z) > LIMIT:
                found.setdefault(scans[index], []).append(Outlier(name, float(z), float(volumes[index])))
    return {scan: sorted(ones, key=lambda one: -abs(one.z)) for scan, ones in found.items()}


def _whole(volumes: Mapping[str, float], total: float | None) -> float:
    return float(total) if total is not None and math.isfinite(total) else float(sum(volumes.values()))


def modified_z(volumes: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Modified z-scores of log(volume / of), (N,); 0 where too few scans have the structure to judge it.

    Args:
        volumes: (N,) mm^3, 0 where it is missing.
        of: (N,) mm^3 of what it is a share of.
    """
    there = (volumes > 0) & (of > 0)
    z = np.zeros(len(volumes))
    if there.sum() < FEWEST:
        return z
    logs = np.log(volumes[there] / of[there])
    middle = np.median(logs)
    spread = max(float(np.median(np.abs(logs - middle))), LEAST_SPREAD)
    z[there] = (logs - middle) / (1.4826 * spread)
    if np.median(volumes) > PRESENT:
        z[~there] = -np.inf
    return z
