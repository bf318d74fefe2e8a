"""What was chosen in a form, as a command line or as Python code that makes the same samples. No torch here."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.prior_settings import AnyPriors, differences
from napari_synthseg.generator.priors import Priors
from napari_synthseg.generator.priors import preset as priors_of
from napari_synthseg.generator.shapes.options import SynthesizeShapesOptions
from napari_synthseg.generator.shapes.priors import shape_preset
from napari_synthseg.io.formats import stem

Place = str | Path


def command_line(source: Place, out: Place, preset: str, priors: Priors, seed: int, count: int = 1) -> str:
    """The `napari-synthseg synthesize` that draws these samples, for a POSIX shell.

    Args:
        source: the label map, or a folder of them.
        out: the folder to write into.
        preset: what the priors started from.
        priors: as they are now; only what differs from the preset is named.
        seed: of the first sample.
        count: how many.
    """
    words = ["napari-synthseg", "synthesize", str(source), "-o", str(out)]
    words += ["--preset", preset] if preset != "synthseg" else []
    return shlex.join(words + _choices(differences(priors, priors_of(preset)), seed, count))


def degrade_command_line(source: Place, out: Place, priors: DegradationPriors, seed: int, count: int = 1) -> str:
    """The `napari-synthseg degrade` that makes these; see `command_line`."""
    words = ["napari-synthseg", "degrade", str(source), "-o", str(out)]
    return shlex.join(words + _choices(differences(priors, DegradationPriors()), seed, count))


def shapes_command_line(out: Place, options: SynthesizeShapesOptions, count: int = 1) -> str:
    """The `napari-synthseg synthesize-shapes` that makes these; only what differs from the defaults is named.

    Args:
        out: the folder to write into.
        options: all of them.
        count: how many.
    """
    usual = SynthesizeShapesOptions()
    words = ["napari-synthseg", "synthesize-shapes", "-o", str(out)]
    for name in ("side", "bits", "device") if options.record else ("preset", "side", "bits", "device"):
        if getattr(options, name) != getattr(usual, name):
            words += [f"--{name}", str(getattr(options, name))]
    if options.record:
        return shlex.join([*words, "--record", *map(str, options.record)])
    return shlex.join(words + _choices(list(options.prior), options.seed, count))


def shapes_python_code(out: Place, options: SynthesizeShapesOptions, count: int = 1) -> str:
    """Python that makes the same files as `shapes_command_line`; arguments as there."""
    if options.record:
        return _shapes_again(out, options)
    base, priors = shape_preset(options.preset), options.priors()
    different = _arguments(priors, base)
    lines = ["from dataclasses import replace", ""] if different else []
    lines += [
        "from napari_synthseg.generator.shapes.files import save_scene",
        "from napari_synthseg.generator.shapes.priors import shape_preset",
        "from napari_synthseg.generator.shapes.scenes import scene",
        "",
    ]
    chosen = f"shape_preset({options.preset!r})"
    lines += [f"priors = replace({chosen}, {different})" if different else f"priors = {chosen}", ""]
    lines += [f"for seed in range({options.seed}, {options.seed + count}):" if count != 1 else f"seed = {options.seed}"]
    indent = "    " if count != 1 else ""
    lines += [
        f"{indent}made = scene(priors, seed, device={options.device!r}, side={options.side})",
        f'{indent}save_scene({str(out)!r}, f"{options.preset}_{{seed:04d}}", made, bits={options.bits})',
    ]
    return "\n".join(lines) + "\n"


def _shapes_again(out: Place, options: SynthesizeShapesOptions) -> str:
    """Python that makes the scenes of records again."""
    return (
        "from pathlib import Path\n\n"
        "from napari_synthseg.generator.shapes.files import read_shape_record, save_scene, stem_of_record\n"
        "from napari_synthseg.generator.shapes.scenes import apply_scene\n\n"
        f"for record in map(Path, {[str(path) for path in options.record]!r}):\n"
        f"    made = apply_scene(read_shape_record(record), {options.device!r}, {options.side})\n"
        f"    save_scene({str(out)!r}, stem_of_record(record), made, bits={options.bits})\n"
    )


def _choices(settings: list[str], seed: int, count: int) -> list[str]:
    words = ["--prior", *settings] if settings else []
    words += ["--seed", str(seed)]
    return words + (["--count", str(count)] if count != 1 else [])


def python_code(source: Place, out: Place, preset: str, priors: Priors, seed: int, count: int = 1) -> str:
    """Python that draws these samples and writes the same files as `command_line`; arguments as there."""
    if Path(source).is_dir():
        return _code_for_a_folder(source, out, preset, priors, seed, count)
    different = _arguments(priors, priors_of(preset))
    what = "priors" if different else repr(preset)
    lines = ["from dataclasses import replace", ""] if different else []
    lines += ["from napari_synthseg import synthesize", "from napari_synthseg.generator.saving import save_sample"]
    if different:
        lines += ["from napari_synthseg.generator.priors import preset", ""]
        lines += [f"priors = replace(preset({preset!r}), {different})"]
    name = stem(source)
    lines += ["", f"for seed in range({seed}, {seed + count}):" if count != 1 else f"seed = {seed}"]
    indent = "    " if count != 1 else ""
    lines += [
        f"{indent}sample = synthesize({str(source)!r}, {what}, seed=seed)",
        f'{indent}save_sample({str(out)!r}, f"{_braces(name)}_{{seed:04d}}", sample)',
    ]
    return "\n".join(lines) + "\n"


def degrade_python_code(source: Place, out: Place, priors: DegradationPriors, seed: int, count: int = 1) -> str:
    """Python that makes the same files as `degrade_command_line`."""
    lines = [
        "from napari_synthseg.io import read_volume",
        "from napari_synthseg.generator.degradation import DegradationPriors, degraded",
        "from napari_synthseg.generator.saving import save_sample",
        "",
        f"scan = read_volume({str(source)!r})",
        f"priors = DegradationPriors({_arguments(priors, DegradationPriors())})",
        "",
        f"for seed in range({seed}, {seed + count}):" if count != 1 else f"seed = {seed}",
    ]
    indent = "    " if count != 1 else ""
    name = stem(source)
    lines += [
        f"{indent}sample = degraded(scan, priors, seed=seed)",
        f'{indent}save_sample({str(out)!r}, f"{_braces(name)}_{{seed:04d}}", sample)',
    ]
    return "\n".join(lines) + "\n"


def _code_for_a_folder(source: Place, out: Place, preset: str, priors: Priors, seed: int, count: int) -> str:
    settings = differences(priors, priors_of(preset))
    chosen = f"preset={preset!r}, " + (f"prior={tuple(settings)!r}, " if settings else "") + f"seed={seed}"
    lines = [
        "from pathlib import Path",
        "",
        "from napari_synthseg.jobs import run",
        "from napari_synthseg.generator.sample import SynthesizeOptions, synthesize_files",
        "",
        f"options = SynthesizeOptions({chosen})",
        f"run(synthesize_files(Path({str(source)!r}), Path({str(out)!r}), options, count={count}))",
    ]
    return "\n".join(lines) + "\n"


def _arguments(priors: AnyPriors, base: AnyPriors) -> str:
    """`name=value, ...` of what differs."""
    names = (f.name for f in fields(priors))
    return ", ".join(f"{n}={getattr(priors, n)!r}" for n in names if getattr(priors, n) != getattr(base, n))


def _braces(text: str) -> str:
    """Text as it stands inside an f-string with double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("{", "{{").replace("}", "}}")
