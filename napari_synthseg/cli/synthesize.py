"""`synthesize`, `synthesize-shapes`, `degrade`, `presets`, `priors`, `headmap`: synthetic images, what they need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from napari_synthseg.cli.terminal import DONE, IMAGES, Count, Out, Overwrite, command, follow, put

if TYPE_CHECKING:
    from napari_synthseg.generator.files import DegradeOptions, SynthesizeOptions, SynthesizeShapesOptions
    from napari_synthseg.generator.headmap import HeadmapOptions


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
        put(written)
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
    from napari_synthseg.generator.files import synthesize_shapes as write

    for written in follow(write(out, synthesis, count, overwrite=overwrite)):
        put(written)
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
        put(written)
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


@command("priors", heading=IMAGES)
def priors(
    scans: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="SCANS ...")],
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE.json")],
    weights: Path | None = None,
    robust: bool = False,
    device: str = "auto",
) -> int:
    """Estimate the priors of synthseg-rc on scans of one contrast: intensities of each class, slices.

    Train or synthesize with the file: `train synthseg ... --priors FILE.json`.

    Args:
        scans: scans of one contrast, or folders or lists of them.
        out: the file to write.
        weights: a weights file, instead of the shipped network.
        robust: segment with the network for scans of low quality.
        device: auto, cpu, cuda or mps.
    """
    from napari_synthseg.generator.presets import write_priors
    from napari_synthseg.inference.class_priors import PRESET, estimate_priors
    from napari_synthseg.inference.options import SegmentOptions
    from napari_synthseg.io.finding import find_scans

    options = SegmentOptions(weights=weights, robust=robust, device=device, fast=True)
    model = follow(estimate_priors(find_scans(scans), options))
    write_priors(out, PRESET, model)
    known = sum(pair is not None for pair in model["contrast"].class_means)
    print(f"{out}: {known} classes")
    return DONE


@command("headmap", "generator.headmap", heading=IMAGES)
def headmap(
    scan: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCAN")],
    aseg: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ASEG")],
    out: Out,
    clustering: HeadmapOptions,
    overwrite: Overwrite = False,
) -> int:
    """Make a label map to train on from a scan and FreeSurfer's aseg: labels the head around the brain.

    The result lies on the grid of ASEG; `train synthseg --label-maps` and `synthesize` take it.

    Args:
        scan: the scan before skull stripping, such as orig.mgz, of any contrast.
        aseg: aseg.mgz, aparc+aseg.mgz, wmparc.mgz, or labels of `segment`.
        out: the label map to write.
    """
    from napari_synthseg.generator.headmap import headmap_file

    print(follow(headmap_file(scan, aseg, out, clustering, overwrite=overwrite)))
    return DONE
