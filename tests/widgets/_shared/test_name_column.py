"""Names of structures can be told apart in a column of any width."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QStyleOptionViewItem

from napari_synthseg import anatomy
from napari_synthseg.widgets._shared.name_column import shorter
from napari_synthseg.widgets.evaluate.model import COLUMNS, NAME_COLUMN
from napari_synthseg.widgets.evaluate.rows import ScoreRow
from napari_synthseg.widgets.evaluate.table import ScoresTable

VOLUME_COLUMN = 4


def row(value: int, percent: float = 0.0) -> ScoreRow:
    one = anatomy.structure(value)
    return ScoreRow(value, one.name, one.side, True, 0.9, 1.0, 0.5, 1000.0, 1000.0, percent)


@pytest.fixture
def table(qtbot):
    """Every structure of the volumetry."""
    table = ScoresTable()
    qtbot.addWidget(table)
    table.set_rows([row(value) for value in anatomy.predicted_values() if value])
    table.show()
    return table


def drawn(table: ScoresTable) -> list[str]:
    """What is written into the cells, without what does not fit."""
    texts = []
    for number in range(table.model().rowCount()):
        index, option = table.model().index(number, NAME_COLUMN), QStyleOptionViewItem()
        table.initViewItemOption(option)
        option.rect = table.visualRect(index)
        table.itemDelegateForColumn(NAME_COLUMN).initStyleOption(option, index)
        room = option.rect.width() - 30  # the colour stands before the name
        texts.append(option.fontMetrics.elidedText(option.text, option.textElideMode, room))
    return texts


def test_short_forms_are_all_different():
    names = [anatomy.name(value) for value in anatomy.predicted_values()]
    assert len({list(shorter(name))[-1] for name in names}) == len(set(names))
    assert list(shorter("Left-Cerebellum-White-Matter"))[1:] == ["Left-Cerebellum-WM", "Left-Cbl-WM"]


@pytest.mark.parametrize("width", [200, 260, 350, 700])
def test_names_differ_at_every_width(table, width):
    table.resize(width, 400)
    texts = drawn(table)
    assert len(set(texts)) == len(texts)
    tissues = [text for text in texts if text.startswith("L C") and text.endswith(("WM", "Ctx", "Matter", "Cortex"))]
    assert len(tissues) == 4


def test_whole_names_where_there_is_room(table):
    table.resize(900, 400)
    assert "L Cerebral-White-Matter" in drawn(table)
    header = table.horizontalHeader()
    assert sum(header.sectionSize(one) for one in range(header.count())) == table.viewport().width()


def test_a_narrow_table_scrolls_to_its_last_column(table, qtbot):
    table.resize(200, 400)
    bar = table.horizontalScrollBar()
    qtbot.waitUntil(bar.isVisible)
    bar.setValue(bar.maximum())
    last = table.model().index(0, VOLUME_COLUMN)
    assert table.visualRect(last).right() <= table.viewport().width()


@pytest.mark.parametrize(
    ("percent", "text"), [(15902.0, ">999"), (999.6, ">999"), (999.4, "+999"), (-100.0, "-100"), (float("nan"), "")]
)
def test_huge_differences_of_volume_are_not_cut(table, percent, text):
    table.set_rows([row(24, percent)])
    index = table.model().index(0, VOLUME_COLUMN)
    assert index.data() == text
    room = table.columnWidth(VOLUME_COLUMN) - 6
    assert table.fontMetrics().horizontalAdvance(index.data()) <= room
    assert COLUMNS[VOLUME_COLUMN].key(row(24, 15902.0)) == 15902.0  # sorted by what it is
