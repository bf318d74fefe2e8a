"""A form made from any frozen dataclass of options: a control for every field, the rare ones folded away."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import Section, form_layout
from napari_synthseg.widgets._shared.option_controls import DEFAULT_TEXT, Control, FlagControl, make_control

ADVANCED = "Advanced"


class OptionsForm(QWidget):
    """Controls for the fields of `options`; what differs from the default has a bold label.

    Args:
        options: a frozen dataclass; its docstrings become tooltips.
        usual: fields shown at once, in this order; the others are folded away. All of them if None.
        leave_out: fields that the face has other controls for.
        texts: labels, where the field's own name will not do; with "&" before the letter of a shortcut.
        choices: what to choose from, for fields whose type does not say it.
        nothing: how None is shown, by field.
        defaults: of this form, where they are others than those of `options`.
    """

    changed = Signal()

    def __init__(
        self,
        options: type,
        *,
        usual: Collection[str] | None = None,
        leave_out: Collection[str] = (),
        texts: Mapping[str, str] | None = None,
        choices: Mapping[str, list[Choice]] | None = None,
        nothing: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._options = options
        fields = {one.name: one for one in fields_of(options) if one.name not in leave_out}
        self._fields = fields | {name: replace(fields[name], default=value) for name, value in (defaults or {}).items()}
        self._texts = texts or {}
        self._labels: dict[str, QWidget] = {}
        self.controls: dict[str, Control] = {}
        for name, field in self._fields.items():
            control = make_control(field, (choices or {}).get(name), (nothing or {}).get(name, DEFAULT_TEXT))
            control.changed.connect(self._on_changed)
            self.controls[name] = control
        self._build([name for name in usual if name in self._fields] if usual is not None else list(self._fields))
        self._mark()

    def _build(self, usual: list[str]) -> None:
        self.usual = form_layout()
        self.advanced = Section(ADVANCED, "Options that are rarely needed")
        folded = form_layout()
        rare = [name for name in self._fields if name not in usual]
        for names, form in ((usual, self.usual), (rare, folded)):
            for name in names:
                self._add_row(form, name)
        self.reset = QPushButton("Reset to defaults")
        self.reset.setToolTip("Put every option back to its default.")
        self.reset.clicked.connect(self.set_defaults)
        body = QVBoxLayout(self.advanced.body)
        body.setContentsMargins(8, 0, 0, 0)
        body.addLayout(folded)
        body.addWidget(self.reset)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self.usual)
        layout.addWidget(self.advanced)
        self.advanced.setVisible(bool(rare))

    def _add_row(self, form: QFormLayout, name: str) -> None:
        control, text = self.controls[name], self._texts.get(name, self._fields[name].label)
        if isinstance(control, FlagControl):
            control.setText(text)
            form.addRow(control)
            self._labels[name] = control
            return
        label = QLabel(text)
        label.setBuddy(control)
        label.setToolTip(self._fields[name].doc)
        form.addRow(label, control)
        self._labels[name] = label

    def values(self) -> dict[str, Any]:
        """What is chosen, by field; fields that must be given and are not are left out.

        Raises:
            InputError: something typed is not of its type.
        """
        return {name: value for name, value in self._values().items() if not self._missing(name, value)}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Choose values; names of other fields, and values that a control cannot show, are ignored."""
        for name, value in values.items():
            if name in self.controls:
                try:
                    self.controls[name].set_value(value)
                except (TypeError, ValueError):  # remembered by another version
                    continue

    def set_defaults(self) -> None:
        """Choose the defaults of all fields that have one."""
        self.set_values({name: field.default for name, field in self._fields.items() if not field.required})

    def differences(self) -> dict[str, Any]:
        """The values that differ from the defaults; what cannot be read is left out."""
        return {
            name: value
            for name, value in self._readable().items()
            if value != self._fields[name].default and not self._missing(name, value)
        }

    def problem(self, **others: Any) -> str | None:
        """Say in one sentence why the options cannot be used; None where they can.

        Args:
            **others: values of the fields that the form leaves out.
        """
        try:
            values = self._values()
            for name, value in values.items():
                if self._missing(name, value):
                    raise InputError(f"{self._plain(name)} is missing; choose one.")
            self._options(**(values | others))
        except ValueError as error:
            return str(error)
        return None

    def _values(self) -> dict[str, Any]:
        return {name: control.value() for name, control in self.controls.items()}

    def _readable(self) -> dict[str, Any]:
        read = {}
        for name, control in self.controls.items():
            try:
                read[name] = control.value()
            except ValueError:
                continue
        return read

    def _missing(self, name: str, value: Any) -> bool:
        field: Field = self._fields[name]
        return field.required and value in (None, "")

    def _plain(self, name: str) -> str:
        return self._texts.get(name, self._fields[name].label).replace("&", "")

    def _on_changed(self) -> None:
        self._mark()
        self.changed.emit()

    def _mark(self) -> None:
        """Bold labels where a value is not the default, and how many of them are folded away."""
        changed = self.differences()
        for name, label in self._labels.items():
            font = label.font()
            font.setBold(name in changed and not self._fields[name].required)
            label.setFont(font)
        hidden = sum(self.advanced.isAncestorOf(self._labels[name]) for name in changed)
        self.advanced.button.setText(f"{ADVANCED} ({hidden} changed)" if hidden else ADVANCED)
        self.reset.setEnabled(bool(changed))
