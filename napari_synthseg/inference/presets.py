"""What is done to a scan before, during and after prediction: one record, two presets. No torch here.

`own` is what this program does with its own weights. `reference` is what SynthSeg's reference implementation does; it
is the default with official weights, which were trained and validated with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.organs import check_options, names_of
from napari_synthseg.networks.registry import spec_of

REACH = 2
"""Voxels around a component within which its soft edge stays, with our own preset."""

FAINT = 0.2
"""Posteriors up to this become zero where the reference does not look for components of each structure."""


@dataclass(frozen=True)
class Procedure:
    """Every choice that the two presets make differently."""

    crop_to_head: bool
    """Look at the head only; percentiles are those of what is looked at."""
    reference_grid: bool
    """Resample as the reference does: its rounding of sizes, and a faint blur of axes that keep their spacing."""
    percentiles: tuple[float, float]
    """Intensities that become 0 and 1 for a U-Net (the fast network has its own rule)."""
    minimum: int
    """Voxels of an axis that a U-Net sees at least."""
    whole: bool
    """Predict in one piece if memory allows, and keep float32 posteriors."""
    flip: bool
    """Average with the mirrored scan."""
    bfloat16: bool
    """Compute U-Nets that run in one piece in bfloat16."""
    smooth: bool
    """Smooth a U-Net's posteriors by 0.5 voxels."""
    keep_brain: bool
    """Keep only the largest component of all structures together."""
    topology: bool
    """Keep only the largest component of each topological class."""
    faint: float | None
    """Posteriors up to this become zero; None for none."""
    reach: int
    """Voxels around a component within which its soft edge stays."""
    fill_holes: bool
    """Fill holes in structures that have none."""
    spacing_mm: float = 1.0
    """Voxel size that the network works at."""
    brain: bool = True
    """Whether the labels are FreeSurfer's, and what is usual of brains can be expected."""
    one_piece: tuple[int, ...] = ()
    """With `topology`, labels of which only the largest component is kept, where there are no topological classes."""


OWN = Procedure(
    crop_to_head=True,
    reference_grid=False,
    percentiles=(0.5, 99.5),
    minimum=64,
    whole=False,
    flip=True,
    bfloat16=False,
    smooth=True,
    keep_brain=True,
    topology=True,
    faint=None,
    reach=REACH,
    fill_holes=True,
)

REFERENCE = Procedure(
    crop_to_head=False,
    reference_grid=True,
    percentiles=(0.5, 99.5),
    minimum=128,
    whole=True,
    flip=True,
    bfloat16=False,
    smooth=True,
    keep_brain=True,
    topology=True,
    faint=None,
    reach=0,
    fill_holes=False,
)


def procedure(options: SegmentOptions, card: Mapping[str, Any] | None = None) -> Procedure:
    """What to do: the preset of the options (or of the weights), and what the options change.

    Args:
        options: chosen by the user.
        card: of the weights.

    Raises:
        InputError: the reference's preset is asked for with a network that it does not have.
    """
    card = card or {}
    if names_of(card):
        return _of_organ(options, card)
    preset = card.get("preset", "own") if options.preset == "auto" else options.preset
    if preset == "own":
        chosen = replace(
            OWN,
            keep_brain=options.keep_largest,
            topology=options.keep_largest,
            fill_holes=options.fill_holes,
            whole=spec_of(card).whole,
        )
        fast = replace(chosen, flip=False, topology=False)
    else:
        fits = spec_of(card).reference
        if card and fits == "none":
            raise InputError(
                f"The weights {card.get('name')!r} are no SynthSeg U-Net, so the preset reference does not fit; "
                "leave it at auto."
            )
        chosen = replace(REFERENCE, keep_brain=options.keep_largest, topology=options.keep_largest)
        fast = replace(chosen, flip=False, topology=False, faint=FAINT if options.keep_largest else None)
        if fits == "fast":
            chosen = fast = replace(fast, smooth=False)
    chosen = fast if options.fast else chosen
    return replace(chosen, flip=chosen.flip and options.flip, bfloat16=options.bfloat16)


def _of_organ(options: SegmentOptions, card: Mapping[str, Any]) -> Procedure:
    """Our own way for a network of another organ: no crop, no mirror; as many pieces as its labels had in training.

    Raises:
        InputError: an option is made for brains.
    """
    check_options(options, card)
    return replace(
        OWN,
        crop_to_head=False,
        flip=False,
        keep_brain=False,
        topology=options.keep_largest and not options.fast,
        fill_holes=False,
        bfloat16=options.bfloat16,
        spacing_mm=float(card.get("spacing_mm", 1.0)),
        brain=False,
        one_piece=tuple(int(value) for value in card.get("one_piece", ())),
    )
