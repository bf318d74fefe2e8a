"""Small Qt parts that several widgets share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from weakref import finalize, ref

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence, QResizeEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QProgressBar,
    QPushButton,
    QShortcut,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.choices import Choice

Part = QWidget | QLayout | tuple[QWidget | QLayout, int] | None
"""A widget or layout, with its stretch if it has one; None is empty space that stretches."""
FRAME_S = 0.2
"""Between two pictures of a bar that only says that something is going on."""


def listen(owner: QObject, react: Callable[[Any, Any], None], *events: Any) -> None:
    """Call `react(owner, event)` at events of napari for as long as Qt has the owner, which is not kept alive."""
    alive = ref(owner)

    def call(event: Any = None) -> None:
        living = alive()
        if living is not None and isalive(living):  # Qt may have deleted it before Python does
            react(living, event)
        else:
            forget()

    def forget() -> None:
        for one in events:
            one.disconnect(call)

    for one in events:
        one.connect(call)
    finalize(owner, forget).atexit = False  # not by `destroyed`: PyQt can crash in a function it calls then


# Layouts and buttons


def column(*parts: Part, parent: QWidget | None = None, margin: int = 0, spacing: int = -1) -> QVBoxLayout:
    """Lay parts out below each other; margin and spacing are pixels, -1 is the style's."""
    return _filled(QVBoxLayout(), parts, parent, margin, spacing)


def row(*parts: Part, parent: QWidget | None = None, margin: int = 0, spacing: int = -1) -> QHBoxLayout:
    """Lay parts out beside each other; see `column`."""
    return _filled(QHBoxLayout(), parts, parent, margin, spacing)


def _filled(layout: Any, parts: tuple[Part, ...], parent: QWidget | None, margin: int, spacing: int) -> Any:
    layout.setContentsMargins(margin, margin, margin, margin)
    if spacing >= 0:
        layout.setSpacing(spacing)
    for one in parts:
        part, stretch = one if isinstance(one, tuple) else (one, 0)
        if part is None:
            layout.addStretch(1)
        else:
            (layout.addWidget if isinstance(part, QWidget) else layout.addLayout)(part, stretch)
    if parent is not None:
        parent.setLayout(layout)
    return layout


def button(
    text: str,
    tip: str,
    clicked: Callable[[], Any] | None = None,
    *,
    name: str = "",
    width: int = 0,
    checkable: bool = False,
) -> QPushButton:
    """Make a button.

    `text` has "&" before the letter of a shortcut, `name` is for screen readers if the text says little, and `width` is
    in pixels; without one the button is as wide as there is room.
    """
    made = QPushButton(text)
    made.setCheckable(checkable)
    made.setToolTip(tip)
    made.setMinimumWidth(40)
    if clicked is not None:
        made.clicked.connect(lambda *_: clicked())
    if name:
        made.setAccessibleName(name)
    if width:
        made.setFixedWidth(width)
    return made


def check_box(text: str, tip: str, on: bool = False) -> QCheckBox:
    box = QCheckBox(text)
    box.setToolTip(tip)
    box.setChecked(on)
    return box


def spin_box(low: int, high: int, value: int, tip: str, name: str) -> QSpinBox:
    """Make a box for a whole number; `name` is for screen readers."""
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setToolTip(tip)
    box.setAccessibleName(name)
    keep_from_wheel(box)
    return box


class _CalmBar(QProgressBar):
    """A bar that moves at most every `FRAME_S` while its end is unknown; Qt's style asks for sixty frames a second.

    A window with an OpenGL canvas is composed as a whole for each of them, without a graphics card by the processor.
    """

    _drawn = 0.0

    def event(self, event: QEvent | None) -> bool:
        if event is None or event.type() != 213:  # QEvent::StyleAnimationUpdate, which PyQt6 does not name
            return super().event(event)
        event.accept()  # or the style ends the animation
        if (now := time.monotonic()) - self._drawn >= FRAME_S:
            self._drawn = now
            self.update()
        return True


def progress_bar(height: int = 0) -> QProgressBar:
    """Make a bar without a number, of a height in pixels or the style's."""
    bar = _CalmBar()
    bar.setRange(0, 0)
    bar.setTextVisible(False)
    if height:
        bar.setFixedHeight(height)
    return bar


def single_shot(parent: QObject, milliseconds: int, then: Callable[[], Any]) -> QTimer:
    """Make a timer that calls a function once after each start."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(then)
    return timer


def combo(choices: list[Choice], tip: str) -> QComboBox:
    """Make a combo box of choices that may be narrower than its texts."""
    box = QComboBox()
    box.setToolTip(tip)
    let_shrink(box)
    for number, choice in enumerate(choices):
        box.addItem(choice.text, choice.value)
        box.setItemData(number, choice.tip or tip, Qt.ItemDataRole.ToolTipRole)
    return box


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
    """Let the wheel scroll the form past a control, which it changes only once the control has the focus."""
    control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    control.installEventFilter(_WheelFilter(control))


class ProgressRow(QWidget):
    """A bar and a button that cancels, shown while something runs; in its owner the Escape key cancels too."""

    def __init__(self, owner: QWidget, stop: Callable[[], Any], tip: str) -> None:
        super().__init__()
        self.bar = progress_bar()
        self.cancel = button("&Cancel", f"{tip} The Escape key does the same.", stop)
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), owner)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(stop)
        row((self.bar, 1), self.cancel, parent=self)

    def set_running(self, running: bool) -> None:
        """Show or hide the row; the bar begins without a number."""
        if running and self.isHidden():
            self.bar.setRange(0, 0)
        self.setVisible(running)

    def show_report(self, report: Progress) -> None:
        self.bar.setRange(0, report.total)
        self.bar.setValue(report.done)


# Texts


class WrappedLabel(QLabel):
    """Selectable text that is never cut off: a form layout gives wrapped text in it too little height."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def setText(self, text: str | None) -> None:
        if text == self.text():
            return  # its neighbors need no new layout
        super().setText(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setMinimumHeight(0)  # Qt takes it for a part of the height that is asked for
        self.setMinimumHeight(self.heightForWidth(self.width()) if self.text() else 0)


class Message(WrappedLabel):
    """Wrapped, selectable text that takes no room while it is empty.

    Args:
        warning: draw it with an amber bar on its left.
        lines: of room that it has always, so that the parts below do not move.
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


# Sections and forms


class Section(QWidget):
    """A part of a form that unfolds below its title; the title is a button, so the keyboard opens it too.

    Its content goes into `body`, a widget without a layout.
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
        column(self.button, self.body, parent=self, spacing=2)
        self.button.toggled.connect(self._unfold)
        self._unfold(False)
        self.button.setChecked(unfolded)

    @property
    def unfolded(self) -> bool:
        return self.button.isChecked()

    def set_unfolded(self, unfolded: bool) -> None:
        self.button.setChecked(unfolded)

    def _unfold(self, unfolded: bool) -> None:
        self.body.setVisible(unfolded)
        self.button.setArrowType(Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow)
        self.toggled.emit(unfolded)


def form_layout(parent: QWidget | None = None) -> QFormLayout:
    """Make an empty form: labels on the left, fields as wide as there is room."""
    form = QFormLayout() if parent is None else QFormLayout(parent)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    form.setHorizontalSpacing(8)
    form.setVerticalSpacing(4)
    return form
