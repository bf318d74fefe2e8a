"""Choosing the data of one option: the bundled sample, layers of the viewer, or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.controls import Message, let_shrink
from napari_synthseg.widgets.layers.geometry import LayerScan, layer_problem, layer_scan, shown_volume
from napari_synthseg.widgets.train.new_run_model import LABELS, PAIRS, SCANS, DataField, DataSource, bundled, partner
from napari_synthseg.widgets.train.samples import is_sample

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

NOTHING, BUNDLED, LAYERS, OPEN, OPEN_FILE = "nothing", "bundled", "layers", "open folder…", "open file…"
WORDS = {LABELS: "label maps", SCANS: "scans", PAIRS: "labelled scans"}
BUNDLED_TEXT = {LABELS: "Bundled label map (one head)", SCANS: "MNI152 T1 (one scan)"}
LAYERS_TEXT = {
    LABELS: "Labels layers of the viewer",
    SCANS: "Image layers of the viewer",
    PAIRS: "Image layers with their labels",
}
NO_LAYERS = {
    LABELS: "The viewer has no 3D Labels layer: open label maps first, or choose a folder.",
    SCANS: "The viewer has no 3D Image layer: open scans first, or choose a folder.",
    PAIRS: "The viewer has no Image layer with a Labels layer on the same grid: open both, or choose a folder.",
}
SHOWN_ROWS = 5


class DataChooser(QWidget):
    """A combo box of sources; below it, for layers, a list of them with check marks.

    Args:
        viewer: whose layers are offered.
        field: the option.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, field: DataField, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self.field = viewer, field
        self._paths: list[Path] = []
        self._chosen: Any = None
        self._unchecked: set[int] = set()
        self.box = QComboBox()
        self.box.setToolTip(field.field.doc)
        let_shrink(self.box)
        self.layers = QListWidget()
        self.layers.setAccessibleName(f"Layers for {field.field.label.lower()}")
        self.layers.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.layers.itemChanged.connect(self._on_checked)
        self.problem_text = Message()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for part in (self.box, self.layers, self.problem_text):
            layout.addWidget(part)
        self.setFocusProxy(self.box)
        self._fill_box()
        self._chosen = self.box.currentData()
        self.box.activated.connect(self._on_activated)
        self.box.currentIndexChanged.connect(self._on_index)
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._on_layers)
        self._show_layers()

    @property
    def name(self) -> str:
        """Name of the option."""
        return self.field.name

    def chosen(self) -> Any:
        """Return the chosen path or fixed entry."""
        return self._chosen

    def choose(self, value: Any) -> None:
        """Choose a fixed entry, or a path, which is added to the list."""
        if isinstance(value, Path) and value not in self._paths:
            self._paths.insert(0, value)
            self._fill_box()
        row = next((row for row in range(self.box.count()) if _same(self.box.itemData(row), value)), -1)
        if row >= 0:
            self.box.setCurrentIndex(row)

    def problem(self) -> str | None:
        """Return why the choice cannot be used, as a sentence."""
        if self._chosen == OPEN and self.field.field.required:
            return f"Choose {WORDS[self.field.kind]} to train on."
        if self._chosen == LAYERS and not self._checked():
            return NO_LAYERS[self.field.kind] if not self.layers.count() else "Tick at least one layer."
        if isinstance(self._chosen, Path) and not self._chosen.exists():
            return f"{self._chosen} does not exist: choose another folder."
        return None

    def source(self) -> DataSource | None:
        """Return the choice for a worker; None if nothing was chosen.

        Raises:
            InputError: a layer is no scan.
        """
        if (problem := self.problem()) is not None:
            raise InputError(problem)
        if self._chosen == BUNDLED:
            return DataSource(files=bundled(self.field.kind))
        if self._chosen == LAYERS:
            return self._layers_source()
        return DataSource(path=self._chosen) if isinstance(self._chosen, Path) else None

    def _layers_source(self) -> DataSource:
        layers = self._checked()
        if self.field.kind == LABELS:
            return DataSource(labels=tuple(self._scan(one) for one in layers))
        scans = tuple(self._scan(one) for one in layers)
        if self.field.kind == SCANS:
            return DataSource(scans=scans)
        partners = [one for layer in layers if (one := partner(layer, self._label_layers())) is not None]
        return DataSource(scans=scans, labels=tuple(self._scan(one) for one in partners))

    def _scan(self, layer: Layer) -> LayerScan:
        return layer_scan(layer, shown_volume(layer, self._viewer.dims) if layer.ndim == 4 else None)

    def _candidates(self) -> list[Layer]:
        """Return the layers that may be chosen, top ones first."""
        if self.field.kind == LABELS:
            return self._label_layers()
        images = self._layers_of(Image)
        if self.field.kind == SCANS:
            return images
        return [one for one in images if partner(one, self._label_layers()) is not None]

    def _label_layers(self) -> list[Layer]:
        return self._layers_of(Labels)

    def _layers_of(self, kind: type[Layer]) -> list[Layer]:
        ours = [one for one in reversed(self._viewer.layers) if isinstance(one, kind) and not is_sample(one)]
        return [one for one in ours if layer_problem(one) is None]

    def _checked(self) -> list[Layer]:
        return [one for one in self._candidates() if id(one) not in self._unchecked]

    def _fill_box(self) -> None:
        kind, before = self.field.kind, self._chosen
        self.box.blockSignals(True)
        self.box.clear()
        if not self.field.field.required:
            self._add("none", NOTHING)
        if bundled(kind):
            self._add(BUNDLED_TEXT[kind], BUNDLED)
        self._add(LAYERS_TEXT[kind], LAYERS)
        for path in self._paths:
            self._add(path.name or str(path), path, str(path))
        self._add(f"Folder of {WORDS[kind]}…", OPEN)
        if "file" in self.field.field.doc.lower() and kind == LABELS:
            self._add("Prepared maps (.npz)…", OPEN_FILE)
        row = next((row for row in range(self.box.count()) if _same(self.box.itemData(row), before)), 0)
        self.box.setCurrentIndex(row)
        self.box.blockSignals(False)

    def _add(self, text: str, value: Any, tip: str = "") -> None:
        self.box.addItem(text, value)
        self.box.setItemData(self.box.count() - 1, tip or self.field.field.doc, Qt.ItemDataRole.ToolTipRole)

    def _on_index(self, row: int) -> None:
        value = self.box.itemData(row)
        if value in (OPEN, OPEN_FILE) and isinstance(value, str):
            return  # until a folder was chosen, see `_on_activated`
        if not _same(value, self._chosen):
            self._chosen = value
            self._show_layers()
            self.changed.emit()

    def _on_activated(self, row: int) -> None:
        value = self.box.itemData(row)
        if not isinstance(value, str) or value not in (OPEN, OPEN_FILE):
            return
        title = f"Choose {WORDS[self.field.kind]}"
        if value == OPEN:
            name = QFileDialog.getExistingDirectory(self, title)
        else:
            name, _ = QFileDialog.getOpenFileName(self, title, "", "Prepared maps (*.npz)")
        self.choose(Path(name) if name else self._chosen)

    def _on_layers(self, event: Any = None) -> None:
        if isalive(self):
            self._show_layers()
            if self._chosen == LAYERS:
                self.changed.emit()

    def _show_layers(self) -> None:
        shown = self._chosen == LAYERS
        candidates = self._candidates() if shown else []
        self.layers.blockSignals(True)
        self.layers.clear()
        for layer in candidates:
            item = QListWidgetItem(self._words(layer))
            item.setData(Qt.ItemDataRole.UserRole, id(layer))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked if id(layer) in self._unchecked else Qt.CheckState.Checked)
            item.setToolTip(item.text())
            self.layers.addItem(item)
        self.layers.blockSignals(False)
        self.layers.setVisible(bool(candidates))
        if candidates:
            height = max(18, self.layers.sizeHintForRow(0))
            self.layers.setFixedHeight(height * min(len(candidates), SHOWN_ROWS) + 2 * self.layers.frameWidth() + 2)
        self.problem_text.say(NO_LAYERS[self.field.kind] if shown and not candidates else "")

    def _words(self, layer: Layer) -> str:
        if self.field.kind != PAIRS:
            return str(layer.name)
        other = partner(layer, self._label_layers())
        return f"{layer.name} + {other.name}" if other is not None else str(layer.name)

    def _on_checked(self, item: QListWidgetItem) -> None:
        key = item.data(Qt.ItemDataRole.UserRole)
        if Qt.CheckState(item.checkState()) == Qt.CheckState.Checked:
            self._unchecked.discard(key)
        else:
            self._unchecked.add(key)
        self.changed.emit()


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
