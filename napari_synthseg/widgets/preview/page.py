"""What all tabs share: a seed and its Draw button, priors, redraws that follow changes, copying, opening and saving."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QMenu,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import Record
from napari_synthseg.generator.saving import read_record_file
from napari_synthseg.widgets._shared.controls import Message, form_layout, icon_on, keep_from_wheel
from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.memory import recall, remember
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.preview.layers import LayerPair
from napari_synthseg.widgets.preview.panels import PriorsForm
from napari_synthseg.widgets.preview.pictures import Picture, described
from napari_synthseg.widgets.preview.redrawer import Redrawer

if TYPE_CHECKING:
    from napari.components import ViewerModel

PRESS_DRAW = "Press Draw to see a sample."
RECORD_FILES = "Records (*_record.json *.json);;All files (*)"
LARGEST_SEED = 2**31 - 1
NEW_SEEDS = 10_000  # new ones stay short enough to be read out


class PreviewPage(QWidget):
    """A tab. What is drawn, and from what, is the subclass's: `wanted`, `recipe` and `take`.

    Args:
        viewer: the viewer that pictures are shown in.
        face: under which its choices are remembered.
        layers: "Synthetic" or "Degraded", in the names of its layers.
        form: its priors.
    """

    layer_type: type[LayerPair] = LayerPair
    maker_type: type[Any]
    """Draws and saves in a thread, see `model`."""
    recorded_by = ""
    """A step that a complete record of this tab has; a file without it says no more than seed and priors."""

    def __init__(self, viewer: ViewerModel, face: str, layers: str, form: PriorsForm) -> None:
        super().__init__()
        self._viewer, self._face = viewer, face
        self._drawn = False  # nothing is added to a viewer before it was asked for
        self._started = 0.0
        self.record: Path | None = None
        """What is drawn is made as this record says; until something is chosen that a sample is drawn from."""
        self.form, self.maker = form, self.maker_type()
        self.pair = self.layer_type(viewer, layers, self)
        self.redrawer = Redrawer(self)
        self._saving = Job(self)
        self._build()
        self.redrawer.pictured.connect(self._on_pictured)
        self.redrawer.staged.connect(self._on_staged)
        self.redrawer.failed.connect(lambda error: self.status.say(complain(error, "Drawing")))
        self.redrawer.busy.connect(self.progress.setVisible)
        self.pair.removed.connect(self._on_layer_removed)
        self._saving.returned.connect(lambda path: self._say_saved(path))
        self._saving.failed.connect(lambda error: self.status.say(complain(error, "Saving")))
        self._saving.stopped.connect(lambda: self.status.say(""))
        for signal in (self._saving.returned, self._saving.failed, self._saving.stopped):
            signal.connect(lambda *_: self.save.setEnabled(True))

    # What a subclass says

    def head(self, form: QFormLayout) -> None:
        """Put the rows that stand before the seed into a form."""
        raise NotImplementedError

    def middle(self) -> list[QWidget]:
        """What stands between the seed and the priors."""
        return []

    def below(self) -> list[QWidget]:
        """What stands below the priors."""
        return []

    def problem(self) -> str | None:
        """Why nothing can be drawn, in one sentence."""
        return None

    def wanted(self) -> Any:
        """The present choices, as the maker takes them.

        Raises:
            InputError: if they cannot be used.
        """
        raise NotImplementedError

    def request(self) -> tuple[Any, ...]:
        """The job's function and its arguments, see `Redrawer.request`."""
        return self.maker.drawn, self.wanted()

    def recipe(self, *, python: bool) -> str:
        """What was chosen, as a command line or as Python.

        Raises:
            InputError: if the choices cannot be used.
        """
        raise NotImplementedError

    def take(self, facts: dict[str, Any]) -> None:
        """Choose what a sample was made with.

        Args:
            facts: from its record file.

        Raises:
            InputError: if they are not of this tab.
        """
        raise NotImplementedError

    def measured(self, picture: Picture) -> str:
        """What was drawn, in a few words."""
        return f"{'Quick look' if picture.quick else 'Full size'}: {' × '.join(f'{s:.3g}' for s in picture.spacing)} mm"

    def described(self, summary: dict[str, str | float]) -> str:
        """A record in one line."""
        return described(summary)

    # Parts

    def _build(self) -> None:
        kept = recall(self._face)
        form = form_layout()
        self.head(form)
        self.seed = QSpinBox()
        self.seed.setRange(0, LARGEST_SEED)
        self.seed.setKeyboardTracking(False)
        self.seed.setMinimumWidth(70)
        self.seed.setToolTip("Everything random follows from the seed: the same seed and priors give the same scan.")
        self.seed.setAccessibleName("Seed")
        keep_from_wheel(self.seed)
        self.seed.valueChanged.connect(self.forget_record)
        self.seed.valueChanged.connect(self.redraw)
        self.draw = QPushButton("&Draw")
        self.draw.setToolTip("Draw another sample: a new seed, the same priors.")
        self.draw.clicked.connect(self.draw_new)
        seed = QHBoxLayout()
        seed.setSpacing(6)
        seed.addWidget(self.seed, 1)
        seed.addWidget(self.draw, 1)
        form.addRow("Seed", seed)

        self.full = QCheckBox("&Full size")
        self.full.setChecked(bool(kept.get("full", True)))
        self.full.setToolTip("After the quick look at half the resolution, make the full size in the background.")
        self.full.toggled.connect(lambda full: self.redraw() if full else None)
        self.target = QCheckBox("&Labels")
        self.target.setChecked(bool(kept.get("target", False)))
        self.target.setToolTip("Show the labels on the image: what a network is to learn from it.")
        self.target.toggled.connect(lambda shown: self.pair.set_labels_visible(shown))
        self.options = QHBoxLayout()
        self.options.setSpacing(12)
        self.options.addWidget(self.full)
        self.options.addWidget(self.target)
        self.options.addStretch(1)

        self.progress = QProgressBar()
        self.progress.setRange(0, 0)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(4)
        keep = self.progress.sizePolicy()
        keep.setRetainSizeWhenHidden(True)  # the form does not jump
        self.progress.setSizePolicy(keep)
        self.progress.hide()
        self.status, self.facts = Message(), Message()

        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 8, 6, 6)
        layout.setSpacing(6)
        layout.addLayout(form)
        for part in self.middle():
            layout.addWidget(part)
        layout.addLayout(self.options)
        layout.addWidget(self.progress)
        layout.addWidget(self._scrolled(), 1)
        for part in (self.status, self.facts):  # here they take their lines from what scrolls: no button moves
            layout.addWidget(part)
        layout.addLayout(self._actions())
        self.form.changed.connect(self.forget_record)
        self.form.changed.connect(self.redraw)
        self.form.set_unfolded(kept.get("unfolded", []))

    def _scrolled(self) -> QScrollArea:
        inside = QWidget()
        inside.setObjectName("previewPriors")
        rows = QVBoxLayout(inside)
        rows.setContentsMargins(0, 0, 4, 0)
        rows.setSpacing(2)
        rows.addWidget(self.form)
        for part in self.below():
            rows.addWidget(part)
        rows.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setWidget(inside)
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setMinimumHeight(120)
        self.scroll.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        return self.scroll

    def _actions(self) -> QHBoxLayout:
        self.copy = QPushButton("&Copy as")
        self.copy.setToolTip("Copy what makes this very sample.")
        icon_on(self.copy, "copy")
        menu = QMenu(self.copy)
        for text, python in (("Command line", False), ("Python", True)):
            menu.addAction(text).triggered.connect(lambda _=False, python=python: self.copy_recipe(python=python))
        self.copy.setMenu(menu)
        self.open = QToolButton()
        self.open.setAccessibleName("Open a record")
        self.open.setToolTip("Make a sample that was saved again: choose its record. Seed and priors become its own.")
        icon_on(self.open, "open")
        self.open.clicked.connect(self.open_record)
        self.save = QPushButton("&Save…")
        self.save.setToolTip("Save the image, its labels and the record of what was drawn, at full size.")
        icon_on(self.save, "save")
        self.save.clicked.connect(self.save_files)
        line = QHBoxLayout()
        line.setSpacing(6)
        line.addWidget(self.copy, 1)
        line.addWidget(self.open)
        line.addWidget(self.save, 1)
        return line

    # What the user does

    def draw_new(self) -> None:
        """Draw a sample with a new seed."""
        self._drawn = True
        self.forget_record()
        self.seed.blockSignals(True)
        self.seed.setValue(int(np.random.default_rng().integers(NEW_SEEDS)))
        self.seed.blockSignals(False)
        self.redraw(wait_ms=0)

    def forget_record(self, *_: Any) -> None:
        """From now on the choices say what is drawn."""
        self.record = None

    def redraw(self, *_: Any, wait_ms: int | None = None) -> None:
        """Draw the present choices soon, if anything was drawn before; a page that nobody sees draws nothing."""
        if not self._on_screen():
            self.rest()
            return
        self.show_problem()
        if self.problem() is not None:
            self.redrawer.stop()
            return
        if not self._drawn:
            return
        try:
            function, *arguments = self.request()
        except ValueError as error:
            self.redrawer.stop()
            self.status.say(str(error))
            return
        self._started = time.monotonic()
        if wait_ms is None:
            self.redrawer.request(function, *arguments)
        else:
            self.redrawer.request(function, *arguments, wait_ms=wait_ms)

    def rest(self, *_: Any) -> None:
        """Draw nothing until it is asked for again."""
        self._drawn = False
        self.redrawer.stop()
        self.show_problem()

    def _on_screen(self) -> bool:
        face = self.parentWidget()
        while face is not None and not isinstance(face, Face):
            face = face.parentWidget()
        return self.isVisible() and (face is None or face.on_screen)

    def show_problem(self) -> None:
        """Say why nothing can be drawn, if so."""
        problem = self.problem()
        self.draw.setEnabled(problem is None)
        for button in (self.copy, self.save):
            button.setEnabled(problem is None)
        self.status.say(problem or ("" if self._drawn else PRESS_DRAW))

    def copy_recipe(self, *, python: bool) -> None:
        """Copy what makes this sample."""
        try:
            text = self.recipe(python=python)
        except ValueError as error:
            self.status.say(str(error))
            return
        QApplication.clipboard().setText(text)
        self.status.say("Copied: Python code." if python else f"Copied: {text}")

    def save_files(self) -> None:
        """Ask for a folder and save this sample there."""
        if self._saving.running:
            return
        start = str(recall(self._face).get("folder", ""))
        name = QFileDialog.getExistingDirectory(self, "Choose a folder for the image, its labels and the record", start)
        if not name:
            return
        try:
            wanted = self.wanted()
        except ValueError as error:
            self.status.say(str(error))
            return
        remember(self._face, {"folder": name})
        self.save.setEnabled(False)
        self.status.say("Saving…")
        self._saving.start("Save sample", self.maker.saved, wanted, Path(name))

    def open_record(self) -> None:
        """Ask for the record of a sample, and make it again; seed and priors are shown, to go on from there."""
        start = str(recall(self._face).get("folder", ""))
        name, _ = QFileDialog.getOpenFileName(self, "Choose the record of a sample", start, RECORD_FILES)
        if not name:
            return
        try:
            facts = read_record_file(name)
            if not isinstance(facts.get("seed"), int) or not isinstance(facts.get("prior"), list):
                raise InputError(f"{Path(name).name} is no record of a sample: choose a file that Save… wrote.")
            self.take(facts)
        except ValueError as error:
            self.status.say(str(error))
            return
        self._drawn = True
        self.seed.setValue(facts["seed"])
        self.record = Path(name) if _has_step(facts, self.recorded_by) else None
        self.redraw(wait_ms=0)

    def close_down(self) -> None:
        """Stop what runs."""
        self.redrawer.stop()
        self._saving.stop()

    def remember_choices(self) -> None:
        """Keep the choices for the next time."""
        kept = {"full": self.full.isChecked(), "target": self.target.isChecked(), "unfolded": self.form.unfolded()}
        remember(self._face, kept | self.choices())

    def choices(self) -> dict[str, Any]:
        """What else is to be remembered."""
        return {}

    def _on_layer_removed(self) -> None:
        self.redrawer.stop()  # who deletes a layer does not want it back at once

    # What the worker says

    def _on_pictured(self, picture: Picture) -> None:
        self.pair.show(picture, labels_visible=self.target.isChecked())
        recorded = ", as recorded" if self.record is not None else ""
        self.status.say(f"{self.measured(picture)}{recorded}, {time.monotonic() - self._started:.1f} s.")
        self.facts.say(self.described(picture.summary))
        self.facts.setToolTip("\n".join(f"{name}: {value}" for name, value in picture.summary.items()))

    def _on_staged(self, stage: str) -> None:
        if not self.status.text():
            self.status.say(f"{stage}…")

    def _say_saved(self, path: Path) -> None:
        self.status.say(f"Saved {path.name} and what belongs to it in {path.parent}.")


def _has_step(facts: dict[str, Any], step: str) -> bool:
    """Return whether a record file holds a complete record with a step, of this version or an earlier one."""
    try:
        return step in Record.from_dict(facts)
    except (KeyError, TypeError, AttributeError):
        return False
