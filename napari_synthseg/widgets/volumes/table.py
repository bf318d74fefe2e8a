"""The table of volumes: a row a structure, or a row a pair of sides, with the colors of the layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QContextMenuEvent, QKeyEvent
from qtpy.QtWidgets import QMenu

from napari_synthseg import anatomy
from napari_synthseg.inference.quality import rating
from napari_synthseg.widgets._shared.table import Column, Table, number_text, sortable
from napari_synthseg.widgets.layers.geometry import MEASURED, SOFT, VOXELS, kept_with
from napari_synthseg.widgets.layers.labels_layer import PairRow, VolumeRow, pairs_of, rgb, visible_among

if TYPE_CHECKING:
    from napari.layers import Labels

LOW_QUALITY = rating.FAILED

Row = VolumeRow | PairRow

_QUALITY_TIP = (
    f"Quality: the Dice to expect, 0 to 1. {rating.GREEN.sign} good, {rating.GOOD} or more; {rating.AMBER.sign} "
    f"doubtful; {rating.RED.sign} likely failed, below {LOW_QUALITY}.\nWithout a sign it is not calibrated for these "
    f"weights: compare it between structures and scans, and look at those below {LOW_QUALITY} (marked !)."
)
QUALITY = "Qual"
MEASURES = {
    SOFT: ", the sum of the network's probabilities",
    VOXELS: ", counted in voxels",
}


class VolumesTable(Table):
    """The volumes of one layer.

    Keys beside those of every table: Space shows or hides the selected rows, Return shows only them (and all again).
    """

    chosen = Signal(tuple)  # labels to center on
    isolated = Signal(tuple)  # labels to show alone, or all again
    switched = Signal(tuple, bool)  # labels to show or hide
    probability = Signal(int)  # the label whose probability is wanted
    menu_opened = Signal(object, tuple)  # a menu to add to, and the labels it is for

    def __init__(self) -> None:
        super().__init__("Volumes", searched=lambda r: r.searched, tip=_tip, names=1, least="Cer-Ctx 0")
        self.structures: list[VolumeRow] = []
        """Every structure, in the order of the labels, whatever is filtered or paired."""
        self._layer: Labels | None = None
        self._paired = False
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setMinimumHeight(150)
        self.picked.connect(lambda row, column: self.chosen.emit(_part(row, column)))
        self.confirmed.connect(lambda rows: self.isolated.emit(_values(rows)))
        self.toggled.connect(lambda row, on: self.switched.emit(row.values, on))
        self.doubleClicked.connect(self._on_double_clicked)

    def show_structures(self, rows: list[VolumeRow], layer: Labels | None = None) -> None:
        """Show other structures, with the colors and visibility of a layer; an empty list empties the table."""
        self.structures, self._layer = rows, layer
        self._show()

    def set_paired(self, paired: bool) -> None:
        self._paired = paired
        self._show()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() != Qt.Key.Key_Space or not self.selected():
            super().keyPressEvent(event)
            return
        if self._layer is not None:
            self.switched.emit(_values(self.selected()), _shown(self._layer, self.selected()[0]) is not True)
        event.accept()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Open the menu of the row under the mouse, or with the keyboard's menu key that of the current one."""
        keyed = event.reason() == QContextMenuEvent.Reason.Keyboard
        index = self.currentIndex() if keyed else self.indexAt(event.pos())
        if not index.isValid():
            return
        menu = self.menu_at(index)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.viewport().mapToGlobal(self.visualRect(index).center()) if keyed else event.globalPos())

    def menu_at(self, index: QModelIndex) -> QMenu:
        row = self.row_at(index)
        values = _values(self.selected()) if index in self.selectionModel().selectedIndexes() else row.values
        menu = QMenu(self)
        parts = (row,) if isinstance(row, VolumeRow) else (row.left, row.right)
        for part in parts:
            side = "" if len(parts) == 1 else f" ({part.side})"
            action = menu.addAction(f"Probability as a layer{side}")
            action.triggered.connect(lambda *_, value=part.value: self.probability.emit(value))
        menu.addSeparator()
        self.menu_opened.emit(menu, values)
        return menu

    def _show(self) -> None:
        rows = pairs_of(self.structures) if self._paired else self.structures
        self.show_rows(rows, _columns(self._layer, self._paired))
        rated = any(row.quality >= 0 for row in self.structures)  # of labels from a file nothing is known
        for number, column in enumerate(self.columns):
            self.setColumnHidden(number, column.header == QUALITY and not rated)
        self.fit_names()

    def _on_double_clicked(self, index: QModelIndex) -> None:
        if index.column() > 0:
            self.isolated.emit(_part(self.row_at(index), index.column()))


def _columns(layer: Labels | None, paired: bool) -> tuple[Column, ...]:
    shown = Column(
        "",
        "Show or hide; the color in the layer. Sorts by FreeSurfer value.",
        lambda row: "",
        lambda row: row.values[0],
        widest="☑ ☑",
        number=False,
        color=lambda r: anatomy.color(r.values[0]) if layer is None else rgb(layer, r.values[0]),
        checked=None if layer is None else lambda row: _shown(layer, row),
    )
    name = Column("Structure", "FreeSurfer name, without its side", lambda r: r.short_name, number=False)
    if paired:
        left = _volume("Left", "Volume of the left side in milliliters", lambda r: r.left.milliliters)
        right = _volume("Right", "Volume of the right side in milliliters", lambda r: r.right.milliliters)
        asymmetry = Column(
            "L−R %",
            "Asymmetry: 200 (L − R) / (L + R) in percent; positive if the left is larger. Sorts by its size.",
            lambda r: number_text(r.asymmetry, "+.1f"),
            lambda r: sortable(abs(r.asymmetry)),
            "+00.0",
        )
        return (shown, name, left, right, asymmetry)
    side = Column(
        "Side", "Side of the body", lambda r: r.side.replace("midline", "mid"), lambda r: r.side, "right", False
    )
    measured = kept_with(layer).get(MEASURED, "") if layer is not None else ""
    tip = f"Volume in milliliters{MEASURES.get(measured, '')}."
    quality = Column(
        QUALITY,
        _QUALITY_TIP,
        lambda r: (
            f"{r.rating.sign or ('!' if r.quality < LOW_QUALITY else '')} {number_text(r.quality, '.2f')}".lstrip()
        ),
        lambda r: sortable(r.quality),
        "▲ 0.00",
        shade=lambda r: (_light(r).on_light, _light(r).on_dark) if _light(r).sign else None,
        bold=lambda r: _light(r) in (rating.AMBER, rating.RED),
        copied=lambda r: number_text(r.quality, ".2f"),
    )
    return (shown, name, side, _volume(f"mL ({measured})" if measured else "mL", tip, lambda r: r.milliliters), quality)


def _volume(header: str, tip: str, of: Callable[[Any], float]) -> Column:
    def text(row: Any) -> str:
        return number_text(of(row), ",.2f" if of(row) < 100 else ",.1f")

    return Column(header, tip, text, lambda row: sortable(of(row)), "000.0")


def _light(row: VolumeRow) -> rating.TrafficLight:
    return rating.AMBER if not row.calibrated and row.quality < LOW_QUALITY else row.rating


def _shown(layer: Labels, row: Row) -> bool | None:
    """Whether the layer draws the labels of a row; None if some of them."""
    count = len(visible_among(layer, row.values))
    return None if 0 < count < len(row.values) else count > 0


def _part(row: Row, column: int) -> tuple[int, ...]:
    """Return the labels a cell stands for: of a pair's left or right volume, that side alone."""
    if isinstance(row, VolumeRow):
        return row.values
    return {2: (row.left.value,), 3: (row.right.value,)}.get(column, row.values)


def _values(rows: Sequence[Row]) -> tuple[int, ...]:
    return tuple(value for row in rows for value in row.values)


def _tip(row: Row) -> str:
    if isinstance(row, PairRow):
        return f"{row.short_name} (FreeSurfer values {row.left.value} and {row.right.value})"
    text = f"{row.name} ({'FreeSurfer value' if row.side else 'label'} {row.value})"
    if row.rating.sign:
        text += f"\nExpected Dice {row.quality:.2f}: {row.rating.word}"
        return text if row.rating is rating.GREEN else f"{text}; look at it before using it."
    if row.quality < LOW_QUALITY:
        text += f"\nQuality {row.quality:.2f}, not calibrated: look at it before using it."
    return text
