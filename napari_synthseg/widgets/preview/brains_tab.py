"""The Brains tab: SynthSeg's generative model: its priors, its steps (Figure 3), several samples side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtWidgets import QFileDialog, QFormLayout, QPushButton, QSizePolicy, QWidget

from napari_synthseg.synthesis.prior_table import rows
from napari_synthseg.synthesis.priors import PRESETS
from napari_synthseg.widgets.parts.choices import Choice
from napari_synthseg.widgets.parts.controls import Section, combo
from napari_synthseg.widgets.parts.job import Job
from napari_synthseg.widgets.parts.memory import recall
from napari_synthseg.widgets.parts.notices import complain
from napari_synthseg.widgets.preview.brains_job import Studio, Wanted, drawn, sampled, saved
from napari_synthseg.widgets.preview.page import PreviewPage
from napari_synthseg.widgets.preview.priors_form import PriorsForm
from napari_synthseg.widgets.preview.samples_panel import SamplesPanel
from napari_synthseg.widgets.preview.source_chooser import BUNDLED, OPEN_FILE, OPEN_FOLDER, Source, SourceChooser
from napari_synthseg.widgets.preview.stepper import Stepper

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_synthseg.progress import Progress

FACE = "preview"

PRESET_TIPS = {
    "synthseg": "SynthSeg as published (Table S1).",
    "synthseg-larger-gmm": "Wider ranges of the mixture (section 5.2).",
    "synthseg-tighter-gmm": "Narrower ranges of the mixture (section 5.2).",
    "synthseg-r": "One resolution: set slice spacing and thickness to those of the scans.",
    "synthseg-rc": "One resolution and one contrast: the priors of each class come from scans.",
    "no-bias": "Without bias field (section 5.2).",
    "no-deformation": "Without spatial deformation (section 5.2).",
    "synthseg-plus": "The generator of SynthSeg+ (its Table S1).",
    "fast": "What the fast weights of this package were trained with.",
}
ONE_CONTRAST = "synthseg-rc"
NO_CLASS_FILE = "Choose file…"
CLASS_FILES = "Class priors (*.npy *.tsv *.csv);;All files (*)"
CLASS_FILE_TIP = (
    "Means and standard deviations of each class, estimated on scans: a table (.tsv, .csv), or SynthSeg's "
    "prior_means file with its prior_stds file beside it (.npy)."
)
SOURCE_TIP = "The label map that scans are made of: the bundled one, a file, a folder, or a Labels layer."


class BrainsTab(PreviewPage):
    """Synthetic scans from label maps."""

    title = "Brains"
    tip = "SynthSeg's generative model: synthetic scans from a label map."

    def __init__(self, viewer: ViewerModel) -> None:
        self._studio = Studio()
        self._stale = False
        self.source = SourceChooser(viewer, Labels, SOURCE_TIP, fixed=[BUNDLED], openers=[OPEN_FILE, OPEN_FOLDER])
        self.stepper = Stepper()
        self.samples = SamplesPanel()
        super().__init__(viewer, FACE, "Synthetic", PriorsForm(rows(), PRESETS["synthseg"]))
        self._sampling = Job(self)
        self._connect()
        self._recall()
        self.show_problem()

    def _connect(self) -> None:
        self.source.changed.connect(self._on_source)
        self.preset.currentIndexChanged.connect(self._on_preset)
        self.stepper.changed.connect(self._on_step)
        self.samples.wanted.connect(self.draw_samples)
        self.samples.chosen.connect(self._on_sample)
        self.seed.valueChanged.connect(self.samples.mark)
        self.form.changed.connect(self._on_priors)
        self.redrawer.finished.connect(self._refresh_samples)
        self._sampling.progressed.connect(self._on_sampled)
        self._sampling.failed.connect(lambda error: self.status.say(complain(error, "Drawing samples")))
        self._sampling.stopped.connect(self._refresh_samples)

    # Parts

    def head(self, form: QFormLayout) -> None:
        """Label map and preset."""
        self.preset = combo(
            [Choice(name, name, PRESET_TIPS.get(name, "")) for name in PRESETS],
            "The priors to start from; what is changed afterwards is marked and can be taken back.",
        )
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

    def below(self) -> list[QWidget]:
        """The samples."""
        self.sheet = Section("Samples", "Several samples beside each other, and the record of each.")
        layout = QFormLayout(self.sheet.body)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.addRow(self.samples)
        self.sheet.toggled.connect(lambda _: self._refresh_samples())
        return [self.sheet]

    def _recall(self) -> None:
        kept = recall(FACE)
        row = self.preset.findData(kept.get("preset"))
        if row >= 0:
            self.preset.setCurrentIndex(row)
        count = kept.get("count")
        if isinstance(count, int):
            self.samples.count.setValue(count)

    def choices(self) -> dict[str, Any]:
        """Preset and number of samples."""
        return {"preset": self.preset.currentData(), "count": self.samples.count.value()}

    # What is drawn

    def problem(self) -> str | None:
        """A layer that is no label map."""
        return self.source.problem()

    def wanted(self, seed: int | None = None) -> Wanted:
        """The present choices.

        Raises:
            InputError: if they cannot be used.
        """
        return Wanted(
            self.source.source(),
            self.form.priors(),
            self.seed.value() if seed is None else seed,
            self.stepper.letter(),
            self.full.isChecked(),
        )

    def request(self) -> tuple[Any, ...]:
        """A quick look and the full size of the chosen step."""
        if self._sampling.running:  # gives way, and is taken up again when this one is done
            self._stale = True
            self._sampling.stop()
        return drawn, self.wanted(), self._studio

    def recipe(self, *, python: bool) -> str:
        """`napari-synthseg synthesize`, or Python."""
        from napari_synthseg.synthesis.recipe_text import command_line, python_code

        write = python_code if python else command_line
        place = recipe_place(self.source.source())
        return write(place, Path("synthetic"), self.preset.currentData(), self.form.priors(), self.seed.value(), 1)

    def write(self, folder: Path) -> tuple[Any, ...]:
        """The sample's three files."""
        return saved, self.wanted(), folder, self.preset.currentData(), self._studio

    # What the user does

    def draw_samples(self, count: int) -> None:
        """Draw that many samples, from the present seed on."""
        if self.problem() is None:
            self.samples.begin(range(self.seed.value(), self.seed.value() + count))
            self._stale = True
            self._refresh_samples()

    def close_down(self) -> None:
        """Stop the samples too."""
        self._stale = False
        self._sampling.stop()
        super().close_down()

    def _on_source(self) -> None:
        self._on_priors()
        self.redraw()

    def choose_class_priors(self) -> None:
        """Ask for a file of priors for each class, and use it."""
        from napari_synthseg.synthesis.class_priors import read_class_priors

        name, _ = QFileDialog.getOpenFileName(self, "Choose the priors of the classes", "", CLASS_FILES)
        if not name:
            return
        try:
            means, stds = read_class_priors(Path(name))
        except ValueError as error:
            self.status.say(complain(error, "Reading class priors"))
            return
        self.class_file.setText(Path(name).name)
        self.form.set_base(replace(PRESETS[self.preset.currentData()], class_means=means, class_stds=stds))

    def _on_preset(self) -> None:
        name = self.preset.currentData()
        self.class_file.setText(NO_CLASS_FILE)
        for part in self._class_row:
            part.setVisible(name == ONE_CONTRAST)
        self.form.set_base(PRESETS[name])

    def _on_priors(self) -> None:
        self._stale = bool(self.samples.seeds)
        self._sampling.stop()
        if not self._drawn:
            self._refresh_samples()

    def _on_step(self, letter: str) -> None:
        self.target.setEnabled(letter == "f")
        self.redraw(wait_ms=0)

    def _on_sample(self, seed: int) -> None:
        self._drawn = True
        if seed != self.seed.value():
            self.seed.setValue(seed)
        elif self.pair.image is None:
            self.redraw(wait_ms=0)

    def _refresh_samples(self) -> None:
        """Draw the samples again if the priors changed since, once the current scan is done."""
        if not self._stale or not self.sheet.unfolded or self.redrawer.running or self._sampling.running:
            return
        self._stale = False
        try:
            source, priors = self.source.source(), self.form.priors()
        except ValueError as error:
            self.status.say(str(error))
            return
        self._sampling.start("", sampled, source, priors, list(self.samples.seeds), self._studio)

    def _on_sampled(self, report: Progress) -> None:
        if "thumbnail" in report.figures:
            self.samples.add(report.figures["thumbnail"])
            self.samples.mark(self.seed.value())


def recipe_place(source: Source) -> Path:
    """Where a recipe finds what it starts from; a layer without a file has to be saved first, under its own name."""
    return source.path if source.path is not None else Path(f"{source.name}.nii.gz")
