"""Studies from tables of volumes: groups, ageing, and how well volumes are reproduced. No torch anywhere."""

from napari_synthseg.evaluation.studies.ageing import AgeingStudy, Trajectory, ageing_steps, study_ageing
from napari_synthseg.evaluation.studies.effects import cohens_d
from napari_synthseg.evaluation.studies.groups import Comparison, Effect, GroupStudy, group_steps, study_groups
from napari_synthseg.evaluation.studies.options import AgeingOptions, GroupOptions, RetestOptions
from napari_synthseg.evaluation.studies.retest import Reproducibility, RetestStudy, retest_steps, study_retest

__all__ = [
    "AgeingOptions",
    "AgeingStudy",
    "Comparison",
    "Effect",
    "GroupOptions",
    "GroupStudy",
    "Reproducibility",
    "RetestOptions",
    "RetestStudy",
    "Trajectory",
    "ageing_steps",
    "cohens_d",
    "group_steps",
    "retest_steps",
    "study_ageing",
    "study_groups",
    "study_retest",
]
