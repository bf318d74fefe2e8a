"""Presets of the generative models, priors from files, and priors as settings `name=value`. No torch here.

Settings: `15` or `-15,15`; `none` for an optional range or a random slice direction; for priors with a pair for
every class `mean:deviation,mean:deviation,...`, with `none` for a class that keeps its uniform prior.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_synthseg.atomic_io import write_text
from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.shapes.layout import LOOKS

STILL: dict[str, Any] = {"rotation_deg": (0.0, 0.0), "scaling": (1.0, 1.0), "shearing": (0.0, 0.0),
                         "translation_mm": (0.0, 0.0), "velocity_std": (0.0, 0.0)}  # fmt: skip
"""No spatial deformation."""
CLASS_PRIORS_NEEDED = ("synthseg-rc",)
"""Presets that cannot be drawn from without class priors."""

_ONE_MM = {"slice_spacing_mm": (1.0, 1.0), "slice_thickness_mm": (1.0, 1.0)}
_PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "synthseg": ("SynthSeg as published (Table S1).", {}),
    "synthseg-larger-gmm": ("Wider ranges of the mixture (section 5.2).", {"mean": (0.0, 255.0), "std": (0.0, 35.0)}),
    "synthseg-tighter-gmm": ("Narrower ranges of the mixture (section 5.2).",
                             {"mean": (50.0, 200.0), "std": (1.0, 15.0)}),
    "synthseg-r": ("One resolution (section 5.2): set slice spacing, thickness and direction to those of the scans.",
                   _ONE_MM),
    "synthseg-rc": ("One resolution and one contrast (section 5.2): needs class priors, estimated from the scans.",
                    _ONE_MM),
    "no-bias": ("No bias field (section 5.2).", {"bias_std": (0.0, 0.0)}),
    "no-deformation": ("No spatial deformation (section 5.2).", STILL),
    # The paper gives variances of the velocity field, the mixture and the bias field; the bounds here are their square
    # roots, within which deviations are uniform (see `DEGRADATION`).
    "synthseg-plus": ("The generator of SynthSeg+ (its Table S1).", {
        "velocity_std": (0.0, 1.5**0.5), "mean": (0.0, 255.0), "std": (0.0, 6.0**0.5), "bias_std": (0.0, 0.5),
        "gamma_exponent": (0.9, 1.1), "slice_blur_mm": (0.5, 5.0), "slice_spacing_mm": (1.0, 9.0),
        "noise_std": (0.0, 10.0)}),
    # Half of the contrasts are drawn by tissue, with more 1 mm acquisitions and darker backgrounds than in the paper,
    # because training time is short.
    "fast": ("The priors that the fast weights of this package were trained with.", {
        "tissue_contrast": 0.7, "t1_like": 0.4, "p_isotropic_1mm": 0.5, "background_zero": 0.35,
        "background_low": 0.35, "translation_mm": (-15.0, 15.0)}),
}  # fmt: skip
PRESETS = {name: values for name, (_, values) in _PRESETS.items()}
"""What each preset changes of Table S1 of the SynthSeg paper."""
PRESET_TIPS = {name: tip for name, (tip, _) in _PRESETS.items()}
DEGRADATION: dict[str, Any] = {
    "flip": 0.0, "rotation_deg": (-25.0, 25.0), "scaling": (0.5, 1.5),
    "shearing": (-0.02, 0.02),  # Table S1 prints [0.02, 0.02], which must have lost a sign
    "translation_mm": (-50.0, 50.0), "velocity_std": (0.0, 2.0), "bias_std": (0.0, 3.0**0.5),
    "gamma_exponent": (0.3, 3.0), "slice_spacing_mm": (1.0, 12.0), "slice_blur_mm": (0.5, 8.0), "in_plane_blur": 0.0,
    "noise_std": (0.0, 50.0),
}  # fmt: skip
"""SynthSeg+'s degradation model (section 2.3 there; its Table S1, last column), far wider than the generative model.

Table S1 gives variances of the velocity and bias fields: the bounds here are their square roots. Within them the
standard deviation is drawn uniformly, as by SynthSeg (its eqs. 6 and 14) and its code, whose model this is; read to the
letter the table has the variance uniform, which is two thirds instead of half of the largest deviation on average.
"""
ONE_LOOK = dict.fromkeys(LOOKS, 0.0)
_SHAPE_PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "both": ("Both modules of SynthFM, every modality.", {}),
    "shape-only": ("The shape-aware module: separate shapes from closed Bezier curves.", {"boundary_aware": 0.0}),
    "boundary-only": ("The boundary-aware module: label maps of touching regions with gaps.", {"boundary_aware": 1.0}),
    "hard-targets": (
        "Both modules, and what clicks fail on: large, of several parts, branching, translucent, touching.",
        {"large": 0.3, "compound": 0.25, "branching": 0.15, "translucent": 0.15, "crowd": 0.08},
    ),
    "paper": (
        "The method of the paper: the noise library on both modules, gaps in every label map, no look of a modality.",
        {**ONE_LOOK, "shading": (0.0, 0.0), "gap_chance": 1.0},
    ),
    **{
        look: (f"{title} alone.", {**ONE_LOOK, look: 1.0})
        for look, title in zip(LOOKS, ("CT", "MR", "Ultrasound", "X-ray", "Light microscopy"), strict=True)
    },
}
SHAPE_PRESETS = {name: values for name, (_, values) in _SHAPE_PRESETS.items()}
"""What each preset of the scenes changes; one modality each is for looking at it, and for ablations."""
SHAPE_PRESET_TIPS = {name: tip for name, (tip, _) in _SHAPE_PRESETS.items()}
RENAMED = {"ceiling": "clip_max", "one_millimetre": "p_isotropic_1mm", "t1_order": "t1_like"}
"""Priors of earlier versions, as settings of files name them."""


def preset(name: str) -> GenerativeModel:
    """Return the generator of a preset; InputError if there is none of that name."""
    return _chosen("brains", PRESETS, name)


def shape_preset(name: str) -> GenerativeModel:
    """Return the model of a preset of the scenes; errors as for `preset`."""
    return _chosen("shapes", SHAPE_PRESETS, name)


def _chosen(model: str, presets: Mapping[str, dict[str, Any]], name: str) -> GenerativeModel:
    if name not in presets:
        raise InputError(f"There is no preset {name!r}: choose one of {', '.join(presets)}.")
    return GenerativeModel.standard(model).with_values(**presets[name])


def degradation() -> GenerativeModel:
    return GenerativeModel.standard("degradation").with_values(**DEGRADATION)


def load_priors(name: str | Path, settings: Sequence[str] = ()) -> GenerativeModel:
    """Return a generator to draw from, or to train with.

    Args:
        name: a preset, or a JSON file of priors: {"preset": name, "steps": {step: {prior: value}}}, either part of
            which may be left out.
        settings: "name=value" each, changed afterwards.

    Raises:
        InputError: it cannot be found, read or used, or lacks class priors that its preset needs.
    """
    start, generator = read_priors(Path(name)) if str(name).endswith(".json") else (name, preset(str(name)))
    generator = changed(generator, settings)
    if start in CLASS_PRIORS_NEEDED and generator["contrast"].class_means is None:
        raise InputError(
            f"The preset {start} needs the intensities of each class on your scans: estimate them with "
            "`napari-synthseg priors SCANS -o my.json`, and give my.json in its place."
        )
    return generator


def read_priors(path: Path) -> tuple[str, GenerativeModel]:
    """Return the preset that a file of priors starts from, and its generator; InputError if it cannot be used."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The priors {path} cannot be read ({error.strerror}): check the name.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} holds no JSON: choose a file of priors.") from error
    steps = data.get("steps", {}) if isinstance(data, dict) else None
    if not isinstance(steps, dict) or not all(isinstance(values, dict) for values in steps.values()):
        raise InputError(f'{path} holds no priors: write {{"preset": "synthseg", "steps": {{"contrast": {{...}}}}}}.')
    name = str(data.get("preset", "synthseg"))
    try:
        return name, preset(name).from_json(steps)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_priors(path: Path, preset_name: str, generator: GenerativeModel) -> None:
    """Write a file that `load_priors` reads, with the priors that differ from a preset."""
    different = generator.differences(preset(preset_name))
    own = {step: {n: v for n, v in values.items() if n in different} for step, values in generator.to_json().items()}
    steps = {step: values for step, values in own.items() if values}
    write_text(path, json.dumps({"preset": preset_name, "steps": steps}, indent=1) + "\n")


def changed(generator: GenerativeModel, settings: Sequence[str]) -> GenerativeModel:
    """Return the generator with priors replaced by settings "name=value".

    Raises:
        InputError: a prior is unknown or its value is not of its kind.
    """
    known = {f.name: f for step in generator.steps for f in fields_of(type(step))}
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        name = RENAMED.get(name, name)
        if name not in known or not text:
            raise InputError(f"{setting!r} sets no prior: write name=value with one of {', '.join(sorted(known))}.")
        values[name] = _parsed(known[name], text.strip())
    return generator.with_values(**values)


def differences(generator: GenerativeModel, base: GenerativeModel) -> list[str]:
    """Return the settings that turn `base` into `generator`: `changed(base, differences(generator, base))` is it."""
    return [f"{name}={written(value)}" for name, value in generator.differences(base).items()]


def describe_presets() -> str:
    """Return one line for each preset: its name, and how it differs from the first; those of the scenes follow."""
    lines = []
    for verb, presets in (("", PRESETS), ("(synthesize-shapes) ", SHAPE_PRESETS)):
        for name, values in presets.items():
            what = " ".join(f"{prior}={written(value)}" for prior, value in values.items())
            lines.append(f"{name:20} {verb}{what or 'the defaults'}")
    return "\n".join(lines)


def describe_preset(name: str) -> str:
    """Return one line for each prior of a preset: its setting, and its name, symbol and unit; errors as `preset`."""
    generator = shape_preset(name) if name in SHAPE_PRESETS else preset(name)
    lines = [(f"{f.name}={written(group.values[f.name])}", f) for group in generator.groups() for f in group.fields]
    width = max(len(setting) for setting, _ in lines)
    facts = [", ".join(part for part in (f.label, f.info.symbol, f.unit) if part) for _, f in lines]
    return "\n".join(f"{s:{width}}  {fact}" for (s, _), fact in zip(lines, facts, strict=True))


def written(value: Any) -> str:
    """Return a value as it stands in a setting; every number comes back the same."""
    if value is None:
        return "none"
    if not isinstance(value, tuple):
        return repr(float(value)).removesuffix(".0")
    if any(v is None or isinstance(v, tuple) for v in value):
        return ",".join("none" if pair is None else ":".join(written(v) for v in pair) for pair in value)
    return ",".join(written(v) for v in value)


FORMS = {"other": "a pair for every class, mean:deviation,...", "range": "two numbers, low,high",
         "integer": "a whole number", "choice": "a whole number", "number": "one number"}  # fmt: skip
"""Values that a setting takes, by the kind of its field."""


def _parsed(field: Field, text: str) -> Any:
    if text.lower() == "none" and field.optional:
        return None
    names = {str(t).lower(): value for value, t in (field.info.texts or {}).items()}
    if text.lower() in names:
        return names[text.lower()]
    with suppress(ValueError):
        if field.kind == "other":
            parts = [None if part.lower() == "none" else part.split(":") for part in text.split(",")]
            if all(pair is None or len(pair) == 2 for pair in parts):
                return tuple(pair and tuple(map(float, pair)) for pair in parts)
        numbers = tuple(map(float, text.split(",")))
        if field.kind == "range" and len(numbers) == 2:
            return numbers
        if field.kind == "number" and len(numbers) == 1:
            return numbers[0]
        if field.kind in ("integer", "choice") and len(numbers) == 1 and numbers[0].is_integer():
            return int(numbers[0])
    raise InputError(f"The prior {field.name} takes {FORMS[field.kind]}, not {text!r}.")
