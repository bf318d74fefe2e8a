"""A form made from any frozen dataclass: a row for every field, marked and reset if it is changed, in groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QWidget
from superqt.utils import signals_blocked

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import Section, button, column, form_layout, keep_from_wheel
from napari_synthseg.widgets._shared.controls import row as beside
from napari_synthseg.widgets._shared.field_controls import DEFAULT_TEXT, make_control

ADVANCED = "Advanced"
MARK = "•"
LONGEST_UNIT = 8
"""Longer units stand in the tooltip only."""
RESET_WIDTH = 20
NONE: Mapping[str, Any] = {}


class Row(QObject):
    """One field: its name, its control (see `make_control`), and a button that resets a changed value."""

    changed = Signal()

    def __init__(
        self, field: Field, text: str, choices: Sequence[Choice] | None, nothing: str, *, sliders: bool
    ) -> None:
        super().__init__()
        self.field, self.text = field, text
        self._control = make_control(field, choices, nothing, sliders=sliders)
        self.control = self._control.widget
        self.control.setToolTip(field.tip)
        self.control.setAccessibleName(text.replace("&", ""))
        self.switch = QCheckBox() if sliders and field.optional and field.kind != "choice" else None
        self._parts: list[QWidget] = []
        self._two_lines = sliders and field.kind == "range"
        if isinstance(self.control, QCheckBox):
            self.name: Any = self.control
        else:
            self.name = self.switch or QLabel()
            self.name.setToolTip(field.tip)
        if self._two_lines:  # its name does not make the form wider than its dock
            self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.reset = _ResetButton(f"Reset {text.replace('&', '')}", keep_room=sliders)
        self.set_base(field.default)
        self._control.changed.connect(self._on_changed)
        self.reset.clicked.connect(lambda: self.set_value(self.field.default))
        if self.switch is not None:
            keep_from_wheel(self.switch)
            self.switch.toggled.connect(self._on_changed)

    def value(self) -> Any:
        return None if self.switch is not None and not self.switch.isChecked() else self._control.get()

    def set_value(self, value: Any) -> None:
        """Show a value, unless the control cannot."""
        if self.switch is not None:
            self.switch.setChecked(value is not None)
            value = (self.field.info.start or self.field.info.slider) if value is None else value
        try:
            self._control.set(value)
        except (TypeError, ValueError):  # remembered by another version
            return
        self.show_state()

    def quietly(self, call: Callable[[Any], None], value: Any) -> None:
        """Call `set_value` or `set_base` without a signal."""
        with signals_blocked(self):
            call(value)

    def set_base(self, value: Any) -> None:
        self.field = replace(self.field, default=value)
        if not self.field.required:
            self.set_value(value)
            self.reset.setToolTip(f"Back to {_written(value)}")
        self.show_state()

    @property
    def differs(self) -> bool:
        """Whether a valid value is not the default."""
        try:
            return bool(self.value() != self.field.default) and not self.missing
        except ValueError:
            return False

    @property
    def missing(self) -> bool:
        return self.field.required and self.value() in (None, "")

    def place(self, form: QFormLayout) -> None:
        if isinstance(self.name, QLabel):
            self.name.setBuddy(self.control)
        if self._two_lines or self.name is self.control:
            self._parts = [_beside(self.name, self.reset)] + [self.control] * self._two_lines
            for part in self._parts:
                form.addRow(part)
        else:
            self._parts = [self.name, _beside(self.control, self.reset)]
            form.addRow(*self._parts)

    def set_visible(self, visible: bool) -> None:
        for part in (*self._parts, self.control):
            part.setVisible(visible)

    def _on_changed(self) -> None:
        self.show_state()
        self.changed.emit()

    def show_state(self) -> None:
        unit = self.field.unit if self._two_lines and len(self.field.unit) <= LONGEST_UNIT else ""
        text = f"{self.text} ({unit})" if unit else self.text
        marked = self.differs and not self.field.required
        self.name.setText(f"{text} {MARK}" if marked else text)
        self.reset.setVisible(marked)
        if self.switch is not None:
            self.control.setEnabled(self.switch.isChecked())


class Group(Section):
    def __init__(self, title: str, rows: Sequence[Row]) -> None:
        super().__init__(title, f"Options: {title.lower()}.")
        self.title, self.rows = title, rows
        form = form_layout()
        for row in rows:
            row.place(form)
            row.changed.connect(self.show_state)
        column(form, parent=self.body).setContentsMargins(8, 0, 0, 4)
        self.show_state()

    def show_state(self) -> None:
        count = sum(row.differs and not row.field.required for row in self.rows)
        self.button.setText(f"{self.title} {MARK} {count} changed" if count else self.title)


class OptionsForm(QWidget):
    """Rows for the fields of a dataclass.

    Args:
        options: a frozen dataclass.
        above: rows of other widgets before those of the fields, as `QFormLayout.addRow` takes them.
        usual: fields shown at once, in this order; the others are folded into groups. All of them if None.
        leave_out: fields without a row.
        texts: labels in place of the fields' own; with "&" before the letter of a shortcut.
        choices: of fields whose type does not list them.
        nothing: text for None, by field.
        defaults: in place of those of `options`.
        fields: in place of the annotations of `options`.
        sliders: give numbers a slider between their limits.
    """

    changed = Signal()

    def __init__(
        self,
        options: type,
        *,
        above: Sequence[tuple[Any, ...]] = (),
        usual: Collection[str] | None = None,
        leave_out: Collection[str] = (),
        texts: Mapping[str, str] = NONE,
        choices: Mapping[str, Sequence[Choice]] = NONE,
        nothing: Mapping[str, str] = NONE,
        defaults: Mapping[str, Any] = NONE,
        fields: Sequence[Field] | None = None,
        sliders: bool = False,
    ) -> None:
        super().__init__()
        self._options = options
        self.rows: dict[str, Row] = {}
        for field in fields if fields is not None else fields_of(options):
            if field.name in leave_out or field.info.hidden:
                continue
            own = replace(field, default=defaults.get(field.name, field.default))
            text, words = texts.get(field.name, field.label), nothing.get(field.name, DEFAULT_TEXT)
            row = Row(own, text, choices.get(field.name), words, sliders=sliders)
            row.changed.connect(self._on_changed)
            self.rows[field.name] = row
        self.controls = {name: row.control for name, row in self.rows.items()}
        self.usual = form_layout()
        for one in above:
            self.usual.addRow(*one)
        self.groups: dict[str, Group] = {}
        self.reset: QPushButton = button("Reset to defaults", "Reset every option.", self.set_defaults)
        self._build(list(self.rows) if usual is None else [name for name in usual if name in self.rows])
        body: Any = self.advanced.body.layout()
        if not sliders:
            body.addWidget(self.reset)
        self._show_state()

    def _build(self, usual: Sequence[str]) -> None:
        layout = column(self.usual, parent=self, spacing=2)
        for name in usual:
            self.rows[name].place(self.usual)
        titles = {name: row.field.info.group or ADVANCED for name, row in self.rows.items() if name not in usual}
        for title in dict.fromkeys(titles.values()) or [ADVANCED]:
            group = Group(title, [self.rows[name] for name, own in titles.items() if own == title])
            layout.addWidget(group)
            self.groups[title] = group
        self.advanced = next(reversed(self.groups.values()))
        self.advanced.setVisible(bool(titles))

    def values(self) -> dict[str, Any]:
        """Return the values by field without missing ones; raises `InputError` if a typed text is not of its type."""
        return {name: row.value() for name, row in self.rows.items() if not row.missing}

    def differences(self) -> dict[str, Any]:
        return {name: row.value() for name, row in self.rows.items() if row.differs}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show values, but those of other fields or that a control cannot show; `changed` is emitted once."""
        for name, value in values.items():
            if name in self.rows:
                self.rows[name].quietly(self.rows[name].set_value, value)
        for group in self.groups.values():
            group.show_state()
        self._on_changed()

    def set_defaults(self) -> None:
        self.set_values({name: row.field.default for name, row in self.rows.items() if not row.field.required})

    def problem(self, **others: Any) -> str | None:
        """Return in one sentence why the options, with `others` that have no row, cannot be used; None if they can."""
        try:
            for row in self.rows.values():
                if row.missing:
                    raise InputError(f"{row.text.replace('&', '')} is missing; choose one.")
            self._options(**(self.values() | others))
        except ValueError as error:
            return str(error)
        return None

    def set_unfolded(self, titles: Sequence[str]) -> None:
        for title, group in self.groups.items():
            group.set_unfolded(title in titles)

    def _on_changed(self) -> None:
        self._show_state()
        self.changed.emit()

    def _show_state(self) -> None:
        self.reset.setEnabled(any(row.differs for row in self.rows.values()))


class _ResetButton(QToolButton):
    """A small button that resets something; it may keep its room while it is hidden."""

    def __init__(self, name: str, *, keep_room: bool) -> None:
        super().__init__()
        self.setText("↺")
        self.setAutoRaise(True)
        self.setAccessibleName(name)
        self.setFixedSize(RESET_WIDTH, 20)
        self.setStyleSheet("QToolButton { padding: 0px; margin: 0px; min-width: 0px; }")
        policy = self.sizePolicy()
        policy.setRetainSizeWhenHidden(keep_room)
        self.setSizePolicy(policy)


def _beside(widget: QWidget, button: QToolButton) -> QWidget:
    both = QWidget()
    beside((widget, 1), button, parent=both, spacing=2)
    both.setFocusProxy(widget)
    return both


def _written(value: Any) -> str:
    items = value if isinstance(value, tuple) else ("none" if value is None else value,)
    return " to ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in items)
