"""The form of one recipe: its data, a row of presets, and every option, the rare ones folded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_synthseg.widgets.parts.choices import device_choices
from napari_synthseg.widgets.parts.controls import WrappedLabel
from napari_synthseg.widgets.parts.option_controls import ChoiceControl
from napari_synthseg.widgets.parts.option_fields import option_fields
from napari_synthseg.widgets.parts.options_form import OptionsForm
from napari_synthseg.widgets.train.data_chooser import DataChooser
from napari_synthseg.widgets.train.presets import Preset, matching, presets, step_fields
from napari_synthseg.widgets.train.request import LATER, Request
from napari_synthseg.widgets.train.sources import data_fields

if TYPE_CHECKING:
    from napari.components import ViewerModel

HIDDEN = ("out", "resume")
"""Options that the page answers itself: a run has its folder, and is continued with a button."""
USUAL = ("preset", "plan", "task", "architecture", "network", "steps", "seed", "name", "device")
"""Options shown at once, where a recipe has them; and those that say how long is trained."""
TEXTS = {"seed": "S&eed", "name": "&Name", "device": "De&vice", "steps": "S&teps", "label_maps": "&Label maps",
         "labelled": "Labelled scans", "validation": "Validation scans"}  # fmt: skip
FORGOTTEN = ("name",)


class RecipeForm(QWidget):
    """Collects the options of one recipe.

    Args:
        viewer: whose layers are offered as data.
        entry: of `training.runs.RECIPES`.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, entry: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entry = entry
        self.options = entry.options_type()
        self._pace: Mapping[str, float] = {}
        self._filling = False
        fields = {one.name: one for one in option_fields(self.options)}
        self.data = {one.name: DataChooser(viewer, one) for one in data_fields(self.options)}
        usual = [name for name in USUAL if name in fields and name not in self.data]
        steps = [name for name in step_fields(fields) if name not in usual]
        at = usual.index("seed") if "seed" in usual else len(usual)
        devices = {"device": device_choices()} if "device" in fields else {}
        self.form = OptionsForm(
            self.options,
            usual=usual[:at] + steps + usual[at:],
            leave_out=(*HIDDEN, *self.data),
            texts=TEXTS,
            choices=devices,
            nothing={"threads": "automatic", **dict.fromkeys(step_fields(fields), "as usual")},
        )
        self.presets = QWidget()
        self._preset_row = QHBoxLayout(self.presets)
        self._preset_row.setContentsMargins(0, 0, 0, 0)
        self._preset_row.setSpacing(4)
        self.preset_buttons: dict[str, QPushButton] = {}
        self.stages = WrappedLabel()
        self.stages.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.stages.setToolTip("What is trained one after the other, and for how many steps each.")
        self._build()
        self._make_presets()
        self.form.changed.connect(self._on_changed)
        for chooser in self.data.values():
            chooser.changed.connect(self._on_changed)

    def _build(self) -> None:
        form = self.form.usual
        for row, (name, chooser) in enumerate(self.data.items()):
            label = QLabel(TEXTS.get(name, chooser.field.field.text))
            label.setBuddy(chooser)
            label.setToolTip(chooser.field.field.doc)
            form.insertRow(row, label, chooser)
        form.insertRow(len(self.data), QLabel("Set up"), self.presets)
        form.addRow(QLabel("Stages"), self.stages)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)

    def request(self, *, here: bool = False) -> Request:
        """What is asked for.

        Raises:
            InputError: something is missing or cannot be used.
        """
        sources = {name: source for name, one in self.data.items() if (source := one.source()) is not None}
        values = self.form.values()
        self.options(**values, **dict.fromkeys(sources, LATER), out=LATER)  # what it refuses, it refuses now
        return Request(self._entry.name, values, sources, here)

    def problem(self) -> str | None:
        """Why nothing can be started, in one sentence; None if it can."""
        for chooser in self.data.values():
            if (problem := chooser.problem()) is not None:
                return problem
        chosen = {name: LATER for name, one in self.data.items() if _is_something(one)}
        return self.form.problem(**chosen, out=LATER)

    def fill(self, values: Mapping[str, Any]) -> None:
        """Show the options of another run."""
        self._filling = True
        self.form.set_defaults()
        self.form.set_values({name: value for name, value in values.items() if name not in self.data})
        for name, chooser in self.data.items():
            value = values.get(name)
            if isinstance(value, Path):
                chooser.choose(value)
            elif not chooser.field.field.required:
                chooser.choose("nothing")
        self._filling = False
        self._on_changed()

    def kept(self) -> dict[str, Any]:
        """What is remembered for the next time: plain values, and folders as text."""
        values = {name: value for name, value in self.form.differences().items() if name not in FORGOTTEN}
        data = {name: one.chosen() for name, one in self.data.items()}
        folders = {name: str(path) for name, path in data.items() if isinstance(path, Path)}
        plain = {name: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v
                 for name, v in values.items()}  # fmt: skip
        return {"values": plain, "folders": folders, "advanced": self.form.advanced.unfolded}

    def recall(self, kept: Mapping[str, Any], device: str) -> None:
        """Show what was remembered; folders that are gone are not."""
        self._filling = True
        self.form.set_values({"device": device, **kept.get("values", {})})
        for name, text in kept.get("folders", {}).items():
            if name in self.data and Path(text).exists():
                self.data[name].choose(Path(text))
        self.form.advanced.set_unfolded(bool(kept.get("advanced", False)))
        self._filling = False
        self._mark_preset()

    def set_pace(self, pace: Mapping[str, float]) -> None:
        """Seconds a step of each stage, as measured: a night's steps follow from them."""
        self._pace = pace
        self._make_presets()

    def set_devices(self, names: list[str]) -> None:
        """Offer the devices that this machine has, each of several GPUs apart."""
        control = self.form.controls.get("device")
        if not isinstance(control, ChoiceControl):
            return
        known = {control.itemData(row) for row in range(control.count())}
        for name in names:
            if name not in known and name != "cuda:0":
                control.addItem(name, name)

    def _make_presets(self) -> None:
        for button in self.preset_buttons.values():
            button.deleteLater()
        self.preset_buttons = {}
        self._presets = presets(self.options, self._pace, self._stages())
        for one in self._presets:
            button = QPushButton(one.name)
            button.setCheckable(True)
            button.setToolTip(one.tip)
            button.clicked.connect(lambda *_, one=one: self._choose_preset(one))
            self._preset_row.addWidget(button, 1)
            self.preset_buttons[one.name] = button
        self._mark_preset()

    def _stages(self) -> dict[str, int]:
        """Steps of each stage with the options as they are; empty where they cannot be used."""
        try:
            chosen = {name: LATER for name, one in self.data.items() if _is_something(one) or one.field.field.required}
            return dict(self._entry.stages(self.options(**self.form.values(), **chosen, out=LATER)))
        except (TypeError, ValueError):
            return {}

    def _choose_preset(self, preset: Preset) -> None:
        kept = {name: value for name, value in self._readable().items() if name in ("seed", "name", "device")}
        self._filling = True
        self.form.set_defaults()
        self.form.set_values({**kept, **preset.values})
        self._filling = False
        self._on_changed()

    def _readable(self) -> dict[str, Any]:
        return self.form.differences()

    def _on_changed(self) -> None:
        if not self._filling:
            self._mark_preset()
            self.changed.emit()

    def _mark_preset(self) -> None:
        changed = {k: v for k, v in self._readable().items() if k not in ("seed", "name", "device")}
        chosen = matching(self._presets, changed)
        for name, button in self.preset_buttons.items():
            button.setChecked(name == chosen)
        stages = self._stages()
        self.stages.setText(" · ".join(f"{name} {steps:,}" for name, steps in stages.items()) or "–")


def _is_something(chooser: DataChooser) -> bool:
    return chooser.chosen() != "nothing" and chooser.problem() is None
