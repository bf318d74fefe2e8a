"""The row of steps."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_synthseg.widgets.preview.panels import Stepper
from tests.widgets.builders import click


@pytest.fixture
def stepper(qtbot):
    made = Stepper()
    qtbot.addWidget(made)
    made.show()
    return made


def test_it_begins_with_the_training_image(stepper):
    assert stepper.letter() == "f"
    assert stepper.caption.text() == "Step f: Training image"


def test_a_click_chooses_a_step(stepper, qtbot):
    with qtbot.waitSignal(stepper.changed, check_params_cb=lambda letter: letter == "c"):
        click(qtbot, stepper.buttons["c"])
    assert stepper.letter() == "c"
    assert stepper.caption.text() == "Step c: Gaussian mixture"


def test_arrow_keys_go_to_the_neighbours(stepper, qtbot):
    QApplication.setActiveWindow(stepper)  # Qt goes on from the button that has the keyboard
    stepper.buttons["f"].setFocus()
    qtbot.keyClick(stepper.buttons["f"], Qt.Key.Key_Left)
    assert stepper.letter() == "e"
    qtbot.keyClick(stepper.buttons["e"], Qt.Key.Key_Right)
    qtbot.keyClick(stepper.buttons["f"], Qt.Key.Key_Right)
    assert stepper.letter() == "f"


def test_every_step_has_a_tip(stepper):
    assert all(len(button.toolTip()) > 20 for button in stepper.buttons.values())
