"""The options of `napari-synthseg synthesize-shapes`: scenes without any data, after SynthFM. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from napari_synthseg.fields import Info, check
from napari_synthseg.generator.prior_settings import changed
from napari_synthseg.generator.shapes.priors import ShapePriors, shape_preset

SMALLEST_SIDE, LARGEST_SIDE = 64, 4096


@dataclass(frozen=True)
class SynthesizeShapesOptions:
    """How scenes of shapes are drawn and written."""

    preset: str = "both"
    """Priors to start from: both, shape-only, boundary-only, paper, ct, mr, ultrasound, xray or microscopy."""
    prior: tuple[str, ...] = ()
    """Priors to change, as name=value or name=low,high, for example objects=3,6 contrast=0.1,0.3."""
    seed: int = 0
    """Seed of the first scene; scene i has seed + i."""
    record: tuple[Path, ...] = ()
    """Records (..._record.json) to make the scenes of again; preset, priors, seed and count do not matter then."""
    side: Annotated[int, Info(low=SMALLEST_SIDE, high=LARGEST_SIDE, step=8, unit="pixels")] = 1024
    """Longer side of the image; 1024 is what SAM takes."""
    bits: Literal[8, 16] = 8
    """Bits of a pixel of the image file."""
    device: str = "cpu"
    """Where the scenes are computed: auto, cpu, cuda or mps; shapes are the same on all of them, white noise is not."""

    def __post_init__(self) -> None:
        check(self)

    def priors(self) -> ShapePriors:
        """The priors that the options stand for.

        Raises:
            InputError: one of them cannot be used.
        """
        return changed(shape_preset(self.preset), self.prior)
