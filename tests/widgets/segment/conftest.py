"""A viewer without a window, and the widget in it, with a stand-in for the pipeline."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_synthseg.widgets.segment.widget import SegmentWidget
from tests.widgets.builders import steps


@pytest.fixture
def open_widget(qtbot, viewer):
    """Opens the widget on a given pipeline, and sees that nothing still runs at the end."""
    opened = []

    def make(fake=None) -> SegmentWidget:
        widget = SegmentWidget(viewer, steps=fake or steps())  # qtbot would close it before this fixture ends
        widget.show()
        opened.append(widget)
        return widget

    yield make
    for widget in opened:
        widget.queue.stop_all()
        qtbot.waitUntil(lambda widget=widget: not widget.queue.busy)
        qtbot.waitUntil(lambda widget=widget: not widget.probabilities.job.running)
        widget.close()
        widget.deleteLater()


def press(qtbot, widget: SegmentWidget) -> None:
    """Segment, and wait for the end."""
    qtbot.mouseClick(widget.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.queue.busy)
