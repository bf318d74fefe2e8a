"""Networks for processes that the tests start: importable by name, and quick."""

from __future__ import annotations

from napari_synthseg.segmentation.options import SegmentOptions
from tests.segmentation.fakes import FakeUNet


def load_fake(options: SegmentOptions) -> FakeUNet:
    """A network that reads structures off intensities."""
    return FakeUNet()
