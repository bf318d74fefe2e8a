"""The form of *Segment brain*: scans, model, and every option of `SegmentOptions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.networks.registry import spec_of
from napari_synthseg.weights import catalogue
from napari_synthseg.widgets._shared.choices import Choice, device_choices, preference
from napari_synthseg.widgets._shared.choosers import LayerChooser, ModelChooser
from napari_synthseg.widgets._shared.controls import Message, column, listen
from napari_synthseg.widgets._shared.field_controls import IntegerSpin
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets._shared.user import recall, remember
from napari_synthseg.widgets.layers.geometry import has_length_units, layer_problem, shown_volume, world_matrix
from napari_synthseg.widgets.segment.probabilities import is_probability
from napari_synthseg.widgets.view.planes import RESLICED

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

FACE = "segment"
NO_SCAN = "Open a scan first, or take one of File > Open Sample > SynthSeg."
USUAL = ("index", "grid", "robust", "ct", "device")
FORGOTTEN = ("index", "ct", "fix_orientation", "device", "threads")
"""Options of one scan, and those with a preference in napari, which are not remembered."""

TEXTS = {
    "index": "&Volume",
    "grid": "&Labels on",
    "ct": "C&T scan",
    "device": "&Device",
    "flip": "Flip averaging",
    "posteriors": "Keep posteriors",
    "tissues": "Keep tissue maps",
    "keep_largest": "Keep largest component",
    "block_mm": "Largest block",
    "robust": "Ro&bust, for scans of low quality",
    "regressor": "Quality regressor",
    "preset": "Procedure",
    "bfloat16": "Half precision (bfloat16)",
}
GRIDS = [
    Choice("input", "The scan's voxels", "The labels have the scan's own voxels, so they lie on it exactly."),
    Choice("1mm", "1 mm voxels", "The labels have voxels of 1 mm, whatever the scan's are."),
]

PRESETS = [
    Choice("auto", "As the weights ask", "SynthSeg's procedure with official weights, this program's with its own."),
    Choice("own", "This program's", "Crop to the head, keep soft edges of structures, fill holes."),
    Choice("reference", "SynthSeg's", "Exactly what SynthSeg's own program does; for its U-Nets only."),
]


class SegmentChoices(QWidget):
    """The form: image, model, and options."""

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        tip = (
            "The scan to segment: any contrast, any resolution, with or without skull. "
            "Select several in the layer list to segment them one after another."
        )
        self.image = LayerChooser(viewer, Image, _is_scan, tip=tip)
        self.model = ModelChooser()
        self.form = OptionsForm(
            SegmentOptions,
            above=[
                ("&Image", self.image),
                ("&Model", self.model),
                (self.model.card,),
                (self.model.problem,),
            ],
            usual=USUAL,
            leave_out=("model", "weights"),
            texts=TEXTS,
            choices={"grid": GRIDS, "device": device_choices(), "preset": PRESETS},
            nothing={"threads": "automatic", "index": "the one shown", "parcellation": "none", "regressor": "none"},
        )
        self.robust = RobustSwitch(self.form, self.model)
        self.hint = Message()
        column(self.form, self.hint, parent=self, spacing=4)
        self._recall()
        self.image.changed.connect(self._on_scans_changed)
        self.image.activated.connect(self._on_picked)
        listen(self, SegmentChoices._on_scans_changed, viewer.layers.selection.events.changed)
        self.form.changed.connect(self._on_scans_changed)
        for signal in (self.model.changed, self.model.listed):
            signal.connect(self._on_scans_changed)
        self._on_scans_changed()

    def layers(self) -> list[Layer]:
        """Return the scans to segment: the selected ones if there are several, else the chosen one."""
        selected = [one for one in self._viewer.layers if one in self._viewer.layers.selection]
        scans = [one for one in selected if isinstance(one, Image) and _is_scan(one) and layer_problem(one) is None]
        if len(scans) > 1:
            return scans
        chosen = self.image.layer()
        return [] if chosen is None else [chosen]

    def options(self) -> dict[str, Any]:
        """Return the chosen options but `index` (see `index_of`).

        Raises:
            InputError: something typed cannot be used.
        """
        return self.robust.resolved(self.form.values() | self.model.values()) | {"index": None}

    def index_of(self, layer: Layer) -> int | None:
        """Return the volume of a series to segment; None for other layers."""
        if layer.ndim != 4:
            return None
        typed = self.form.rows["index"].value()
        return shown_volume(layer, self._viewer.dims) if typed is None else min(typed, int(layer.data.shape[0]) - 1)

    def problem(self) -> str | None:
        layers = self.layers()
        if not layers:
            return NO_SCAN
        return layer_problem(layers[0]) or self.form.problem(**self.model.values())

    def remember(self) -> None:
        kept = {name: value for name, value in self.form.values().items() if name not in FORGOTTEN}
        model = self.model.values()
        kept |= {"model": model["model"], "weights": str(model["weights"]) if model["weights"] else None}
        remember(FACE, kept)

    def _recall(self) -> None:
        kept = {name: value for name, value in recall(FACE).items() if name not in FORGOTTEN}
        preferred = {"device": preference("device", "auto"), "threads": preference("threads", 0) or None}
        self.form.set_values(kept | preferred)
        self.model.set_values(kept)

    def _on_picked(self, row: int) -> None:
        """Select only the scan that was chosen by hand, since all selected ones are segmented."""
        layer = self.image.layer()
        if layer is not None:
            self._viewer.layers.selection.select_only(layer)

    def _on_scans_changed(self, event: object = None) -> None:
        layers = self.layers()
        series = [int(one.data.shape[0]) for one in layers if layer_problem(one) is None and one.ndim == 4]
        index = self.form.rows["index"]
        if series and isinstance(index.control, IntegerSpin):
            index.control.setMaximum(max(series) - 1)
        index.set_visible(bool(series))
        self.hint.say(self.problem() or self._notes(layers))
        self.changed.emit()

    def _notes(self, layers: list[Layer]) -> str:
        notes = [note for note in (self.robust.note(),) if note]
        if len(layers) > 1:
            notes.append(f"The {len(layers)} selected scans are segmented one after another.")
        if any(one.ndim == 4 for one in layers) and self.form.rows["index"].value() is None:
            notes.append("The volume that is shown is segmented.")
        unitless = [one for one in layers if not has_length_units(one)]
        if unitless:
            sizes = np.linalg.norm(world_matrix(unitless[0])[:3, :3], axis=0)
            spacing = " × ".join(f"{size:g}" for size in sizes)
            which = "This layer has" if len(layers) == 1 else f'Layer "{unitless[0].name}" has'
            notes.append(f"{which} no unit of length; its voxels are taken as {spacing} mm.")
        return " ".join(notes)


def _is_scan(layer: Layer) -> bool:
    """Tell probabilities, and what three planes show of an oblique scan, from scans."""
    return not is_probability(layer) and RESLICED not in layer.metadata


NONE_FOUND = (
    "No weights of a robust network were found: choose a file of some, such as FreeSurfer's "
    f"{catalogue.ROBUST[-1]}.h5, as the model."
)


class RobustSwitch(QObject):
    """Keeps the options `robust` and `tissues` of a form enabled while the model chooser lists robust weights."""

    def __init__(self, form: OptionsForm, model: ModelChooser) -> None:
        super().__init__(form)
        self._form, self._model = form, model
        self._tip = form.controls["robust"].toolTip()
        model.listed.connect(self._show_state)
        model.changed.connect(self._show_state)
        form.changed.connect(self._show_state)
        self._show_state()

    def card(self) -> dict[str, Any] | None:
        """Return the card of the robust network to use: the chosen model, or the first one if the switch is on."""
        chosen = self._model.chosen
        if chosen is not None and spec_of(chosen).tissues:
            return chosen
        found = self._found()
        return found[0] if found and self._form.rows["robust"].value() else None

    def resolved(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return options that name their network, for the record."""
        card = self.card()
        if card is None:
            return values | {"robust": False, "tissues": False}
        if card is self._model.chosen:
            return values
        return values | self._model.values_of(card)

    def note(self) -> str:
        """Return a sentence if the switch overrules the chosen model, else an empty one."""
        card, chosen = self.card(), self._model.chosen
        if card is None or chosen is None or card is chosen:
            return ""
        others = [one["name"] for one in self._found()[1:]]
        more = f" {' and '.join(others)} can be chosen as the model instead." if others else ""
        return f"Robust: {card['name']} segments, not {chosen['name']}.{more}"

    def _found(self) -> list[dict[str, Any]]:
        """Return the cards of all robust networks, in the order of `catalogue.find_robust`, then others."""
        order = {name: number for number, name in enumerate(catalogue.ROBUST)}
        cards = [card for card in self._model.cards if spec_of(card).tissues]
        return sorted(cards, key=lambda card: order.get(Path(card["path"]).stem, len(order)))

    def _show_state(self) -> None:
        switch, found = self._form.controls["robust"], self._found()
        switch.setEnabled(bool(found))
        switch.setToolTip(self._tip if found else NONE_FOUND)
        self._form.controls["tissues"].setEnabled(self.card() is not None)
