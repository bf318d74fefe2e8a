"""A form of priors: one section for each group of the paper, with its reset button and how much of it was changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from napari_synthseg.generator.prior_table import PriorInfo
from napari_synthseg.widgets._shared.controls import Section
from napari_synthseg.widgets._shared.icons import icon_on
from napari_synthseg.widgets.preview.prior_row import RESET_WIDTH, PriorRow

AnyPriors = TypeVar("AnyPriors")


class PriorGroup(Section):
    """The rows of one group.

    Args:
        title: name of the group.
        rows: its priors.
        base: a dataclass that holds the preset's values.
    """

    changed = Signal()

    def __init__(self, title: str, rows: Sequence[PriorInfo], base: Any) -> None:
        super().__init__(title, f"Priors of: {title.lower()}.")
        self._title = title
        grid = QGridLayout(self.body)
        grid.setContentsMargins(10, 0, 0, 4)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        self.rows = [PriorRow(info, getattr(base, info.name), self.body) for info in rows]
        at = 0
        for row in self.rows:
            at = row.place(grid, at)
            row.changed.connect(self._on_changed)
        self.reset = QToolButton()
        self.reset.setAutoRaise(True)
        icon_on(self.reset, "reset", 14)
        self.reset.setFixedSize(RESET_WIDTH, 20)
        self.reset.setStyleSheet("QToolButton { padding: 0px; margin: 0px; min-width: 0px; }")
        self.reset.setToolTip(f"Take all of {title.lower()} back to the preset.")
        self.reset.setAccessibleName(f"Reset {title}")
        self.reset.clicked.connect(self.take_back)
        self._put_beside_title(self.reset)
        self._show()

    def take_back(self) -> None:
        """The preset's values for the whole group; `changed` is emitted once."""
        differing = [row for row in self.rows if row.differs]
        if differing:
            self.set_values({row.info.name: row._base for row in differing})
            self.changed.emit()

    def set_values(self, values: dict[str, Any]) -> None:
        """Show values by name, quietly; names of other groups are passed over."""
        for row in self.rows:
            if row.info.name in values:
                _quietly(row, row.set_value, values[row.info.name])
        self._show()

    def set_base(self, base: Any) -> None:
        """Another preset, quietly."""
        for row in self.rows:
            _quietly(row, row.set_base, getattr(base, row.info.name))
        self._show()

    def _put_beside_title(self, button: QToolButton) -> None:
        layout = self.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.removeWidget(self.button)
        head = QHBoxLayout()
        head.setSpacing(2)
        head.addWidget(self.button, 1)
        head.addWidget(button)
        layout.insertLayout(0, head)

    def _on_changed(self) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        count = sum(row.differs for row in self.rows)
        self.button.setText(f"{self._title} • {count} changed" if count else self._title)
        self.reset.setVisible(count > 0)


class PriorsForm(QWidget, Generic[AnyPriors]):
    """All groups of a table of priors.

    Args:
        rows: the table, see `generator.prior_table`.
        base: the preset, a frozen dataclass with a field for every row; what it holds beside them is kept.
    """

    changed = Signal()

    def __init__(self, rows: Sequence[PriorInfo], base: AnyPriors) -> None:
        super().__init__()
        self._base = base
        self.groups: dict[str, PriorGroup] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for title in dict.fromkeys(row.group for row in rows):
            group = PriorGroup(title, [row for row in rows if row.group == title], base)
            group.changed.connect(self.changed)
            layout.addWidget(group)
            self.groups[title] = group

    def row(self, name: str) -> PriorRow:
        """The row of a prior."""
        return next(row for group in self.groups.values() for row in group.rows if row.info.name == name)

    @property
    def base(self) -> AnyPriors:
        """The preset."""
        return self._base

    def priors(self) -> AnyPriors:
        """What the form shows.

        Raises:
            InputError: if the values do not go together.
        """
        values = {row.info.name: row.value() for group in self.groups.values() for row in group.rows if row.differs}
        return replace(self._base, **values)  # type: ignore[type-var]

    def set_base(self, base: AnyPriors) -> None:
        """Show another preset; `changed` is emitted once."""
        self._base = base
        for group in self.groups.values():
            group.set_base(base)
        self.changed.emit()

    def set_values(self, values: dict[str, Any]) -> None:
        """Show values of some priors by name; `changed` is emitted once."""
        for group in self.groups.values():
            group.set_values(values)
        self.changed.emit()

    def set_priors(self, base: AnyPriors, priors: AnyPriors) -> None:
        """Show priors and mark how they differ from a preset; `changed` is emitted once."""
        values = {row.info.name: getattr(priors, row.info.name) for group in self.groups.values() for row in group.rows}
        shown = {name: getattr(base, name) for name in values}
        self._base = replace(priors, **shown)  # type: ignore[type-var]  # what has no row is the priors' own
        for group in self.groups.values():
            group.set_base(base)
            group.set_values(values)
        self.changed.emit()

    def unfolded(self) -> list[str]:
        """Titles of the groups that are open."""
        return [title for title, group in self.groups.items() if group.unfolded]

    def set_unfolded(self, titles: Sequence[str]) -> None:
        """Open these groups and close the others."""
        for title, group in self.groups.items():
            group.set_unfolded(title in titles)


def _quietly(row: PriorRow, do: Any, value: Any) -> None:
    row.blockSignals(True)
    do(value)
    row.blockSignals(False)
