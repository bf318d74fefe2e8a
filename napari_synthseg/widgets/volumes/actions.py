"""What the table of volumes does to its structures: corrections that can be undone, surfaces as layers and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Surface as SurfaceLayer
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMenu, QWidget

from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.memory import ask_for_file
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.layers.geometry import layer_affine, world_matrix
from napari_synthseg.widgets.volumes import shapes, visibility

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

FACE = "volumes"
FILES = "STL (*.stl);;OBJ (*.obj);;GIfTI (*.surf.gii)"
_REVERSED = np.eye(4)[[2, 1, 0, 3]]


class StructureActions(QObject):
    """Corrects structures of a layer in a thread, and makes their surfaces.

    Args:
        viewer: gets the surfaces.
        parent: the widget that dialogs belong to.
    """

    said = Signal(str)

    def __init__(self, viewer: ViewerModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer, self._parent = viewer, parent
        self._layer: Labels | None = None
        self._asked: tuple[str, tuple[int, ...], Any] = ("", (), None)
        self._job = Job(self)
        self._job.returned.connect(self._on_returned)
        self._job.failed.connect(lambda error: self.said.emit(complain(error, self._asked[0])))

    @property
    def busy(self) -> bool:
        """Whether something is being made."""
        return self._job.running

    def set_layer(self, layer: Labels | None) -> None:
        """Act on another layer."""
        self._layer = layer

    def fill_menu(self, menu: QMenu, values: tuple[int, ...]) -> None:
        """Add the actions for structures to a menu."""
        solid = self._layer is not None and self._layer.ndim == 3 and not self._job.running
        correct = menu.addMenu("Correct")
        for name in shapes.CORRECTIONS:
            correct.addAction(name).triggered.connect(lambda *_, name=name: self.correct(name, values))
        correct.addSeparator()
        correct.addAction("Undo (Ctrl+Z in the layer)").triggered.connect(lambda *_: self.undo())
        surface = menu.addAction("Surface as a layer")
        surface.triggered.connect(lambda *_: self.show_surface(values))
        save = menu.addAction("Save surface…")
        save.triggered.connect(lambda *_: self.save_surface(values))
        for action in (correct.menuAction(), surface, save):
            action.setEnabled(solid)

    def correct(self, name: str, values: tuple[int, ...]) -> None:
        """Correct structures; napari's undo of the layer takes it back."""
        layer = self._layer
        if layer is not None and not self._job.running:
            data = np.asarray(layer.data)
            self._asked = (name, values, (layer, layer.data))
            self._job.start(name, shapes.corrected, data.copy(), values, name, _spacing(layer))

    def undo(self) -> None:
        """Take the last correction, or stroke of the brush, back."""
        if self._layer is not None:
            self._layer.undo()

    def show_surface(self, values: tuple[int, ...]) -> None:
        """Add the surface of structures as a layer, in the color of the first."""
        if self._layer is not None and not self._job.running:
            self._asked = ("Surface", values, self._layer)
            self._job.start("Surface", shapes.surface_of, np.asarray(self._layer.data), values)

    def save_surface(self, values: tuple[int, ...]) -> None:
        """Ask for a file, and write the surface of structures in scanner coordinates."""
        layer = self._layer
        if layer is None or self._job.running:
            return
        path = ask_for_file(self._parent, FACE, "Save surface", f"{self._name(values)}.stl", FILES)
        if path is not None:
            self._asked = ("Save surface", values, (path, layer_affine(layer)))
            self._job.start("Surface", shapes.surface_of, np.asarray(layer.data), values)

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
        red, green, blue = (part / 255 for part in visibility.rgb(layer, values[0]))
        self._viewer.add_layer(
            SurfaceLayer(
                (shown.points, shown.faces, np.ones(len(shown.points))),
                name=f"{self._name(values)} surface",
                colormap=[(red, green, blue), (red, green, blue)],
                contrast_limits=(0, 1),
                shading="smooth",
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
        features = self._layer.features if self._layer is not None else None
        names = dict(zip(features["index"], features["name"], strict=True)) if features is not None else {}
        return " and ".join(str(names.get(value, value)) for value in values[:2])


def _spacing(layer: Labels) -> tuple[float, ...]:
    return tuple(float(size) for size in np.linalg.norm(world_matrix(layer)[:3, :3], axis=0))
