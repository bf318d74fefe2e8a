"""Controls for the numbers of a prior: a spin box that shows no needless zeros, a number, a range of two numbers.

They fit into a dock of 300 pixels. The spin boxes are for the keyboard, the sliders beside them for the mouse.
"""

from __future__ import annotations

from qtpy.QtCore import QLocale, Qt, Signal
from qtpy.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QHBoxLayout, QSizePolicy, QSlider, QWidget
from superqt import QDoubleRangeSlider, QDoubleSlider

from napari_synthseg.generator.prior_table import PriorInfo
from napari_synthseg.widgets._shared.controls import keep_from_wheel

DECIMALS = 3
SPIN_WIDTH = 56
STYLE = f"QAbstractSpinBox {{ min-width: {SPIN_WIDTH - 12}px; padding: 1px 4px; }}"  # napari's leave no room for digits


class NumberSpin(QDoubleSpinBox):
    """A number; what is set comes back exactly as it was until the user changes it, though three decimals are shown.

    Args:
        info: the prior; its limits are widened by a value that lies outside.
        name: what a screen reader calls it.
    """

    def __init__(self, info: PriorInfo, name: str) -> None:
        super().__init__()
        self._exact = 0.0
        self._whole = info.kind == "count"
        self.setLocale(QLocale.c())  # as the command line writes numbers
        self.setDecimals(0 if self._whole else DECIMALS)
        self.setRange(info.low, info.high)
        self.setSingleStep(info.step)
        self.setKeyboardTracking(False)
        self.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setFixedWidth(SPIN_WIDTH)
        self.setStyleSheet(STYLE)
        self.setToolTip(info.tip)
        self.setAccessibleName(name)
        keep_from_wheel(self)

    def number(self) -> float:
        """The number, a whole one for a count."""
        shown = self.value()
        number = self._exact if round(self._exact, self.decimals()) == shown else shown
        return int(number) if self._whole else number

    def set_number(self, number: float) -> None:
        """Show a number, also one outside of the limits."""
        self._exact = number
        self.setRange(min(self.minimum(), number), max(self.maximum(), number))
        self.setValue(number)

    def textFromValue(self, value: float) -> str:
        """Without zeros at the end."""
        text = f"{value:.{self.decimals()}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


class NumberControl(QWidget):
    """One number: a slider and a spin box."""

    changed = Signal()

    def __init__(self, info: PriorInfo) -> None:
        super().__init__()
        self._step = info.step
        self.spin = NumberSpin(info, info.label)
        self.slider = QDoubleSlider(Qt.Orientation.Horizontal)
        _prepare_slider(self.slider, info)
        layout = _row(self)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.spin)
        self.setFocusProxy(self.spin)
        self.spin.valueChanged.connect(self._on_spin)
        self.slider.valueChanged.connect(self._on_slider)

    def value(self) -> float:
        """The number."""
        return self.spin.number()

    def set_value(self, value: float) -> None:
        """Show a number."""
        self.spin.set_number(value)
        _set_slider(self.slider, value)

    def _on_spin(self) -> None:
        _set_slider(self.slider, self.spin.value())
        self.changed.emit()

    def _on_slider(self, value: float) -> None:
        self.spin.setValue(_rounded(value, self._step))


class RangeControl(QWidget):
    """A lowest and a highest number, with a slider of two handles between them; one pushes the other along."""

    changed = Signal()

    def __init__(self, info: PriorInfo) -> None:
        super().__init__()
        self._step = info.step
        self._pushing = False
        self.low = NumberSpin(info, f"{info.label}, lowest")
        self.high = NumberSpin(info, f"{info.label}, highest")
        self.slider = QDoubleRangeSlider(Qt.Orientation.Horizontal)
        _prepare_slider(self.slider, info)
        layout = _row(self)
        layout.addWidget(self.low)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.high)
        self.setFocusProxy(self.low)
        self.low.valueChanged.connect(self._on_low)
        self.high.valueChanged.connect(self._on_high)
        self.slider.valueChanged.connect(self._on_slider)

    def value(self) -> tuple[float, float]:
        """Lowest and highest."""
        return self.low.number(), self.high.number()

    def set_value(self, value: tuple[float, float]) -> None:
        """Show a range; `changed` is emitted once, if it is another one."""
        before = self.value()
        self._pushing = True
        for spin, number in zip((self.low, self.high), value, strict=True):
            spin.set_number(number)
        self._pushing = False
        _set_slider(self.slider, value)
        if self.value() != before:
            self.changed.emit()

    def _on_low(self, low: float) -> None:
        self._push(self.high, max(low, self.high.value()))

    def _on_high(self, high: float) -> None:
        self._push(self.low, min(high, self.low.value()))

    def _push(self, other: NumberSpin, number: float) -> None:
        if self._pushing:
            return
        self._pushing = True
        if number != other.value():
            other.setValue(number)
        self._pushing = False
        _set_slider(self.slider, (self.low.value(), self.high.value()))
        self.changed.emit()

    def _on_slider(self, value: tuple[float, float]) -> None:
        before = self.value()
        self._pushing = True
        for spin, number, old in zip((self.low, self.high), value, before, strict=True):
            if abs(number - old) > self._step / 2:  # the handle that was not moved keeps its exact value
                spin.setValue(_rounded(number, self._step))
        self._pushing = False
        if self.value() != before:
            self.changed.emit()


def _row(widget: QWidget) -> QHBoxLayout:
    layout = QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(6)
    return layout


def _prepare_slider(slider: QSlider, info: PriorInfo) -> None:
    slider.setRange(info.low, info.high)
    slider.setSingleStep(info.step)
    slider.setToolTip(info.tip)
    slider.setMinimumWidth(0)  # the spin boxes come first where there is little room
    slider.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    keep_from_wheel(slider)
    slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the keyboard has the spin boxes


def _set_slider(slider: QSlider, value: float | tuple[float, float]) -> None:
    """Move a slider without being told of it; its ends widen for what lies outside."""
    numbers = value if isinstance(value, tuple) else (value,)
    slider.blockSignals(True)
    slider.setRange(min(slider.minimum(), *numbers), max(slider.maximum(), *numbers))
    slider.setValue(value)
    slider.blockSignals(False)
    slider.update()


def _rounded(value: float, step: float) -> float:
    return round(round(value / step) * step, 6)
