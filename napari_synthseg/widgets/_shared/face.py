"""Base classes of widgets in napari's dock: one tab each, an end when removed, scrolling."""

from __future__ import annotations

import atexit
from weakref import WeakSet

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QSize, QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_synthseg.widgets._shared.controls import VerticalScroll, column

LEAST_WIDTH = 250
_faces: WeakSet[Face] = WeakSet()


class Face(QWidget):
    """A widget in a dock; a second one becomes a tab beside the first instead of halving its height."""

    surfaced = Signal(bool)  # it is on the screen now, or no longer: closed, hidden, or behind another tab
    _dock: QDockWidget | None = None
    _in_front = True

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        _faces.add(self)

    @property
    def on_screen(self) -> bool:
        """Whether it can be seen; Qt calls a dock behind another tab visible too."""
        return self.isVisible() and self._in_front

    def hidden(self) -> None:
        """Called when it disappears: a window that closes only hides it."""

    def close_down(self) -> None:
        """Called when it is removed from its dock or closed, perhaps more than once: stop all jobs."""

    def event(self, event: QEvent) -> bool:
        """Call `hidden` and `close_down`; when it is first shown, join the tabs of the others."""
        if event.type() == QEvent.Type.Show and self._dock is None:
            QTimer.singleShot(0, lambda: self._on_docked() if isalive(self) else None)
        if event.type() == QEvent.Type.Hide:
            self.hidden()
        if event.type() == QEvent.Type.Close or (event.type() == QEvent.Type.ParentChange and self.parent() is None):
            self.close_down()
        done = super().event(event)
        if event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            self.surfaced.emit(self.on_screen)
        return done

    def _on_docked(self) -> None:
        dock = self.parentWidget()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        if isinstance(dock, QDockWidget) and self._dock is None:
            self._dock = dock
            dock.visibilityChanged.connect(self._on_dock_visible)
            join_tabs(dock)

    def _on_dock_visible(self, visible: bool) -> None:
        if isalive(self) and visible != self._in_front:
            self._in_front = visible
            if not visible:
                self.hidden()
            self.surfaced.emit(self.on_screen)


@atexit.register  # after Qt was imported, so it comes before Python deletes Qt's objects
def _close_all() -> None:
    """Close what a program leaves open when it ends: Qt can crash in its own end otherwise."""
    for face in list(_faces):
        if isalive(face):
            face.close()


class ScrolledFace(Face):
    """A face that scrolls up and down, never sideways."""

    fresh_width = 330
    """Of a fresh dock, at least: wide enough for the names."""

    def show_inside(self, inner: QWidget) -> None:
        """Fill the face; called once."""
        column(VerticalScroll(inner), parent=self)

    def sizeHint(self) -> QSize:
        return super().sizeHint().expandedTo(QSize(self.fresh_width, 0))

    def minimumSizeHint(self) -> QSize:
        """Let a dock be narrower, as long as nothing is cut off."""
        return super().minimumSizeHint().expandedTo(QSize(LEAST_WIDTH, 0))


def join_tabs(dock: QDockWidget) -> None:
    """Make a dock a tab of the docks with faces in the same area, and bring it to the front."""
    window = dock.parentWidget()
    if not isinstance(window, QMainWindow) or dock.isFloating():
        return
    area = window.dockWidgetArea(dock)
    others = [
        one
        for one in window.findChildren(QDockWidget)
        if one is not dock and not one.isFloating() and window.dockWidgetArea(one) == area and _has_docked_face(one)
    ]
    if others and dock not in window.tabifiedDockWidgets(others[-1]):
        window.tabifyDockWidget(others[-1], dock)
        QTimer.singleShot(0, lambda: dock.raise_() if isalive(dock) else None)  # once the tabs are laid out


def _has_docked_face(dock: QDockWidget) -> bool:
    face = dock.findChild(Face)
    return face is not None and face._dock is dock  # one that was added at the same moment joins by itself
