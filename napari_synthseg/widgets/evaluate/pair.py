"""Which two Labels layers are compared, and what hinders it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_synthseg.widgets._shared.controls import Message, form_layout
from napari_synthseg.widgets._shared.layer_chooser import LayerChooser
from napari_synthseg.widgets.evaluate.layers import is_errors
from napari_synthseg.widgets.layers.geometry import layer_problem

if TYPE_CHECKING:
    from napari.components import ViewerModel

NO_LAYERS = "Open two label layers of one scan: a segmentation, and the labels it is measured by."
SAME = "Choose two different layers."


class LayerPair(QWidget):
    """Two choosers and a button that exchanges them.

    Args:
        viewer: whose layers are offered.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.pred = _chooser(viewer, self)
        self.pred.setToolTip("The labels to be measured, such as a result of Segment brain.")
        self.truth = _chooser(viewer, self)
        self.truth.setToolTip("The labels they are measured by, such as those drawn by hand.")
        self.swap = QPushButton("⇅")
        self.swap.setToolTip("Exchange the two.")
        self.swap.setAccessibleName("Exchange")
        self.swap.setFixedWidth(32)
        self.hint = Message()
        form = form_layout()
        for text, chooser in (("&Labels", self.pred), ("T&ruth", self.truth)):
            label = QLabel(text)
            label.setBuddy(chooser)
            form.addRow(label, chooser)
        row = QHBoxLayout()
        row.addLayout(form, 1)
        row.addWidget(self.swap)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.hint)
        self._counted = -1
        self._part()
        for chooser in (self.pred, self.truth):
            chooser.changed.connect(self._on_changed)
        self.swap.clicked.connect(lambda: self._on_swap())
        self._on_changed()

    def layers(self) -> tuple[Labels, Labels] | None:
        """The segmentation and the truth; None while they are not two layers that can be compared."""
        pred, truth = self.pred.layer(), self.truth.layer()
        if self.problem() is not None or not isinstance(pred, Labels) or not isinstance(truth, Labels):
            return None
        return pred, truth

    def problem(self) -> str | None:
        """Why nothing can be compared, in a sentence; None if it can."""
        pred, truth = self.pred.layer(), self.truth.layer()
        if pred is None or truth is None or self.truth.count() < 2:
            return NO_LAYERS
        if pred is truth:
            return SAME
        return layer_problem(pred) or layer_problem(truth)

    def _part(self) -> None:
        """Where both have the same layer and there are others: the newest against the one before it."""
        if self.truth.layer() is not self.pred.layer() or self.truth.count() < 2:
            return
        for place, chooser in enumerate((self.pred, self.truth)):
            chooser.blockSignals(True)
            chooser.setCurrentIndex(place)
            chooser.blockSignals(False)

    def _on_swap(self) -> None:
        pred, truth = self.pred.layer(), self.truth.layer()
        if pred is None or truth is None:
            return
        self.pred.set_layer(truth)
        self.truth.set_layer(pred)

    def _on_changed(self) -> None:
        if not isalive(self):  # Qt has deleted the widget; Python has not yet
            return
        if self._counted != (count := self.truth.count()):  # a layer came or went: nobody chose the same on purpose
            self._counted = count
            self._part()
        self.hint.say(self.problem() or "")
        self.changed.emit()


def _chooser(viewer: ViewerModel, parent: QWidget) -> LayerChooser:
    """It does not follow what is selected in the layer list: two of them would choose the same layer."""
    return LayerChooser(viewer, Labels, parent, lambda layer: not is_errors(layer), follows=lambda _: False)
