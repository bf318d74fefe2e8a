"""`synthesize`, `synthesize-shapes`, `degrade` and `presets`: made-up images and their priors."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from napari_synthseg.cli.terminal import DONE, Count, Out, follow


def make_synthesize() -> Callable[..., int]:
    """Make random images, with their labels, from a label map."""
    from napari_synthseg.generator.sample import SynthesizeOptions, synthesize_files

    def synthesize(
        label_map: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LABELMAP")],
        out: Out,
        synthesis: SynthesizeOptions,
        count: Count = 1,
        overwrite: bool = False,
    ) -> int:
        """Make random images, with their labels and records, from a label map.

        Args:
            label_map: a label map (NIfTI, MGZ, NRRD), or a folder of them to choose from at random.
            out: the folder to write into.
            synthesis: how to draw.
            count: how many samples to make.
            overwrite: replace files of these names; without it nothing is replaced.
        """
        for written in follow(synthesize_files(label_map, out, synthesis, count, overwrite=overwrite)):
            print(written)
        return DONE

    return synthesize


def make_synthesize_shapes() -> Callable[..., int]:
    """Make random scenes of shapes, with their objects, from nothing."""
    from napari_synthseg.generator.shapes.files import synthesize_shapes as write
    from napari_synthseg.generator.shapes.options import SynthesizeShapesOptions

    def synthesize_shapes(
        out: Out,
        synthesis: SynthesizeShapesOptions,
        count: Count = 1,
        overwrite: bool = False,
    ) -> int:
        """Make random scenes of shapes, with their objects and records, from nothing (SynthFM).

        Args:
            out: the folder to write into.
            synthesis: how to draw.
            count: how many scenes to make.
            overwrite: replace files of these names; without it nothing is replaced.
        """
        for written in follow(write(out, synthesis, count, overwrite=overwrite)):
            print(written)
        return DONE

    return synthesize_shapes


def make_degrade() -> Callable[..., int]:
    """Make real scans as bad as can be met: SynthSeg+'s degradation model."""
    from napari_synthseg.generator.degrade_files import DegradeOptions, degrade_files

    def degrade(
        inputs: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="IN ...")],
        out: Out,
        degradation: DegradeOptions,
        count: Count = 1,
        overwrite: bool = False,
    ) -> int:
        """Make real scans as bad as can be met: moved, bent, biased, sliced and noisy (SynthSeg+).

        Args:
            inputs: scans (NIfTI, MGZ, NRRD), or folders of them.
            out: the folder to write into.
            degradation: how to degrade.
            count: how many to make of each scan.
            overwrite: replace files of these names; without it nothing is replaced.
        """
        for written in follow(degrade_files(inputs, out, degradation, count, overwrite=overwrite)):
            print(written)
        return DONE

    return degrade


def make_presets() -> Callable[..., int]:
    """List the presets of synthesize and synthesize-shapes, and their priors."""
    from napari_synthseg.generator.prior_settings import describe_preset, describe_presets

    def presets(name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[NAME]")] = "") -> int:
        """List the presets of synthesize and synthesize-shapes by what they change, or every prior of one of them.

        Args:
            name: the preset to show in full.
        """
        print(describe_preset(name) if name else describe_presets())
        return DONE

    return presets
