"""What the tabs of generative models share: presets, and several samples beside each other that follow the priors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFormLayout, QWidget

from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import changed
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import Section, combo
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.memory import recall
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.preview.page import PreviewPage
from napari_synthseg.widgets.preview.panels import PriorsForm, SamplesPanel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_synthseg.jobs import Progress

PRESET_TIP = "The priors to start from; what is changed afterwards is marked and can be taken back."


class GeneratorPage(PreviewPage):
    """A tab with presets and samples.

    Args:
        viewer: the viewer that pictures are shown in.
        face: under which its choices are remembered.
        form: the priors, as the first preset has them.
        presets: by name.
        preset_tips: what each is.
        samples: the panel of samples.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        face: str,
        form: PriorsForm,
        presets: Mapping[str, GenerativeModel],
        preset_tips: Mapping[str, str],
        samples: SamplesPanel,
    ) -> None:
        self._presets, self.samples = presets, samples
        self._stale = False
        self.preset = combo([Choice(name, name, preset_tips.get(name, "")) for name in presets], PRESET_TIP)
        super().__init__(viewer, face, "Synthetic", form)
        self._sampling = Job(self)
        self.preset.currentIndexChanged.connect(self._on_preset)
        self.samples.wanted.connect(self.draw_samples)
        self.samples.chosen.connect(self._on_sample)
        self.seed.valueChanged.connect(self.samples.mark)
        self.form.changed.connect(self._on_priors)
        self.redrawer.finished.connect(self._refresh_samples)
        self._sampling.progressed.connect(self._on_sampled)
        self._sampling.failed.connect(lambda error: self.status.say(complain(error, "Drawing samples")))
        self._sampling.stopped.connect(self._refresh_samples)

    # Parts

    def below(self) -> list[QWidget]:
        """The samples."""
        self.sheet = Section("Samples", "Several samples beside each other, and the record of each.")
        layout = QFormLayout(self.sheet.body)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.addRow(self.samples)
        self.sheet.toggled.connect(lambda _: self._refresh_samples())
        return [self.sheet]

    def recall_choices(self) -> None:
        """Choose preset and number of samples as the last time."""
        kept = recall(self._face)
        row = self.preset.findData(kept.get("preset"))
        if row >= 0:
            self.preset.setCurrentIndex(row)
        count = kept.get("count")
        if isinstance(count, int):
            self.samples.count.setValue(count)

    def choices(self) -> dict[str, Any]:
        """Preset and number of samples."""
        return {"preset": self.preset.currentData(), "count": self.samples.count.value()}

    # What the user does

    def request(self) -> tuple[Any, ...]:
        """One sample; the several give way to it, and are taken up again when it is done."""
        if self._sampling.running:
            self._stale = True
            self._sampling.stop()
        return super().request()

    def take(self, facts: dict[str, Any]) -> None:
        """Choose preset and priors of a record."""
        name = facts.get("preset")
        if name not in self._presets:
            raise InputError(f"The record's preset {name!r} is none of this tab: try another one.")
        priors = changed(self._presets[name], facts["prior"])
        self.preset.setCurrentIndex(self.preset.findData(name))
        self.form.set_priors(self._presets[name], priors)

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

    def _on_preset(self) -> None:
        self.forget_record()
        self.form.set_base(self._presets[self.preset.currentData()])

    def _on_priors(self) -> None:
        self._stale = bool(self.samples.seeds)
        self._sampling.stop()
        if not self._drawn:
            self._refresh_samples()

    def _on_sample(self, seed: int) -> None:
        self._drawn = True
        if seed != self.seed.value():
            self.seed.setValue(seed)
        elif self.pair.image is None:
            self.redraw(wait_ms=0)

    def _refresh_samples(self) -> None:
        """Draw the samples again if the priors changed since, once the current one is done."""
        if not self._stale or not self.sheet.unfolded or self.redrawer.running or self._sampling.running:
            return
        self._stale = False
        try:
            wanted = self.wanted()
        except ValueError as error:
            self.status.say(str(error))
            return
        self._sampling.start("", self.maker.sampled, wanted, list(self.samples.seeds))

    def _on_sampled(self, report: Progress) -> None:
        if "thumbnail" in report.figures:
            self.samples.add(report.figures["thumbnail"])
            self.samples.mark(self.seed.value())
