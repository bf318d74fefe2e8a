"""Makes the pictures in docs/images of the real window, with the weights we ship.

Without a screen: `xvfb-run -a -s "-screen 0 1600x1200x24" python docs/make_screenshots.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_synthseg.widgets.samples import mni152
from napari_synthseg.widgets.segment import SegmentWidget

IMAGES = Path(__file__).parent / "images"
PATIENCE_S = 600
DOCK_WIDTH = 330


def segment_window(scan: Path | None, out: Path, size: tuple[int, int] = (1280, 800)) -> None:
    """Open a scan, click the button, wait for the labels, and save a picture of the whole window.

    Args:
        scan: file to open; the MNI152 sample by default.
        out: PNG to write.
        size: of the window, pixels.
    """
    viewer = napari.Viewer(show=False)
    try:
        if scan is None:
            for array, kwargs, kind in mni152():
                viewer.add_layer(napari.layers.Layer.create(array, kwargs, kind))
        else:
            viewer.open(scan, plugin="napari-synthseg")
        widget = SegmentWidget(viewer)
        dock = viewer.window.add_dock_widget(widget, name="Segment brain", area="right")
        viewer.window.show()
        viewer.window.resize(*size)
        viewer.window._qt_window.resizeDocks([dock], [DOCK_WIDTH], Qt.Orientation.Horizontal)
        QTest.mouseClick(widget.run, Qt.MouseButton.LeftButton)
        wait_for(widget.run.isEnabled)
        if not any(isinstance(layer, Labels) for layer in viewer.layers):
            raise SystemExit(widget.status.text())
        QTest.mouseClick(widget.view.buttons["axial"], Qt.MouseButton.LeftButton)
        viewer.dims.set_point(0, richest_slice(next(layer for layer in viewer.layers if isinstance(layer, Labels))))
        viewer.scene.camera.zoom *= 1.15
        point_at_the_brain(viewer)
        QTest.qWait(1500)
        out.parent.mkdir(parents=True, exist_ok=True)
        viewer.window.screenshot(str(out), canvas_only=False)
    finally:
        viewer.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Let the window live until the condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"Nothing came within {PATIENCE_S} s.")
        QTest.qWait(50)


def richest_slice(labels: Labels) -> float:
    """The world coordinate (S, mm) of the axial slice with the most structures; of several, the middle one."""
    counts = np.array([len(np.unique(section)) for section in labels.data])
    best = np.flatnonzero(counts == counts.max())
    return labels.data_to_world((best[len(best) // 2], 0, 0))[0]


def point_at_the_brain(viewer: napari.Viewer) -> None:
    """Put the cursor where a structure is, so that the status bar names it."""
    labels = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    step = labels.world_to_data(viewer.dims.point)[0]
    section = labels.data[round(step)]
    inside = (section == 49).nonzero() if (section == 49).any() else section.nonzero()
    if len(inside[0]):
        middle = len(inside[0]) // 2
        viewer.cursor.position = labels.data_to_world((step, inside[0][middle], inside[1][middle]))
        viewer.status = labels.get_status(
            viewer.cursor.position, view_direction=None, dims_displayed=list(viewer.dims.displayed), world=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", type=Path, help="a scan to open instead of the MNI152 sample")
    parser.add_argument("--out", type=Path, default=IMAGES / "segment.png")
    options = parser.parse_args()
    QApplication.instance() or napari.qt.get_qapp()
    segment_window(options.scan, options.out)


if __name__ == "__main__":
    main()
