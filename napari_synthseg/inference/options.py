"""How to segment: the options that command line, Python and widget share, and the configuration they lead to. No torch.

`OWN` is what this program does with its own weights. `REFERENCE` is what SynthSeg's reference implementation does; it
is the default with official weights, which were trained and validated with it.

Labels of networks of other organs than the brain are any numbers, which mean nothing in FreeSurfer's table; they have
no sides. There is no head to look for, no orientation to judge by, no volume that is usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.fields import File, Info, NonNegativeInt, PositiveInt, check
from napari_synthseg.networks.registry import spec_of

if TYPE_CHECKING:
    from napari_synthseg.io.labels import LabelName

DILATION = 2
"""Voxels around a component within which its soft edge stays, with our own preset."""
MIN_POSTERIOR = 0.2
"""Posteriors up to this become zero where the reference does not look for components of each structure."""
DRAWN_AS = (0, 2, 3, 4, 8)
"""A structure of each tissue class, whose color the class has too."""


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment."""

    model: str = "synthseg-fast"
    """Name of the weights (`napari-synthseg models` lists them)."""
    weights: File | None = None
    """A weights file (.safetensors with its card, or a SynthSeg .h5) in place of named weights."""
    robust: bool = False
    """Use a robust network, three in a row, for scans of low quality: synthseg-robust, or else FreeSurfer's. Slower."""
    parcellation: File | None = None
    """Weights of SynthSeg's cortical parcellation: the cortex is divided into 68 parts (Desikan-Killiany)."""
    regressor: File | None = None
    """Weights of SynthSeg's quality regressor: the expected Dice of eight groups of structures, into the record."""
    preset: Literal["auto", "own", "reference"] = "auto"
    """own: this program's way. reference: exactly what SynthSeg does. auto: reference with official weights only."""
    fast: bool = False
    """One pass, no flip averaging, no components of single structures: less exact, less than half the time."""
    grid: Literal["input", "1mm"] = "input"
    """Where the labels lie: on the scan's own voxels, or at 1 mm."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads; by default as many as torch chooses."""
    flip: bool = True
    """Average with the prediction of the mirrored scan: more accurate, twice the time."""
    bfloat16: bool = False
    """Compute official networks in bfloat16: less than half the time where the processor has it; not exact."""
    ct: bool = False
    """The scan is a CT: clip to 0-80 HU."""
    fix_orientation: bool = False
    """Try the 24 right-angle rotations and use the one that looks like a head, for scans with a wrong header."""
    posteriors: bool = False
    """Keep the posteriors of all structures too."""
    tissues: bool = False
    """Keep the two tissue maps of a robust network too: what its S1 finds, and what its denoiser makes of that."""
    keep_largest: bool = True
    """Keep only the largest component of every structure (topological class)."""
    fill_holes: bool = True
    """Fill holes in structures that have none (not with the preset reference)."""
    block_mm: Annotated[int, Info(low=64, high=256, step=8)] = 128
    """Edge of the largest cube predicted at once; smaller needs less memory."""
    index: NonNegativeInt | None = None
    """Which volume of a 4D file to segment, counted from 0."""

    def __post_init__(self) -> None:
        check(self)


def make_options(**options) -> SegmentOptions:
    """Make `SegmentOptions`; an unknown name is refused in one sentence."""
    known = [one.name for one in fields(SegmentOptions)]
    for name in options:
        if name not in known:
            raise InputError(f"There is no option {name!r}; there are {', '.join(known)}.")
    for name in ("weights", "parcellation", "regressor"):
        if isinstance(options.get(name), str):
            options[name] = Path(options[name])
    return SegmentOptions(**options)


@dataclass(frozen=True)
class InferenceConfig:
    """Every choice that the presets make differently; the defaults are our own preset's."""

    crop_to_head: bool = True
    """Crop to the head and compute percentiles inside the crop."""
    reference_grid: bool = False
    """Resample as the reference does: its rounding of sizes, and a faint blur of axes that keep their spacing."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Intensities that become 0 and 1 for a U-Net (the fast network has its own rule)."""
    minimum: int = 64
    """Smallest size of an axis that a U-Net sees, in voxels."""
    whole: bool = False
    """Predict the whole volume at once if memory allows, and keep float32 posteriors."""
    flip: bool = True
    """Average with the mirrored scan."""
    bfloat16: bool = False
    """Compute U-Nets that see the whole volume in bfloat16."""
    smooth: bool = True
    """Smooth a U-Net's posteriors by 0.5 voxels."""
    keep_brain: bool = True
    """Keep only the largest component of all structures together."""
    topology: bool = True
    """Keep only the largest component of each topological class."""
    min_posterior: float | None = None
    """Posteriors up to this become zero; None for none."""
    dilation: int = DILATION
    """Voxels around a component within which its soft edge stays."""
    fill_holes: bool = True
    """Fill holes in structures that have none."""
    spacing_mm: float = 1.0
    """Voxel size that the network works at."""
    brain: bool = True
    """Whether the labels are FreeSurfer's, and what is usual of brains can be expected."""
    single_component: tuple[int, ...] = ()
    """With `topology`, labels of which only the largest component is kept, where there are no topological classes."""


OWN = InferenceConfig()
REFERENCE = replace(OWN, crop_to_head=False, reference_grid=True, minimum=128, whole=True, dilation=0, fill_holes=False)


def config_for(options: SegmentOptions, card: Mapping[str, Any] | None = None) -> InferenceConfig:
    """Return the preset of the options (or of the card of the weights), with what the options change.

    Raises:
        InputError: the reference's preset is asked for with a network that it does not have.
    """
    card = card or {}
    if names_of(card):
        return _of_organ(options, card)
    preset = card.get("preset", "own") if options.preset == "auto" else options.preset
    if preset == "own":
        chosen = replace(_components(OWN, options), fill_holes=options.fill_holes, whole=spec_of(card).whole)
        fast = replace(chosen, flip=False, topology=False)
    else:
        fits = spec_of(card).reference
        if card and fits == "none":
            raise InputError(
                f"The weights {card.get('name')!r} are no SynthSeg U-Net, so the preset reference does not fit; "
                "leave it at auto."
            )
        chosen = _components(REFERENCE, options)
        least = MIN_POSTERIOR if options.keep_largest else None
        fast = replace(chosen, flip=False, topology=False, min_posterior=least)
        if fits == "fast":
            chosen = fast = replace(fast, smooth=False)
    chosen = fast if options.fast else chosen
    return replace(chosen, flip=chosen.flip and options.flip, bfloat16=options.bfloat16)


def _components(preset: InferenceConfig, options: SegmentOptions) -> InferenceConfig:
    return replace(preset, keep_brain=options.keep_largest, topology=options.keep_largest)


def _of_organ(options: SegmentOptions, card: Mapping[str, Any]) -> InferenceConfig:
    """Return our own preset for another organ: no crop, no mirror; as many components as its labels had in training."""
    check_options(options, card)
    return replace(
        OWN,
        crop_to_head=False,
        flip=False,
        keep_brain=False,
        fill_holes=False,
        brain=False,
        topology=options.keep_largest and not options.fast,
        bfloat16=options.bfloat16,
        spacing_mm=float(card.get("spacing_mm", 1.0)),
        single_component=tuple(int(value) for value in card.get("one_piece", ())),
    )


def check_options(options: SegmentOptions, card: Mapping[str, Any]) -> None:
    """Refuse options that are made for brains with an InputError."""
    wrong = {
        "the preset reference": options.preset == "reference",
        "the CT window of the brain": options.ct,
        "fixing the orientation": options.fix_orientation,
        "a parcellation": options.parcellation is not None,
        "a quality regressor": options.regressor is not None,
    }
    for what, asked in wrong.items():
        if asked:
            organ = card.get("organ", "another organ")
            raise InputError(f"The weights {card.get('name')!r} are for scans of: {organ}. Leave out {what}.")


def names_of(card: Mapping[str, Any] | None) -> dict[int, LabelName]:
    """Return names (and colors, if the card has some) of the labels of another organ; empty for those of the brain."""
    from napari_synthseg.io.labels import LabelName  # here: slow to import, not needed to open a widget

    card = card or {}
    colors = {value: tuple(map(int, color)) for value, color in card.get("colors", {}).items() if color}
    names = card.get("names", {}).items()
    return {int(value): LabelName(str(name), colors.get(value)) for value, name in names}  # type: ignore[arg-type]


def tissue_names() -> dict[int, LabelName]:
    """Return the name and color of each tissue class (`anatomy.TISSUES`, without the background)."""
    from napari_synthseg.io.labels import LabelName

    return {
        number: LabelName(name[:1].upper() + name[1:], anatomy.color(DRAWN_AS[number]))
        for number, name in enumerate(anatomy.TISSUES)
        if number
    }
