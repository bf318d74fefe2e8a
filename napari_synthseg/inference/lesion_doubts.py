"""On which scans the lesion network's marks are to be doubted: one sentence, from the order of tissues.

The order of their intensities is measured in the scan with its segmentation. How many lesions are found in each order
is in docs/lesions.md.
"""

from __future__ import annotations

import numpy as np

from napari_synthseg.anatomy import CORTEX, WHITE_MATTER

VENTRICLES = (4, 43)
LEAST = 100
"""Voxels of a tissue from which on its median says something."""
FLUID_BRIGHT = (
    "Fluid is bright in this scan (as on T2), where most white matter lesions are missed: "
    "a FLAIR of the same person shows far more of them."
)
WHITE_BRIGHTEST = (
    "White matter is the brightest tissue of this scan (as on T1), where many white matter lesions are missed "
    "and some marks are false: look at them, or take a FLAIR."
)


def doubts(image: np.ndarray, hard: np.ndarray) -> tuple[str, ...]:
    """What to say of the lesions marked in a scan; nothing where fluid is dark and grey matter brightest (FLAIR).

    Args:
        image: (X, Y, Z) intensities.
        hard: (X, Y, Z) FreeSurfer values on the same voxels, without lesions.
    """
    levels = []
    for values in (WHITE_MATTER, CORTEX, VENTRICLES):
        inside = image[np.isin(hard, values)]
        if len(inside) < LEAST:
            return ()
        levels.append(float(np.median(inside)))
    white, grey, fluid = levels
    if fluid > white:
        return (FLUID_BRIGHT,)
    return (WHITE_BRIGHTEST,) if white > grey else ()
