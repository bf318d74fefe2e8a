"""Choosing a model: the weights there are, any other weights file, and the card that says what a model is."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg import weights
from napari_synthseg.widgets._shared.choices import card_rows, card_summary, model_cards, weights_card
from napari_synthseg.widgets._shared.controls import Message, WrappedLabel, let_shrink
from napari_synthseg.widgets._shared.weights_news import NEWS

OPEN = "Open weights file…"
FILTER = "Weights (*.safetensors *.h5)"
TIP = "The network and its weights. The button beside it says what a model was trained on and how good it is."
SHORT = 16
"""Characters of a checksum that are shown."""


class ModelChooser(QWidget):
    """A combo box of models, with a button for the card.

    Attributes:
        card: shows the chosen model's card; hidden until asked for, and placed by the face that uses the chooser.
    """

    changed = Signal()
    listed = Signal()  # the weights that there are may be others than before

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cards: list[dict[str, Any]] = []
        self._opened: list[Path] = []
        self._row = 0
        self.box = QComboBox()
        self.box.setToolTip(TIP)
        let_shrink(self.box)
        self.box.setMinimumContentsLength(5)
        self.about = QPushButton("i")
        self.about.setFixedWidth(26)
        self.about.setToolTip("Show the model's card: training data, scores, licence, file.")
        self.about.setAccessibleName("Model card")
        self.about.setCheckable(True)
        self.card = ModelCard()
        self.problem = Message(warning=True)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box, 1)
        row.addWidget(self.about)
        self.setFocusProxy(self.box)
        self.refresh()
        self.box.currentIndexChanged.connect(self._on_index)
        self.about.toggled.connect(self._on_about)
        NEWS.made.connect(self._on_made)

    def values(self) -> dict[str, Any]:
        """The options `model` and `weights`."""
        card = self.chosen
        return {"model": weights.DEFAULT, "weights": None} if card is None else self.values_of(card)

    def values_of(self, card: dict[str, Any]) -> dict[str, Any]:
        """The options `model` and `weights` that mean one of the cards."""
        path = Path(card["path"])
        if path in self._opened:
            return {"model": weights.DEFAULT, "weights": path}
        return {"model": card["name"], "weights": None}

    @property
    def cards(self) -> list[dict[str, Any]]:
        """The cards of all models that are listed."""
        return list(self._cards)

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Choose a model by its name, or by its file; what is not there is ignored."""
        if values.get("weights"):
            self.open(Path(values["weights"]), quiet=True)
            return
        names = [card["name"] for card in self._cards]
        if values.get("model") in names:
            self.box.setCurrentIndex(names.index(values["model"]))

    def open(self, path: Path, *, quiet: bool = False) -> None:
        """Choose a weights file; one that cannot be used is told below the combo box, unless `quiet`."""
        try:
            card = weights_card(path)
        except (ValueError, OSError) as error:
            sentence = str(error) if isinstance(error, ValueError) else f"{path} cannot be read ({error.strerror})."
            self.problem.say("" if quiet else sentence)
            return
        self.problem.say("")
        if path not in self._opened:
            self._opened.append(path)
        self._fill([*(one for one in self._cards if one["path"] != str(path)), card], card)

    def refresh(self) -> None:
        """List the weights that there are now; the choice stays."""
        found = sorted(model_cards(), key=lambda card: card["name"] != weights.DEFAULT)
        known = {card["path"] for card in found}
        kept = [card for card in self._cards if Path(card["path"]) in self._opened and card["path"] not in known]
        self._fill([*found, *kept], self.chosen)

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The card of the chosen model; None where there are no weights."""
        row = self.box.currentIndex()
        return self._cards[row] if 0 <= row < len(self._cards) else None

    def _fill(self, cards: list[dict[str, Any]], chosen: dict[str, Any] | None) -> None:
        before = self.chosen
        self._cards = cards
        self.box.blockSignals(True)
        self.box.clear()
        for row, card in enumerate(cards):
            self.box.addItem(card["name"])
            self.box.setItemData(row, card_summary(card), Qt.ItemDataRole.ToolTipRole)
        if not cards:
            self.box.addItem(f"{weights.DEFAULT} (not found)")
        self.box.insertSeparator(self.box.count())
        self.box.addItem(OPEN)
        last = self.box.count() - 1
        tip = "A .safetensors file with its card, or a SynthSeg .h5 file."
        self.box.setItemData(last, tip, Qt.ItemDataRole.ToolTipRole)
        paths = [card["path"] for card in cards]
        self._row = paths.index(chosen["path"]) if chosen and chosen["path"] in paths else 0
        self.box.setCurrentIndex(self._row)
        self.box.blockSignals(False)
        self.card.show_card(self.chosen)
        self.listed.emit()
        if before != self.chosen:
            self.changed.emit()

    def _on_index(self, row: int) -> None:
        if self.box.itemText(row) != OPEN:
            self._row = row
            self.problem.say("")
            self.card.show_card(self.chosen)
            self.changed.emit()
            return
        self.box.setCurrentIndex(self._row)  # the entry is a command, not a choice
        chosen, _ = QFileDialog.getOpenFileName(self, "Open weights file", "", FILTER)
        if chosen:
            self.open(Path(chosen))

    def _on_made(self, path: str) -> None:
        """Weights were made in this window, by a training for example."""
        if isalive(self):
            self.refresh()

    def _on_about(self, shown: bool) -> None:
        self.card.setVisible(shown)


class ModelCard(QFrame):
    """The table of `choices.card_rows`, with a button that copies it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._rows: list[tuple[str, str]] = []
        self.text = WrappedLabel()
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.copy = QPushButton("Copy card")
        self.copy.setToolTip("Copy the whole card, with the file's path and its full checksum.")
        self.copy.clicked.connect(self._on_copy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(self.text)
        layout.addWidget(self.copy, 0, Qt.AlignmentFlag.AlignRight)
        self.hide()

    def show_card(self, card: dict[str, Any] | None) -> None:
        """Show another card; None says that there are no weights."""
        self._rows = card_rows(card) if card else [("About", f"No weights named {weights.DEFAULT} were found.")]
        lines = [f"<b>{name}</b>: {_breakable(_short(name, value))}" for name, value in self._rows if name != "Folder"]
        self.text.setText("<br>".join(lines))
        self.text.setToolTip(
            "\n".join(f"{name}: {value}" for name, value in self._rows if name in ("Folder", "SHA-256"))
        )

    def _on_copy(self) -> None:
        QApplication.clipboard().setText("\n".join(f"{name}: {value}" for name, value in self._rows))


def _short(name: str, value: str) -> str:
    return f"{value[:SHORT]}…" if name == "SHA-256" else value


def _breakable(text: str) -> str:
    """A text as HTML that may break after the separators of long file names."""
    return html.escape(text).replace("_", "_&#8203;").replace("/", "/&#8203;")
