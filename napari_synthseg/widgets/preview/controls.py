"""The controls of a preview tab, without their behavior: its sources, and the form of priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QMenu, QScrollArea, QSizePolicy, QWidget

from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.choosers import LayerChooser, Opener
from napari_synthseg.widgets._shared.controls import (
    Message,
    Section,
    button,
    check_box,
    column,
    combo,
    form_layout,
    listen,
    progress_bar,
    row,
    spin_box,
)
from napari_synthseg.widgets._shared.face import VerticalScroll
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets.layers.geometry import edits_of, layer_problem, layer_scan, shown_volume
from napari_synthseg.widgets.preview.layers import is_ours
from napari_synthseg.widgets.preview.panels import SamplesPanel
from napari_synthseg.widgets.preview.pictures import PreviewSource, bundled

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


def _label_map_filter() -> str:
    from napari_synthseg.io.formats import dialog_filter  # slow to import

    return dialog_filter("Label maps")


BUNDLED = Choice("bundled", "Bundled label map", "A head in MNI152 space with the structures that SynthSeg knows.")
OPEN_FILE = Opener("File…", "Choose a label map", _label_map_filter, "Choose a label map: NIfTI, MGZ or NRRD.")
OPEN_FOLDER = Opener(
    "Folder…", "Choose a folder of label maps", tip="Each seed takes one of the label maps in a folder."
)


class SourceChooser(LayerChooser):
    """Lists fixed entries, then the viewer's layers but the preview's own, then ways to open something."""

    replaced = Signal()  # the chosen layer is gone, or one came where there was none; `changed` is the user's doing

    def __init__(
        self,
        viewer: ViewerModel,
        layer_type: type[Layer],
        tip: str,
        fixed: Sequence[Choice] = (),
        openers: Sequence[Opener] = (),
    ) -> None:
        self._edits = 0
        self._edited: WeakSet[Any] = WeakSet()
        self._watched: WeakSet[Any] = WeakSet()
        listed, never = (lambda layer: not is_ours(layer)), (lambda layer: False)
        super().__init__(viewer, layer_type, listed, follows=never, fixed=fixed, openers=openers, tip=tip)
        self.opened.connect(self.choose)

    def problem(self) -> str | None:
        layer = self.layer()
        return None if layer is None else layer_problem(layer)

    def source(self) -> PreviewSource | None:
        """Return the choice for a worker, or None.

        Raises:
            InputError: a layer is not a 3D scan.
        """
        layer = self.layer()
        if layer is not None:
            step = shown_volume(layer, self._viewer.dims) if layer.ndim == 4 else None
            is_file = layer.source.path and layer not in self._edited and step is None
            key = (id(layer), id(layer.data), step, self._edits)
            return PreviewSource(key, layer.name, Path(layer.source.path) if is_file else None, layer_scan(layer, step))
        if isinstance(self._chosen, Path):
            return PreviewSource(self._chosen, self._chosen.name, self._chosen)
        return bundled() if self._chosen == BUNDLED.value else None

    def _on_layers(self, event: Any = None) -> None:
        super()._on_layers(event)
        for layer in {*self._layers} - {*self._watched}:
            self._watched.add(layer)
            listen(self, SourceChooser._on_edited, *edits_of(layer))

    def refilled(self, other: bool) -> None:
        if other:
            self.replaced.emit()

    def _on_edited(self, event: Any) -> None:
        self._edits += 1
        self._edited.add(event.source)  # its file no longer holds its voxels
        if event.source is self.layer():
            self.changed.emit()


LARGEST_SEED = 2**31 - 1
PRESET_TIP = "The priors to start from. Changes are marked and can be undone."
RANDOM = "random"
"""Text for the prior None."""


class PriorsForm(OptionsForm):
    """All priors in the groups of the paper, with sliders; changes are those from a preset. Hidden priors are kept."""

    def __init__(self, base: GenerativeModel) -> None:
        self.base = base
        own = base.values
        fields = [
            replace(field, info=replace(field.info, group=group.title))
            for group in base.groups()
            for field in group.fields
        ]
        nothing = dict.fromkeys(own, RANDOM)
        super().__init__(type(base), usual=(), fields=fields, defaults=own, nothing=nothing, sliders=True)

    def priors(self) -> GenerativeModel:
        """Return what the form shows.

        Raises:
            InputError: the values do not go together.
        """
        return self.base.with_values(**self.differences())

    def set_base(self, base: GenerativeModel) -> None:
        """Show a preset, and mark changes from it; `changed` is emitted once."""
        self.base, values = base, {name: base.values[name] for name in self.rows}
        for name, one in self.rows.items():
            one.quietly(one.set_base, values[name])
        self.set_values(values)


class PageControls(QWidget):
    """Sources, preset (hidden if there is one), seed, priors, samples and actions, from top to bottom."""

    def __init__(
        self,
        sources: Mapping[str, SourceChooser],
        presets: Mapping[str, GenerativeModel],
        preset_tips: Mapping[str, str],
        samples: SamplesPanel,
    ) -> None:
        super().__init__()
        self.sources, self.samples = sources, samples
        self.form = PriorsForm(next(iter(presets.values())))
        self.preset = combo([Choice(name, name, preset_tips.get(name, "")) for name in presets], PRESET_TIP)
        self._build()

    # What a subclass adds

    def rows(self, form: QFormLayout) -> None:
        """Add rows above the seed."""

    def below(self) -> list[QWidget]:
        """Return the widgets below the samples."""
        return []

    def _build(self) -> None:
        form = form_layout()
        for name, source in self.sources.items():
            form.addRow(name, source)
        if self.preset.count() > 1:
            form.addRow("Preset", self.preset)
        self.rows(form)
        form.addRow("Seed", self._seed())
        full_tip = "After the quick look at half the resolution, make the full size in the background."
        self.full = check_box("&Full size", full_tip)
        self.target = check_box("&Labels", "Show the labels on the image: the training target.")
        self.checks = row(self.full, self.target, None, spacing=12)
        self.progress = progress_bar(4)
        keep = self.progress.sizePolicy()
        keep.setRetainSizeWhenHidden(True)  # the form does not jump
        self.progress.setSizePolicy(keep)
        self.progress.hide()
        self.status, self.facts = Message(), Message()
        scrolled = (self._scrolled(), 1)
        below = (self.status, self.facts, self._actions())  # messages take their lines from the part that scrolls
        column(form, self.checks, self.progress, scrolled, *below, parent=self, margin=6, spacing=6)

    def _seed(self) -> QHBoxLayout:
        tip = "Everything random follows from the seed: the same seed and priors give the same scan."
        self.seed = spin_box(0, LARGEST_SEED, 0, tip, "Seed")
        self.seed.setKeyboardTracking(False)
        self.seed.setMinimumWidth(70)
        self.draw = button("&Draw", "Draw another sample: a new seed, the same priors.")
        return row((self.seed, 1), (self.draw, 1), spacing=6)

    def _scrolled(self) -> QScrollArea:
        self.sheet = Section("Samples", "Several samples beside each other, and the record of each.")
        column(self.samples, parent=self.sheet.body)
        inside = QWidget()
        inside.setObjectName("previewPriors")
        rows = column(self.form, self.sheet, *self.below(), None, parent=inside, spacing=2)
        rows.setContentsMargins(0, 0, 4, 0)
        self.scroll = VerticalScroll(inside)
        self.scroll.setMinimumHeight(120)
        self.scroll.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        return self.scroll

    def _actions(self) -> QHBoxLayout:
        self.copy = button("&Copy as", "Copy a command line or Python that makes this sample.")
        menu = QMenu(self.copy)
        self.copy_command, self.copy_python = menu.addAction("Command line"), menu.addAction("Python")
        self.copy.setMenu(menu)
        save_tip = "Save the image, its labels and the record of this sample, at full size."
        self.save = button("&Save…", save_tip)
        return row((self.copy, 1), (self.save, 1), spacing=6)
