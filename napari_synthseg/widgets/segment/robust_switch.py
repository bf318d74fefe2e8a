"""The *robust* switch of *Segment brain*: when it can be used, and which network it means. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_synthseg.networks.registry import spec_of
from napari_synthseg.weights import catalogue

if TYPE_CHECKING:
    from napari_synthseg.widgets._shared.form import OptionsForm
    from napari_synthseg.widgets._shared.model_chooser import ModelChooser

NONE_FOUND = (
    "No weights of a robust network were found: choose a file of some, such as FreeSurfer's "
    f"{catalogue.ROBUST[-1]}.h5, as the model."
)


class RobustSwitch(QObject):
    """Keeps the switch, and what only robust networks have, enabled while there are robust weights.

    Args:
        form: has controls for `robust` and `tissues`.
        model: lists the weights that there are.
    """

    def __init__(self, form: OptionsForm, model: ModelChooser) -> None:
        super().__init__(form)
        self._form, self._model = form, model
        self._tip = form.controls["robust"].toolTip()
        model.listed.connect(self._show_state)
        model.changed.connect(self._show_state)
        form.changed.connect(self._show_state)
        self._show_state()

    def card(self) -> dict[str, Any] | None:
        """The robust network that is to be used: the chosen model, or the first there is if the switch is on."""
        chosen = self._model.chosen
        if chosen is not None and spec_of(chosen).tissues:
            return chosen
        found = self._found()
        return found[0] if found and self._form.rows["robust"].value() else None

    def resolved(self, values: dict[str, Any]) -> dict[str, Any]:
        """Options that name the network they mean, so that a record says what ran."""
        card = self.card()
        if card is None:
            return values | {"robust": False, "tissues": False}
        if card is self._model.chosen:
            return values
        return values | self._model.values_of(card)

    def note(self) -> str:
        """A sentence where the switch overrules the chosen model; empty otherwise."""
        card, chosen = self.card(), self._model.chosen
        if card is None or chosen is None or card is chosen:
            return ""
        others = [one["name"] for one in self._found()[1:]]
        more = f" {' and '.join(others)} can be chosen as the model instead." if others else ""
        return f"Robust: {card['name']} segments, not {chosen['name']}.{more}"

    def _found(self) -> list[dict[str, Any]]:
        """Cards of all robust networks, in the order in which `catalogue.find_robust` takes them, then others."""
        order = {name: number for number, name in enumerate(catalogue.ROBUST)}
        cards = [card for card in self._model.cards if spec_of(card).tissues]
        return sorted(cards, key=lambda card: order.get(Path(card["path"]).stem, len(order)))

    def _show_state(self) -> None:
        switch, found = self._form.controls["robust"], self._found()
        switch.setEnabled(bool(found))
        switch.setToolTip(self._tip if found else NONE_FOUND)
        self._form.controls["tissues"].setEnabled(self.card() is not None)
