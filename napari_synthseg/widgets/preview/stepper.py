"""The steps of Figure 3 as a row of buttons, one of which is down, and the title of that step below them."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_synthseg.generator.figure import PANELS, PanelInfo


class Stepper(QWidget):
    """Chooses a step by its letter; the arrow keys go from one to the next."""

    changed = Signal(str)

    def __init__(self, steps: Sequence[PanelInfo] = PANELS) -> None:
        super().__init__()
        self._steps = {step.letter: step for step in steps}
        self.buttons: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        self.caption = QLabel()
        self.caption.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        line = QHBoxLayout()
        line.setSpacing(3)
        for number, step in enumerate(steps):
            button = QPushButton(step.letter)
            button.setCheckable(True)
            button.setToolTip(f"{step.title}\n{step.tip}")
            button.setAccessibleName(step.title)
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.setMinimumWidth(24)
            button.installEventFilter(self)
            self._group.addButton(button, number)
            self.buttons[step.letter] = button
            line.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(line)
        layout.addWidget(self.caption)
        self.set_letter(steps[-1].letter)
        self._group.buttonToggled.connect(self._on_toggled)

    def letter(self) -> str:
        """The chosen step."""
        return next(letter for letter, button in self.buttons.items() if button.isChecked())

    def set_letter(self, letter: str) -> None:
        """Choose a step."""
        self.buttons[letter].setChecked(True)
        self._show(letter)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Left and right on a button choose the step before and after."""
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None:
            return False
        letters = [*self.buttons]
        letter = letters[min(max(letters.index(self.letter()) + step, 0), len(letters) - 1)]
        self.buttons[letter].setChecked(True)
        self.buttons[letter].setFocus()
        return True

    def _on_toggled(self, button: QPushButton, checked: bool) -> None:
        if checked:
            self._show(button.text())
            self.changed.emit(button.text())

    def _show(self, letter: str) -> None:
        self.caption.setText(f"Step {letter}: {self._steps[letter].title}")
        self.caption.setToolTip(self._steps[letter].tip)
