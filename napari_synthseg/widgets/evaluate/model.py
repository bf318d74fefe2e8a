"""The table of scores for Qt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QWidget

from napari_synthseg import anatomy
from napari_synthseg.widgets._shared.table_model import Column, TableModel, known
from napari_synthseg.widgets.evaluate.rows import ScoreRow
from napari_synthseg.widgets.volumes import visibility

if TYPE_CHECKING:
    from napari.layers import Labels


MOST_PERCENT = 999
"""A larger difference is only said to be larger: its digits say nothing, and there is no room for them."""


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _percent(value: float) -> str:
    return f">{MOST_PERCENT}" if value >= MOST_PERCENT + 0.5 else _number(value, "+.0f")


COLUMNS = (
    Column("Structure", "Left or right, and name; bold: enters the means", lambda r: f"{r.mark}{r.short_name}",
           lambda r: f"{r.short_name} {r.side}", number=False),
    Column("Dice", "Overlap, 0 to 1", lambda r: _number(r.dice, ".3f"), lambda r: known(r.dice), "0.000"),
    Column("SD95", "95th percentile of the distances between the surfaces, mm", lambda r: _number(r.sd95_mm, ".1f"),
           lambda r: known(r.sd95_mm), "00.0"),
    Column("Dist", "Mean distance between the surfaces, mm", lambda r: _number(r.msd_mm, ".2f"),
           lambda r: known(r.msd_mm), "0.00"),
    Column("Vol %", "Volume: 100 (labels - truth) / truth, percent. Sorts by its size.",
           lambda r: _percent(r.difference_percent), lambda r: known(abs(r.difference_percent)), f">{MOST_PERCENT}"),
)  # fmt: skip
NAME_COLUMN = 0


class ScoresModel(TableModel):
    """Rows of a comparison."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, COLUMNS)

    def set_rows(self, rows: list[ScoreRow], layer: Labels | None) -> None:
        """Show other rows, the first column in the colours of a layer."""
        self.show_rows(COLUMNS, rows, layer)

    def tip(self, row: ScoreRow) -> str:
        """Its whole name, and both volumes."""
        return _tip(row)

    def cell(self, row: ScoreRow, column: int, role: int) -> Any:
        """The name has the layer's colour, and is bold where it enters the means."""
        if role == Qt.ItemDataRole.DecorationRole and column == NAME_COLUMN:
            color = anatomy.color(row.value) if self.layer is None else visibility.rgb(self.layer, row.value)
            return QColor(*color)
        if role == Qt.ItemDataRole.FontRole and column == NAME_COLUMN and row.scored:
            return self.bold()
        return None


def _tip(row: ScoreRow) -> str:
    text = f"{row.name} (label {row.value}{', ' + row.lack if row.lack else ''})"
    millilitres = [f"{mm3 / 1000:,.2f}" for mm3 in (row.volume_mm3, row.truth_volume_mm3)]
    return f"{text}\n{millilitres[0]} mL, truth {millilitres[1]} mL\nClick: go to the slice in which it is worst."
