"""Parts of the preview's pages: the steps of Figure 3, and a sheet of samples with the table of their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QPainter, QPixmap, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QHBoxLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.generator.figure import PANELS, PanelInfo
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.widgets._shared.controls import keep_from_wheel
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets._shared.table import LINE, Column, Table
from napari_synthseg.widgets.preview.pictures import Thumbnail

RANDOM = "random"
"""How None is shown of a prior."""


class PriorsForm(OptionsForm):
    """All priors in the groups of the paper, with sliders; changes are those from a preset.

    Args:
        base: the preset; hidden priors are kept.
    """

    def __init__(self, base: GenerativeModel) -> None:
        self.base = base
        own = base.values
        fields = [
            replace(field, info=replace(field.info, group=group.title))
            for group in base.groups()
            for field in group.fields
        ]
        super().__init__(
            type(base), usual=(), fields=fields, defaults=own, nothing=dict.fromkeys(own, RANDOM), sliders=True
        )

    def priors(self) -> GenerativeModel:
        """Return what the form shows.

        Raises:
            InputError: the values do not go together.
        """
        return self.base.with_values(**self.differences())

    def set_base(self, base: GenerativeModel) -> None:
        """Show another preset; `changed` is emitted once."""
        self.set_priors(base, base)

    def set_priors(self, base: GenerativeModel, priors: GenerativeModel) -> None:
        """Show priors and mark how they differ from a preset; `changed` is emitted once."""
        shown, values = ({name: model.values[name] for name in self.rows} for model in (base, priors))
        self.base = priors.with_values(**shown)  # what has no row is the priors' own
        for name, row in self.rows.items():
            row.quietly(row.set_base, shown[name])
        self.set_values(values)


class Stepper(QWidget):
    """Chooses a step by its letter; the arrow keys go from one to the next."""

    changed = Signal(str)

    def __init__(self, steps: Sequence[PanelInfo] = PANELS) -> None:
        super().__init__()
        self._steps = {step.letter: step for step in steps}
        self.buttons: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        self.caption = QLabel()
        self.caption.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        line = QHBoxLayout()
        line.setSpacing(3)
        for number, step in enumerate(steps):
            button = QPushButton(step.letter)
            button.setCheckable(True)
            button.setToolTip(f"{step.title}\n{step.tip}")
            button.setAccessibleName(step.title)
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.setMinimumWidth(24)
            button.installEventFilter(self)
            self._group.addButton(button, number)
            self.buttons[step.letter] = button
            line.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(line)
        layout.addWidget(self.caption)
        self.set_letter(steps[-1].letter)
        self._group.buttonToggled.connect(self._on_toggled)

    def letter(self) -> str:
        """The chosen step."""
        return next(letter for letter, button in self.buttons.items() if button.isChecked())

    def set_letter(self, letter: str) -> None:
        """Choose a step."""
        self.buttons[letter].setChecked(True)
        self._show(letter)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Left and right on a button choose the step before and after."""
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None:
            return False
        letters = [*self.buttons]
        letter = letters[min(max(letters.index(self.letter()) + step, 0), len(letters) - 1)]
        self.buttons[letter].setChecked(True)
        self.buttons[letter].setFocus()
        return True

    def _on_toggled(self, button: QPushButton, checked: bool) -> None:
        if checked:
            self._show(button.text())
            self.changed.emit(button.text())

    def _show(self, letter: str) -> None:
        self.caption.setText(f"Step {letter}: {self._steps[letter].title}")
        self.caption.setToolTip(self._steps[letter].tip)


DEFAULT_COUNT = 6
LARGEST_COUNT = 24
SIDE = 72  # of a thumbnail, pixels


class SamplesPanel(QWidget):
    """Shows thumbnails as they come; who owns it draws them.

    Args:
        tips: what each column of the records means.
        sheet_tip: what a thumbnail shows.
    """

    wanted = Signal(int)  # draw that many
    chosen = Signal(int)  # this seed becomes the current one

    def __init__(self, tips: Mapping[str, str], sheet_tip: str) -> None:
        super().__init__()
        self._tips = tips
        self.seeds: list[int] = []
        self._samples: dict[int, Thumbnail] = {}
        self.count = QSpinBox()
        self.count.setRange(1, LARGEST_COUNT)
        self.count.setValue(DEFAULT_COUNT)
        self.count.setToolTip("How many samples to draw; their seeds follow on the current one.")
        self.count.setAccessibleName("Number of samples")
        keep_from_wheel(self.count)
        self.draw = QPushButton("Draw sa&mples")
        self.draw.setToolTip("Draw this many samples with the priors as they are; click one to see it in the viewer.")
        self.draw.clicked.connect(lambda: self.wanted.emit(self.count.value()))
        self.sheet = _Sheet()
        self.sheet.setToolTip(sheet_tip)
        self.table = Table("Records of the samples")
        self.table.setToolTip("What was drawn for each sample; Ctrl+C copies the current row.")
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        line = QHBoxLayout()
        line.addWidget(QLabel("Number"))
        line.addWidget(self.count)
        line.addWidget(self.draw, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(line)
        layout.addWidget(self.sheet)
        layout.addWidget(self.table)
        self.sheet.currentRowChanged.connect(lambda row: self._choose(self.seeds[row]))
        self.table.picked.connect(lambda sample, _: self._choose(sample.seed))
        self.clear()

    def begin(self, seeds: Sequence[int]) -> None:
        """Make room for samples of these seeds; those that are there stay until their successors come."""
        if list(seeds) == self.seeds:
            return
        self.clear()
        self.seeds = list(seeds)

    def clear(self) -> None:
        """Show none."""
        self.seeds, self._samples = [], {}
        self.sheet.blockSignals(True)
        self.sheet.clear()
        self.sheet.blockSignals(False)
        self.table.show_rows([], ())
        for view in (self.sheet, self.table):
            view.hide()

    def add(self, sample: Thumbnail) -> None:
        """Show a sample, in the place of an older one of its seed."""
        if sample.seed not in self.seeds:
            return
        self._samples[sample.seed] = sample
        self.sheet.blockSignals(True)
        self._add_to_sheet(self.seeds.index(sample.seed), sample)
        self.sheet.blockSignals(False)
        current = self.sheet.currentRow()
        self.table.show_rows(
            [self._samples[seed] for seed in self.seeds if seed in self._samples], self._columns(sample)
        )
        self._fit_table()
        for view in (self.sheet, self.table):
            view.show()
        self.sheet.fit()
        if current >= 0:
            self.mark(self.seeds[current])

    def mark(self, seed: int) -> None:
        """Show which sample is the current one, if it is among them."""
        self.sheet.blockSignals(True)
        self.sheet.setCurrentRow(self.seeds.index(seed) if seed in self.seeds else -1)
        self.sheet.blockSignals(False)
        self.table.select(self._samples.get(seed))

    def _choose(self, seed: int) -> None:
        self.mark(seed)
        self.chosen.emit(seed)

    def _columns(self, sample: Thumbnail) -> list[Column]:
        values = {"seed": sample.seed, **sample.summary}
        return [
            Column(
                name[:1].upper() + name[1:],
                self._tips.get(name, "The seed of the sample."),
                lambda one, name=name: _text(_value(one, name)),
                lambda one, name=name: _value(one, name),
                number=not isinstance(value, str),
            )
            for name, value in values.items()
        ]

    def _add_to_sheet(self, row: int, sample: Thumbnail) -> None:
        while self.sheet.count() <= row:
            self.sheet.addItem(QListWidgetItem(""))
        item = self.sheet.item(row)
        item.setText(str(sample.seed))
        item.setIcon(QIcon(_pixmap(sample)))
        item.setToolTip("\n".join(f"{name}: {value}" for name, value in sample.summary.items()))

    def _fit_table(self) -> None:
        """As high as its rows, so that only the form around it scrolls."""
        bar = self.table.horizontalScrollBar().sizeHint().height()
        rows = LINE * len(self.table.rows)
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + rows + bar + 4)


def _value(sample: Thumbnail, name: str) -> str | float:
    return sample.seed if name == "seed" else sample.summary.get(name, "")


def _text(value: str | float) -> str:
    return str(value) if isinstance(value, (str, int)) else f"{value:g}"


class _Sheet(QListWidget):
    """Thumbnails in lines, as many in each as there is room for; as high as they need."""

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setIconSize(QSize(SIDE, SIDE))
        self.setGridSize(QSize(SIDE + 8, SIDE + 24))
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def fit(self) -> None:
        """Take the height that the thumbnails need at the present width."""
        across = max((self.viewport().width() - 2) // self.gridSize().width(), 1)
        lines = -(-self.count() // across)
        self.setFixedHeight(lines * self.gridSize().height() + 6)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another width is another number of lines."""
        super().resizeEvent(event)
        self.fit()


def _pixmap(sample: Thumbnail) -> QPixmap:
    rows, columns = sample.picture.shape
    image = QImage(sample.picture.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
    keep = Qt.AspectRatioMode.KeepAspectRatio
    small = QPixmap.fromImage(image).scaled(SIDE, SIDE, keep, Qt.TransformationMode.SmoothTransformation)
    square = QPixmap(SIDE, SIDE)  # the sheet takes all for as large as the first
    square.fill(Qt.GlobalColor.transparent)
    painter = QPainter(square)
    painter.drawPixmap((SIDE - small.width()) // 2, (SIDE - small.height()) // 2, small)
    painter.end()
    return square
