"""Report errors to the user: one sentence as a napari notification, the rest behind its "Details" button."""

from __future__ import annotations

import logging
import traceback

from napari.utils.notifications import Notification, NotificationSeverity, notification_manager
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QApplication, QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QWidget

from napari_synthseg.widgets._shared.controls import column

logger = logging.getLogger("napari_synthseg")

_open: list[DetailsDialog] = []  # Python would collect a window that nothing else refers to


def complain(error: Exception, doing: str) -> str:
    """Show an error as a notification.

    Args:
        error: the message of a `ValueError` (such as `InputError`) is the sentence; of others it tells what failed.
        doing: the failed action, as the beginning of a sentence: "Segmenting".

    Returns:
        The sentence, to be shown in the widget too.
    """
    if isinstance(error, ValueError):
        sentence = str(error)
    else:
        sentence = f"{doing} failed ({type(error).__name__}: {error}); press Details to see where."
        logger.error("%s failed", doing, exc_info=error)
    details = "".join(traceback.format_exception(error))
    action = ("Details", lambda *_: show_details(sentence, details))
    notification_manager.dispatch(Notification(sentence, NotificationSeverity.ERROR, actions=(action,)))
    return sentence


def show_details(sentence: str, details: str) -> QDialog:
    """Open a window with a text to read and copy; it does not block the viewer."""
    active = QApplication.activeWindow()
    dialog = DetailsDialog(sentence, details, active.window() if active is not None else None)
    _open.append(dialog)
    dialog.finished.connect(lambda _: _open.remove(dialog))
    dialog.show()
    return dialog


class DetailsDialog(QDialog):
    """A sentence, the details below it, and a button that copies both."""

    def __init__(self, sentence: str, details: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("SynthSeg: details")
        self.sentence = QLabel(sentence)
        self.sentence.setWordWrap(True)
        self.sentence.setTextFormat(Qt.TextFormat.PlainText)
        self.text = QPlainTextEdit(details)
        self.text.setReadOnly(True)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.copy = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        self.copy.setToolTip("Copy the sentence and the details, for a report.")
        self.copy.clicked.connect(lambda: QApplication.clipboard().setText(f"{sentence}\n\n{details}"))
        buttons.rejected.connect(self.close)
        column(self.sentence, self.text, buttons, parent=self, margin=9)
        self.resize(640, 360)
