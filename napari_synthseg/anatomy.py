"""The label table: one row per FreeSurfer value that the label maps of SynthSeg hold (SynthSeg, Table S2).

The rows live in `resources/labels.tsv`. `target`, `topology`, `generation_class` and `tissue` come from SynthSeg's own
lists (version 2 unless named otherwise). Those version 2 lists are one entry longer than the published generation
labels: a neutral label between CSF (24) and the first left label, of which nothing is kept (target, tissue and topology
0) and which no published label map holds, so it has no row here. The colors of 502-530 and of the choroid plexus (136,
137, 163, 164) are ours. `coarse` is ours too: the four structures of coarse segmentations, whose members no list of
SynthSeg names (deep grey matter as FreeSurfer counts it, cerebellum and brain stem by what they consist of).

The parts of the cortex (`resources/parcels.tsv`) are the Desikan-Killiany atlas', with FreeSurfer's values and colors.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError

TISSUES = ("background", "white matter", "grey matter", "CSF", "cerebellum")
"""Tissue classes of SynthSeg+; the position is the class number. Deep grey matter counts as white matter."""
S1, DENOISED = TISSUE_MAPS = ("S1", "denoised")
"""Tissue maps of a robust network: as S1 finds the classes in the scan, and as its denoiser makes them plausible."""


CORTEX = (3, 42)
"""What a parcellation divides: left and right cerebral cortex."""

LESION = 77
"""White matter lesions of both sides (FreeSurfer: WM-hypointensities), which SynthSeg's own networks do not know."""
WHITE_MATTER = (2, 41)
"""Left and right cerebral white matter: where these lesions lie."""
LESIONS_OF_THE_MAP = {25: 2, 57: 41}
"""Lesions that SynthSeg's label maps hold, and the white matter around each."""

FREESURFER = {
    **dict.fromkeys(range(1000, 1036), 3), **dict.fromkeys(range(2000, 2036), 42),  # aparc: Desikan-Killiany
    **dict.fromkeys(range(11100, 11176), 3), **dict.fromkeys(range(12100, 12176), 42),  # aparc.a2009s: Destrieux
    **dict.fromkeys((*range(3000, 3036), 5001, *range(13100, 13176)), 2),  # wmparc
    **dict.fromkeys((*range(4000, 4036), 5002, *range(14100, 14176)), 41),
    19: 3, 20: 3, 55: 42, 56: 42, 78: 2, 79: 41, 81: 2, 82: 41,  # insula, operculum, hypointensities
    6: 8, 45: 47, 9: 10, 48: 49, 27: 28, 59: 60, 96: 18, 97: 54, 31: 136, 63: 163,  # 31, 63: choroid plexus
    **dict.fromkeys((170, 173, 174, 175, 177, 178), 16),  # parts of the brain stem
    **dict.fromkeys(range(8101, 8136), 10), **dict.fromkeys(range(8201, 8236), 49),  # nuclei of the thalamus
    **dict.fromkeys(range(801, 806), 28), **dict.fromkeys(range(806, 811), 60),  # parts of the hypothalamus
    1: 0, 40: 0, 29: 0, 61: 0, 165: 515, 258: 507, 259: 506, 260: 506,  # exterior, undetermined; SAMSEG's head
}  # fmt: skip
"""Values of FreeSurfer's aseg, aparc+aseg, wmparc and SAMSEG that are no rows of the table: the rows they belong to."""
SIDELESS = {
    **dict.fromkeys((77, 192, *range(251, 256)), WHITE_MATTER), 80: (),
    **dict.fromkeys((*range(203, 216), 226, *range(231, 247)), (17, 53)), **dict.fromkeys(range(7001, 7021), (18, 54)),
}  # fmt: skip
"""Likewise of lesions, the corpus callosum, non-white hypointensities, and parts of hippocampus and amygdala, which say
no side: they belong to the nearest of these rows or, if there is none, to that on the side of the nearest structure."""

QUALITY_GROUPS = {
    "background": (0, 24),
    "general white matter": (2, 11, 26, 28, 41, 50, 58, 60),
    "general grey matter": (3, 42),
    "general csf": (4, 5, 14, 15, 43, 44),
    "cerebellum": (7, 8, 46, 47),
    "brainstem": (16,),
    "thalamus": (10, 49),
    "putamen+pallidum": (12, 13, 51, 52),
    "hippocampus+amygdala": (17, 18, 53, 54),
}
"""Groups of structures that SynthSeg's quality regressor scores, in its order, and the values in each."""


@dataclass(frozen=True)
class Structure:
    """One anatomical structure: what it is called, and what the generator, the networks and the scores do with it."""

    value: int
    """FreeSurfer value."""
    name: str
    """FreeSurfer name, e.g. `Left-Hippocampus`."""
    side: str
    """`left`, `right` or `midline`."""
    tissue: str
    """Tissue class of SynthSeg+, one of `TISSUES`."""
    coarse: str
    """Which of the four coarse structures (`COARSE`) it belongs to, or `background`."""
    contralateral: int
    """Value of the partner on the other side; the value itself on the midline."""
    generation_class: int
    """Structures with the same class share one Gaussian of the generative model."""
    target: int
    """Value in the training target (version 2); 0 where the structure is reset to background."""
    target_v1: int
    """Value in the training target of SynthSeg's first version, which knows no CSF."""
    topology: int
    """Topological class (version 2): connected components are kept per class; 0 is never masked."""
    extra_cerebral: bool
    """Removed by the skull-strip simulation (its imperfect variant keeps CSF)."""
    evaluated: bool
    """Scored, as in the evaluation of the paper."""
    color: tuple[int, int, int]
    """RGB, 0-255; FreeSurfer's where it has one."""


def resources() -> Path:
    """The folder of bundled resources: inside the package once installed, at the top level of a checkout."""
    inside = Path(__file__).parent / "resources"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "resources"


@cache
def table() -> tuple[Structure, ...]:
    """All structures, sorted by value, background (0) first."""
    with open(resources() / "labels.tsv", encoding="utf-8", newline="") as file:
        return tuple(_structure_from_row(row) for row in csv.DictReader(file, delimiter="\t"))


def _structure_from_row(row: dict[str, str]) -> Structure:
    whole = ("value", "contralateral", "generation_class", "target", "target_v1", "topology")
    found: dict[str, Any] = {name: row[name] for name in ("name", "side", "tissue", "coarse")}
    found |= {name: int(row[name]) for name in whole}
    found |= {name: row[name] == "yes" for name in ("extra_cerebral", "evaluated")}
    red, green, blue = map(int, row["color"].split())
    return Structure(**found, color=(red, green, blue))


LESIONS = Structure(
    value=LESION, name="WM-hypointensities", side="midline", tissue="white matter", coarse="white matter",
    contralateral=LESION, generation_class=48, target=LESION, target_v1=0, topology=0, extra_cerebral=False,
    evaluated=False, color=(200, 70, 255),
)  # fmt: skip
"""The row of lesions. It stands outside the table: no label map of SynthSeg holds the value, and no list of theirs has
it. Topology 0: there may be many of them, and none is dropped for being small."""


def _group(value: int, name: str, coarse: str, color: tuple[int, int, int]) -> Structure:
    """The row of a group of structures: both sides of it, and no part of SynthSeg's lists."""
    return Structure(
        value=value, name=name, side="midline", tissue="background", coarse=coarse, contralateral=value,
        generation_class=0, target=value, target_v1=0, topology=0, extra_cerebral=False, evaluated=False, color=color,
    )  # fmt: skip


BRAIN = _group(461, "Brain", "background", (230, 190, 150))
"""All structures of the brain as one, ventricles included, the CSF around it left out: what skull stripping keeps."""
COARSE = (
    _group(471, "White-Matter", "white matter", (245, 245, 245)),
    _group(472, "Subcortical-Grey-Matter", "subcortical grey matter", (0, 118, 14)),
    _group(473, "Cortex", "cortex", (205, 62, 78)),
    _group(474, "CSF-and-Ventricles", "CSF", (60, 60, 250)),
)
"""The four structures of coarse segmentations. These values are ours: FreeSurfer's table has none for them."""
TASKS = ("brain", "four", "all")
"""What may be segmented: the brain as a whole (skull stripping), four coarse structures, all that SynthSeg knows."""


@dataclass(frozen=True)
class Parcel:
    """One part of the cortex."""

    value: int
    """FreeSurfer value, 1001-1035 on the left and 2001-2035 on the right."""
    name: str
    """FreeSurfer name, e.g. `ctx-lh-insula`."""
    side: str
    """`left` or `right`."""
    contralateral: int
    """Value of the partner on the other side."""
    color: tuple[int, int, int]
    """RGB, 0-255, FreeSurfer's."""


@cache
def parcels() -> dict[int, Parcel]:
    """The parts of the cortex by value, sorted."""
    found = {}
    with open(resources() / "parcels.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            red, green, blue = (int(part) for part in row["color"].split())
            value, partner = int(row["value"]), int(row["contralateral"])
            found[value] = Parcel(value, row["name"], row["side"], partner, (red, green, blue))
    return found


def parcel_values() -> tuple[int, ...]:
    """The values a parcellation predicts, sorted, "no cortex" (0) first."""
    return (0, *sorted(parcels()))


@cache
def _by_value() -> dict[int, Structure]:
    return {structure.value: structure for structure in (*table(), LESIONS, BRAIN, *COARSE)}


def known(value: int) -> bool:
    """Whether this value is a structure: has a row in the table, or is that of lesions."""
    return int(value) in _by_value()


def structure(value: int) -> Structure:
    """The structure with this FreeSurfer value.

    Raises:
        ValueError: the table has no such value.
    """
    try:
        return _by_value()[int(value)]
    except KeyError:
        raise ValueError(
            f"{value} is no structure that is known: give a value of FreeSurfer's, such as 17 for the left hippocampus."
        ) from None


def name(value: int) -> str:
    """The name of a structure or parcel, or `Label-<value>` for a value that is neither."""
    if int(value) in parcels():
        return parcels()[int(value)].name
    return structure(value).name if known(value) else f"Label-{int(value)}"


def color(value: int) -> tuple[int, int, int]:
    """The RGB color (0-255) of a structure or parcel; for a value that is neither, one made from the value."""
    if int(value) in parcels():
        return parcels()[int(value)].color
    if known(value):
        return structure(value).color
    red, green, blue = np.random.default_rng(abs(int(value))).integers(48, 256, 3)
    return int(red), int(green), int(blue)


def predicted_values(version: int = 2) -> tuple[int, ...]:
    """The values a network predicts, sorted, background first: the order of the posteriors' channels.

    Args:
        version: 2 for 33 values (with CSF), 1 for the 32 of SynthSeg's first version.

    Raises:
        ValueError: another version.
    """
    if version not in (1, 2):
        raise ValueError(f"SynthSeg has versions 1 and 2 of its predicted labels, not {version}.")
    return tuple(sorted({s.target if version == 2 else s.target_v1 for s in table()}))


def evaluated_values() -> tuple[int, ...]:
    """The values that are scored, sorted."""
    return tuple(s.value for s in table() if s.evaluated)


def task_values(task: str) -> tuple[int, ...]:
    """The values a network of a task (`TASKS`) predicts, sorted, background first.

    Raises:
        ValueError: there is no such task.
    """
    if task not in TASKS:
        raise ValueError(f"There is no task {task!r}: there are {', '.join(TASKS)}.")
    if task == "all":
        return predicted_values(2)
    return (0, BRAIN.value) if task == "brain" else (0, *(group.value for group in COARSE))


def in_task(value: int, task: str) -> int:
    """What a structure or parcel counts as in a task: a value of `task_values`; 0 where it is none of its business.

    Values of the task itself stay, so that label maps that have been grouped before are understood too. Lesions stay
    lesions where all structures are wanted: their value says no side.

    Raises:
        ValueError: the table has no such value, it is a group too coarse for the task, or there is no such task.
    """
    if value in task_values(task):
        return value
    whole = structure(CORTEX[parcels()[value].side == "right"] if value in parcels() else value)
    if whole in COARSE and task == "brain":
        return BRAIN.value if whole.coarse != "CSF" else 0
    if whole in (BRAIN, *COARSE):
        raise ValueError(f"{value} ({whole.name}) is no single structure.")
    if task == "all":
        return whole.target
    if task == "brain":
        return BRAIN.value if whole.target and not whole.extra_cerebral else 0
    return next((group.value for group in COARSE if group.coarse == whole.coarse), 0)


def flip_channels(values: Sequence[int]) -> tuple[int, ...]:
    """The order in which to take channels after a left-right flip, so that each is again its own structure's.

    Args:
        values: the value of each channel; values not in the table are their own partners.

    Returns:
        The position of each channel's contralateral partner: `posteriors[:, flip_channels(values)]` swaps sides.

    Raises:
        ValueError: a structure is there without its partner.
    """
    positions = {int(value): position for position, value in enumerate(values)}
    partners = [structure(value).contralateral if known(value) else value for value in positions]
    missing = [value for value, partner in zip(positions, partners, strict=True) if partner not in positions]
    if missing:
        raise ValueError(f"The labels {missing} have no contralateral partner among {list(positions)}.")
    return tuple(positions[partner] for partner in partners)


def from_freesurfer(
    labels: np.ndarray, *, keep: Collection[int] = (), predicted: bool = False
) -> tuple[np.ndarray, dict[int, int]]:
    """Map the values of FreeSurfer's own segmentations (`FREESURFER`, `SIDELESS`) to those of the table.

    Args:
        labels: whole numbers of any shape; in an aparc+aseg parts of the cortex become 3 and 42, for example.
        keep: values to leave as they are.
        predicted: choose what a network predicts: choroid plexus is ventricle then.

    Returns:
        The labels, the same array if there was nothing to map; and how many voxels of each value were mapped.
    """
    values, counts = np.unique(labels, return_counts=True)
    found = {int(v): int(n) for v, n in zip(values, counts, strict=True) if int(v) in {*FREESURFER, *SIDELESS}}
    found = {value: count for value, count in found.items() if value not in keep}
    if not found:
        return labels, {}
    top = max(int(values.max()), max(FREESURFER.values()))
    lookup = np.arange(top + 1, dtype=np.int32)
    for value in found:
        row = FREESURFER.get(value, value)
        lookup[value] = structure(row).target if predicted and row in (136, 163) else row
    out = lookup[np.maximum(labels, 0).astype(np.intp)]
    before = out.copy() if set(found) & set(SIDELESS) else out
    stay = {value for value in found if value in SIDELESS and not _given_to_nearest(out, before, value)}
    return out, {value: count for value, count in found.items() if value not in stay}


def _given_to_nearest(out: np.ndarray, labels: np.ndarray, value: int) -> bool:
    """Change a value into the nearest of its rows in `SIDELESS`; False if there is nothing near that says which."""
    from scipy.ndimage import distance_transform_edt, find_objects

    rows = SIDELESS[value]
    left, right = ([s.value for s in table() if s.side == side] for side in ("left", "right"))
    near = rows if all((labels == row).any() for row in rows) else (*left, *right)
    (box,) = find_objects((labels == value).astype(np.uint8))
    for margin in (24, max(labels.shape)):
        around = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
        part = labels[around]
        mask = part == value
        others = np.isin(part, near) if rows else (part != 0) & ~np.isin(part, list(SIDELESS))
        if others.any():
            nearest = distance_transform_edt(~others, return_distances=False, return_indices=True)
            found = part[tuple(axis[mask] for axis in nearest)]
            out[around][mask] = np.where(np.isin(found, right), rows[1], rows[0]) if rows else found
            return True
    return False


def unknown_values(labels: np.ndarray) -> list[int]:
    """Return the values that are neither in the table nor FreeSurfer's, sorted."""
    known_values = {*_by_value(), *parcels(), *FREESURFER, *SIDELESS}
    return [int(value) for value in np.unique(labels) if int(value) not in known_values]


def unknown_error(name: str, values: Sequence[int], instead: str = "or to 0") -> InputError:
    """Return the error of a file with unknown label values; `instead` of changing them, something else may help."""
    some = ", ".join(map(str, values[:6])) + (" and others" if len(values) > 6 else "")
    return InputError(
        f"{name} contains unknown label values ({some}): change them to FreeSurfer's, such as 17 for the left "
        f"hippocampus, {instead}."
    )


def mirrored(labels: np.ndarray) -> np.ndarray:
    """Label values with left and right exchanged (no voxel is moved); values not in the table stay."""
    out = np.array(labels, copy=True)
    for s in table():
        if s.contralateral != s.value:
            out[labels == s.value] = s.contralateral
    return out


def mapping(field: str) -> np.ndarray:
    """A look-up array from value to an integer field of `Structure`, so that `mapping("target")[labels]` maps an array.

    Args:
        field: name of an integer field, such as `target`, `generation_class`, `topology`, `contralateral`.

    Returns:
        (largest value + 1,) int32.
    """
    out = np.zeros(table()[-1].value + 1, np.int32)
    for s in table():
        out[s.value] = getattr(s, field)
    return out
