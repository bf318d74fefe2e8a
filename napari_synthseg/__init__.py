"""Brain segmentation with networks trained on synthetic images: SynthSeg and its relatives, for Python and napari.

Importing this package is cheap: neither torch nor Qt nor napari is loaded until a job needs it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "segment", "synthesize"]

# Read when torch is imported: what Apple's GPUs lack runs on the processor instead of failing.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
# Likewise, by GNU's OpenMP (torch on Linux): threads that wait for others spin shortly, then sleep. By default they
# spin thirty times as long, and everything is slow when other programs use the cores (docs/training-log.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from napari_synthseg.generator.sample import synthesize
    from napari_synthseg.inference.pipeline import segment


def __getattr__(name: str):
    """Load the two public jobs on first use (PEP 562)."""
    if name == "segment":
        from napari_synthseg.inference.pipeline import segment

        return segment
    if name == "synthesize":
        from napari_synthseg.generator.sample import synthesize

        return synthesize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
