"""The form of priors: presets, marks, resets."""

from __future__ import annotations

import pytest

from napari_synthseg.generator.presets import PRESETS, degradation, preset
from napari_synthseg.widgets.preview.controls import PriorsForm
from tests.widgets.builders import click


@pytest.fixture
def form(qtbot):
    made = PriorsForm(preset("synthseg"))
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_shown_as_it_is(form, name):
    form.set_base(preset(name))
    assert form.priors() == preset(name)
    assert not any(row.differs for group in form.groups.values() for row in group.rows)


def test_a_change_is_marked_and_counted(form, qtbot):
    form.groups["Spatial deformation"].set_unfolded(True)
    row = form.rows["rotation_deg"]
    assert not row.reset.isVisible()
    with qtbot.waitSignal(form.changed):
        row.control.high.setValue(30)
    assert row.reset.isVisible()
    assert row.name.text() == "Rotation (degrees) •"
    assert form.groups["Spatial deformation"].button.text() == "Spatial deformation • 1 changed"
    assert form.priors() == preset("synthseg").with_values(rotation_deg=(-15.0, 30.0))


def test_a_row_is_taken_back(form, qtbot):
    form.groups["Spatial deformation"].set_unfolded(True)
    row = form.rows["scaling"]
    row.control.low.setValue(0.5)
    with qtbot.waitSignal(form.changed):
        click(qtbot, row.reset)
    assert form.priors() == preset("synthseg")
    assert not row.reset.isVisible()


def test_an_optional_range_is_switched_on_and_off(form):
    row = form.rows["slice_thickness_mm"]
    assert row.value() is None
    assert not row.control.isEnabled()
    row.switch.click()
    assert row.value() == row.field.info.start
    assert row.control.isEnabled()
    row.switch.click()
    assert form.priors() == preset("synthseg")


def test_another_preset_is_one_change(form, qtbot):
    heard = []
    form.changed.connect(lambda: heard.append(1))
    form.set_base(preset("no-deformation"))
    assert heard == [1]


def test_it_fits_a_narrow_dock(form):
    form.set_unfolded(list(form.groups))
    assert form.minimumSizeHint().width() <= 250


def test_the_degradation_model_has_the_same_form(qtbot):
    form = PriorsForm(degradation())
    qtbot.addWidget(form)
    assert form.priors() == degradation()
    form.rows["noise_std"].control.high.setValue(10)
    assert form.priors() == degradation().with_values(noise_std=(0.0, 10.0))
