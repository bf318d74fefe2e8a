"""The Degrade tab: SynthSeg+'s degradation model on a real scan, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtWidgets import QFormLayout, QPushButton, QSizePolicy, QWidget

from napari_synthseg.errors import InputError
from napari_synthseg.generator.files import DegradeOptions
from napari_synthseg.generator.presets import changed, degradation, differences
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.form import PriorsForm
from napari_synthseg.widgets.preview.brains_tab import recipe_place
from napari_synthseg.widgets.preview.model import DegradedMaker, WantedDegradation
from napari_synthseg.widgets.preview.page import PreviewPage
from napari_synthseg.widgets.preview.pictures import Picture
from napari_synthseg.widgets.preview.source_chooser import SourceChooser

if TYPE_CHECKING:
    from napari.components import ViewerModel

FACE = "degrade"
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
        super().__init__(viewer, FACE, "Degraded", PriorsForm(degradation()))
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
