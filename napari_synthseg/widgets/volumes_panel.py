"""Volumes of one Labels layer: the table, the intracranial volume, the warnings of its run, and the CSV export."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_synthseg.widgets.controls import Message
from napari_synthseg.widgets.geometry import METADATA_KEY
from napari_synthseg.widgets.volumes_table import VolumeRow, VolumesTable, rows_of

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

CSV_HEADER = ("index", "name", "side", "volume_mm3")


class VolumesPanel(QWidget):
    """Shows the volumes that a layer carries in its features; hidden while there is no such layer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layer: Labels | None = None
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.warnings = Message(warning=True)
        self.table = VolumesTable(self)
        self.intracranial = QLabel()
        self.intracranial.setWordWrap(True)
        self.export = QPushButton("Export CSV…")
        self.export.setToolTip("Save the volumes in mm³, one row for each structure.")
        self.export.clicked.connect(self._on_export)
        last = QHBoxLayout()
        last.addWidget(self.intracranial, 1)
        last.addWidget(self.export)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.title, self.warnings):
            layout.addWidget(part)
        layout.addWidget(self.table, 1)
        layout.addLayout(last)
        self.hide()

    @property
    def layer(self) -> Labels | None:
        """The layer whose volumes are shown."""
        return self._layer

    def show_layer(self, layer: Labels) -> None:
        """Show the volumes of a layer; one that carries none is ignored."""
        rows = rows_of(layer.features)
        if not any(not math.isnan(row.millilitres) for row in rows):
            return
        self._layer = layer
        kept = layer.metadata.get(METADATA_KEY, {})
        self.title.setText(f"Volumes of {layer.name}")
        self.warnings.say("\n".join(kept.get("warnings", ())))
        self.table.set_rows(rows)
        total = kept.get("intracranial_mm3")
        self.intracranial.setText("" if total is None else f"Intracranial: {total / 1000:,.0f} mL")
        self.show()

    def forget(self, layer: Layer) -> None:
        """Empty the panel if it shows this layer."""
        if layer is self._layer:
            self._layer = None
            self.table.set_rows([])
            self.hide()

    def _on_export(self) -> None:
        if self._layer is None:
            return
        suggested = f"{self._layer.name} volumes.csv".replace("/", "-")
        chosen, _ = QFileDialog.getSaveFileName(self, "Export volumes", suggested, "CSV (*.csv)")
        if not chosen:
            return
        path = Path(chosen) if Path(chosen).suffix else Path(chosen).with_suffix(".csv")
        total = self._layer.metadata.get(METADATA_KEY, {}).get("intracranial_mm3")
        try:
            write_volumes(path, self.table.rows, total)
        except OSError as error:
            show_error(f"{path} cannot be written ({error.strerror}); choose another folder.")
            return
        show_info(f"Volumes saved to {path}.")


def write_volumes(path: Path, rows: list[VolumeRow], intracranial_mm3: float | None = None) -> None:
    """Write volumes in mm^3, a row for each structure, the intracranial volume first where it is known.

    Raises:
        OSError: if the file cannot be written.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(CSV_HEADER)
        if intracranial_mm3 is not None:
            out.writerow(("", "Intracranial", "", f"{intracranial_mm3:.3f}"))
        for row in rows:
            volume = "" if math.isnan(row.millilitres) else f"{row.millilitres * 1000:.3f}"
            out.writerow((row.value, row.name, row.side, volume))
