"""The buttons of one run: which of them can be pressed, and what the first one does, depends on the run's state."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QWidget

from napari_synthseg.widgets._shared.icons import icon_on
from napari_synthseg.widgets.train.words import GOING

PAUSE, GO_ON, CONTINUE, START, LONGER = "Pause", "Go on", "Continue", "Start", "Train longer…"
MAIN = {
    "new": START,
    "running": PAUSE,
    "paused": GO_ON,
    "stopped": CONTINUE,
    "interrupted": CONTINUE,
    "failed": CONTINUE,
    "finished": LONGER,
}
"""What the first button does in each state; in the others nothing."""
TIPS = {
    PAUSE: "Hold the training where it is; its memory stays taken.",
    GO_ON: "Go on from where it was paused.",
    CONTINUE: "Go on from the newest checkpoint, to the same numbers as if it had never stopped.",
    START: "Start this run.",
    LONGER: "Ask for more steps and go on from where the learning rate began to fall.",
}
ICONS = {PAUSE: "pause", GO_ON: "play", CONTINUE: "play", START: "play", LONGER: "play"}


class RunButtons(QWidget):
    """Two rows of three; `asked` says which was pressed."""

    asked = Signal(str)  # one of the words above, or "stop", "use", "duplicate", "folder", "delete"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._does = PAUSE
        self.main = self._button(PAUSE, "pause", TIPS[PAUSE])
        self.stop = self._button("Stop", "stop", "End the training with a checkpoint; it can be continued later.")
        self.use = self._button(
            "Use weights", "use", "Use these weights: they appear in Segment brain or Prompt at once, with their card."
        )
        self.duplicate = self._button("Duplicate…", "copy", "Fill the form with this run's options, to change some.")
        self.folder = self._button("Open folder", "open", "Show the run's folder.")
        self.delete = self._button("Delete…", "trash", "Delete the run with its checkpoints; asks first.")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        buttons = (self.main, self.stop, self.use, self.duplicate, self.folder, self.delete)
        for number, button in enumerate(buttons):
            grid.addWidget(button, number // 3, number % 3)
            grid.setColumnStretch(number % 3, 1)
        self.main.clicked.connect(lambda: self.asked.emit(self._does))
        for button, word in zip(buttons[1:], ("stop", "use", "duplicate", "folder", "delete"), strict=True):
            button.clicked.connect(lambda *_, word=word: self.asked.emit(word))
        self.show_state(None)

    def show_state(self, state: Any, busy: bool = False) -> None:
        """Enable what can be done now.

        Args:
            state: of the run; None: there is none.
            busy: something is being done already.
        """
        kind = state.kind if state is not None else ""
        does = MAIN.get(kind, PAUSE)
        if does != self._does:
            self._does = does
            self.main.setText(does)
            self.main.setToolTip(TIPS[does])
            icon_on(self.main, ICONS[does], 16)
        self.main.setEnabled(kind in MAIN and not busy)
        self.stop.setEnabled(kind in GOING and kind != "stopping" and not busy)
        self.use.setEnabled(state is not None and (state.done > 0 or state.weights is not None) and not busy)
        self.duplicate.setEnabled(state is not None)
        self.folder.setEnabled(state is not None)
        self.delete.setEnabled(state is not None and kind not in (*GOING, "elsewhere") and not busy)

    def _button(self, text: str, icon: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        icon_on(button, icon, 16)
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        return button
