"""The *Preview synthesis* widget: one tab for each generative model, made when it is first looked at."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtWidgets import QFileDialog, QFormLayout, QSizePolicy, QWidget

from napari_synthseg.generator.figure import PANELS
from napari_synthseg.generator.files import DegradeOptions, SynthesizeOptions, SynthesizeShapesOptions
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import (
    CLASS_PRIORS_NEEDED,
    PRESET_TIPS,
    PRESETS,
    SHAPE_PRESET_TIPS,
    SHAPE_PRESETS,
    degradation,
    load_priors,
    preset,
    shape_preset,
)
from napari_synthseg.widgets._shared.choices import Choice, device_choices
from napari_synthseg.widgets._shared.controls import Section, button, check_box, column, combo
from napari_synthseg.widgets._shared.face import TabbedFace
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets._shared.user import complain, recall
from napari_synthseg.widgets.preview.controls import BUNDLED, OPEN_FILE, OPEN_FOLDER, SourceChooser
from napari_synthseg.widgets.preview.layers import SceneLayers
from napari_synthseg.widgets.preview.model import BrainMaker, DegradedMaker, SceneMaker, Wanted
from napari_synthseg.widgets.preview.page import PreviewPage
from napari_synthseg.widgets.preview.pictures import Picture, described_scene
from napari_synthseg.widgets.view.bar import ViewBar

if TYPE_CHECKING:
    import napari
    from napari.components import ViewerModel

NO_CLASS_FILE = "Choose file…"
CLASS_FILES = "Priors (*.json);;All files (*)"
CLASS_FILE_TIP = "Intensities of each class and slices, estimated on scans: a file of `napari-synthseg priors`."
SOURCE_TIP = "The label map to synthesize from: the bundled one, a file, a folder, or a Labels layer."
EXPANDING = QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed


class BrainsTab(PreviewPage):
    """Synthetic scans from label maps."""

    title, face = "Brains", "preview"
    tip = "SynthSeg's generative model: synthetic scans from a label map."
    maker_type, options_type = BrainMaker, SynthesizeOptions
    preset_tips = PRESET_TIPS

    def __init__(self, viewer: ViewerModel) -> None:
        self.source = SourceChooser(viewer, Labels, SOURCE_TIP, fixed=[BUNDLED], openers=[OPEN_FILE, OPEN_FOLDER])
        super().__init__(viewer, {"Label map": self.source})
        self.step.currentIndexChanged.connect(self._on_step)

    @cached_property
    def presets(self) -> dict[str, GenerativeModel]:
        return {name: preset(name) for name in PRESETS}

    def rows(self, form: QFormLayout) -> None:
        self.class_file = button(NO_CLASS_FILE, CLASS_FILE_TIP, self.choose_class_priors)
        self.class_file.setSizePolicy(*EXPANDING)
        form.addRow("Class priors", self.class_file)
        self._show_class_row = lambda shown: form.setRowVisible(self.class_file, shown)
        self._show_class_row(False)
        steps = [Choice(one.letter, f"{one.letter}  {one.title}", one.tip) for one in PANELS]
        self.step = combo(steps, "The step of the generative model that is shown: the panels of Figure 3 of the paper.")
        self.step.setCurrentIndex(len(steps) - 1)
        form.addRow("Step", self.step)

    def wanted(self) -> Wanted:
        return replace(super().wanted(), letter=self.step.currentData())

    def choose_class_priors(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose the priors of the classes", "", CLASS_FILES)
        if not name:
            return
        try:
            priors = load_priors(name)
        except ValueError as error:
            self.status.say(complain(error, "Reading class priors"))
            return
        self.class_file.setText(Path(name).name)
        self.form.set_base(priors)

    def _on_preset(self) -> None:
        self.class_file.setText(NO_CLASS_FILE)
        self._show_class_row(self.preset.currentData() in CLASS_PRIORS_NEEDED)
        super()._on_preset()

    def _on_step(self, number: int) -> None:
        self.target.setEnabled(number == self.step.count() - 1)
        self.redraw(wait_ms=0)


SCAN_TIP = "The scan to degrade, an Image layer."
LABELS_TIP = "Labels to move along with the scan, or none."
NO_LABELS = Choice("none", "None", LABELS_TIP)


class DegradeTab(PreviewPage):
    """A real scan, degraded to the worst that a segmentation network should handle."""

    title, face = "Degrade a scan", "degrade"
    tip = "The degradation model of SynthSeg+: moved, biased, thick-sliced and noisy versions of a real scan."
    maker_type, options_type = DegradedMaker, DegradeOptions
    layers, folder = "Degraded", "degraded"

    def __init__(self, viewer: ViewerModel) -> None:
        self.scan = SourceChooser(viewer, Image, SCAN_TIP)
        self.labels = SourceChooser(viewer, Labels, LABELS_TIP, fixed=[NO_LABELS])
        super().__init__(viewer, {"Scan": self.scan, "Labels": self.labels})

    @cached_property
    def presets(self) -> dict[str, GenerativeModel]:
        return {"": degradation()}

    def problem(self) -> str | None:
        if self.scan.layer() is None:
            return "Open a scan first, or take one of File > Open Sample > SynthSeg."
        return super().problem()


class ShapesTab(PreviewPage):
    """Synthetic images of shapes, without any data."""

    title, face = "Shapes", "shapes"
    tip = "SynthFM's generative model: scenes of shapes with their objects, made from no data at all."
    maker_type, options_type = SceneMaker, SynthesizeShapesOptions
    preset_tips = SHAPE_PRESET_TIPS
    layer_type, folder = SceneLayers, "scenes"
    samples_tip = "Each scene, its seed below it."

    def __init__(self, viewer: ViewerModel) -> None:
        self._turn = 0
        super().__init__(viewer)
        self.full.hide()  # a scene takes no longer than a quick look at a head
        self.target.setText("&Objects")
        self.target.setToolTip("Show all objects: each of them can be the target.")
        kept = recall(self.face)
        tip = "Show one object, and points that training might give for it: discs inside, crosses outside."
        self.prompts = check_box("&Target and points", tip)
        self.prompts.toggled.connect(self.pair.set_target_visible)
        self.prompts.setChecked(bool(kept.get("prompts", True)))
        self.checks.insertWidget(self.checks.count() - 1, self.prompts)  # before the room at the end
        self.output.set_values(kept.get("output", {}))
        self.output.changed.connect(self.redraw)
        self.seed.valueChanged.connect(lambda _: setattr(self, "_turn", 0))

    @cached_property
    def presets(self) -> dict[str, GenerativeModel]:
        return {name: shape_preset(name) for name in SHAPE_PRESETS}

    def rows(self, form: QFormLayout) -> None:
        tip = "Another target of the same scene, and other points."
        self.another = button("A&nother target", tip, self.take_another)
        form.addRow("Target", self.another)

    def below(self) -> list[QWidget]:
        elsewhere = ("preset", "prior", "seed", "record")
        devices = {"device": device_choices()}
        self.output = OptionsForm(SynthesizeShapesOptions, leave_out=elsewhere, choices=devices)
        section = Section("Image", "Size of the image, bits of its file, and where it is computed.")
        column(self.output, parent=section.body).setContentsMargins(10, 0, 0, 4)
        return [section]

    def choices(self) -> dict[str, Any]:
        return super().choices() | {"prompts": self.prompts.isChecked(), "output": self.output.differences()}

    def options(self) -> SynthesizeShapesOptions:
        return replace(super().options(), **self.output.values())

    def wanted(self) -> Wanted:
        return replace(super().wanted(), turn=self._turn)

    def measured(self, picture: Picture) -> str:
        rows, columns = picture.image.data.shape  # type: ignore[union-attr]
        count = len(picture.labels.table["index"]) - 1  # type: ignore[union-attr,index]
        return f"{rows} × {columns} pixels, {count} object{'s' * (count != 1)}"

    def described(self, summary: dict[str, str | float]) -> str:
        return described_scene(summary)

    def take_another(self) -> None:
        self._turn += 1
        self.prompts.setChecked(True)
        self._drawn = True
        self.redraw(wait_ms=0)


TABS = (BrainsTab, DegradeTab, ShapesTab)


class PreviewWidget(TabbedFace):
    """Shows samples of the generative models, and the effect of each prior."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.pages: dict[str, PreviewPage] = {}
        self.view = ViewBar(napari_viewer, self)
        holders = [QWidget() for _ in TABS]
        self.show_tabs(self.view, [(holder, tab.title, tab.tip) for holder, tab in zip(holders, TABS, strict=True)])
        for holder in holders:
            column(parent=holder)
        self.tabs.currentChanged.connect(self.page)
        self.page(0)

    def page(self, index: int) -> Any:
        """Return the page of a tab; it is made when it is first looked at."""
        tab = TABS[index]
        if tab.title not in self.pages:
            page = self.pages[tab.title] = tab(self._viewer)
            self.tabs.widget(index).layout().addWidget(page)  # type: ignore[union-attr]
            page.show()  # now, not when Qt comes to it
        return self.pages[tab.title]

    brains, degrade, shapes = (property(lambda self, index=index: self.page(index)) for index in range(len(TABS)))

    def hidden(self) -> None:
        for page in self.pages.values():
            page.remember_choices()

    def close_down(self) -> None:
        for page in self.pages.values():
            page.close_down()
