"""A form made from a dataclass of options: every type has a control, and what comes out is what was typed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Info, PositiveInt, fields_of
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.training.recipes.robust import TrainRobustOptions
from napari_synthseg.training.recipes.synthseg import TrainSynthSegOptions
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.form import OptionsForm


@dataclass(frozen=True)
class Baking:
    """How to bake."""

    out: Path
    """Folder for the cake."""
    heat: Annotated[int, Info(low=100, high=250, unit="°C")] = 180
    """Heat of the oven; grandmother said 300-400."""
    shape: Literal["round", "square"] = "round"
    """What it looks like."""
    glaze: bool = True
    """With a glaze."""
    eggs: PositiveInt | None = None
    """Eggs; as many as it takes by default."""
    sugar: float = 0.25
    """Share of sugar."""
    rest_minutes: float | None = None
    """Rest before baking."""
    layers: tuple[int, ...] = (2, 3)
    """Sizes of the layers."""
    span: tuple[float, int] = (0.5, 10)
    """Two numbers."""
    name: str = "cake"
    """Its name."""

    def __post_init__(self) -> None:
        """Refuse what cannot be eaten."""
        if self.sugar > 1:
            raise InputError("There is more sugar than cake; take less.")


@pytest.fixture
def form(qtbot) -> OptionsForm:
    form = OptionsForm(Baking, usual=("shape", "out"))
    qtbot.addWidget(form)
    form.show()
    return form


def typed(qtbot, line, text: str) -> None:
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    qtbot.keyClicks(line, text)


@pytest.mark.parametrize("options", [SegmentOptions, TrainSynthSegOptions, TrainRobustOptions])
def test_every_field_of_our_options_has_a_control_that_gives_its_default_back(qtbot, options):
    form = OptionsForm(options)
    qtbot.addWidget(form)
    assert list(form.controls) == [one.name for one in fields(options)]
    defaults = {one.name: one.default for one in fields_of(options) if not one.required}
    assert form.values() == defaults
    assert form.differences() == {}


def test_what_is_typed_comes_out_in_its_type(form, qtbot, tmp_path):
    typed(qtbot, form.controls["out"].findChild(QLineEdit), str(tmp_path))
    typed(qtbot, form.controls["layers"], "4, 5 6")
    typed(qtbot, form.controls["sugar"], "1e-1")
    typed(qtbot, form.controls["span"], "0.5, 20")
    qtbot.keyClick(form.controls["shape"], Qt.Key.Key_Down)
    qtbot.mouseClick(form.controls["glaze"], Qt.MouseButton.LeftButton, pos=form.controls["glaze"].rect().center() / 2)
    found = form.values()
    assert found["out"] == tmp_path
    assert found["layers"] == (4, 5, 6)
    assert found["sugar"] == 0.1
    assert found["span"] == (0.5, 20)
    assert found["shape"] == "square"
    assert Baking(**found).name == "cake"


def test_none_is_a_step_below_the_least_number(form, qtbot):
    eggs, row = form.controls["eggs"], form.rows["eggs"]
    assert row.value() is None
    assert eggs.text() == "default"
    qtbot.keyClick(eggs, Qt.Key.Key_Up)
    assert row.value() == 1


def test_ranges_and_units_come_from_the_annotations(form):
    heat = form.controls["heat"]
    assert (heat.minimum(), heat.maximum(), heat.suffix()) == (100, 250, " °C")
    rest = next(field for field in fields_of(Baking) if field.name == "rest_minutes")
    assert (rest.label, rest.unit) == ("Rest", "min")


def test_rare_options_are_folded_away_and_the_keyboard_unfolds_them(form, qtbot):
    assert form.controls["shape"].isVisible()
    assert not form.controls["sugar"].isVisible()
    form.advanced.button.setFocus()
    qtbot.keyClick(form.advanced.button, Qt.Key.Key_Space)
    assert form.controls["sugar"].isVisible()


def test_changes_are_told_counted_and_reset(form, qtbot):
    form.set_values({"sugar": 0.5, "shape": "square", "no such option": 1, "heat": "hot"})
    assert form.differences() == {"sugar": 0.5, "shape": "square"}
    assert form.advanced.button.text() == "Advanced • 1 changed"
    with qtbot.waitSignal(form.changed):
        form.reset.click()
    assert form.values()["sugar"] == 0.25


def test_what_is_wrong_is_one_sentence(form, qtbot, tmp_path):
    assert form.problem() == "Out is missing; choose one."
    form.set_values({"out": tmp_path})
    assert form.problem() is None
    typed(qtbot, form.controls["sugar"], "2")
    assert form.problem() == "There is more sugar than cake; take less."
    typed(qtbot, form.controls["sugar"], "much")
    assert form.problem() == "Sugar must be a number, not 'much'."
    with pytest.raises(InputError, match="number"):
        form.values()


def test_own_choices_and_labels_can_be_given(qtbot):
    form = OptionsForm(Baking, choices={"name": [Choice("cake", "A cake"), Choice("pie", "A pie")]}, leave_out={"out"})
    qtbot.addWidget(form)
    form.set_values({"name": "pie"})
    assert form.controls["name"].currentText() == "A pie"
    assert form.problem(out=Path()) is None


def test_the_wheel_passes_a_control_without_focus(form, qtbot):
    from qtpy.QtCore import QPoint, QPointF
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    shape = form.controls["shape"]
    form.controls["out"].findChild(QLineEdit).setFocus()
    turn = QWheelEvent(
        QPointF(5, 5),
        QPointF(shape.mapToGlobal(QPoint(5, 5))),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(shape, turn)
    assert form.rows["shape"].value() == "round"
