"""Small Qt parts that several faces share."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLabel, QSizePolicy

from napari_synthseg.widgets.choices import Choice


class Message(QLabel):
    """Wrapped, selectable text that takes no room while it is empty.

    Args:
        warning: draw it with an amber bar on its left.
    """

    def __init__(self, *, warning: bool = False) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setTextFormat(Qt.TextFormat.PlainText)
        if warning:
            self.setStyleSheet("QLabel { border-left: 3px solid #e0a030; padding-left: 6px; }")
        self.hide()

    def say(self, text: str) -> None:
        """Show a text; an empty one hides the label."""
        self.setText(text)
        self.setVisible(bool(text))


def let_shrink(box: QComboBox) -> None:
    """Take the width there is: a long entry does not make the dock wide."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def combo(choices: list[Choice], tip: str) -> QComboBox:
    """A combo box of choices that may be narrower than its texts."""
    box = QComboBox()
    box.setToolTip(tip)
    let_shrink(box)
    for row, choice in enumerate(choices):
        box.addItem(choice.text, choice.value)
        box.setItemData(row, choice.tip or tip, Qt.ItemDataRole.ToolTipRole)
    return box
