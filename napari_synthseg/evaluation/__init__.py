"""Scores of segmentations: Dice, surface distances and volumes, for arrays, files and folders."""

from napari_synthseg.evaluation.metrics import asymmetry_index, compare_volumes, dice, evaluate, surface_distance
from napari_synthseg.evaluation.scans import EvaluateOptions, evaluate_files, evaluate_steps, table

__all__ = [
    "EvaluateOptions", "asymmetry_index", "compare_volumes", "dice", "evaluate", "evaluate_files", "evaluate_steps",
    "surface_distance", "table",
]  # fmt: skip
