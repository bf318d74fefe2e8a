"""A generative model is a list of steps; what it draws is a record, which can be replayed, edited and kept as JSON.

No torch here. Example:

    >>> from napari_synthseg.generator.model import GenerativeModel
    >>> model = GenerativeModel.standard("degradation").with_values(noise_std=(0, 10))
    >>> record = model.sample(seed=3)
    >>> 0 <= record["acquisition"]["noise_std"] <= 10
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from napari_synthseg import fields as declared
from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.generator import steps as _steps  # noqa: F401  # registers every step
from napari_synthseg.generator.step import STEPS, Drawing, Params, Step
from napari_synthseg.jobs import checkpoint

if TYPE_CHECKING:
    import torch

    from napari_synthseg.generator.labelmap import LabelMap

VERSION = 2


@dataclass(frozen=True)
class Record:
    """Params of one sample by step, in the order in which they are applied (version 2); idle steps are left out.

    Lengths are in mm, angles in degrees, intensities in [0, 255].
    """

    steps: Mapping[str, Params]

    def __getitem__(self, step: str) -> Params:
        return self.steps[step]

    def __contains__(self, step: str) -> bool:
        return step in self.steps

    def changed(self, step: str, **params: Any) -> Self:
        return replace(self, steps={**self.steps, step: {**self.steps[step], **params}})

    def without(self, *names: str) -> Self:
        return replace(self, steps={name: params for name, params in self.steps.items() if name not in names})

    def summary(self) -> dict[str, str | float]:
        """Return the record as one row of a table; units stand in the columns' names."""
        cells = ((params, STEPS[name].columns) for name, params in self.steps.items())
        return {column: cell(params) for params, columns in cells for column, (_, cell) in columns.items()}

    def to_dict(self) -> dict[str, Any]:
        return {"version": VERSION, "steps": {name: dict(params) for name, params in self.steps.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote, or a record of version 1.

        Raises:
            KeyError: it is no record.
            InputError: it was written by a later version, or has a step that is not known.
        """
        if "version" not in data:
            return cls(_tuples(upgraded(data)))
        if data["version"] != VERSION:
            raise InputError(f"The record has version {data['version']}: update napari-synthseg to read it.")
        steps = scene_steps(data["steps"]["scene"]) if "scene" in data["steps"] else data["steps"]
        if unknown := sorted(set(steps) - set(STEPS)):
            raise InputError(f"The record has a step {unknown[0]!r}, which is not installed: update napari-synthseg.")
        return cls(_tuples(steps))


def run(record: Record, state: Any, *, after: str | None = None, until: str | None = None) -> Any:
    """Apply the steps of a record to a head or a scene in place, those after one and until another, and return it."""
    names = list(record.steps)
    for name in names[0 if after is None else names.index(after) + 1 :]:
        checkpoint()
        STEPS[name].apply(state, **record[name])
        if name == until:
            break
    return state


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(v) for key, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class FieldGroup:
    """Fields of a generator under one heading."""

    title: str
    fields: tuple[Field, ...]
    values: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class GenerativeModel:
    """A list of steps with their parameters, the priors, which are named without their step: `noise_std=(0, 10)`."""

    steps: tuple[Step, ...]

    @classmethod
    def standard(cls, model: str = "brains") -> Self:
        """Return all steps of a model with their defaults, in the order of their places.

        Models are brains (SynthSeg, Table S1), degradation (of real scans), tissues (errors of tissue maps) and shapes
        (scenes).
        """
        return cls(tuple(kind() for kind in sorted(STEPS.values(), key=lambda s: s.place) if model in kind.models))

    def __getitem__(self, name: str) -> Any:
        return next(step for step in self.steps if step.name == name)

    @property
    def values(self) -> dict[str, Any]:
        return {name: getattr(step, name) for name, step in self._owners().items()}

    def with_values(self, **values: Any) -> Self:
        """Return the generator with other values of some parameters.

        Raises:
            InputError: there is no such parameter, or a value is not allowed.
        """
        owners = self._owners()
        if unknown := sorted(set(values) - set(owners)):
            raise InputError(f"There is no prior {unknown[0]!r}: choose one of {', '.join(sorted(owners))}.")
        own = [{name: value for name, value in values.items() if owners[name] is step} for step in self.steps]
        return replace(self, steps=tuple(replace(step, **each) for step, each in zip(self.steps, own, strict=True)))

    def differences(self, base: GenerativeModel) -> dict[str, Any]:
        """Return the parameters that differ from those of another generator."""
        before = base.values
        return {n: value for n, value in self.values.items() if n not in before or value != before[n]}

    def groups(self) -> tuple[FieldGroup, ...]:
        """Return the fields that forms and lists show, by heading."""
        found: dict[str, list[Field]] = {}
        for step in self.steps:
            for f in (f for f in fields_of(type(step)) if not f.info.hidden):
                found.setdefault(f.info.group or step.title, []).append(f)
        values = self.values
        return tuple(FieldGroup(title, tuple(of), {f.name: values[f.name] for f in of}) for title, of in found.items())

    def columns(self) -> dict[str, str]:
        """Return the columns of `Record.summary`, each with a sentence on it."""
        return {name: text for step in self.steps for name, (text, _) in step.columns.items()}

    def milder(self, strength: float) -> Self:
        """Return the generator for the beginning of a curriculum (ours); `strength` 1 gives it back.

        At 0 nothing is deformed, biased or sliced and every contrast is by tissue.
        """
        return replace(self, steps=tuple(step.milder(strength) for step in self.steps))

    def sample(self, label_map: LabelMap | None = None, seed: int | torch.Generator = 0) -> Record:
        """Draw a record.

        Only the table of the label map is used; real scans need none. A torch generator gives a seed, and moves on.
        """
        if not isinstance(seed, int):
            import torch

            seed = int(torch.randint(0, 2**62, (1,), generator=seed))
        drawing = Drawing(self.steps, label_map, seed)
        drawn = {step.name: drawing[step.name] for step in self.steps}
        return Record({name: params for name, params in drawn.items() if params is not None})

    def to_json(self) -> dict[str, Any]:
        """Return all parameters as plain values, by step."""
        return {step.name: declared.to_json(step) for step in self.steps}

    def from_json(self, values: Mapping[str, Any]) -> Self:
        """Return the generator with parameters from `to_json`; what is left out stays as it is.

        Raises:
            InputError: a step or parameter is not known, or a value is not allowed.
        """
        known = [step.name for step in self.steps]
        if unknown := sorted(set(values) - set(known)):
            raise InputError(f"There is no step {unknown[0]!r}: choose one of {', '.join(known)}.")
        given = [declared.to_json(step) | dict(values.get(step.name, {})) for step in self.steps]
        read = (declared.from_json(type(step), own) for step, own in zip(self.steps, given, strict=True))
        return replace(self, steps=tuple(read))

    def _owners(self) -> dict[str, Step]:
        return {f.name: step for step in self.steps for f in fields_of(type(step))}


# Records of version 1: one flat table of numbers

SPATIAL = ("rotation_deg", "scaling", "shearing", "translation_mm", "velocity_std", "velocity_grid", "velocity_seed")
BIAS = ("bias_std", "bias_grid", "bias_seed")


def upgraded(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the params of each step, from a record of version 1; KeyError if something is missing."""
    if "look" in data:
        return scene_steps(data)
    brain = "means" in data
    slices = {
        "direction": data["direction"],
        "spacing_mm": data["slice_spacing_mm"],
        "thickness_mm": data["slice_thickness_mm"] if brain else data["slice_spacing_mm"],
        "blur_mm": data["slice_blur_mm"],
        "in_plane_blur": data["in_plane_blur"] if brain else 0.0,
        "noise_std": data["noise_std"],
        "noise_seed": data["noise_seed"] + brain,  # the mixture took the seed itself
    }
    spatial = {"flip": data["flip"] if brain else False, **{name: data[name] for name in SPATIAL}}
    bias, gamma = {name: data[name] for name in BIAS}, {"gamma": data["gamma"]}
    if not brain:
        return {"spatial": spatial, "bias": bias, "gamma": gamma, "acquisition": slices}
    painted = data.get("drawn_lesions")
    return {
        "crop": {"at": data["crop"]},
        **({"lesions": painted} if painted else {}),
        "spatial": spatial,
        "labels": {"skull_strip": data["skull_strip"], "lesions": data["lesions"]},
        "contrast": {name: data[name] for name in ("contrast", "means", "stds", "noise_seed")},
        "bias": bias,
        "clip": {"clip_max": data["ceiling"]},
        "gamma": gamma,
        "acquisition": slices,
    }


SCENE = {
    "module": ("module", "setting", "look", "look_values", "look_seed"),
    "frame": ("rows", "columns"),
    "warp": ("warp", "warp_points", "warp_seed"),
    "regions": ("regions", "region_grid", "region_seed", "gaps"),
    "shapes": ("body", "parts"),
    "intensities": (
        *("means", "noise_stds", "textures", "row_gradients", "column_gradients"),
        *("texture_cells", "texture_seed", "grain", "noise_seed"),
    ),
    "lens": ("blur_px", "shading", "shading_points", "shading_seed"),
    "noise": ("noises", "noise_strengths", "grain", "noise_seed"),
    "display": ("gamma", "inverted"),
}
"""Params of each step among those of a scene in one step, as the first records of version 2 had it."""


def scene_steps(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the params of each step, from a scene in one step; KeyError if something is missing."""
    return {step: {name: data[name] for name in names} for step, names in SCENE.items()}
