"""Base classes of widgets in napari's dock: one tab each, an end when removed; scrolling; the Tab key's order."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from itertools import pairwise
from weakref import WeakSet

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QDockWidget,
    QFormLayout,
    QFrame,
    QLayout,
    QLayoutItem,
    QMainWindow,
    QScrollArea,
    QTabWidget,
    QWidget,
)

from napari_synthseg.widgets._shared.controls import Part, column

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


class VerticalScroll(QScrollArea):
    """Scrolls its content vertically, and is never narrower than that."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)

    def minimumSizeHint(self) -> QSize:
        width = self.widget().minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width()
        return QSize(width, super().minimumSizeHint().height())


class ScrolledFace(Face):
    """A face that scrolls up and down, never sideways."""

    fresh_width = 330
    """Of a fresh dock, at least: wide enough for the names."""

    def show_inside(self, *parts: Part) -> None:
        """Fill the face with parts below each other; called once."""
        scrolled(self, *parts)

    def sizeHint(self) -> QSize:
        return super().sizeHint().expandedTo(QSize(self.fresh_width, 0))

    def minimumSizeHint(self) -> QSize:
        return super().minimumSizeHint().expandedTo(QSize(LEAST_WIDTH, 0))


def scrolled(owner: QWidget, *parts: Part, spacing: int = -1) -> QWidget:
    """Fill a widget with parts below each other that scroll; the Tab key visits them in their order."""
    inner = QWidget()
    column(*parts, parent=inner, margin=6, spacing=spacing)
    column(VerticalScroll(inner), parent=owner)
    set_tab_order(inner)
    return inner


class TabbedFace(Face):
    """A face with tabs, and a bar below them."""

    fresh_width = 330

    def show_tabs(self, bar: QWidget, tabs: Sequence[tuple[QWidget, str, str]]) -> None:
        """Fill the face with tabs, each a page, a title and a tooltip; called once."""
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        for page, title, tip in tabs:
            self.tabs.setTabToolTip(self.tabs.addTab(page, title), tip)
        bar.layout().setContentsMargins(6, 0, 6, 6)
        column((self.tabs, 1), bar, parent=self).setContentsMargins(0, 6, 0, 0)  # free of the dock's title

    def sizeHint(self) -> QSize:
        """Return a width with room for the pages; those that are not shown yet ask for too much."""
        return QSize(self.fresh_width, super().sizeHint().height())


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


def set_tab_order(root: QWidget) -> None:
    """Let the Tab key visit the controls below a widget in the order in which its layouts show them."""
    for first, second in pairwise(_controls(root)):
        QWidget.setTabOrder(first, second)


def _controls(widget: QWidget) -> Iterator[QWidget]:
    inner = widget.widget() if isinstance(widget, QScrollArea) else widget
    layout = inner.layout() if inner is not None else None
    if layout is not None and not isinstance(widget, QAbstractSpinBox):
        yield from _controls_in(layout)
    elif widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
        yield widget


def _controls_in(layout: QLayout) -> Iterator[QWidget]:
    for item in _items(layout):
        if item.widget() is not None:
            yield from _controls(item.widget())
        elif item.layout() is not None:
            yield from _controls_in(item.layout())


def _items(layout: QLayout) -> list[QLayoutItem]:
    if not isinstance(layout, QFormLayout):
        return [item for index in range(layout.count()) if (item := layout.itemAt(index)) is not None]
    roles = (QFormLayout.ItemRole.LabelRole, QFormLayout.ItemRole.FieldRole, QFormLayout.ItemRole.SpanningRole)
    cells = (layout.itemAt(row, role) for row in range(layout.rowCount()) for role in roles)
    return [item for item in cells if item is not None]
