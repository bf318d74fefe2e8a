"""What the three faces in napari's dock have in common: they end when taken out of it, and scroll when it is low."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

LEAST_WIDTH = 250


class Face(QWidget):
    """A widget in a dock."""

    def hidden(self) -> None:
        """Called when it disappears: a window that closes only hides it."""

    def close_down(self) -> None:
        """Called when it is taken out of its dock or closed, perhaps more than once: stop what runs."""

    def event(self, event: QEvent) -> bool:
        """Call `hidden` and `close_down`."""
        if event.type() == QEvent.Type.Hide:
            self.hidden()
        if event.type() == QEvent.Type.Close or (event.type() == QEvent.Type.ParentChange and self.parent() is None):
            self.close_down()
        return super().event(event)


class ScrolledFace(Face):
    """A face that scrolls up and down, never sideways."""

    fresh_width = 330
    """Of a fresh dock, at least: wide enough for the names."""

    def show_inside(self, inner: QWidget) -> None:
        """Fill the face; called once."""
        self._scroll = QScrollArea()
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._scroll)

    def sizeHint(self) -> QSize:
        """`fresh_width` or more."""
        return super().sizeHint().expandedTo(QSize(self.fresh_width, 0))

    def minimumSizeHint(self) -> QSize:
        """A dock may be made narrower, as long as nothing is cut off."""
        needed = self._scroll.widget().minimumSizeHint().width() + self._scroll.verticalScrollBar().sizeHint().width()
        return QSize(max(LEAST_WIDTH, needed), super().minimumSizeHint().height())
