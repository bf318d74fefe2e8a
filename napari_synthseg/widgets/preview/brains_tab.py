"""The Brains tab: SynthSeg's generative model: its priors, its steps (Figure 3), several samples side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtWidgets import QFileDialog, QFormLayout, QPushButton, QSizePolicy, QWidget

from napari_synthseg.errors import InputError
from napari_synthseg.generator.files import SynthesizeOptions
from napari_synthseg.generator.presets import CLASS_PRIORS_NEEDED, PRESET_TIPS, PRESETS, differences, preset
from napari_synthseg.widgets._shared.form import PriorsForm
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.preview.generator_page import GeneratorPage
from napari_synthseg.widgets.preview.model import BrainMaker, WantedBrain
from napari_synthseg.widgets.preview.panels import SamplesPanel, Stepper
from napari_synthseg.widgets.preview.pictures import Source
from napari_synthseg.widgets.preview.source_chooser import BUNDLED, OPEN_FILE, OPEN_FOLDER, SourceChooser

if TYPE_CHECKING:
    from napari.components import ViewerModel

FACE = "preview"

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
        super().__init__(viewer, FACE, PriorsForm(base), presets, PRESET_TIPS, samples)
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
