"""A page that scrolls up and down and is never narrower than what it shows."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget


def fill_scrolled(page: QWidget, inner: QWidget) -> None:
    """Let a page without a layout show a widget that may be higher than it."""
    scroll = QScrollArea()
    scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(inner)
    outer = QVBoxLayout(page)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(scroll)


def least_size(page: QWidget) -> QSize:
    """The least size of a page that `fill_scrolled` has filled: as wide as its content and the scroll bar."""
    scroll = page.findChild(QScrollArea, options=Qt.FindChildOption.FindDirectChildrenOnly)
    if scroll is None or scroll.widget() is None:
        return QSize()
    width = scroll.widget().minimumSizeHint().width() + scroll.verticalScrollBar().sizeHint().width()
    return QSize(width, scroll.minimumSizeHint().height())
