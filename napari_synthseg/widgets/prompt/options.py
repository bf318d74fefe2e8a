"""What is rarely changed in the *Prompt* widget, folded away: window, device, following, and the list of keys."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QLabel, QVBoxLayout

from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.widgets._shared.choices import Choice, device_choices, preference
from napari_synthseg.widgets._shared.controls import Section, combo, form_layout
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets.prompt.engine import EACH, LAYER, WHOLE
from napari_synthseg.widgets.prompt.keys import ACTIONS, key_text, on_keys_changed

WINDOWS = [
    Choice(WHOLE, "The whole image's range", "From the 0.5th to the 99.5th percentile of the whole image."),
    Choice(LAYER, "The layer's contrast limits", "What is black and white in the layer, as in a CT window."),
    Choice(EACH, "Each slice's own range", "From the 0.5th to the 99.5th percentile of each slice."),
]
TEXTS = {
    "direction": "Follow",
    "least_score": "Least score",
    "least_overlap": "Least overlap",
    "most_growth": "Most growth",
    "most_slices": "Most slices",
}
DIRECTIONS = [
    Choice("both", "both ways"),
    Choice("up", "to higher slices"),
    Choice("down", "to lower slices"),
]


class PromptOptionsSection(Section):
    """The options; `changed` when what the model sees has to be seen anew."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__("Options", "What is rarely changed")
        self.window = combo(WINDOWS, "Which values the model sees as black and white.")
        self.device = combo(device_choices(), "Where the network runs.")
        self.device.setCurrentIndex(max(0, self.device.findData(preference("device", "auto"))))
        self.keep_others = QCheckBox("Keep other labels")
        self.keep_others.setToolTip("A new object does not take voxels that have another label already.")
        self.protect = QCheckBox("Refine protects other structures")
        self.protect.setToolTip("A refined structure does not take voxels of its neighbors.")
        self.protect.setChecked(True)
        self.follow = OptionsForm(
            PropagateOptions,
            usual=("direction", "most_slices"),
            texts=TEXTS,
            choices={"direction": DIRECTIONS},
            nothing={"most_slices": "to the end"},
        )
        form = form_layout()
        form.addRow("&Window", self.window)
        form.addRow("&Device", self.device)
        form.addRow(self.keep_others)
        form.addRow(self.protect)
        layout = QVBoxLayout(self.body)
        layout.setContentsMargins(8, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.follow)
        self.window.currentIndexChanged.connect(self.changed)
        self.device.currentIndexChanged.connect(self.changed)

    def values(self) -> dict[str, Any]:
        """What is chosen, for `set_values`."""
        return {
            "window": self.window.currentData(),
            "device": self.device.currentData(),
            "keep_others": self.keep_others.isChecked(),
            "protect": self.protect.isChecked(),
            "follow": self.follow.differences(),
        }

    def set_values(self, values: dict[str, Any]) -> None:
        """Choose what was remembered; what is unknown is ignored."""
        for name, box in (("window", self.window), ("device", self.device)):
            if (row := box.findData(values.get(name))) >= 0:
                box.setCurrentIndex(row)
        self.keep_others.setChecked(bool(values.get("keep_others", False)))
        self.protect.setChecked(bool(values.get("protect", True)))
        follow = values.get("follow")
        self.follow.set_values(follow if isinstance(follow, dict) else {})


class KeysSection(Section):
    """The keys as they are bound now; napari's preferences change them."""

    def __init__(self) -> None:
        super().__init__("Keys", "Other keys: File > Preferences > Shortcuts, Viewer.")
        self.labels: dict[str, QLabel] = {}
        form = QFormLayout(self.body)
        form.setContentsMargins(8, 0, 0, 0)
        form.setVerticalSpacing(1)
        for keys, text in (("Click", "Inside"), ("Ctrl or Alt + click", "Outside"), ("Shift + drag", "Box")):
            form.addRow(QLabel(keys), QLabel(text))
        for action in ACTIONS:
            self.labels[action.name] = QLabel()
            form.addRow(self.labels[action.name], QLabel(action.text))
        self.release = on_keys_changed(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Write the keys as they are bound."""
        for action in ACTIONS:
            self.labels[action.name].setText(key_text(action) or "-")
