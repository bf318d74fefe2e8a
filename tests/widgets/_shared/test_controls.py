"""Small Qt parts: sections that unfold, the way of the Tab key, icons in the colors of the theme."""

from __future__ import annotations

import pytest
from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon
from qtpy.QtWidgets import QCheckBox, QLineEdit, QPushButton, QSpinBox, QToolButton, QVBoxLayout, QWidget

from napari_synthseg.anatomy import resources
from napari_synthseg.widgets._shared.controls import DRAWN, Message, Section, form_layout, icon_on, themed
from napari_synthseg.widgets._shared.face import set_tab_order


def test_the_tab_key_follows_the_layouts_not_the_order_of_making(qtbot):
    last, spin, first = QPushButton("last"), QSpinBox(), QLineEdit()
    between, inserted = QCheckBox("between"), QLineEdit()
    root, inner = QWidget(), QWidget()
    qtbot.addWidget(root)
    form = form_layout(inner)
    form.addRow("Number", spin)
    form.addRow(between)
    form.insertRow(0, "Inserted", inserted)
    layout = QVBoxLayout(root)
    for part in (first, inner, Message(), last):
        layout.addWidget(part)
    set_tab_order(root)
    chain, widget = [first], first.nextInFocusChain()
    while widget is not first:
        chain.append(widget)
        widget = widget.nextInFocusChain()
    wanted = [first, inserted, spin, between, last]
    assert [one for one in chain if one in wanted] == wanted


def test_a_section_unfolds_with_the_keyboard(qtbot):
    section = Section("More", "What is rarely needed")
    qtbot.addWidget(section)
    form_layout(section.body).addRow("A", QLineEdit())
    section.show()
    assert not section.body.isVisible()
    with qtbot.waitSignal(section.toggled):
        qtbot.keyClick(section.button, Qt.Key.Key_Space)
    assert section.unfolded
    assert section.body.isVisible()
    section.set_unfolded(False)
    assert not section.body.isVisible()


NAMES = sorted(path.stem for path in (resources() / "icons").glob("*.svg"))


def ink(icon: QIcon) -> QColor:
    """The colour of the most opaque pixel."""
    image = icon.pixmap(32, 32).toImage()
    pixels = [image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height())]
    return max(pixels, key=lambda color: color.alpha())


@pytest.mark.parametrize("name", NAMES)
def test_every_drawing_is_drawn_in_the_colour_of_the_theme(qtbot, name):
    assert DRAWN in (resources() / "icons" / f"{name}.svg").read_text()
    wanted = QColor(get_theme(get_settings().appearance.theme).icon.as_hex())
    found = ink(themed(name))
    assert found.alpha() > 200
    assert max(abs(a - b) for a, b in zip(found.getRgb()[:3], wanted.getRgb()[:3], strict=True)) < 12


def test_a_button_follows_the_theme(qtbot):
    button = QToolButton()
    qtbot.addWidget(button)
    icon_on(button, "axial")
    before, was = ink(button.icon()), get_settings().appearance.theme
    try:
        get_settings().appearance.theme = "light" if was == "dark" else "dark"
        assert ink(button.icon()) != before
    finally:
        get_settings().appearance.theme = was
    assert ink(button.icon()) == before


def test_a_deleted_button_does_not_hear_of_the_theme(qtbot):
    events = get_settings().appearance.events.theme
    before = len(events.callbacks)
    button = QToolButton()
    icon_on(button, "axial")
    assert len(events.callbacks) == before + 1
    button.deleteLater()
    del button
    qtbot.waitUntil(lambda: len(events.callbacks) == before)
