"""One control for each kind of field (`fields.Field`): check box, choice, number, range, text, path.

Magicgui's widgets, and own ones if None has a text or numbers have to stay exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FileEdit
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import QLocale, Qt, Signal
from qtpy.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QLineEdit, QSizePolicy, QSpinBox, QWidget
from superqt import QDoubleRangeSlider, QDoubleSlider

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import keep_from_wheel, let_shrink, row

DEFAULT_TEXT = "default"
LARGEST = 2_000_000_000
SHORTEST = 60
"""Pixels that a control keeps in a narrow dock."""
MAKE: dict[str, Callable[[str], Any]] = {"integer": int, "number": float, "text": str}
EXAMPLES = {"integer": "a whole number", "number": "a number", "text": "text"}
DECIMALS = 3
SPIN_WIDTH = 56
SPIN_STYLE = f"QAbstractSpinBox {{ min-width: {SPIN_WIDTH - 12}px; padding: 1px 4px; }}"  # napari's cuts digits off


@dataclass(frozen=True)
class Control:
    """A widget with functions that return and show its value, and the signal of another value."""

    widget: QWidget
    get: Callable[[], Any]
    set: Callable[[Any], None]
    changed: Any


def make_control(
    field: Field, choices: Sequence[Choice] | None = None, nothing: str = DEFAULT_TEXT, *, sliders: bool = False
) -> Control:
    """Make the control of a field.

    `choices` stand in place of the field's own or of free text, `nothing` is shown for None, and `sliders` give numbers
    a slider between their limits.
    """
    if choices is not None or field.kind == "choice" or field.info.texts:
        return _choice(field, choices, nothing)
    if field.kind == "flag":
        return _wrapped(CheckBox())
    if field.kind == "path":
        return _path(field, nothing)
    made: IntegerSpin | LineControl | SliderControl
    if sliders:
        made = SliderControl(field)
    else:
        made = IntegerSpin(field, nothing) if field.kind == "integer" else LineControl(field, nothing)
    return Control(made, made.number, made.set_number, made.changed)


def _wrapped(widget: ValueWidget) -> Control:
    def set_value(value: Any) -> None:
        widget.value = value

    return Control(widget.native, lambda: widget.value, set_value, widget.changed)


def _choice(field: Field, choices: Sequence[Choice] | None, nothing: str) -> Control:
    texts = field.info.texts or {}
    own = [Choice(value, texts.get(value, str(value))) for value in field.choices or texts]
    offered = own if choices is None else choices
    optional = choices is None and field.optional
    box = ComboBox(choices=[(one.text, one.value) for one in offered], nullable=optional)
    box.native_parent_changed.disconnect()  # it would forget entries that are added later
    box.null_string = nothing
    box.reset_choices()
    let_shrink(box.native)
    box.native.setMinimumWidth(SHORTEST)
    for number, tip in enumerate([""] * optional + [one.tip for one in offered]):
        box.native.setItemData(number, tip or field.tip, Qt.ItemDataRole.ToolTipRole)
    control = _wrapped(box)

    def choose(value: Any) -> None:
        if value in box.choices:  # else it was remembered by another version
            control.set(value)

    return Control(control.widget, control.get, choose, control.changed)


def _path(field: Field, nothing: str) -> Control:
    edit = FileEdit(mode="d" if field.info.path == "folder" else "r", nullable=True)
    edit.line_edit.native.setPlaceholderText(nothing if field.optional else "choose…")
    edit.line_edit.native.setMinimumWidth(SHORTEST)
    edit.choose_btn.text, edit.choose_btn.tooltip = "…", f"Choose a {field.info.path or 'file'}"
    edit.choose_btn.native.setFixedWidth(28)
    edit.native.setFocusProxy(edit.line_edit.native)
    edit.native.layout().setSpacing(2)

    def path() -> Path | None:
        return None if edit.value is None else edit.value.expanduser()

    return Control(edit.native, path, _wrapped(edit).set, edit.changed)


class IntegerSpin(QSpinBox):
    """A whole number; if None is a value, the step below the lowest one says so in words."""

    changed = Signal()

    def __init__(self, field: Field, nothing: str = DEFAULT_TEXT) -> None:
        super().__init__()
        low = int(field.info.low) if field.info.low is not None else (0 if field.optional else -LARGEST)
        high = int(field.info.high) if field.info.high is not None else LARGEST
        self._nothing = low - 1 if field.optional else None
        if field.optional:
            self.setSpecialValueText(nothing)
        self.setRange(low - 1 if field.optional else low, high)
        self.setSuffix(f" {field.unit}" if field.unit else "")
        self.setSingleStep(int(field.info.step or 1))
        self.setMinimumWidth(SHORTEST)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        keep_from_wheel(self)
        self.valueChanged.connect(lambda _: self.changed.emit())

    def number(self) -> int | None:
        return None if self.value() == self._nothing else self.value()

    def set_number(self, number: int | None) -> None:
        self.setValue(self._nothing if number is None and self._nothing is not None else int(number or 0))


class LineControl(QLineEdit):
    """A number, a text, or several of them, typed; empty is None, or no items."""

    changed = Signal()

    def __init__(self, field: Field, nothing: str = DEFAULT_TEXT) -> None:
        super().__init__()
        self._field = field
        self.setPlaceholderText(nothing if field.optional else "none" if field.items else "")
        self.setMinimumWidth(SHORTEST)
        self.textChanged.connect(lambda _: self.changed.emit())

    def number(self) -> Any:
        text, field = self.text().strip(), self._field
        if not text and field.optional:
            return None
        if not field.items:
            return self._item(text, field.kind)
        parts = text.replace(",", " ").split()
        kinds = field.items if field.fixed else field.items * len(parts)
        if len(kinds) != len(parts):
            raise InputError(f"{field.label} takes {len(kinds)} numbers, not {len(parts)}.")
        return tuple(self._item(part, kind) for part, kind in zip(parts, kinds, strict=True))

    def set_number(self, value: Any) -> None:
        items = value if isinstance(value, (tuple, list)) else () if value is None else (value,)
        self.setText(", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in items))

    def _item(self, text: str, kind: str) -> Any:
        try:
            return MAKE[kind](text)
        except ValueError:
            raise InputError(f"{self._field.label} must be {EXAMPLES[kind]}, not {text!r}.") from None


class NumberSpin(QDoubleSpinBox):
    """A number with three decimals; a value that was set is returned exactly until the user changes it."""

    def __init__(self, field: Field, name: str) -> None:
        super().__init__()
        self._exact = 0.0
        self._whole = field.kind == "integer"
        self.setLocale(QLocale.c())  # as the command line writes numbers
        self.setDecimals(0 if self._whole else DECIMALS)
        self.setRange(*_limits(field))
        self.setSingleStep(field.info.step or 1)
        self.setKeyboardTracking(False)
        self.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setFixedWidth(SPIN_WIDTH)
        self.setStyleSheet(SPIN_STYLE)
        self.setToolTip(field.tip)
        self.setAccessibleName(name)
        keep_from_wheel(self)

    def number(self) -> float:
        shown = self.value()
        number = self._exact if round(self._exact, self.decimals()) == shown else shown
        return int(number) if self._whole else number

    def set_number(self, number: float) -> None:
        """Show a number; the limits widen for one that lies outside."""
        self._exact = number
        self.setRange(min(self.minimum(), number), max(self.maximum(), number))
        self.setValue(number)

    def textFromValue(self, value: float) -> str:
        text = f"{value:.{self.decimals()}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


class SliderControl(QWidget):
    """A number, or a lowest and a highest one: a slider with a handle for each spin box; one pushes the other along."""

    changed = Signal()

    def __init__(self, field: Field) -> None:
        super().__init__()
        self._step, self._quiet = field.info.step or 1, False
        self._pair = field.kind == "range"
        names = [f"{field.label}, lowest", f"{field.label}, highest"] if self._pair else [field.label]
        self.spins = [NumberSpin(field, name) for name in names]
        self.low, self.high = self.spins[0], self.spins[-1]
        self.slider: Any = (QDoubleRangeSlider if self._pair else QDoubleSlider)(Qt.Orientation.Horizontal)
        self._lay_out(field)
        for spin in self.spins:
            spin.valueChanged.connect(self._on_spin)
        self.slider.valueChanged.connect(self._on_slider)

    def _lay_out(self, field: Field) -> None:
        """Put the slider between its spin boxes; these have the keyboard, and come first if there is little room."""
        row(*self.spins[:-1], (self.slider, 1), self.high, parent=self, spacing=6)
        self.slider.setRange(*_limits(field))
        self.slider.setSingleStep(self._step)
        self.slider.setToolTip(field.tip)
        self.slider.setMinimumWidth(0)
        self.slider.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        keep_from_wheel(self.slider)
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFocusProxy(self.low)

    def number(self) -> Any:
        numbers = tuple(spin.number() for spin in self.spins)
        return numbers if self._pair else numbers[0]

    def set_number(self, value: Any) -> None:
        """Show a number or a range; `changed` is emitted once, if it is another one."""
        before, self._quiet = self.number(), True
        for spin, number in zip(self.spins, value if self._pair else (value,), strict=True):
            spin.set_number(number)
        self._finish(before)

    def _on_spin(self, number: float) -> None:
        if self._quiet:
            return
        self._quiet = True
        if self.sender() is self.low:
            self.high.setValue(max(number, self.high.value()))
        else:
            self.low.setValue(min(number, self.low.value()))
        self._finish(None)

    def _on_slider(self, value: Any) -> None:
        before, self._quiet = self.number(), True
        for spin, number in zip(self.spins, value if self._pair else (value,), strict=True):
            if abs(number - spin.number()) > self._step / 2:  # a handle that was not moved keeps its exact value
                spin.setValue(round(round(number / self._step) * self._step, 6))
        self._finish(before, move=False)

    def _finish(self, before: Any, *, move: bool = True) -> None:
        self._quiet = False
        if move:
            numbers = [spin.value() for spin in self.spins]
            self.slider.blockSignals(True)
            self.slider.setRange(min(self.slider.minimum(), *numbers), max(self.slider.maximum(), *numbers))
            self.slider.setValue(tuple(numbers) if self._pair else numbers[0])
            self.slider.blockSignals(False)
            self.slider.update()
        if self.number() != before:
            self.changed.emit()


def _limits(field: Field) -> tuple[float, float]:
    low, high = field.info.slider or (field.info.low, field.info.high)
    return (-LARGEST if low is None else low), (LARGEST if high is None else high)
