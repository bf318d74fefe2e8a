"""Small Qt parts: sections that unfold, the way of the Tab key."""

from __future__ import annotations

import time

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QCheckBox, QLineEdit, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_synthseg.widgets._shared.controls import FRAME_S, Message, Section, form_layout, progress_bar
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


class Paints(QObject):
    """How often a widget was painted."""

    count = 0

    def eventFilter(self, watched, event):
        self.count += event.type() == QEvent.Type.Paint
        return False


def test_a_bar_without_an_end_moves_calmly(qtbot):
    """Each of its pictures composes the whole window anew, which a graphics card may not be there for."""
    bar, paints = progress_bar(), Paints()
    qtbot.addWidget(bar)
    bar.installEventFilter(paints)
    bar.show()
    qtbot.waitUntil(lambda: paints.count >= 3)  # it does move
    paints.count, before = 0, time.monotonic()
    qtbot.wait(1000)
    assert paints.count <= (time.monotonic() - before) / FRAME_S + 1  # and Qt's style would sixty times
