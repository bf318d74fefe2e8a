"""The table of all widgets: names that can be told apart at any width, sorting, filter, copying, picking."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QStyleOptionViewItem

from napari_synthseg import anatomy
from napari_synthseg.widgets._shared.table import Column, Table, number_text, shorter, sortable
from napari_synthseg.widgets.evaluate.model import ScoreRow
from napari_synthseg.widgets.evaluate.widget import score_columns

NAME_COLUMN, VOLUME_COLUMN = 0, 4
COLUMNS = score_columns(None)
LEFT = Qt.MouseButton.LeftButton


def row(value: int, percent: float = 0.0) -> ScoreRow:
    one = anatomy.structure(value)
    return ScoreRow(value, one.name, one.side, True, 0.9, 1.0, 0.5, 1000.0, 1000.0, percent)


@pytest.fixture
def table(qtbot):
    """Every structure of the volumetry."""
    table = Table("Scores", names=NAME_COLUMN, least="■■ L Inf-Lat-Vent")
    qtbot.addWidget(table)
    table.show_rows([row(value) for value in anatomy.predicted_values() if value], COLUMNS)
    table.show()
    return table


def drawn(table: Table) -> list[str]:
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
    table.show_rows([row(24, percent)], COLUMNS)
    index = table.model().index(0, VOLUME_COLUMN)
    assert index.data() == text
    room = table.columnWidth(VOLUME_COLUMN) - 6
    assert table.fontMetrics().horizontalAdvance(index.data()) <= room
    assert COLUMNS[VOLUME_COLUMN].key(row(24, 15902.0)) == 15902.0  # sorted by what it is


# Tables of anything


@pytest.fixture
def fruit(qtbot):
    """Three rows of (name, number, whether it is ripe), one of which has no number."""
    columns = (
        Column("", "Ripe", lambda row: "", number=False, checked=lambda row: row[2]),
        Column("Name", "", lambda row: row[0], number=False),
        Column("mL", "", lambda row: number_text(row[1], ".1f"), lambda row: sortable(row[1])),
    )
    table = Table("Fruit", searched=lambda row: row[0])
    qtbot.addWidget(table)
    table.show_rows([("pear", 3.0, True), ("plum", float("nan"), None), ("fig", 12.0, False)], columns)
    table.resize(300, 200)
    table.show()
    return table


def names(table: Table) -> list[str]:
    return [row[0] for row in table.listed()]


def click_on(qtbot, table: Table, row: int, column: int) -> None:
    qtbot.mouseClick(table.viewport(), LEFT, pos=table.visualRect(table.model().index(row, column)).center())


def test_a_click_on_a_header_sorts_numbers_and_unknown_ones_come_first(fruit, qtbot):
    header = fruit.horizontalHeader()
    place = QPoint(header.sectionViewportPosition(2) + 8, 5)
    assert names(fruit) == ["pear", "plum", "fig"]
    qtbot.mouseClick(header.viewport(), LEFT, pos=place)
    first = names(fruit)
    qtbot.mouseClick(header.viewport(), LEFT, pos=place)
    assert {tuple(first), tuple(names(fruit))} == {("plum", "pear", "fig"), ("fig", "pear", "plum")}


def test_the_filter_keeps_rows_with_every_word(fruit):
    fruit.set_filter("P R")
    assert names(fruit) == ["pear"]
    assert len(fruit.rows) == 3


def test_the_selected_rows_are_copied_with_the_header_without_columns_that_have_none(fruit, qtbot):
    click_on(qtbot, fruit, 2, 1)
    qtbot.keyClick(fruit, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == "Name\tmL\nfig\t12.0\n"


def test_clicks_and_arrow_keys_pick_and_return_confirms(fruit, qtbot):
    picked, confirmed = [], []
    fruit.picked.connect(lambda row, column: picked.append((row[0], column)))
    fruit.confirmed.connect(confirmed.append)
    click_on(qtbot, fruit, 0, 1)
    qtbot.keyClick(fruit, Qt.Key.Key_Down)
    qtbot.keyClick(fruit, Qt.Key.Key_Return)
    assert picked == [("pear", 1), ("plum", 1)]
    assert [row[0] for row in confirmed[0]] == ["plum"]


def test_a_click_beside_a_check_box_picks_nothing(fruit, qtbot):
    picked = []
    fruit.picked.connect(lambda *row: picked.append(row))
    click_on(qtbot, fruit, 0, 0)
    assert picked == []
    states = [fruit.model().index(row, 0).data(Qt.ItemDataRole.CheckStateRole) for row in range(3)]
    assert states == [Qt.CheckState.Checked, Qt.CheckState.PartiallyChecked, Qt.CheckState.Unchecked]
