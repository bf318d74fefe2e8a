"""Buttons that take volumes and labels out of napari: copied, as CSV, or as a label file with its table."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.memory import ask_for_file, save_lines
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.layers.geometry import METADATA_KEY
from napari_synthseg.widgets.volumes.model import volumes_table
from napari_synthseg.widgets.volumes.table import VolumesTable

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

FACE = "volumes"


class VolumesExport(QWidget):
    """Copy, table, and files of the labels and their scan that lie where these lie.

    napari's own *Save Selected Layers* starts with the filter of its own formats, which takes no NIfTI.

    Args:
        viewer: whose scans are found.
        table: whose rows are taken.
        parent: of the widget.
    """

    def __init__(self, viewer: ViewerModel, table: VolumesTable, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._table = viewer, table
        self._layer: Labels | None = None
        self._job = Job(self)
        self._job.returned.connect(self._on_saved)
        self._job.failed.connect(self._on_failed)
        self._job.stopped.connect(self._on_stopped)
        self.copy = self._button("Copy", "Copy the selected rows, or all, for a spreadsheet (Ctrl+C).")
        self.csv = self._button("Save table…", "Save all volumes in mm³ with quality and asymmetry, a row a structure.")
        self.labels = self._button("Save labels…", "Save the labels on the scan's grid, and a table of names beside.")
        self.scan = self._button("Save scan…", "Save the scan that these labels lie on, as it is.")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        acts = (table.copy, self._on_csv, self._on_labels, self._on_scan)
        for number, (button, act) in enumerate(zip((self.copy, self.csv, self.labels, self.scan), acts, strict=True)):
            button.clicked.connect(lambda _=False, act=act: act())
            layout.addWidget(button, number // 2, number % 2)

    def _button(self, text: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        button.setMinimumWidth(40)
        return button

    def set_layer(self, layer: Labels | None) -> None:
        """Whose volumes and labels are saved."""
        self._layer = layer

    def _on_csv(self) -> None:
        if self._layer is None:
            return
        path = ask_for_file(self, FACE, "Export volumes", f"{self._layer.name} volumes.csv")
        if path is not None:
            total = self._layer.metadata.get(METADATA_KEY, {}).get("intracranial_mm3")
            save_lines(path, volumes_table(self._table.structures, total), "Volumes")

    def _on_labels(self) -> None:
        if self._layer is not None:
            self._save("Save labels", self._layer)

    def _on_scan(self) -> None:
        layers = [] if self._layer is None else self._viewer.layers
        scan = scan_under(self._layer, layers)
        if scan is None:
            complain(ValueError("The scan of these labels is not open: open it, or save its layer by File > Save."), "")
            return
        self._save("Save scan", scan)

    def _save(self, title: str, layer: Layer) -> None:
        if self._job.running:
            return
        from napari_synthseg.io.formats import dialog_filter, writable  # here, since it is slow to import

        path = ask_for_file(self, FACE, title, f"{layer.name}{writable()[0]}", dialog_filter())
        if path is None:
            return
        data, meta, kind = layer.as_layer_data_tuple()
        kept = data.copy() if isinstance(data, np.ndarray) else data  # what is painted meanwhile is not half of it
        self._let_save(False)
        self._job.start(title, _save, str(path), kept, meta, kind)

    def _let_save(self, enabled: bool) -> None:
        for button in (self.labels, self.scan):
            button.setEnabled(enabled)

    def _on_saved(self, files: list[str]) -> None:
        self._let_save(True)
        show_info(f"Saved to {files[0]}.")

    def _on_stopped(self) -> None:
        """By its button in napari's activity bar."""
        self._let_save(True)

    def _on_failed(self, error: Exception) -> None:
        self._let_save(True)
        complain(error, "Saving")


def scan_under(labels: Labels | None, layers: Iterable[Layer]) -> Image | None:
    """Return the scan that labels were made from, else the topmost one in the same place with as many voxels."""
    if labels is None:
        return None
    source = labels.metadata.get(METADATA_KEY, {}).get("source", ("",))[0]
    scans = [layer for layer in layers if isinstance(layer, Image)]
    for scan in scans:
        if str(scan.unique_id) == source:
            return scan
    same = [scan for scan in scans if scan.data.shape == labels.data.shape]
    return next((s for s in reversed(same) if np.allclose(s.extent.world, labels.extent.world, atol=1e-3)), None)


def _save(path: str, data: Any, meta: dict[str, Any], kind: str) -> Generator[Progress, None, list[str]]:
    """Runs in a thread."""
    yield Progress("Writing")
    from napari_synthseg.widgets.layers.writer import save_image, save_labels

    return (save_labels if kind == "labels" else save_image)(path, data, meta)
