"""Whole-brain segmentation, the jobs others call: one scan (`segment`, `segment_steps`)."""

from __future__ import annotations

from napari_synthseg.inference.one_scan import Segmentation, segment, segment_steps
from napari_synthseg.inference.options import SegmentOptions, make_options

__all__ = [
    "SegmentOptions",
    "Segmentation",
    "make_options",
    "segment",
    "segment_steps",
]
