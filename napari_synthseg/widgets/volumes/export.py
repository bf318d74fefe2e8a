"""Buttons that take volumes and labels out of napari: copied, as CSV, or as a label file with its table."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.memory import ask_for_file, save_lines
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.layers.geometry import METADATA_KEY
from napari_synthseg.widgets.volumes.model import volumes_table
from napari_synthseg.widgets.volumes.table import VolumesTable

if TYPE_CHECKING:
    from napari.layers import Labels

FACE = "volumes"


class VolumesExport(QWidget):
    """Copy, CSV and label file.

    Args:
        table: whose rows are taken.
        parent: of the widget.
    """

    def __init__(self, table: VolumesTable, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = table
        self._layer: Labels | None = None
        self._job = Job(self)
        self._job.returned.connect(self._on_saved)
        self._job.failed.connect(self._on_failed)
        self._job.stopped.connect(self._on_stopped)
        self.copy = self._button("Copy", "Copy the selected rows, or all, for a spreadsheet (Ctrl+C).")
        self.csv = self._button("CSV…", "Save all volumes in mm³ with quality and asymmetry, a row a structure.")
        self.labels = self._button("NIfTI…", "Save the labels on the scan's grid, with a table of names beside them.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for button, act in ((self.copy, table.copy), (self.csv, self._on_csv), (self.labels, self._on_labels)):
            button.clicked.connect(lambda _=False, act=act: act())
            layout.addWidget(button, 1)

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
        if self._layer is None or self._job.running:
            return
        from napari_synthseg.io.formats import dialog_filter, writable  # here, since it is slow to import

        name = f"{self._layer.name}{writable()[0]}"
        path = ask_for_file(self, FACE, "Save labels", name, dialog_filter())
        if path is None:
            return
        data, meta, _ = self._layer.as_layer_data_tuple()
        self.labels.setEnabled(False)
        kept = data.copy() if isinstance(data, np.ndarray) else data  # what is painted meanwhile is not half of it
        self._job.start("Save labels", _save, str(path), kept, meta)

    def _on_saved(self, files: list[str]) -> None:
        self.labels.setEnabled(True)
        show_info(f"Labels saved to {files[0]}.")

    def _on_stopped(self) -> None:
        """By its button in napari's activity bar."""
        self.labels.setEnabled(True)

    def _on_failed(self, error: Exception) -> None:
        self.labels.setEnabled(True)
        complain(error, "Saving")


def _save(path: str, data: Any, meta: dict[str, Any]) -> Generator[Progress, None, list[str]]:
    """Runs in a thread."""
    yield Progress("Writing")
    from napari_synthseg.widgets.layers.writer import save_labels

    return save_labels(path, data, meta)
