"""`synthesize`, `synthesize-shapes`, `degrade` and `presets`: synthetic images and their priors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from napari_synthseg.cli.terminal import DONE, IMAGES, Count, Out, Overwrite, command, follow

if TYPE_CHECKING:
    from napari_synthseg.generator.files import DegradeOptions, SynthesizeOptions, SynthesizeShapesOptions


@command("synthesize", "generator.files", heading=IMAGES)
def synthesize(
    label_map: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LABELMAP")],
    out: Out,
    synthesis: SynthesizeOptions,
    count: Count = 1,
    overwrite: Overwrite = False,
) -> int:
    """Make random images, with their labels and records, from a label map.

    Args:
        label_map: a label map (NIfTI, MGZ, NRRD), or a folder of them to choose from at random.
        out: the folder to write into.
        count: how many samples to make.
    """
    from napari_synthseg.generator.files import synthesize_files

    for written in follow(synthesize_files(label_map, out, synthesis, count, overwrite=overwrite)):
        print(written)
    return DONE


@command("synthesize-shapes", "generator.files", heading=IMAGES)
def synthesize_shapes(
    out: Out, synthesis: SynthesizeShapesOptions, count: Count = 1, overwrite: Overwrite = False
) -> int:
    """Make random scenes of shapes, with their objects and records (SynthFM).

    Args:
        out: the folder to write into.
        count: how many scenes to make.
    """
    from napari_synthseg.generator.shapes.files import synthesize_shapes as write

    for written in follow(write(out, synthesis, count, overwrite=overwrite)):
        print(written)
    return DONE


@command("degrade", "generator.files", heading=IMAGES)
def degrade(
    inputs: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="IN ...")],
    out: Out,
    degradation: DegradeOptions,
    count: Count = 1,
    overwrite: Overwrite = False,
) -> int:
    """Degrade real scans: moved, bent, biased, sliced and noisy (SynthSeg+).

    Args:
        inputs: scans (NIfTI, MGZ, NRRD), or folders of them.
        out: the folder to write into.
        count: how many to make of each scan.
    """
    from napari_synthseg.generator.files import degrade_files

    for written in follow(degrade_files(inputs, out, degradation, count, overwrite=overwrite)):
        print(written)
    return DONE


@command("presets", heading=IMAGES)
def presets(name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[NAME]")] = "") -> int:
    """List the presets of synthesize and synthesize-shapes by their changes, or all priors of one.

    Args:
        name: the preset to show in full.
    """
    from napari_synthseg.generator.presets import describe_preset, describe_presets

    print(describe_preset(name) if name else describe_presets())
    return DONE
