"""Combo boxes of layers, files and fixed entries that follow the viewer's layer list; models with their cards."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import SignalInstance
from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFrame, QWidget
from superqt.utils import signals_blocked

from napari_synthseg.weights import catalogue, sam
from napari_synthseg.widgets._shared import choices
from napari_synthseg.widgets._shared.choices import Choice, card_rows, card_summary
from napari_synthseg.widgets._shared.controls import Message, WrappedLabel, button, column, let_shrink, listen, row

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


@dataclass(frozen=True)
class Opener:
    """An entry that opens a dialog."""

    text: str
    title: str
    """Of the dialog."""
    filters: Callable[[], str] | None = None
    """Qt's filter of files; None asks for a folder."""
    tip: str = ""

    def ask(self, parent: QWidget) -> Path | None:
        if self.filters is None:
            name = QFileDialog.getExistingDirectory(parent, self.title)
        else:
            name, _ = QFileDialog.getOpenFileName(parent, self.title, "", self.filters())
        return Path(name) if name else None


class ChoiceBox(QComboBox):
    """A combo box of entries, of paths that were added, and of openers, which add a path.

    `tip` is that of the box, and of entries without one.
    """

    changed = Signal()  # another entry is chosen
    opened = Signal(object)  # a path from an opener's dialog, which the owner adds by `choose` if it can be used

    def __init__(self, entries: Sequence[Choice] = (), openers: Sequence[Opener] = (), tip: str = "") -> None:
        super().__init__()
        self._entries, self._openers, self._tip = list(entries), list(openers), tip
        self._paths: list[Path] = []
        self._chosen: Any = None
        let_shrink(self)
        self.setToolTip(tip)
        self.currentIndexChanged.connect(self._on_index)
        self.fill()

    def chosen(self) -> Any:
        return self._chosen

    def choose(self, value: Any) -> None:
        """Choose an entry by its value; a path is added to the list, another value that is not listed is ignored."""
        if isinstance(value, Path) and value not in self._paths:
            self._paths.insert(0, value)
            self.fill()
        row = self._row_of(value)
        if row >= 0:
            self.setCurrentIndex(row)

    def entries(self) -> list[Choice]:
        return self._entries

    def show_entries(self, entries: Sequence[Choice], chosen: Any) -> None:
        """List other entries and choose one, without a signal."""
        self._entries, self._chosen = list(entries), chosen
        self.fill()

    def fill(self) -> bool:
        """List the entries again; return whether another one had to be chosen, which is not signaled."""
        shown = [*self.entries(), *(Choice(path, path.name or str(path), str(path)) for path in self._paths)]
        with signals_blocked(self):
            self.clear()
            for number, one in enumerate((*shown, *(Choice(one, one.text, one.tip) for one in self._openers))):
                self.addItem(one.text, one.value)
                self.setItemData(number, one.tip or self._tip, Qt.ItemDataRole.ToolTipRole)
            row = self._row_of(self._chosen)
            self.setCurrentIndex(max(row, 0) if shown else -1)
        before, self._chosen = self._chosen, self.currentData()
        return not _same(before, self._chosen)

    def _row_of(self, value: Any) -> int:
        return next((row for row in range(self.count()) if _same(self.itemData(row), value)), -1)

    def _on_index(self, row: int) -> None:
        value = self.itemData(row)
        if value in self._openers:
            self.setCurrentIndex(self._row_of(self._chosen))  # the entry is a command, not a choice
            path = value.ask(self)
            if path is not None:
                self.opened.emit(path)
        elif not _same(value, self._chosen):
            self._chosen = value
            self.changed.emit()


class LayerChooser(ChoiceBox):
    """Lists the viewer's layers of one type, newest first, and keeps its choice while that layer lives.

    `accepts` tells whether a layer of the type is listed, `follows` whether selecting it in the layer list chooses it;
    `fixed` entries and `openers` stand before and after the layers.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        layer_type: type[Layer],
        accepts: Callable[[Layer], bool] = lambda layer: True,
        *,
        follows: Callable[[Layer], bool] = lambda layer: True,
        fixed: Sequence[Choice] = (),
        openers: Sequence[Opener] = (),
        tip: str = "",
    ) -> None:
        self._viewer, self._type, self._accepts, self._follows = viewer, layer_type, accepts, follows
        self._layers: list[Layer] = []
        super().__init__(fixed, openers, tip)
        events = viewer.layers.events
        changes = events.inserted, events.removed, events.reordered, events.renamed
        listen(self, lambda one, event: one._on_layers(event), *changes)
        listen(self, LayerChooser._follow_active, viewer.layers.selection.events.active)
        self._on_layers()
        self._follow_active()

    def layer(self) -> Layer | None:
        """Return the chosen layer; None if there is none, or another entry is chosen."""
        return self._chosen if isinstance(self._chosen, self._type) else None

    def set_layer(self, layer: Layer | None) -> None:
        self.choose(layer)

    def entries(self) -> list[Choice]:
        return [*self._entries, *(Choice(layer, layer.name, layer.name) for layer in self._layers)]

    def refilled(self, other: bool) -> None:
        """Called when the list was filled again, perhaps with another choice."""
        self.changed.emit()

    def _on_layers(self, event: object = None) -> None:
        ours = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, self._type)]
        self._layers = [layer for layer in ours if self._accepts(layer)]
        self.refilled(self.fill())

    def _follow_active(self, event: object = None) -> None:
        active = self._viewer.layers.selection.active
        if active in self._layers and self._follows(active):
            self.set_layer(active)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two entries are the same; layers are compared by identity, since they may hold arrays."""
    return one is other or (type(one) is type(other) and isinstance(one, (str, Path, Opener)) and one == other)


# Models

OPEN = "Open weights file…"
SHORT = 16
"""Characters of a checksum that are shown."""


WEIGHTS_MADE = SignalInstance((str,))
"""A file of weights was written: its path; emitted and heard on the main thread."""


@dataclass(frozen=True)
class Models:
    """A kind of models.

    Attributes:
        default: the name of the first choice.
        found: lists the cards at hand, each with "name" and "path".
        read: makes the card of a file; raises `ValueError` or `OSError` if it cannot be used.
        files: Qt's filter of files.
        nothing: the remedy if there is none.
    """

    default: str
    found: Callable[[], list[dict[str, Any]]]
    read: Callable[[Path], dict[str, Any]]
    files: str
    tip: str
    file_tip: str
    nothing: Callable[[], str]


def _promptable() -> list[dict[str, Any]]:
    choices.use_folders()
    return sam.available()


def _promptable_card(path: Path) -> dict[str, Any]:
    card = catalogue.read_card(path) if path.with_suffix(".json").is_file() else {}
    return {**card, "name": path.name, "path": str(path)}


SEGMENTERS = Models(
    catalogue.DEFAULT,
    lambda: sorted(choices.model_cards(), key=lambda card: card["name"] != catalogue.DEFAULT),
    lambda path: choices.weights_card(path),
    "Weights (*.safetensors *.h5)",
    "The network and its weights. The button beside it shows training data and scores.",
    "A .safetensors file with its card, or a SynthSeg .h5 file.",
    lambda: f"No weights named {catalogue.DEFAULT} were found: choose {OPEN}",
)
PROMPTABLE = Models(
    sam.DEFAULT,
    _promptable,
    _promptable_card,
    "Promptable weights (*.safetensors *.pt *.pth)",
    "The network that answers: ours, or a checkpoint of SAM or MobileSAM.",
    "A .safetensors file of ours, or a checkpoint of SAM or MobileSAM.",
    lambda: (
        "No promptable weights were found: put mobile_sam.pt or a checkpoint of SAM into "
        f"{catalogue.cache_folder() / 'weights'}, or choose {OPEN}"
    ),
)


class ModelChooser(QWidget):
    """A combo box of models, with a button for the card.

    Attributes:
        card: shows the chosen model's card; hidden until asked for, and placed by the face that uses the chooser.
        problem: why a file cannot be used, or that there are no models; placed likewise.
    """

    changed = Signal()
    listed = Signal()  # the weights may be others than before

    def __init__(self, models: Models = SEGMENTERS, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models = models
        self.cards: list[dict[str, Any]] = []
        self._opened: list[Path] = []
        opener = Opener(OPEN, "Open weights file", lambda: models.files, models.file_tip)
        self.box = ChoiceBox(openers=[opener], tip=models.tip)
        self.box.setMinimumContentsLength(5)
        tip = "Show the model's card: training data, scores, license, file."
        self.about = button("i", tip, name="Model card", width=26, checkable=True)
        self.card = ModelCard()
        self.problem = Message(warning=True)
        row((self.box, 1), self.about, parent=self)
        self.setFocusProxy(self.box)
        self.refresh()
        self.box.changed.connect(self._on_changed)
        self.box.opened.connect(self.open)
        self.about.toggled.connect(self.card.setVisible)
        WEIGHTS_MADE.connect(self._on_made)

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The card of the chosen model; None if there are no weights."""
        return next((card for card in self.cards if _key(card) == self.box.chosen()), None)

    def value(self) -> str:
        card = self.chosen
        return "" if card is None else str(card["path"] if self._is_opened(card) else card["name"])

    def values(self) -> dict[str, Any]:
        return {"model": self._models.default, "weights": None} if self.chosen is None else self.values_of(self.chosen)

    def values_of(self, card: dict[str, Any]) -> dict[str, Any]:
        """Return the options `model` and `weights` that mean one of the cards."""
        if self._is_opened(card):
            return {"model": self._models.default, "weights": Path(card["path"])}
        return {"model": card["name"], "weights": None}

    def set_values(self, values: Mapping[str, Any]) -> None:
        self.set_value(str(values.get("weights") or values.get("model") or ""))

    def set_value(self, name_or_path: str) -> None:
        """Choose a model by its name, or by its file; a missing one is ignored."""
        named = next((card for card in self.cards if card["name"] == name_or_path), None)
        if named is not None:
            self.box.choose(_key(named))
        elif Path(name_or_path).is_file():
            self.open(Path(name_or_path), quiet=True)

    def open(self, path: Path, *, quiet: bool = False) -> None:
        """Choose a weights file; if it cannot be used, say why below the combo box, unless `quiet`."""
        try:
            card = self._models.read(path)
        except (ValueError, OSError) as error:
            sentence = str(error) if isinstance(error, ValueError) else f"{path} cannot be read ({error.strerror})."
            self.problem.say("" if quiet else sentence)
            return
        if path not in self._opened:
            self._opened.append(path)
        self._fill([*(one for one in self.cards if one.get("path") != str(path)), card], card)

    def refresh(self) -> None:
        found = self._models.found()
        known = {card.get("path") for card in found}
        kept = [card for card in self.cards if self._is_opened(card) and card["path"] not in known]
        default = next((card for card in found if card["name"] == self._models.default), None)
        self._fill([*found, *kept], self.chosen or default)

    def _is_opened(self, card: dict[str, Any]) -> bool:
        return Path(card.get("path", "")) in self._opened

    def _fill(self, cards: list[dict[str, Any]], chosen: dict[str, Any] | None) -> None:
        before = self.chosen
        self.cards = cards
        entries = [Choice(_key(card), card["name"], card_summary(card)) for card in cards]
        missing = [Choice(None, f"{self._models.default} (not found)")]
        self.box.show_entries(entries or missing, _key(chosen) if chosen else None)
        self._show_chosen()
        self.listed.emit()
        if before != self.chosen:
            self.changed.emit()

    def _show_chosen(self) -> None:
        nothing = "" if self.cards else self._models.nothing()
        self.problem.say(nothing)
        self.card.show_card(self.chosen, nothing)

    def _on_changed(self) -> None:
        self._show_chosen()
        self.changed.emit()

    def _on_made(self, path: str) -> None:
        """List weights that were made in this window, by a training for example."""
        if isalive(self):
            self.refresh()


def _key(card: dict[str, Any]) -> str:
    return str(card.get("path") or card["name"])


class ModelCard(QFrame):
    """The table of `choices.card_rows`."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = WrappedLabel()
        self.text.setTextFormat(Qt.TextFormat.RichText)
        column(self.text, parent=self, margin=5)
        self.hide()

    def show_card(self, card: dict[str, Any] | None, nothing: str = "") -> None:
        rows = card_rows(card) if card else [("About", nothing)]
        shown = [(name, f"{value[:SHORT]}…" if name == "SHA-256" else value) for name, value in rows]
        self.text.setText("<br>".join(f"<b>{name}</b>: {_breakable(text)}" for name, text in shown if name != "Folder"))
        self.text.setToolTip("\n".join(f"{name}: {text}" for name, text in rows if name in ("Folder", "SHA-256")))


def _breakable(text: str) -> str:
    """Format a text as HTML that may break after the separators of long file names."""
    return html.escape(text).replace("_", "_&#8203;").replace("/", "/&#8203;")
