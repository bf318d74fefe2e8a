"""The *Segment brain* widget."""

from napari_synthseg.widgets.segment.widget import SegmentWidget

__all__ = ["SegmentWidget"]
