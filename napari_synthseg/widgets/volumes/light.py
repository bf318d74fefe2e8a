"""The traffic light of a scan: the Dice to expect of its segmentation, in a line above the table of volumes."""

from __future__ import annotations

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_synthseg.inference.quality.ratings import Verdict
from napari_synthseg.widgets.volumes.model import shade


class Light(QLabel):
    """A sign in its colour, the expected mean Dice and a word; hidden while nothing is known."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._verdict: Verdict | None = None
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setToolTip(
            "Mean over the scored structures of the Dice to expect, estimated without a ground truth and calibrated on "
            "synthetic scans of all qualities."
        )
        self.hide()

    def show_verdict(self, verdict: Verdict | None) -> None:
        """Show another verdict; None hides the line."""
        self._verdict = verdict
        self.setVisible(verdict is not None)
        if verdict is None:
            return
        if not verdict.calibrated:
            self.setText("Quality is not calibrated for these weights.")
            return
        light = verdict.rating
        sign = f'<span style="color:{shade(light, self)}">{light.sign}</span> ' if light.sign else ""
        self.setText(f"{sign}Expected Dice {verdict.mean:.2f}: <b>{light.word}</b>")

    def changeEvent(self, event: QEvent | None) -> None:
        """Another theme has another ground."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.PaletteChange:
            self.show_verdict(self._verdict)
