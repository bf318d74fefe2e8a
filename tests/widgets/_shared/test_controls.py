"""Small Qt parts: sections that unfold, the way of the Tab key."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QLineEdit, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_synthseg.widgets._shared.controls import Message, Section, form_layout
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
