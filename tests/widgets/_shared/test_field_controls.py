"""Controls for numbers and ranges."""

from __future__ import annotations

import math
from dataclasses import MISSING

import pytest
from qtpy.QtCore import Qt

from napari_synthseg.fields import Field, Info
from napari_synthseg.widgets._shared.field_controls import SliderControl

ROTATION = Field("rotation_deg", "range", MISSING, False, "Rotation.", info=Info(slider=(-90, 90), step=1))
GRID = Field("velocity_grid", "integer", MISSING, False, "Points.", info=Info(slider=(2, 32), step=1))
FLIP = Field("flip", "number", MISSING, False, "How often.", info=Info(low=0, high=1, step=0.05))


@pytest.fixture
def rotation(qtbot):
    control = SliderControl(ROTATION)
    qtbot.addWidget(control)
    control.set_number((-15.0, 15.0))
    return control


def typed(qtbot, spin, text: str) -> None:
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, text)
    qtbot.keyClick(spin, Qt.Key.Key_Return)


def test_what_is_set_comes_back_exactly(rotation):
    rotation.set_number((0.0, math.sqrt(1.5)))
    assert rotation.number() == (0.0, math.sqrt(1.5))
    assert rotation.high.text() == "1.225"


def test_a_number_is_typed(rotation, qtbot):
    with qtbot.waitSignal(rotation.changed):
        typed(qtbot, rotation.high, "20.5")
    assert rotation.number() == (-15.0, 20.5)
    assert rotation.slider.value()[1] == pytest.approx(20.5)


@pytest.mark.parametrize(("end", "text", "value"), [("low", "30", (30.0, 30.0)), ("high", "-40", (-40.0, -40.0))])
def test_one_end_pushes_the_other(rotation, qtbot, end, text, value):
    heard = []
    rotation.changed.connect(lambda: heard.append(rotation.number()))
    typed(qtbot, getattr(rotation, end), text)
    assert heard == [value]


def test_the_arrow_keys_go_by_steps(rotation, qtbot):
    rotation.low.setFocus()
    qtbot.keyClick(rotation.low, Qt.Key.Key_Up)
    assert rotation.number() == (-14.0, 15.0)


def test_the_slider_goes_by_steps_and_leaves_the_other_end_alone(rotation):
    rotation.set_number((math.pi, 15.0))
    rotation.slider.setValue((math.pi, 20.4))
    assert rotation.number() == (math.pi, 20.0)


def test_a_value_outside_of_the_limits_is_kept(rotation):
    rotation.set_number((-200.0, 15.0))
    assert rotation.number() == (-200.0, 15.0)


def test_a_count_is_whole(qtbot):
    control = SliderControl(GRID)
    qtbot.addWidget(control)
    control.set_number(10)
    control.slider.setValue(12.4)
    assert control.number() == 12
    assert isinstance(control.number(), int)


def test_a_chance_moves_with_its_slider(qtbot):
    control = SliderControl(FLIP)
    qtbot.addWidget(control)
    control.set_number(0.5)
    with qtbot.waitSignal(control.changed):
        control.slider.setValue(0.81)
    assert control.number() == 0.8
    assert control.low.text() == "0.8"
