"""Choosing a promptable model: those that are at hand, or any other weights file."""

from __future__ import annotations

from pathlib import Path

from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QVBoxLayout, QWidget

from napari_synthseg import promptable_weights
from napari_synthseg.widgets._shared.choices import card_summary, use_folders
from napari_synthseg.widgets._shared.controls import Message, let_shrink
from napari_synthseg.widgets._shared.weights_news import NEWS

OPEN = "Open weights file…"
FILTER = "Promptable weights (*.safetensors *.pt *.pth)"
TIP = "The network that answers: ours, or a checkpoint of SAM or MobileSAM."
OURS = promptable_weights.DEFAULT


class PromptModelChooser(QWidget):
    """A combo box of models, and a sentence where there is none."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models: list[tuple[str, str]] = []  # text and the name or path to load
        self._row = 0
        self.box = QComboBox()
        self.box.setToolTip(TIP)
        let_shrink(self.box)
        self.problem = Message(warning=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addWidget(self.problem)
        self.setFocusProxy(self.box)
        self.refresh()
        self.box.currentIndexChanged.connect(self._on_index)
        NEWS.made.connect(self._on_made)

    def value(self) -> str:
        """The name or the path of the chosen model; empty if there is none."""
        return self._models[self._row][1] if self._row < len(self._models) else ""

    def set_value(self, model: str) -> None:
        """Choose a model; a file is listed if it is there, anything else that is not at hand is ignored."""
        if Path(model).suffix and Path(model).is_file() and model not in self._values():
            self._models.append((Path(model).name, model))
            self._fill(model)
        elif model in self._values():
            self.box.setCurrentIndex(self._values().index(model))

    def refresh(self) -> None:
        """List the models that there are now; the choice stays."""
        chosen = self.value()
        use_folders()
        cards = promptable_weights.available()
        opened = [one for one in self._models if Path(one[1]).suffix]
        self._models = [(str(card["name"]), str(card["name"])) for card in cards] + opened
        self._fill(chosen or OURS)
        for row, card in enumerate(cards):
            self.box.setItemData(row, card_summary(card) or TIP, Qt.ItemDataRole.ToolTipRole)

    def _values(self) -> list[str]:
        return [value for _, value in self._models]

    def _fill(self, chosen: str) -> None:
        before = self.value()
        self.box.blockSignals(True)
        self.box.clear()
        for text, value in self._models:
            self.box.addItem(text)
            self.box.setItemData(self.box.count() - 1, value, Qt.ItemDataRole.ToolTipRole)
        if not self._models:
            self.box.addItem("none found")
        self.box.insertSeparator(self.box.count())
        self.box.addItem(OPEN)
        self._row = self._values().index(chosen) if chosen in self._values() else 0
        self.box.setCurrentIndex(self._row)
        self.box.blockSignals(False)
        self.problem.say("" if self._models else self._nothing())
        if self.value() != before:
            self.changed.emit()

    def _nothing(self) -> str:
        return (
            "No promptable weights were found: put mobile_sam.pt or a checkpoint of SAM into "
            f"{promptable_weights.download_folder()}, or choose {OPEN}"
        )

    def _on_made(self, path: str) -> None:
        """Weights were made in this window, by a training for example."""
        if isalive(self):
            self.refresh()

    def _on_index(self, row: int) -> None:
        if self.box.itemText(row) != OPEN:
            self._row = row
            self.changed.emit()
            return
        self.box.blockSignals(True)
        self.box.setCurrentIndex(self._row)  # the entry is a command, not a choice
        self.box.blockSignals(False)
        chosen, _ = QFileDialog.getOpenFileName(self, "Open weights file", "", FILTER)
        if chosen:
            self.set_value(chosen)
            self.changed.emit()
