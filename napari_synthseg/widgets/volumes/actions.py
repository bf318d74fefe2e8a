"""Actions on structures of a Labels layer: corrections with undo, surfaces, and files of volumes, labels and scan."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.layers import Surface as SurfaceLayer
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QGridLayout, QMenu, QWidget

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.controls import button
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import ask_for_file, complain, save_lines
from napari_synthseg.widgets.layers.geometry import kept_with, layer_affine, world_matrix
from napari_synthseg.widgets.layers.labels_layer import names_of, rgb, volumes_table
from napari_synthseg.widgets.volumes import shapes

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

    from napari_synthseg.widgets.volumes.table import VolumesTable

FACE = "volumes"
SHADOW = 0.25
"""Brightness of the darkest side of a surface."""
FILES = "STL (*.stl);;OBJ (*.obj);;GIfTI (*.surf.gii)"
_REVERSED = np.eye(4)[[2, 1, 0, 3]]


class StructureActions(QObject):
    """Corrects structures of a layer in a thread, and makes their surfaces; its parent is that of dialogs."""

    said = Signal(str)

    def __init__(self, viewer: ViewerModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer, self._parent = viewer, parent
        self.layer: Labels | None = None
        self._asked: tuple[str, tuple[int, ...], Any] = ("", (), None)
        failed = lambda error: self.said.emit(complain(error, self._asked[0]))  # noqa: E731
        self.job = Job(self, returned=self._on_returned, failed=failed)

    def fill_menu(self, menu: QMenu, values: tuple[int, ...]) -> None:
        solid = self.layer is not None and self.layer.ndim == 3 and not self.job.running
        correct = menu.addMenu("Correct")
        for name in shapes.CORRECTIONS:
            correct.addAction(name).triggered.connect(lambda *_, name=name: self.correct(name, values))
        correct.addSeparator()
        correct.addAction("Undo (Ctrl+Z in the layer)").triggered.connect(lambda *_: self.layer and self.layer.undo())
        correct.setEnabled(solid)
        for text, act in (("Surface as a layer", self.show_surface), ("Save surface…", self.save_surface)):
            action = menu.addAction(text)
            action.triggered.connect(lambda *_, act=act: act(values))
            action.setEnabled(solid)

    def correct(self, name: str, values: tuple[int, ...]) -> None:
        """Correct structures; napari's undo of the layer takes it back."""
        layer = self.layer
        if layer is not None and not self.job.running:
            data = np.asarray(layer.data)
            self._asked = (name, values, (layer, layer.data))
            spacing = np.linalg.norm(world_matrix(layer)[:3, :3], axis=0)
            self.job.start(name, shapes.corrected, data.copy(), values, name, tuple(spacing.tolist()))

    def show_surface(self, values: tuple[int, ...]) -> None:
        """Add the surface of structures as a layer, in the color of the first."""
        if self.layer is not None and not self.job.running:
            self._asked = ("Surface", values, self.layer)
            self.job.start("Surface", shapes.surface_of, np.asarray(self.layer.data), values)

    def save_surface(self, values: tuple[int, ...]) -> None:
        """Ask for a file, and write the surface of structures in scanner coordinates."""
        layer = self.layer
        if layer is None or self.job.running:
            return
        path = ask_for_file(self._parent, FACE, "Save surface", f"{self._name(values)}.stl", FILES)
        if path is not None:
            self._asked = ("Save surface", values, (path, layer_affine(layer)))
            self.job.start("Surface", shapes.surface_of, np.asarray(layer.data), values)

    def _on_returned(self, found: Any) -> None:
        name, values, about = self._asked
        if name == "Surface":
            self._add_surface(found, values, about)
        elif name == "Save surface":
            self._write(found, *about)
        else:
            self._apply(found, name, *about)

    def _apply(self, found: shapes.Correction, name: str, layer: Labels, data: Any) -> None:
        if layer.data is not data:
            self.said.emit("The layer got other voxels meanwhile; correct again.")
            return
        count = len(found.values)
        if count:
            layer.data_setitem(found.indices, found.values)
        self.said.emit(f"{name}: {count:,} voxels changed." if count else f"{name}: nothing to change.")

    def _add_surface(self, found: shapes.Surface, values: tuple[int, ...], layer: Labels) -> None:
        if layer not in self._viewer.layers:
            return
        shown = found.moved(world_matrix(layer))
        color = np.array(rgb(layer, values[0])) / 255
        self._viewer.add_layer(
            SurfaceLayer(
                (shown.points, shown.faces, shown.brightness()),
                name=f"{self._name(values)} surface",
                colormap=[SHADOW * color, color],
                contrast_limits=(0, 1),
                shading="none",  # napari's own light comes from behind if an axis is flipped, as in our 3D view
                units=layer.units[-3:],
                axis_labels=layer.axis_labels[-3:],
            )
        )
        self.said.emit("The surface is a layer; the 3D view shows it best.")

    def _write(self, found: shapes.Surface, path: Any, affine: np.ndarray) -> None:
        try:
            shapes.write_surface(path, found.moved(affine @ _REVERSED))
        except ValueError as error:
            self.said.emit(complain(error, "Saving"))
            return
        self.said.emit(f"Surface saved to {path}.")

    def _name(self, values: tuple[int, ...]) -> str:
        names = names_of(self.layer)
        return " and ".join(names.get(value, str(value)) for value in values[:2])


class VolumesExport(QWidget):
    """Buttons that copy and save volumes, labels and their scan.

    napari's own *Save Selected Layers* starts with the filter of its own formats, which takes no NIfTI.
    """

    def __init__(self, viewer: ViewerModel, table: VolumesTable) -> None:
        super().__init__()
        self._viewer, self._table = viewer, table
        self.layer: Labels | None = None
        ended = lambda *_: self._let_save(True)  # noqa: E731
        self._job = Job(self, returned=ended, failed=ended, stopped=ended)  # stopped by napari's activity bar
        self._job.returned.connect(lambda files: show_info(f"Saved to {files[0]}."))
        self._job.failed.connect(lambda error: complain(error, "Saving"))
        self.copy = button("Copy", "Copy the selected rows, or all, for a spreadsheet (Ctrl+C).", table.copy)
        tip = "Save all volumes in mm³ in one row, as the command line does: a table for `study`."
        self.csv = button("Save table…", tip, self._on_csv)
        tip = "Save the labels on the scan's grid, and a table of names beside."
        self.labels = button("Save labels…", tip, lambda: self._save("Save labels", self.layer))
        self.scan = button("Save scan…", "Save the scan that these labels lie on, as it is.", self._on_scan)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for number, one in enumerate((self.copy, self.csv, self.labels, self.scan)):
            layout.addWidget(one, number // 2, number % 2)

    def _on_csv(self) -> None:
        if self.layer is None:
            return
        path = ask_for_file(self, FACE, "Export volumes", f"{self.layer.name} volumes.csv")
        if path is not None:
            total = kept_with(self.layer).get("intracranial_mm3")
            scan = scan_under(self.layer, self._viewer.layers) or self.layer
            name = str(scan.source.path or scan.name)
            save_lines(path, volumes_table(self._table.structures, name, total), "Volumes")

    def _on_scan(self) -> None:
        scan = scan_under(self.layer, self._viewer.layers)
        if scan is None:
            complain(ValueError("The scan of these labels is not open: open it, or save its layer by File > Save."), "")
            return
        self._save("Save scan", scan)

    def _save(self, title: str, layer: Layer | None) -> None:
        if layer is None or self._job.running:
            return
        from napari_synthseg.io.formats import dialog_filter, writable  # slow to import

        path = ask_for_file(self, FACE, title, f"{layer.name}{writable()[0]}", dialog_filter())
        if path is None:
            return
        data, meta, kind = layer.as_layer_data_tuple()
        kept = data.copy() if isinstance(data, np.ndarray) else data  # not half of a stroke painted meanwhile
        self._let_save(False)
        self._job.start(title, _save, str(path), kept, meta, kind)

    def _let_save(self, enabled: bool) -> None:
        self.labels.setEnabled(enabled)
        self.scan.setEnabled(enabled)


def scan_under(labels: Labels | None, layers: Iterable[Layer]) -> Image | None:
    """Return the scan that labels were made from, else the topmost one in the same place with as many voxels."""
    if labels is None:
        return None
    source = kept_with(labels).get("source", "")
    scans = [layer for layer in layers if isinstance(layer, Image)]
    for scan in scans:
        if str(scan.unique_id) == source:
            return scan
    same = [scan for scan in scans if scan.data.shape == labels.data.shape]
    return next((s for s in reversed(same) if np.allclose(s.extent.world, labels.extent.world, atol=1e-3)), None)


def _save(path: str, data: Any, meta: dict[str, Any], kind: str) -> Generator[Progress, None, list[str]]:
    yield Progress("Writing")
    from napari_synthseg.widgets.layers.writer import save_image, save_labels

    return (save_labels if kind == "labels" else save_image)(path, data, meta)
