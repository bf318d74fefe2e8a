"""One prior in a form: its name, its control, and a button that shows it differs from the preset and takes it back."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QSizePolicy, QToolButton, QWidget

from napari_synthseg.generator.prior_table import DIRECTIONS, PriorInfo
from napari_synthseg.widgets._shared.controls import keep_from_wheel, let_shrink
from napari_synthseg.widgets._shared.icons import icon_on
from napari_synthseg.widgets.preview.number_controls import NumberControl, RangeControl

RANDOM = "random"
LONGEST_UNIT = 8
"""Longer units stand in the tooltip only."""
MARK = "•"
RESET_WIDTH = 20


class DirectionControl(QComboBox):
    """A slice direction, or a random one (None)."""

    changed = Signal()

    def __init__(self, info: PriorInfo) -> None:
        super().__init__()
        let_shrink(self)
        self.setMinimumWidth(60)
        self.setToolTip(info.tip)
        self.setAccessibleName(info.label)
        self.addItem(RANDOM, None)
        for direction, name in enumerate(DIRECTIONS):
            self.addItem(name, direction)
        self.currentIndexChanged.connect(lambda _: self.changed.emit())

    def value(self) -> int | None:
        """0 sagittal, 1 coronal, 2 axial, or None."""
        return self.currentData()

    def set_value(self, value: int | None) -> None:
        """Choose a direction."""
        self.setCurrentIndex(0 if value is None else value + 1)


class PriorRow(QObject):
    """The parts of one row; `place` puts them into a grid of three columns: name, control, reset.

    Args:
        info: the prior.
        value: what the preset has.
    """

    changed = Signal()

    def __init__(self, info: PriorInfo, value: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.info = info
        self._base = value
        self.switch: QCheckBox | None = QCheckBox() if info.kind == "optional range" else None
        self.name: QWidget = self.switch or QLabel()
        self.name.setToolTip(info.tip)
        if "range" in info.kind:  # has a line of its own, and does not make the form wider than its dock
            self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.control = _control(info)
        self.reset = QToolButton()
        self.reset.setAutoRaise(True)
        self.reset.setAccessibleName(f"Reset {info.label}")
        icon_on(self.reset, "reset", 14)
        self.reset.setFixedSize(RESET_WIDTH, 20)
        self.reset.setStyleSheet("QToolButton { padding: 0px; margin: 0px; min-width: 0px; }")
        keep = self.reset.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self.reset.setSizePolicy(keep)
        self.set_base(value)
        self.control.changed.connect(self._on_changed)
        self.reset.clicked.connect(self.take_back)
        if self.switch is not None:
            keep_from_wheel(self.switch)
            self.switch.toggled.connect(self._on_changed)

    def value(self) -> Any:
        """The prior as it is set; None for an optional range that is switched off."""
        return None if self.switch is not None and not self.switch.isChecked() else self.control.value()

    def set_value(self, value: Any) -> None:
        """Show a value."""
        if self.switch is not None:
            self.switch.setChecked(value is not None)
            value = self.info.start or (self.info.low, self.info.high) if value is None else value
        self.control.set_value(value)
        self._show()

    def set_base(self, value: Any) -> None:
        """Another preset: its value is shown, and is what the row can be taken back to."""
        self._base = value
        self.set_value(value)
        self.reset.setToolTip(f"Back to the preset's {written(value)}")

    def take_back(self) -> None:
        """Show the preset's value again."""
        self.set_value(self._base)

    @property
    def differs(self) -> bool:
        """Whether the value is not the preset's."""
        return self.value() != self._base

    def place(self, grid: QGridLayout, row: int) -> int:
        """Put the parts into a grid, from a row on; returns the next free row."""
        if isinstance(self.control, RangeControl):
            grid.addWidget(self.name, row, 0, 1, 2)
            grid.addWidget(self.reset, row, 2)
            grid.addWidget(self.control, row + 1, 0, 1, 2)
            return row + 2
        grid.addWidget(self.name, row, 0)
        grid.addWidget(self.control, row, 1)
        grid.addWidget(self.reset, row, 2)
        return row + 1

    def _on_changed(self) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        text = f"{self.info.label} ({self.info.unit})" if self._shows_unit else self.info.label
        self.name.setText(f"{text} {MARK}" if self.differs else text)
        self.reset.setVisible(self.differs)
        if self.switch is not None:
            self.control.setEnabled(self.switch.isChecked())

    @property
    def _shows_unit(self) -> bool:
        return 0 < len(self.info.unit) <= LONGEST_UNIT and "range" in self.info.kind


def written(value: Any) -> str:
    """A prior's value as a person writes it."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return " to ".join(f"{number:.4g}" for number in value)
    return f"{value:.4g}"


def _control(info: PriorInfo) -> RangeControl | NumberControl | DirectionControl:
    if "range" in info.kind:
        return RangeControl(info)
    return DirectionControl(info) if info.kind == "direction" else NumberControl(info)
