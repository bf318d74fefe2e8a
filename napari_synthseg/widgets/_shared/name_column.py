"""Tables of structures in narrow docks: names by their usual short forms, then without their middle."""

from __future__ import annotations

from collections.abc import Iterator

from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

SHORT = (
    ("White-Matter", "WM"),
    ("Cerebral", "Cer"),
    ("Cortex", "Ctx"),
    ("Cerebellum", "Cbl"),
    ("Lateral", "Lat"),
    ("Ventricle", "Vent"),
    ("Hippocampus", "Hip"),
    ("Accumbens-area", "Accumbens"),
    ("hypointensities", "hypo"),
)
"""Parts of FreeSurfer's names, and what they are usually called for short."""


def shorter(name: str) -> Iterator[str]:
    """The name of a structure with more and more of its usual abbreviations: "Cerebellum-WM", "Cbl-WM"."""
    yield name
    for whole, short in SHORT:
        if whole in name:
            name = name.replace(whole, short)
            yield name


class NameColumn(QStyledItemDelegate):
    """Draws whole names where there is room for them, else shorter ones; what still does not fit loses its middle.

    Endings tell structures apart: white matter from cortex, left from right parcels.
    """

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Choose the text that is drawn."""
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideMiddle
        room = _room(option)
        for text in shorter(option.text) if room > 0 else ():
            option.text = text
            if option.fontMetrics.horizontalAdvance(text) <= room:
                break


class NamedTable(QTableView):
    """A table of structures. Names have the room that other columns leave; with too little of it the table scrolls.

    Args:
        names: the column of the names.
        least: what it has room for, however narrow the table is.
    """

    def __init__(self, names: int, least: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._names, self._least = names, least
        self.setItemDelegateForColumn(names, NameColumn(self))
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Another width is the names'."""
        super().resizeEvent(event)
        self.fit_names()

    def fit_names(self) -> None:
        """Give the names what is left; called when other columns have another width."""
        header = self.horizontalHeader()
        if header.count() <= self._names:
            return
        others = sum(header.sectionSize(one) for one in range(header.count()) if one != self._names)
        least = self.fontMetrics().horizontalAdvance(self._least)
        header.setSectionResizeMode(self._names, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(self._names, max(least, self.viewport().width() - others))


def _room(option: QStyleOptionViewItem) -> int:
    """Width that a cell has for its text; nothing while it is only measured."""
    style = option.widget.style() if option.widget is not None else QApplication.style()
    if style is None or option.rect.width() <= 0:
        return 0
    place = style.subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, option.widget)
    margin = style.pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, None, option.widget) + 1
    return place.width() - 2 * margin
