"""A preview tab: sources, preset, seed and priors of a generator; redraws that follow changes; samples; saving."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QApplication, QFileDialog
from superqt.utils import signals_blocked

from napari_synthseg.generator.files import command_line, python_code
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import differences
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import complain, recall, remember
from napari_synthseg.widgets.preview.controls import PageControls, SourceChooser
from napari_synthseg.widgets.preview.layers import PreviewLayers
from napari_synthseg.widgets.preview.model import Maker, Wanted
from napari_synthseg.widgets.preview.panels import Redrawer, SamplesPanel
from napari_synthseg.widgets.preview.pictures import Picture, described

if TYPE_CHECKING:
    from napari.components import ViewerModel

PRESS_DRAW = "Press Draw to see a sample."
NEW_SEEDS = 10_000  # new ones stay short enough to be read out


class PreviewPage(PageControls):
    """A tab. A subclass declares its generator, and adds the controls that no other tab has."""

    title = tip = ""
    face = ""
    """Name under which choices are remembered."""
    maker_type: type[Maker]
    options_type: type[Any]
    """Options of the command that makes the same files."""
    preset_tips: Mapping[str, str] = {}
    layers = "Synthetic"
    """First word in the names of the layers."""
    layer_type: type[PreviewLayers] = PreviewLayers
    samples_tip = "One axial slice of each sample, its seed below it."
    folder = "synthetic"
    """Output folder of the copied command."""

    def __init__(self, viewer: ViewerModel, sources: Mapping[str, SourceChooser] | None = None) -> None:
        base = next(iter(self.presets.values()))
        super().__init__(sources or {}, self.presets, self.preset_tips, SamplesPanel(base.columns(), self.samples_tip))
        self._drawn = False  # nothing is added to a viewer before Draw was pressed
        self._started = 0.0
        self.maker, self.pair = self.maker_type(), self.layer_type(viewer, self.layers, self)
        self.redrawer = Redrawer(self)
        self._saving = Job(
            self,
            returned=lambda path: self._saved(f"Saved {path.name} and what belongs to it in {path.parent}."),
            failed=lambda error: self._saved(complain(error, "Saving")),
            stopped=lambda: self._saved(""),
        )
        self._sampling = Job(
            self,
            progressed=self._on_sampled,
            failed=lambda error: self.status.say(complain(error, "Drawing samples")),
        )
        self._recall()
        self._connect()
        self.show_problem()

    @cached_property
    def presets(self) -> dict[str, GenerativeModel]:
        raise NotImplementedError

    # The present choices

    def problem(self) -> str | None:
        return next(filter(None, (source.problem() for source in self.sources.values())), None)

    def options(self) -> Any:
        """Return the present choices as options of the command line.

        Raises:
            InputError: they cannot be used.
        """
        name = self.preset.currentData()
        chosen = {"prior": tuple(differences(self.form.priors(), self.presets[name])), "seed": self.seed.value()}
        return self.options_type(**chosen, **({"preset": name} if name else {}))

    def wanted(self) -> Wanted:
        sources = tuple(source.source() for source in self.sources.values())
        return Wanted(self.options(), self.form.priors(), sources, full=self.full.isChecked())

    def measured(self, picture: Picture) -> str:
        return f"{'Quick look' if picture.quick else 'Full size'}: {' × '.join(f'{s:.3g}' for s in picture.spacing)} mm"

    def described(self, summary: dict[str, str | float]) -> str:
        return described(summary)

    def choices(self) -> dict[str, Any]:
        return {
            "full": self.full.isChecked(),
            "target": self.target.isChecked(),
            "preset": self.preset.currentData(),
        }

    # Setting up

    def _recall(self) -> None:
        kept = recall(self.face)
        self.full.setChecked(bool(kept.get("full", True)))
        self.target.setChecked(bool(kept.get("target", False)))
        self.preset.setCurrentIndex(max(self.preset.findData(kept.get("preset")), 0))
        self._on_preset()

    def _connect(self) -> None:
        for signal, *slots in (
            (self.preset.currentIndexChanged, self._on_preset),
            (self.seed.valueChanged, self.redraw, self.samples.mark),
            (self.draw.clicked, self.draw_new),
            (self.full.toggled, lambda full: self.redraw() if full else None),
            (self.target.toggled, self.pair.set_labels_visible),
            (self.form.changed, self.redraw, self._on_priors),
            (self.samples.wanted, self.draw_samples),
            (self.samples.chosen, self._on_sample),
            (self.copy_command.triggered, lambda: self.copy_recipe(python=False)),
            (self.copy_python.triggered, lambda: self.copy_recipe(python=True)),
            (self.save.clicked, self.save_files),
            (self.pair.removed, self.redrawer.stop),  # who deletes a layer does not want it back at once
            (self.redrawer.pictured, self._on_pictured),
            (self.redrawer.staged, self._on_staged),
            (self.redrawer.failed, lambda error: self.status.say(complain(error, "Drawing"))),
            (self.redrawer.busy, self.progress.setVisible),
            *((source.changed, self._on_priors, self.redraw) for source in self.sources.values()),
            *((source.replaced, self.rest) for source in self.sources.values()),
        ):
            for slot in slots:
                signal.connect(slot)

    # Drawing

    def draw_new(self) -> None:
        self._drawn = True
        with signals_blocked(self.seed):
            self.seed.setValue(int(np.random.default_rng().integers(NEW_SEEDS)))
        self.redraw(wait_ms=0)

    def redraw(self, *_: Any, wait_ms: int | None = None) -> None:
        """Draw the present choices soon, if anything was drawn before; a hidden page draws nothing."""
        face = self.parentWidget()
        while face is not None and not isinstance(face, Face):
            face = face.parentWidget()
        if not self.isVisible() or not (face is None or face.on_screen):
            self.rest()
            return
        self.show_problem()
        wanted = self._usable(self.wanted) if self.problem() is None and self._drawn else None
        if wanted is None:
            self.redrawer.stop()
            return
        self._started = time.monotonic()
        self.redrawer.request(self.maker.drawn, wanted, **({} if wait_ms is None else {"wait_ms": wait_ms}))

    def _usable(self, choices: Callable[[], Any]) -> Any:
        try:
            return choices()
        except ValueError as error:
            self.status.say(str(error))
            return None

    def rest(self, *_: Any) -> None:
        """Draw nothing until Draw is pressed again."""
        self._drawn = False
        self.redrawer.stop()
        self.show_problem()

    def show_problem(self) -> None:
        problem = self.problem()
        for button in (self.draw, self.copy, self.save):
            button.setEnabled(problem is None)
        self.status.say(problem or ("" if self._drawn else PRESS_DRAW))

    def draw_samples(self, count: int) -> None:
        wanted = self._usable(self.wanted) if self.problem() is None and not self._sampling.running else None
        if wanted is not None:
            seeds = range(self.seed.value(), self.seed.value() + count)
            self.samples.begin(seeds)
            self._sampling.start("", self.maker.sampled, wanted, seeds)

    # Copying, saving

    def recipe(self, *, python: bool) -> str:
        """Return a command line, or Python, that makes this sample; raises as `options`."""
        sources = self.wanted().sources
        place = sources[0].place if sources and sources[0] is not None else None
        return (python_code if python else command_line)(place, Path(self.folder), self.options())

    def copy_recipe(self, *, python: bool) -> None:
        text = self._usable(lambda: self.recipe(python=python))
        if text is not None:
            QApplication.clipboard().setText(text)
            self.status.say("Copied: Python code." if python else f"Copied: {text}")

    def save_files(self) -> None:
        if self._saving.running:
            return
        start = str(recall(self.face).get("folder", ""))
        name = QFileDialog.getExistingDirectory(self, "Choose a folder for the image, its labels and the record", start)
        wanted = self._usable(self.wanted) if name else None
        if wanted is not None:
            remember(self.face, {"folder": name})
            self.save.setEnabled(False)
            self.status.say("Saving…")
            self._saving.start("Save sample", self.maker.saved, wanted, Path(name))

    # Events

    def close_down(self) -> None:
        for job in (self.redrawer, self._saving, self._sampling):
            job.stop()

    def remember_choices(self) -> None:
        remember(self.face, self.choices())

    def _on_preset(self) -> None:
        self.form.set_base(self.presets[self.preset.currentData()])

    def _on_priors(self) -> None:
        self._sampling.stop()
        self.samples.clear()

    def _on_sample(self, seed: int) -> None:
        self._drawn = True
        if seed != self.seed.value():
            self.seed.setValue(seed)
        elif self.pair.image is None:
            self.redraw(wait_ms=0)

    def _on_sampled(self, report: Progress) -> None:
        if "thumbnail" in report.figures:
            self.samples.add(report.figures["thumbnail"])
            self.samples.mark(self.seed.value())

    def _on_pictured(self, picture: Picture) -> None:
        self.pair.show(picture, labels_visible=self.target.isChecked())
        self.status.say(f"{self.measured(picture)}, {time.monotonic() - self._started:.1f} s.")
        self.facts.say(self.described(picture.summary))
        self.facts.setToolTip("\n".join(f"{name}: {value}" for name, value in picture.summary.items()))

    def _on_staged(self, stage: str) -> None:
        if not self.status.text():
            self.status.say(f"{stage}…")

    def _saved(self, words: str) -> None:
        self.status.say(words)
        self.save.setEnabled(True)
