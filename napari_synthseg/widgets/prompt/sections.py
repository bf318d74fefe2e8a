"""Parts of the *Prompt* widget that are folded away: options, the list of keys, the list of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, Signal
from qtpy.QtWidgets import QFormLayout, QLabel

from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.widgets._shared.choices import Choice, device_choices, preference
from napari_synthseg.widgets._shared.controls import Section, check_box, column, combo, form_layout
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets._shared.table import Column, Table
from napari_synthseg.widgets.layers.labels_layer import rgb
from napari_synthseg.widgets.prompt.engine import EACH, LAYER, WHOLE
from napari_synthseg.widgets.prompt.pointing import ACTIONS, key_text, on_keys_changed

if TYPE_CHECKING:
    from napari.layers import Labels

WINDOWS = [
    Choice(WHOLE, "The whole image's range", "From the 0.5th to the 99.5th percentile of the whole image."),
    Choice(LAYER, "The layer's contrast limits", "What is black and white in the layer, as in a CT window."),
    Choice(EACH, "Each slice's own range", "From the 0.5th to the 99.5th percentile of each slice."),
]
TEXTS = {
    "direction": "Follow",
    "least_score": "Least score",
    "least_overlap": "Least overlap",
    "most_growth": "Most growth",
    "most_slices": "Most slices",
    "vote": "Vote of three axes",
}
DIRECTIONS = [Choice("both", "both ways"), Choice("up", "to higher slices"), Choice("down", "to lower slices")]


class PromptOptionsSection(Section):
    """The options; `changed` when what the model sees has to be seen anew."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__("Options", "What is rarely changed")
        self.window = combo(WINDOWS, "Which values the model sees as black and white.")
        self.device = combo(device_choices(), "Where the network runs.")
        self.device.setCurrentIndex(max(0, self.device.findData(preference("device", "auto"))))
        self.keep_others = check_box(
            "Keep other labels", "A new object does not take voxels that have another label already."
        )
        self.protect = check_box(
            "Refine protects other structures", "A refined structure does not take voxels of its neighbors.", True
        )
        self.keep = check_box(
            "Keep encodings on disk",
            "An image that was prompted before is answered at once in another session. 2 MiB a slice, in the cache.",
        )
        self.follow = OptionsForm(
            PropagateOptions,
            usual=("direction", "most_slices"),
            texts=TEXTS,
            choices={"direction": DIRECTIONS},
            nothing={"most_slices": "to the end"},
        )
        form = form_layout()
        form.addRow("&Window", self.window)
        form.addRow("&Device", self.device)
        for box in (self.keep_others, self.protect, self.keep):
            form.addRow(box)
        column(form, self.follow, parent=self.body).setContentsMargins(8, 0, 0, 0)
        self.window.currentIndexChanged.connect(self.changed)
        self.device.currentIndexChanged.connect(self.changed)

    def values(self) -> dict[str, Any]:
        return {
            "window": self.window.currentData(),
            "device": self.device.currentData(),
            "keep_others": self.keep_others.isChecked(),
            "protect": self.protect.isChecked(),
            "keep": self.keep.isChecked(),
            "follow": self.follow.differences(),
        }

    def set_values(self, values: dict[str, Any]) -> None:
        for name, box in (("window", self.window), ("device", self.device)):
            if (row := box.findData(values.get(name))) >= 0:
                box.setCurrentIndex(row)
        self.keep_others.setChecked(bool(values.get("keep_others", False)))
        self.protect.setChecked(bool(values.get("protect", True)))
        self.keep.setChecked(bool(values.get("keep", False)))
        follow = values.get("follow")
        self.follow.set_values(follow if isinstance(follow, dict) else {})


class KeysSection(Section):
    """The keys as they are bound now; napari's preferences change them."""

    def __init__(self) -> None:
        super().__init__("Keys", "Other keys: File > Preferences > Shortcuts, Viewer.")
        self.labels: dict[str, QLabel] = {}
        form = QFormLayout(self.body)
        form.setContentsMargins(8, 0, 0, 0)
        form.setVerticalSpacing(1)
        for keys, text in (("Click", "Inside"), ("Ctrl or Alt + click", "Outside"), ("Shift + drag", "Box")):
            form.addRow(QLabel(keys), QLabel(text))
        for action in ACTIONS:
            self.labels[action.name] = QLabel()
            form.addRow(self.labels[action.name], QLabel(action.text))
        self.release = on_keys_changed(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        for action in ACTIONS:
            self.labels[action.name].setText(key_text(action) or "-")


MOST_LINES = 8
ID, NAME = 0, 1


class ObjectsList(Table):
    """A row for each label, [id, name]."""

    renamed = Signal(int, str)
    refining = Signal(int)  # a double click

    def __init__(self) -> None:
        super().__init__("Objects", names=NAME)
        self.setToolTip("The objects of the layer. Double-click an id to refine the object, a name to rename it.")
        self.setSelectionMode(Table.SelectionMode.SingleSelection)
        self.setEditTriggers(Table.EditTrigger.DoubleClicked | Table.EditTrigger.EditKeyPressed)
        self.edited.connect(self._on_edited)
        self.doubleClicked.connect(self._on_double_click)
        self.hide()

    def show_structures(self, structures: Mapping[int, str], layer: Labels | None) -> None:
        chosen = self.chosen()
        color = None if layer is None else lambda row: rgb(layer, row[ID])
        ids = Column("Id", "Value in the layer", lambda row: str(row[ID]), lambda row: row[ID], color=color)
        names = Column("Name", "What it is", lambda row: row[NAME], number=False, editable=True)
        self.show_rows([list(item) for item in structures.items()], (ids, names))
        self.setVisible(bool(structures))
        self.fit_height(MOST_LINES)
        if chosen is not None:
            self.choose(chosen)

    def chosen(self) -> int | None:
        return next((row[ID] for row in self.selected()), None)

    def choose(self, value: int) -> None:
        self.select(next((row for row in self.rows if row[ID] == value), None))

    def _on_edited(self, row: list[Any], text: str) -> None:
        row[NAME] = text
        self.renamed.emit(*row)

    def _on_double_click(self, index: QModelIndex) -> None:
        if index.column() == ID:
            self.refining.emit(self.row_at(index)[ID])
