"""The *Prompt* widget: choose an image, click on a thing, get its outline; accept it as a named label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
from napari.layers import Image, Labels
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QButtonGroup, QLabel, QLineEdit, QPushButton, QShortcut
from superqt.utils import signals_blocked

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import Message, button, form_layout, row, spin_box
from napari_synthseg.widgets._shared.face import ScrolledFace
from napari_synthseg.widgets._shared.layer_chooser import LayerChooser
from napari_synthseg.widgets._shared.model_chooser import PROMPTABLE, ModelChooser
from napari_synthseg.widgets._shared.user import recall, remember
from napari_synthseg.widgets.evaluate.model import is_errors
from napari_synthseg.widgets.prompt import accept as writing
from napari_synthseg.widgets.prompt.engine import MakeSession, make_session
from napari_synthseg.widgets.prompt.objects import Objects
from napari_synthseg.widgets.prompt.pending import DrawingTool, is_ours
from napari_synthseg.widgets.prompt.pointing import bind_keys, release_keys
from napari_synthseg.widgets.prompt.prompting import Prompting
from napari_synthseg.widgets.prompt.sections import KeysSection, ObjectsList, PromptOptionsSection
from napari_synthseg.widgets.view.bar import ViewBar

FACE = "prompt"
OFF, ON = "Start &prompting", "Prompting: click on the image"
SIMILAR = "Segment all &like it"
FOLLOW, STOP = "Follow &through slices", "S&top following"
ACCENT = "QPushButton:checked { background-color: #0072b2; color: white; font-weight: bold; }"


class PromptWidget(ScrolledFace):
    """Point at things in images; what comes of it is in `prompting` and `objects`."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, make: MakeSession = make_session) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._closed = False
        bind_keys(napari_viewer, self)
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
        self.into = LayerChooser(self._viewer, Labels, may_be, follows=writing.is_made, fixed=fixed, tip=tip)
        self.name = QLineEdit()
        self.name.setPlaceholderText("name")
        self.name.setToolTip("What the object is.")
        tip = "Its value in the layer. With one that is in use the object is added to that one."
        self.id = spin_box(1, 2**31 - 1, 1, tip, "Id")
        self.accept = button("&Accept, next object", "Write the object into the layer; the next click begins another.")
        self.list = ObjectsList()
        self.refine = button("Re&fine", "Repair the selected object by clicks: it becomes the current object.")
        self.similar = button(SIMILAR, "Find all objects on this slice that resemble the selected one; or stop that.")
        self.options, self.keys = PromptOptionsSection(), KeysSection()
        self.view = ViewBar(self._viewer, self)
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self.through.stop)
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
            self.follow, where, self.accept, self.list, self.refine, self.similar, self.options, self.keys, None,
            self.view,
        )  # fmt: skip

    def _checkable(self, text: str, tip: str) -> QPushButton:
        made = button(text, tip, checkable=True)
        made.setStyleSheet(ACCENT)
        return made

    def _connect(self) -> None:
        prompting, objects = self.prompting, self.objects
        prompting.changed.connect(self._show_state)
        prompting.said.connect(self.status.say)
        prompting.switched.connect(self._show_state)
        objects.accepted.connect(self._on_objects)
        objects.taken_back.connect(self._on_objects)
        objects.begun.connect(self._on_begun)
        self.image.changed.connect(self._on_choice)
        self.model.changed.connect(self._on_choice)
        self.options.changed.connect(self._on_choice)
        for box in (self.options.keep_others, self.options.protect, self.options.keep):
            box.toggled.connect(self._on_choice)
        self.into.changed.connect(self._on_target)
        self.point.toggled.connect(prompting.switch)
        self.inside.toggled.connect(self._on_polarity)
        self.scribble.clicked.connect(lambda on: self.drawing.take("scribble" if on else None))
        self.lasso.clicked.connect(lambda on: self.drawing.take("lasso" if on else None))
        self.drawing.changed.connect(self._show_state)
        self.undo.clicked.connect(objects.undo)
        self.redo.clicked.connect(objects.redo)
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
            return
        problem = self.options.follow.problem()
        if problem is not None:
            self.prompting.say(problem)
            return
        self.through.follow(self.options.follow.values())

    def _on_accept(self) -> None:
        self.objects.accept(self.id.value(), self.name.text().strip() or f"Object {self.id.value()}")

    def _with_chosen(self, act: Callable[[int], None]) -> None:
        value = self.list.chosen()
        if value is not None:
            act(value)

    def _on_renamed(self, value: int, name: str) -> None:
        if self.objects.target is not None:
            target = self.objects.target
            target.features = writing.named(target.features, value, name or f"Object {value}")

    # What comes of it

    def _on_begun(self, value: int, name: str) -> None:
        self.id.setValue(value)
        self.name.setText(name)

    def _on_objects(self, target: Labels | None) -> None:
        self.into.set_layer(target)
        self._show_objects()

    def _show_objects(self) -> None:
        target = self.objects.target
        structures = writing.structures(target) if target is not None else {}
        self.list.show_structures(structures, target)
        if not self.prompting.begun:
            self.id.setValue(writing.next_value(target, structures))
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
        self.redo.setEnabled(objects.can_redo)
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
        self.keys.set_unfolded(bool(kept.get("keys", True)))

    def _remember(self) -> None:
        chosen = self.options.values() | {"keys": self.keys.unfolded}
        remember(FACE, chosen | ({"model": self.model.value()} if self.model.value() else {}))

    def close_down(self) -> None:
        """Leave the viewer as it was: its mouse, its keys, and none of the layers of the current object."""
        if self._closed:
            return
        self._remember()
        self._closed = True
        release_keys(self._viewer, self)
        self.keys.release()
        self.drawing.take(None)
        self.prompting.close()

    def showEvent(self, event: Any) -> None:
        self.model.refresh()
        super().showEvent(event)

    def hidden(self) -> None:
        if not self._closed:
            self._remember()
