"""The tabs of the preview: SynthSeg's generative model, its degradation model on a real scan, and SynthFM's scenes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtWidgets import QCheckBox, QFileDialog, QFormLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_synthseg.errors import InputError
from napari_synthseg.generator.files import DegradeOptions, SynthesizeOptions, SynthesizeShapesOptions
from napari_synthseg.generator.presets import (
    CLASS_PRIORS_NEEDED,
    PRESET_TIPS,
    PRESETS,
    SHAPE_PRESET_TIPS,
    SHAPE_PRESETS,
    changed,
    degradation,
    differences,
    preset,
    shape_preset,
)
from napari_synthseg.widgets._shared.choices import Choice, device_choices
from napari_synthseg.widgets._shared.controls import Section
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets._shared.memory import recall
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.preview.generator_page import GeneratorPage
from napari_synthseg.widgets.preview.layers import SceneLayers
from napari_synthseg.widgets.preview.model import (
    BrainMaker,
    DegradedMaker,
    SceneMaker,
    WantedBrain,
    WantedDegradation,
    WantedScene,
)
from napari_synthseg.widgets.preview.page import PreviewPage
from napari_synthseg.widgets.preview.panels import PriorsForm, SamplesPanel, Stepper
from napari_synthseg.widgets.preview.pictures import Picture, Source
from napari_synthseg.widgets.preview.source_chooser import BUNDLED, OPEN_FILE, OPEN_FOLDER, SourceChooser

if TYPE_CHECKING:
    from napari.components import ViewerModel

BRAINS, DEGRADE, SHAPES = "preview", "degrade", "shapes"
"""Under which the choices of the tabs are remembered."""

NO_CLASS_FILE = "Choose file…"
CLASS_FILES = "Class priors (*.npy *.tsv *.csv);;All files (*)"
CLASS_FILE_TIP = (
    "Means and standard deviations of each class, estimated on scans: a table (.tsv, .csv), or SynthSeg's "
    "prior_means file with its prior_stds file beside it (.npy)."
)
SHEET_TIP = "One axial slice of each sample, its seed below it."
SOURCE_TIP = "The label map that scans are made of: the bundled one, a file, a folder, or a Labels layer."


class BrainsTab(GeneratorPage):
    """Synthetic scans from label maps."""

    title = "Brains"
    tip = "SynthSeg's generative model: synthetic scans from a label map."
    recorded_by = "contrast"
    maker_type = BrainMaker

    def __init__(self, viewer: ViewerModel) -> None:
        self.source = SourceChooser(viewer, Labels, SOURCE_TIP, fixed=[BUNDLED], openers=[OPEN_FILE, OPEN_FOLDER])
        self.stepper = Stepper()
        presets = {name: preset(name) for name in PRESETS}
        base = presets["synthseg"]
        samples = SamplesPanel(base.columns(), SHEET_TIP)
        super().__init__(viewer, BRAINS, PriorsForm(base), presets, PRESET_TIPS, samples)
        self.source.changed.connect(self._on_source)
        self.source.replaced.connect(self.rest)
        self.stepper.changed.connect(self._on_step)
        self.recall_choices()
        self.show_problem()

    # Parts

    def head(self, form: QFormLayout) -> None:
        """Label map and preset."""
        form.addRow("Label map", self.source)
        form.addRow("Preset", self.preset)
        self.class_file = QPushButton(NO_CLASS_FILE)
        self.class_file.setToolTip(CLASS_FILE_TIP)
        self.class_file.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.class_file.setMinimumWidth(60)  # a long name does not make the dock wide
        self.class_file.clicked.connect(self.choose_class_priors)
        form.addRow("Class priors", self.class_file)
        self._class_row = (form.labelForField(self.class_file), self.class_file)
        for part in self._class_row:
            part.hide()

    def middle(self) -> list[QWidget]:
        """The steps."""
        return [self.stepper]

    # What is drawn

    def problem(self) -> str | None:
        """A layer that is no label map."""
        return self.source.problem()

    def wanted(self) -> WantedBrain:
        """The present choices; see `PreviewPage.wanted`."""
        return WantedBrain(
            self.source.source(),
            self.form.priors(),
            self.seed.value(),
            self.stepper.letter(),
            self.full.isChecked(),
            self.record,
            self.preset.currentData(),
        )

    def recipe(self, *, python: bool) -> str:
        """`napari-synthseg synthesize`, or Python."""
        from napari_synthseg.generator.files import command_line, python_code

        name = self.preset.currentData()
        prior = tuple(differences(self.form.priors(), self._presets[name]))
        write = python_code if python else command_line
        options = SynthesizeOptions(name, prior, self.seed.value())
        return write(recipe_place(self.source.source()), Path("synthetic"), options)

    def take(self, facts: dict[str, Any]) -> None:
        """Preset and priors of a record; its label map has to be chosen beside it."""
        if "class_priors" in facts:
            raise InputError(f"The record was made with the class priors {facts['class_priors']}: choose preset, this "
                             "file and the seed by hand.")  # fmt: skip
        super().take(facts)

    # What the user does

    def choose_class_priors(self) -> None:
        """Ask for a file of priors for each class, and use it."""
        from napari_synthseg.generator.class_priors import read_class_priors

        name, _ = QFileDialog.getOpenFileName(self, "Choose the priors of the classes", "", CLASS_FILES)
        if not name:
            return
        try:
            means, stds = read_class_priors(Path(name))
        except ValueError as error:
            self.status.say(complain(error, "Reading class priors"))
            return
        self.class_file.setText(Path(name).name)
        priors = self._presets[self.preset.currentData()]
        self.form.set_base(priors.with_values(class_means=means, class_stds=stds))

    def _on_source(self) -> None:
        self.forget_record()
        self._on_priors()
        self.redraw()

    def _on_preset(self) -> None:
        self.class_file.setText(NO_CLASS_FILE)
        for part in self._class_row:
            part.setVisible(self.preset.currentData() in CLASS_PRIORS_NEEDED)
        super()._on_preset()

    def _on_step(self, letter: str) -> None:
        self.target.setEnabled(letter == "f")
        self.redraw(wait_ms=0)


def recipe_place(source: Source) -> Path:
    """Where a recipe finds what it starts from; a layer without a file has to be saved first, under its own name."""
    return source.path if source.path is not None else Path(f"{source.name}.nii.gz")


NO_SCAN = "Open a scan first, or take one of File > Open Sample > SynthSeg."
SCAN_TIP = "The scan to degrade, an Image layer."
LABELS_TIP = "Labels to move along with the scan, or none."
NO_LABELS = Choice("none", "None", LABELS_TIP)


class DegradeTab(PreviewPage):
    """A real scan made as bad as a segmentation network can meet it."""

    title = "Degrade a scan"
    tip = "The degradation model of SynthSeg+: moved, biased, thick-sliced and noisy versions of a real scan."
    recorded_by = "acquisition"
    maker_type = DegradedMaker

    def __init__(self, viewer: ViewerModel) -> None:
        self.scan = SourceChooser(viewer, Image, SCAN_TIP)
        self.labels = SourceChooser(viewer, Labels, LABELS_TIP, fixed=[NO_LABELS])
        super().__init__(viewer, DEGRADE, "Degraded", PriorsForm(degradation()))
        self.scan.changed.connect(self._on_source)
        self.scan.replaced.connect(self.rest)
        self.labels.changed.connect(self._on_source)
        self.labels.replaced.connect(self.rest)
        self.show_problem()

    # Parts

    def head(self, form: QFormLayout) -> None:
        """The scan and its labels."""
        form.addRow("Scan", self.scan)
        form.addRow("Labels", self.labels)

    def middle(self) -> list[QWidget]:
        """Before and after."""
        self.before = QPushButton("Show &before")
        self.before.setCheckable(True)
        self.before.setEnabled(False)
        self.before.setToolTip("Show the scan as it was; press again to see it degraded.")
        self.before.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.before.toggled.connect(self._on_before)
        return [self.before]

    # What is drawn

    def problem(self) -> str | None:
        """No scan, or a layer that is none."""
        return NO_SCAN if self.scan.layer() is None else self.scan.problem() or self.labels.problem()

    def wanted(self) -> WantedDegradation:
        """The present choices.

        Raises:
            InputError: if they cannot be used.
        """
        labels = self.labels.source() if self.labels.layer() is not None else None
        return WantedDegradation(
            self.scan.source(), labels, self.form.priors(), self.seed.value(), self.full.isChecked(), self.record
        )

    def recipe(self, *, python: bool) -> str:
        """`napari-synthseg degrade`, or Python."""
        from napari_synthseg.generator.files import command_line, python_code

        prior = tuple(differences(self.form.priors(), degradation()))
        write = python_code if python else command_line
        options = DegradeOptions(prior, self.seed.value())
        return write(recipe_place(self.scan.source()), Path("degraded"), options)

    def take(self, facts: dict[str, Any]) -> None:
        """Priors of a record; its scan has to be chosen beside it."""
        if "preset" in facts:
            raise InputError("This is the record of a synthetic sample: open it in its own tab.")
        self.form.set_priors(degradation(), changed(degradation(), facts["prior"]))

    # What happens

    def _on_source(self) -> None:
        self.redraw()

    def _on_before(self, before: bool) -> None:
        """Only the visibility of the two layers changes."""
        self.before.setText("Show after" if before else "Show before")
        source = self.scan.layer()
        if source is not None and self.pair.image is not None:
            source.visible = before
            self.pair.image.visible = not before

    def _on_pictured(self, picture: Picture) -> None:
        super()._on_pictured(picture)
        self.before.setEnabled(True)
        self.before.setChecked(False)

    def _on_layer_removed(self) -> None:
        super()._on_layer_removed()
        source = self.scan.layer()
        if self.pair.image is None and source is not None:
            source.visible = True
        self.before.setEnabled(self.pair.image is not None)


ELSEWHERE = ("preset", "prior", "seed", "record")
"""Options that the tab has other controls for."""
SCENES_TIP = "Each scene, its seed below it."
OBJECTS_TIP = "Show all objects: each of them can be the target."
TARGET_TIP = "Show one object, and the points that a step of training might give for it: discs inside, crosses outside."
SETTINGS = {"body": "in a body", "ground": "on a ground", "cells": "a crowd of cells"}


class ShapesTab(GeneratorPage):
    """Synthetic images of shapes, from nothing."""

    title = "Shapes"
    tip = "SynthFM's generative model: scenes of shapes with their objects, made from no data at all."
    layer_type = SceneLayers
    recorded_by = "scene"
    maker_type = SceneMaker

    def __init__(self, viewer: ViewerModel) -> None:
        self._turn = 0
        presets = {name: shape_preset(name) for name in SHAPE_PRESETS}
        base = presets["both"]
        samples = SamplesPanel(base.columns(), SCENES_TIP)
        super().__init__(viewer, SHAPES, PriorsForm(base), presets, SHAPE_PRESET_TIPS, samples)
        self.full.hide()  # a scene takes no longer than a quick look at a brain
        self.target.setText("&Objects")
        self.target.setToolTip(OBJECTS_TIP)
        self._add_prompts()
        self.seed.valueChanged.connect(self._on_seed)
        self.output.changed.connect(self.redraw)
        self.recall_choices()
        self.show_problem()

    # Parts

    def head(self, form: QFormLayout) -> None:
        """The preset."""
        form.addRow("Preset", self.preset)

    def middle(self) -> list[QWidget]:
        """Another target."""
        self.another = QPushButton("A&nother target")
        self.another.setToolTip("Another target of the same scene, and other points.")
        self.another.clicked.connect(self.take_another)
        return [self.another]

    def _add_prompts(self) -> None:
        self.prompts = QCheckBox("&Target and points")
        self.prompts.setToolTip(TARGET_TIP)
        self.prompts.toggled.connect(self._on_prompts)
        self.options.insertWidget(self.options.count() - 1, self.prompts)  # before the room at the end
        self.prompts.setChecked(bool(recall(SHAPES).get("prompts", True)))

    def below(self) -> list[QWidget]:
        """The samples, and the options that are no priors."""
        self.output = OptionsForm(SynthesizeShapesOptions, leave_out=ELSEWHERE, choices={"device": device_choices()})
        self.output.set_values(recall(SHAPES).get("output", {}))
        section = Section("Image", "Size of the image, what is saved of it, and where it is computed.")
        layout = QVBoxLayout(section.body)
        layout.setContentsMargins(10, 0, 0, 4)
        layout.addWidget(self.output)
        return [*super().below(), section]

    def choices(self) -> dict[str, Any]:
        """What the other tabs keep, the target, and the options that are no priors."""
        return super().choices() | {"prompts": self.prompts.isChecked(), "output": self.output.differences()}

    # What is drawn

    def chosen(self) -> SynthesizeShapesOptions:
        """The present choices, as the command line has them.

        Raises:
            InputError: if they cannot be used.
        """
        name = self.preset.currentData()
        settings = differences(self.form.priors(), self._presets[name])
        record = () if self.record is None else (self.record,)
        return SynthesizeShapesOptions(name, tuple(settings), self.seed.value(), record, **self.output.values())

    def wanted(self) -> WantedScene:
        """The scene with its target; see `PreviewPage.wanted`."""
        return WantedScene(self.chosen(), self._turn)

    def recipe(self, *, python: bool) -> str:
        """`napari-synthseg synthesize-shapes`, or Python."""
        from napari_synthseg.generator.files import command_line, python_code

        return (python_code if python else command_line)(None, Path("scenes"), self.chosen())

    def measured(self, picture: Picture) -> str:
        """Pixels, and how many objects."""
        rows, columns = picture.image.data.shape  # type: ignore[union-attr]
        count = len(picture.labels.table["index"]) - 1  # type: ignore[union-attr,index]
        return f"{rows} × {columns} pixels, {count} object{'s' * (count != 1)}"

    def described(self, summary: dict[str, str | float]) -> str:
        """What a scene is, in one line."""
        shapes = f"{summary['shapes']} {'labels' if summary['module'] == 'boundary' else 'shapes'}"
        look, setting = str(summary["looks like"]), SETTINGS[str(summary["setting"])]
        parts = [look.upper() if look in ("ct", "mr") else look.capitalize(), shapes, setting]
        parts += [f"acquired {summary['acquired']}", f"gamma {summary['gamma']}"]
        return ", ".join(parts + ["inverted"] * (summary["inverted"] == "yes")) + "."

    # What the user does

    def take_another(self) -> None:
        """Point at another object of the scene, and show it."""
        self._turn += 1
        self.prompts.setChecked(True)
        self._drawn = True
        self.redraw(wait_ms=0)

    def _on_seed(self) -> None:
        self._turn = 0

    def _on_prompts(self, shown: bool) -> None:
        self.pair.set_target_visible(shown)
