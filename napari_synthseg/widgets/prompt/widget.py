"""The *Prompt* widget: choose an image, click on a thing, get its outline; accept it as a named label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import napari
from napari.layers import Image, Labels
from napari.utils.interactions import Shortcut
from qtpy.compat import isalive
from qtpy.QtCore import QModelIndex, Signal
from qtpy.QtWidgets import QButtonGroup, QLabel, QLineEdit, QPushButton
from superqt.utils import signals_blocked

from napari_synthseg.fields import Info
from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.widgets._shared.choices import Choice, device_choices, preference
from napari_synthseg.widgets._shared.choosers import PROMPTABLE, LayerChooser, ModelChooser
from napari_synthseg.widgets._shared.controls import (
    Message,
    Section,
    button,
    column,
    form_layout,
    row,
    spin_box,
)
from napari_synthseg.widgets._shared.face import ScrolledFace
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets._shared.table import Column, Table
from napari_synthseg.widgets._shared.user import recall, remember
from napari_synthseg.widgets.evaluate.model import is_errors
from napari_synthseg.widgets.layers.labels_layer import rgb
from napari_synthseg.widgets.prompt.engine import EACH, LAYER, WHOLE, MakeSession, make_session
from napari_synthseg.widgets.prompt.objects import Objects, is_made, named, next_value, structures
from napari_synthseg.widgets.prompt.pending import DrawingTool, is_ours
from napari_synthseg.widgets.prompt.pointing import KEYS, bind_keys, release_keys
from napari_synthseg.widgets.prompt.prompting import Prompting
from napari_synthseg.widgets.view.bar import ViewBar

FACE = "prompt"
OFF, ON = "Start &prompting", "Prompting: click on the image"
SIMILAR = "Segment all &like it"
FOLLOW, STOP = "Follow &through slices", "S&top following"
ACCENT = "QPushButton:checked { background-color: #0072b2; color: white; font-weight: bold; }"


WINDOWS = [
    Choice(WHOLE, "The whole image's range", "From the 0.5th to the 99.5th percentile of the whole image."),
    Choice(LAYER, "The layer's contrast limits", "What is black and white in the layer, as in a CT window."),
    Choice(EACH, "Each slice's own range", "From the 0.5th to the 99.5th percentile of each slice."),
]
DIRECTIONS = [Choice("both", "both ways"), Choice("up", "to higher slices"), Choice("down", "to lower slices")]


@dataclass(frozen=True)
class AskingOptions:
    """How the window asks the model, and what it does with an answer."""

    window: Annotated[str, Info(label="&Window")] = WHOLE
    """Which values the model sees as black and white."""
    device: Annotated[str, Info(label="&Device")] = "auto"
    """Where the network runs."""
    keep_others: Annotated[bool, Info(label="Keep other labels")] = False
    """A new object does not take voxels that have another label already."""
    protect: Annotated[bool, Info(label="Refine protects other structures")] = True
    """A refined structure does not take voxels of its neighbors."""
    keep: Annotated[bool, Info(label="Keep encodings on disk")] = False
    """An image that was prompted before is answered at once in another session. 2 MiB a slice, in the cache."""


class OptionsSection(Section):
    """What is rarely changed: how the model is asked, and how far an object is followed."""

    def __init__(self) -> None:
        super().__init__("Options", "What is rarely changed")
        self.asking = OptionsForm(
            AskingOptions,
            choices={"window": WINDOWS, "device": device_choices()},
            defaults={"device": preference("device", "auto")},
        )
        self.follow = OptionsForm(
            PropagateOptions,
            usual=("direction", "most_slices"),
            texts={"direction": "Follow", "vote": "Vote of three axes"},
            choices={"direction": DIRECTIONS},
            nothing={"most_slices": "to the end"},
        )
        column(self.asking, self.follow, parent=self.body).setContentsMargins(8, 0, 0, 0)

    def values(self) -> dict[str, Any]:
        return self.asking.values() | {"follow": self.follow.differences()}

    def set_values(self, values: dict[str, Any]) -> None:
        self.asking.set_values(values)
        self.follow.set_values(values.get("follow", {}))


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


class PromptWidget(ScrolledFace):
    """Point at things in images; what comes of it is in `prompting` and `objects`."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, make: MakeSession = make_session) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._closed = False
        bind_keys(napari_viewer, self.act)
        self.prompting = Prompting(napari_viewer, make, self)
        self.objects = Objects(napari_viewer, self.prompting, self)
        self.through = self.prompting.through
        self.drawing = DrawingTool(napari_viewer, self.prompting, self)
        self._build()
        self._restore()
        self._connect()
        self._on_choice()
        self._on_target()

    # The face

    def _build(self) -> None:
        self.image = LayerChooser(self._viewer, Image, lambda layer: not is_ours(layer))
        self.image.setToolTip("The image to point at: a slice of a scan, a photograph, any kind of numbers.")
        self.model = ModelChooser(PROMPTABLE, self)
        self.point = self._checkable(OFF, "Take clicks on the image for prompts. Dragging still moves the picture.")
        self.point.setMinimumHeight(32)
        self.status = Message(lines=2)
        self.inside = self._checkable("Inside", "A click says: this belongs to it. Ctrl-click says the opposite.")
        self.outside = self._checkable("Outside", "A click says: this does not belong to it. Ctrl-click: the opposite.")
        self._polarities = QButtonGroup(self)
        for one in (self.inside, self.outside):
            self._polarities.addButton(one)
        self.inside.setChecked(True)
        self.scribble = self._checkable("Scribble", "Draw a line through the object, or through what is not of it.")
        self.lasso = self._checkable("Lasso", "Draw roughly around the object, or around what is not of it.")
        self.undo = button("&Undo", "Take the last click, box or step back; before the first, the last acceptance.")
        self.redo = button("&Redo", "Do again what was taken back.")
        self.discard = button("&Discard", "Begin this object anew.")
        self.follow = button(FOLLOW, "Follow the object from the slices you pointed at to those beside them.")
        tip = "Where accepted objects go: a new layer, unless you choose one here, such as a segmentation to refine."
        may_be = lambda layer: not is_ours(layer) and not is_errors(layer)  # noqa: E731
        fixed = [Choice(None, "New layer")]
        self.into = LayerChooser(self._viewer, Labels, may_be, follows=is_made, fixed=fixed, tip=tip)
        self.name = QLineEdit()
        self.name.setPlaceholderText("name")
        self.name.setToolTip("What the object is.")
        tip = "Its value in the layer. With one that is in use the object is added to that one."
        self.id = spin_box(1, 2**31 - 1, 1, tip, "Id")
        self.accept = button("&Accept, next object", "Write the object into the layer; the next click begins another.")
        self.list = ObjectsList()
        self.refine = button("Re&fine", "Repair the selected object by clicks: it becomes the current object.")
        self.similar = button(SIMILAR, "Find all objects on this slice that resemble the selected one; or stop that.")
        self.options = OptionsSection()
        self._tell_keys()
        self.view = ViewBar(self._viewer, self)
        self._lay_out()

    def _lay_out(self) -> None:
        what = form_layout()
        what.addRow("&Image", self.image)
        what.addRow("&Model", self.model)
        for part in (self.model.card, self.model.problem):
            what.addRow(part)
        where = form_layout()
        where.addRow("I&nto", self.into)
        name = QLabel("Na&me")
        name.setBuddy(self.name)
        where.addRow(name, row((self.name, 1), self.id, spacing=4))
        self.show_inside(
            what, self.point, self.status,
            row((self.inside, 1), (self.outside, 1), spacing=0),
            row((self.scribble, 1), (self.lasso, 1), spacing=0),
            row((self.undo, 1), (self.redo, 1), (self.discard, 1), spacing=4),
            self.follow, where, self.accept, self.list, self.refine, self.similar, self.options, None,
            self.view,
        )  # fmt: skip

    def _checkable(self, text: str, tip: str) -> QPushButton:
        made = button(text, tip, checkable=True)
        made.setStyleSheet(ACCENT)
        return made

    def _tell_keys(self) -> None:
        for name, key in KEYS.items():
            for one in (self.inside, self.outside) if name == "polarity" else (getattr(self, name),):
                one.setToolTip(f"{one.toolTip()} Key: {Shortcut(key).platform}.")

    def _connect(self) -> None:
        prompting, objects = self.prompting, self.objects
        prompting.changed.connect(self._show_state)
        prompting.said.connect(self.status.say)
        prompting.switched.connect(self._show_state)
        objects.changed.connect(self._on_objects)
        objects.begun.connect(self._on_begun)
        self.image.changed.connect(self._on_choice)
        self.model.changed.connect(self._on_choice)
        self.options.asking.changed.connect(self._on_choice)
        self.into.changed.connect(self._on_target)
        self.point.toggled.connect(prompting.switch)
        self.inside.toggled.connect(self._on_polarity)
        self.scribble.clicked.connect(lambda on: self.drawing.take("scribble" if on else None))
        self.lasso.clicked.connect(lambda on: self.drawing.take("lasso" if on else None))
        self.drawing.changed.connect(self._show_state)
        self.undo.clicked.connect(objects.undo)
        self.redo.clicked.connect(prompting.redo)
        self.discard.clicked.connect(prompting.clear)
        self.follow.clicked.connect(self._on_follow)
        self.accept.clicked.connect(self._on_accept)
        self.refine.clicked.connect(lambda: self._with_chosen(objects.refine))
        self.similar.clicked.connect(lambda: self._with_chosen(objects.find_similar))
        objects.searching.connect(lambda on: self.similar.setText("Stop looking" if on else SIMILAR))
        self.list.refining.connect(objects.refine)
        self.list.renamed.connect(self._on_renamed)
        self.list.selectionModel().selectionChanged.connect(self._show_state)

    # What the user does

    def act(self, name: str) -> None:
        if name == "polarity":
            (self.outside if self.inside.isChecked() else self.inside).setChecked(True)
            return
        getattr(self, name).click()

    def _on_choice(self, *_: Any) -> None:
        if self._closed:
            return
        chosen, prompting = self.options.values(), self.prompting
        prompting.model, prompting.device, prompting.window = self.model.value(), chosen["device"], chosen["window"]
        self.objects.keep_others, self.objects.protect = chosen["keep_others"], chosen["protect"]
        prompting.asker.engine.keep = chosen["keep"]
        prompting.set_image(self.image.layer())
        self._show_state()

    def _on_target(self) -> None:
        if self._closed:
            return
        self.objects.target = self.into.layer()
        self._show_objects()

    def _on_polarity(self, inside: bool) -> None:
        self.prompting.positive = inside
        if self.drawing.tool is not None:
            self.drawing.take(self.drawing.tool)

    def _on_follow(self) -> None:
        if self.through.running:
            self.through.stop()
        elif (problem := self.options.follow.problem()) is not None:
            self.prompting.say(problem)
        else:
            self.through.follow(self.options.follow.values())

    def _on_accept(self) -> None:
        self.objects.accept(self.id.value(), self.name.text().strip() or f"Object {self.id.value()}")

    def _with_chosen(self, act: Callable[[int], None]) -> None:
        if (value := self.list.chosen()) is not None:
            act(value)

    def _on_renamed(self, value: int, name: str) -> None:
        if (target := self.objects.target) is not None:
            target.features = named(target.features, value, name or f"Object {value}")

    # What comes of it

    def _on_begun(self, value: int, name: str) -> None:
        self.id.setValue(value)
        self.name.setText(name)

    def _on_objects(self, target: Labels | None) -> None:
        self.into.set_layer(target)
        self._show_objects()

    def _show_objects(self) -> None:
        target = self.objects.target
        found = structures(target) if target is not None else {}
        self.list.show_structures(found, target)
        if not self.prompting.begun:
            self.id.setValue(next_value(target, found))
            self.name.clear()
        self._show_state()

    def _show_state(self, *_: Any) -> None:
        if not isalive(self) or self._closed:
            return
        prompting, objects = self.prompting, self.objects
        with signals_blocked(self.point):
            self.point.setChecked(prompting.on)
        self.point.setText(ON if prompting.on else OFF)
        self.point.setEnabled(prompting.on or (self.image.layer() is not None and bool(prompting.model)))
        for one, tool in ((self.scribble, "scribble"), (self.lasso, "lasso")):
            one.setEnabled(prompting.problem() is None)
            one.setChecked(self.drawing.tool == tool)
        self.undo.setEnabled(objects.can_undo)
        self.redo.setEnabled(prompting.work is not None and prompting.work.draft.can_redo)
        self.discard.setEnabled(prompting.begun)
        self.accept.setEnabled(prompting.begun)
        following = self.through.running
        self.follow.setText(STOP if following else FOLLOW)
        self.follow.setEnabled(following or prompting.begun)
        for one in (self.refine, self.similar):
            one.setVisible(not self.list.isHidden())
            one.setEnabled(self.list.chosen() is not None and not prompting.begun)
        self.name.setPlaceholderText(f"Object {self.id.value()}")

    # Its life

    def _restore(self) -> None:
        kept = recall(FACE)
        self.model.set_value(str(kept.get("model", "")))
        self.options.set_values(kept)

    def _remember(self) -> None:
        remember(FACE, self.options.values() | ({"model": self.model.value()} if self.model.value() else {}))

    def close_down(self) -> None:
        """Leave the viewer as it was: its mouse, its keys, and none of the layers of the current object."""
        if self._closed:
            return
        self._remember()
        self._closed = True
        release_keys(self._viewer)
        self.drawing.take(None)
        self.prompting.close()

    def showEvent(self, event: Any) -> None:
        self.model.refresh()
        super().showEvent(event)

    def hidden(self) -> None:
        if not self._closed:
            self._remember()
