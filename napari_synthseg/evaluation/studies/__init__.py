"""Studies from tables of volumes: groups, ageing and reproducibility, on pandas, statsmodels, pingouin and scipy.

    from napari_synthseg.evaluation.studies import GroupOptions, study_groups

    study = study_groups(["volumes.csv"], GroupOptions(group="diagnosis", participants="participants.tsv"))
    for effect in study.comparisons[0].effects:
        print(effect.structure, effect.cohens_d, effect.ci, effect.q)

The libraries come with the extra `studies` and are imported with the first study.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies.options import AgeingOptions, GroupOptions, RetestOptions

_HOMES = {
    **dict.fromkeys(("AgeingStudy", "Trajectory", "ageing_steps", "study_ageing"), "ageing"),
    **dict.fromkeys(("Comparison", "Effect", "GroupStudy", "group_steps", "study_groups"), "groups"),
    **dict.fromkeys(("Reproducibility", "RetestStudy", "retest_steps", "study_retest"), "retest"),
}
_LIBRARIES = ("pandas", "pingouin", "scipy", "statsmodels", "tabulate")
__all__ = ["AgeingOptions", "GroupOptions", "RetestOptions", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import the study that a name belongs to.

    Raises:
        InputError: a library of the extra is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if missing := [library for library in _LIBRARIES if find_spec(library) is None]:
        raise InputError(f'Studies need {", ".join(missing)}: pip install "napari-synthseg[studies]".')
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
