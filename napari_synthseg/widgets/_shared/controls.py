"""Small Qt parts that several widgets share, and icons that follow napari's theme."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any
from weakref import finalize, ref

from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.compat import isalive
from qtpy.QtCore import QByteArray, QEvent, QObject, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QPainter, QPixmap, QResizeEvent
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QLabel,
    QLayout,
    QLayoutItem,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.anatomy import resources
from napari_synthseg.widgets._shared.choices import Choice

DRAWN = "#808080"  # the colour in the files, replaced by the theme's
SIZES = (16, 20, 32, 48)


def icon_on(button: QAbstractButton, name: str, size: int = 18) -> None:
    """Give a button an icon that follows napari's theme for as long as the button lives.

    Args:
        button: any button.
        name: of a file in `resources/icons`, without its ending.
        size: pixels.
    """
    button.setIconSize(QSize(size, size))
    button.setIcon(themed(name))
    events, alive = get_settings().appearance.events.theme, ref(button)

    def follow(event: object = None) -> None:
        living = alive()
        if living is not None and isalive(living):  # Qt may have deleted the button before Python does
            living.setIcon(themed(name))
        else:
            events.disconnect(follow)

    events.connect(follow)
    end = finalize(button, _forget, events, follow)  # not by `destroyed`: PyQt can crash in a function it calls then
    end.atexit = False


def _forget(events: Any, follow: Callable[..., None]) -> None:
    if follow in events.callbacks:
        events.disconnect(follow)


def themed(name: str) -> QIcon:
    """An icon in the colours of the theme in use, greyer where it is disabled."""
    theme = get_theme(get_settings().appearance.theme)
    return _drawn(name, theme.icon.as_hex(), theme.secondary.as_hex())


@cache
def _drawn(name: str, color: str, disabled: str) -> QIcon:
    text = (resources() / "icons" / f"{name}.svg").read_text(encoding="utf-8")
    icon = QIcon()
    for mode, ink in ((QIcon.Mode.Normal, color), (QIcon.Mode.Disabled, disabled)):
        renderer = QSvgRenderer(QByteArray(text.replace(DRAWN, ink).encode()))
        for size in SIZES:
            picture = QPixmap(size, size)
            picture.fill(Qt.GlobalColor.transparent)
            painter = QPainter(picture)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            renderer.render(painter, QRectF(0, 0, size, size))
            painter.end()
            icon.addPixmap(picture, mode)
    return icon


class WrappedLabel(QLabel):
    """Selectable text that is never cut off: a form layout gives wrapped text in it too little height."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def setText(self, text: str | None) -> None:
        """Show a text, as high as it needs to be."""
        if text == self.text():
            return  # what is around it need not be laid out again
        super().setText(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Another width takes another height."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setMinimumHeight(0)  # Qt takes it for a part of the height that is asked for
        self.setMinimumHeight(self.heightForWidth(self.width()) if self.text() else 0)


class Message(WrappedLabel):
    """Wrapped, selectable text that takes no room while it is empty.

    Args:
        warning: draw it with an amber bar on its left.
        lines: of room that it has always, so that what stands below does not move.
    """

    def __init__(self, *, warning: bool = False, lines: int = 0) -> None:
        super().__init__()
        self._lines = lines
        self.setTextFormat(Qt.TextFormat.PlainText)
        if warning:
            self.setStyleSheet("QLabel { border-left: 3px solid #e0a030; padding-left: 6px; }")
        self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.setVisible(lines > 0)
        self._fit()

    def say(self, text: str) -> None:
        """Show a text; an empty one hides the label, unless it has room of its own."""
        self.setText(text)
        self.setVisible(bool(text) or self._lines > 0)

    def _fit(self) -> None:
        super()._fit()
        reserved = self._lines * self.fontMetrics().lineSpacing()
        self.setMinimumHeight(max(self.minimumHeight(), reserved))


def let_shrink(box: QComboBox) -> None:
    """Take the width there is: a long entry does not make the dock wide."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    keep_from_wheel(box)


class _WheelFilter(QObject):
    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is None or event.type() != QEvent.Type.Wheel or not isinstance(watched, QWidget) or watched.hasFocus():
            return False
        event.ignore()
        return True


def keep_from_wheel(control: QWidget) -> None:
    """Scrolling a form past a control does not change it: the wheel is for the control only once it has the focus."""
    control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    control.installEventFilter(_WheelFilter(control))


class Section(QWidget):
    """A part of a form that unfolds below its title; the title is a button, so the keyboard opens it too.

    What it holds goes into `body`, a widget without a layout, or into a layout set on it.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, tip: str = "", *, unfolded: bool = False) -> None:
        super().__init__()
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setToolTip(tip)
        self.button.setCheckable(True)
        self.button.setAutoRaise(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.body = QWidget()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.button)
        layout.addWidget(self.body)
        self.button.toggled.connect(self._unfold)
        self._unfold(False)
        self.button.setChecked(unfolded)

    @property
    def unfolded(self) -> bool:
        """Whether the body is shown."""
        return self.button.isChecked()

    def set_unfolded(self, unfolded: bool) -> None:
        """Show or hide the body."""
        self.button.setChecked(unfolded)

    def _unfold(self, unfolded: bool) -> None:
        self.body.setVisible(unfolded)
        self.button.setArrowType(Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow)
        self.toggled.emit(unfolded)


class ScrolledPage(QWidget):
    """A page that scrolls vertically and is never narrower than its content."""

    def set_content(self, content: QWidget) -> None:
        """Show a widget that may be higher than the page."""
        self._scroll = QScrollArea()
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._scroll)

    def minimumSizeHint(self) -> QSize:
        """As wide as the content and the scroll bar."""
        content = self._scroll.widget()
        width = content.minimumSizeHint().width() if content is not None else 0
        return QSize(
            width + self._scroll.verticalScrollBar().sizeHint().width(), self._scroll.minimumSizeHint().height()
        )


def form_layout(parent: QWidget | None = None) -> QFormLayout:
    """An empty form as all faces have it: labels on the left, fields as wide as there is room."""
    form = QFormLayout() if parent is None else QFormLayout(parent)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    form.setHorizontalSpacing(8)
    form.setVerticalSpacing(4)
    return form


def set_tab_order(root: QWidget) -> None:
    """Let the Tab key go through the controls below a widget in the order in which its layouts show them."""
    controls = list(_controls(root))
    for first, second in pairwise(controls):
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


def combo(choices: list[Choice], tip: str) -> QComboBox:
    """A combo box of choices that may be narrower than its texts."""
    box = QComboBox()
    box.setToolTip(tip)
    let_shrink(box)
    for row, choice in enumerate(choices):
        box.addItem(choice.text, choice.value)
        box.setItemData(row, choice.tip or tip, Qt.ItemDataRole.ToolTipRole)
    return box
