"""Small scans, layers and pipelines for the tests of the napari faces."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import nibabel as nib
import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QModelIndex, QPoint, Qt
from qtpy.QtWidgets import QStyle, QStyleOptionViewItem, QTableView

from napari_synthseg.jobs import Progress
from napari_synthseg.volume import Volume
from napari_synthseg.widgets.layers.geometry import volume_to_layer

SHAPE = (7, 6, 5)
SOON = 3.0
"""Seconds within which work that is stopped has ended, on a computer that is slow and busy."""


def oblique() -> np.ndarray:
    """An affine turned about all axes, with 0.9 x 1.1 x 2 mm voxels."""
    turn = nib.eulerangles.euler2mat(0.1, -0.2, 0.15)
    return nib.affines.from_matvec(turn @ np.diag([0.9, 1.1, 2.0]), [-4.0, 7.0, -3.5])


AFFINES = {
    "RAS": nib.affines.from_matvec(np.eye(3), [-3.0, -4.0, -5.0]),
    "LAS": nib.affines.from_matvec(np.diag([-1.0, 1.0, 1.0]), [3.0, -4.0, -5.0]),
    "LIA": nib.affines.from_matvec([[-1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]], [3.0, -4.0, 5.0]),
    "thick": nib.affines.from_matvec(np.diag([1.0, 1.0, 5.0]), [0.5, 0.25, -9.0]),
    "oblique": oblique(),
    "oblique LIA": oblique() @ nib.affines.from_matvec([[-1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]], [3, 0, 4]),
}


def volume(affine: np.ndarray | str = "RAS", shape: tuple[int, int, int] = SHAPE) -> Volume:
    """A volume in which every voxel has its own value."""
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Volume(data, AFFINES[affine] if isinstance(affine, str) else affine)


def scan_layer(affine: np.ndarray | str = "RAS", name: str = "scan") -> Image:
    """An Image layer as our reader makes it."""
    array, kwargs = volume_to_layer(volume(affine))
    return Image(array, name=name, **kwargs)


def half_labels(scan: Volume) -> Volume:
    """Left hippocampus (17) in the lower half of the first axis, right (53) in the rest of a block, 0 around it."""
    labels = np.zeros(scan.data.shape, np.int32)
    labels[1:-1, 1:-1, 1:-1] = 53
    labels[1 : labels.shape[0] // 2, 1:-1, 1:-1] = 17
    return Volume(labels, scan.affine)


def click(qtbot, button) -> None:
    """A click with the left button in the middle of a widget."""
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def box_of(table: QTableView, index: QModelIndex) -> QPoint:
    """The middle of a row's check box, which stands first in its cell."""
    option = QStyleOptionViewItem()
    option.features |= QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
    option.rect = table.visualRect(index)
    box = table.style().subElementRect(QStyle.SubElement.SE_ItemViewItemCheckIndicator, option, table)
    return QPoint(option.rect.left() + box.width() // 2 + 2, option.rect.center().y())


def labels_in(viewer) -> list[Labels]:
    """Labels layers of a viewer."""
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def steps(reports: int = 3, *, seconds: float = 0.0, error: Exception | None = None, warnings: tuple[str, ...] = ()):
    """A stand-in for the pipeline: `reports` reports `seconds` apart, then an error or a segmentation.

    The function notes its calls in `.calls` (options) and `.threads`, and its end, however it comes, in `.ended`.
    """

    def run(scan: Volume, **options):
        run.calls.append(options)
        run.threads.append(threading.current_thread())
        try:
            for done in range(reports):
                yield Progress("Network", done + 1, reports)
                time.sleep(seconds)
            if error is not None:
                raise error
            return SimpleNamespace(
                labels=half_labels(scan),
                volumes={17: 3912.3, 53: 4050.0, 16: 0.0},
                intracranial_mm3=1_432_100.0,
                warnings=warnings,
                posteriors=None,
                tissues={},
                quality={17: 0.91, 53: 0.42},
                record={"model": options.get("model")},
            )
        finally:
            run.ended.append(time.monotonic())

    run.calls, run.threads, run.ended = [], [], []
    return run
