"""How to segment: the options that the command line, Python and the widget share. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import File, Info, NonNegativeInt, PositiveInt, check


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
    """No flip averaging, and no components of single structures: less exact, less than half the time."""
    grid: Literal["input", "1mm"] = "input"
    """Where the labels lie: on the scan's own voxels, or at 1 mm."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads; by default as many as torch chooses."""
    flip: bool = True
    """Average with the prediction of the mirrored scan: a little more accurate, twice the time."""
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
        """Refuse options out of range."""
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
