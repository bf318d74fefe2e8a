"""Scores of segmentations: Dice, surface distances and volumes, for arrays, files and folders."""

from napari_synthseg.evaluation.metrics import (
    asymmetries,
    asymmetry_index,
    compare_volumes,
    dice,
    evaluate,
    label_volumes,
    surface_distance,
)  # fmt: skip
from napari_synthseg.evaluation.scans import EvaluateOptions, evaluate_files, evaluate_steps, table

__all__ = [
    "EvaluateOptions", "asymmetries", "asymmetry_index", "compare_volumes", "dice", "evaluate", "evaluate_files",
    "evaluate_steps", "label_volumes", "surface_distance", "table",
]  # fmt: skip
