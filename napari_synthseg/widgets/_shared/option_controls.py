"""One control for each kind of option (see `option_fields`): each has `value()`, `set_value(value)` and `changed`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QWidget,
)

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import keep_from_wheel, let_shrink

DEFAULT_TEXT = "default"
LARGEST = 2_000_000_000
MAKE = {"integer": int, "number": float, "text": str, "path": Path}


class FlagControl(QCheckBox):
    """Yes or no."""

    changed = Signal()

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.toggled.connect(lambda _: self.changed.emit())

    def value(self) -> bool:
        """Whether it is checked."""
        return self.isChecked()

    def set_value(self, value: Any) -> None:
        """Check or uncheck."""
        self.setChecked(bool(value))


class ChoiceControl(QComboBox):
    """One of a few values.

    Args:
        field: the option.
        choices: what to offer; the field's own values if None, and that there is none where None is a value.
        nothing: how None is shown.
    """

    changed = Signal()

    def __init__(self, field: Field, choices: list[Choice] | None = None, nothing: str = DEFAULT_TEXT) -> None:
        super().__init__()
        let_shrink(self)
        own = [Choice(None, nothing)] * field.optional + [Choice(value, str(value)) for value in field.choices]
        for row, choice in enumerate(choices or own):
            self.addItem(choice.text, choice.value)
            self.setItemData(row, choice.tip or field.doc, Qt.ItemDataRole.ToolTipRole)
        self.currentIndexChanged.connect(lambda _: self.changed.emit())

    def value(self) -> Any:
        """The chosen value."""
        return self.currentData()

    def set_value(self, value: Any) -> None:
        """Choose a value; one that is not offered is ignored."""
        row = next((row for row in range(self.count()) if self.itemData(row) == value), -1)  # findData finds no None
        if row >= 0:
            self.setCurrentIndex(row)


class IntegerControl(QSpinBox):
    """A whole number; where None is a value, the lowest step says so in words."""

    changed = Signal()

    def __init__(self, field: Field, nothing: str = DEFAULT_TEXT) -> None:
        super().__init__()
        low = int(field.info.low) if field.info.low is not None else (0 if field.optional else -LARGEST)
        self._nothing = low - 1 if field.optional else None
        if field.optional:
            self.setSpecialValueText(nothing)
        self.setRange(
            low - 1 if field.optional else low, int(field.info.high) if field.info.high is not None else LARGEST
        )
        self.setSuffix(f" {field.unit}" if field.unit else "")
        self.setSingleStep(int(field.info.step or 1))
        self.setMinimumWidth(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        keep_from_wheel(self)
        self.valueChanged.connect(lambda _: self.changed.emit())

    def value(self) -> int | None:  # type: ignore[override]
        """The number, or None."""
        number = super().value()
        return None if number == self._nothing else number

    def show_nothing_as(self, text: str) -> None:
        """Show None otherwise from now on, such as by the number that it stands for."""
        if self._nothing is not None and text != self.specialValueText():
            self.setSpecialValueText(text)

    def set_value(self, value: Any) -> None:
        """Show a number; None where that is a value."""
        self.setValue(self._nothing if value is None and self._nothing is not None else int(value))


class LineControl(QLineEdit):
    """A number, text or several of them, typed; empty is None, or no items.

    `value` raises `InputError` for what is not a number.
    """

    changed = Signal()
    EXAMPLES: ClassVar[dict[str, str]] = {"integer": "a whole number", "number": "a number", "text": "text"}

    def __init__(self, field: Field, nothing: str = DEFAULT_TEXT) -> None:
        super().__init__()
        self._field = field
        self.setPlaceholderText(nothing if field.optional else "none" if field.kind in ("tuple", "range") else "")
        self.setMinimumWidth(60)
        self.textChanged.connect(lambda _: self.changed.emit())

    def value(self) -> Any:
        """What was typed, as its type."""
        text = self.text().strip()
        if self._field.kind in ("tuple", "range"):
            return self._items([part for part in text.replace(",", " ").split() if part])
        if not text and self._field.optional:
            return None
        return self._item(text, self._field.kind)

    def set_value(self, value: Any) -> None:
        """Show a value."""
        if isinstance(value, (tuple, list)):
            self.setText(", ".join(_written(one) for one in value))
        else:
            self.setText("" if value is None else _written(value))

    def _items(self, parts: list[str]) -> tuple[Any, ...]:
        kinds = self._field.items if self._field.fixed else self._field.items * len(parts)
        if len(kinds) != len(parts):
            raise InputError(f"{self._field.label} takes {len(kinds)} numbers, not {len(parts)}.")
        return tuple(self._item(part, kind) for part, kind in zip(parts, kinds, strict=True))

    def _item(self, text: str, kind: str) -> Any:
        try:
            return MAKE[kind](text)
        except ValueError:
            raise InputError(f"{self._field.label} must be {self.EXAMPLES[kind]}, not {text!r}.") from None


class PathControl(QWidget):
    """A file or folder: typed, or chosen in a dialog; empty is None."""

    changed = Signal()

    def __init__(self, field: Field, nothing: str = DEFAULT_TEXT) -> None:
        super().__init__()
        self._folder = field.info.path == "folder"
        self.line = QLineEdit()
        self.line.setPlaceholderText(nothing if field.optional else "choose…")
        self.line.setMinimumWidth(60)
        self.browse = QToolButton()
        self.browse.setText("…")
        self.browse.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.browse.setToolTip("Choose a folder" if self._folder else "Choose a file")
        self.browse.clicked.connect(self._on_browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.browse)
        self.setFocusProxy(self.line)
        self.line.textChanged.connect(lambda _: self.changed.emit())

    def value(self) -> Path | None:
        """The path, or None."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def set_value(self, value: Any) -> None:
        """Show a path."""
        self.line.setText("" if value is None else str(value))

    def setToolTip(self, text: str) -> None:
        """Say what the path is for."""
        super().setToolTip(text)
        self.line.setToolTip(text)

    def _on_browse(self) -> None:
        if self._folder:
            chosen = QFileDialog.getExistingDirectory(self, "Choose a folder", self.line.text())
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, "Choose a file", self.line.text())
        if chosen:
            self.line.setText(chosen)


Control = FlagControl | ChoiceControl | IntegerControl | LineControl | PathControl


def make_control(field: Field, choices: list[Choice] | None = None, nothing: str = DEFAULT_TEXT) -> Control:
    """The control of a field, with its default and its tooltip.

    Args:
        field: the option.
        choices: values to choose from, in place of the field's own or of free text.
        nothing: how None is shown.
    """
    control: Control
    if choices is not None or field.kind == "choice":
        control = ChoiceControl(field, choices, nothing)
    elif field.kind == "flag":
        control = FlagControl(field)
    elif field.kind == "integer":
        control = IntegerControl(field, nothing)
    elif field.kind == "path":
        control = PathControl(field, nothing)
    else:
        control = LineControl(field, nothing)
    if not field.required:
        control.set_value(field.default)
    control.setToolTip(field.doc)
    return control


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
