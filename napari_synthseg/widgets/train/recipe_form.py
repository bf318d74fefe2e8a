"""The form of one recipe: its data, a row of presets, and every option, the rare ones folded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_synthseg.fields import fields_of
from napari_synthseg.weights.catalogue import own_name
from napari_synthseg.widgets._shared.choices import device_choices
from napari_synthseg.widgets._shared.controls import WrappedLabel
from napari_synthseg.widgets._shared.field_controls import IntegerSpin
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets.train.data_chooser import DataChooser
from napari_synthseg.widgets.train.new_run_model import (
    LATER,
    NIGHT,
    PAIRS,
    Preset,
    Request,
    data_fields,
    matching,
    night_steps,
    presets,
    scaled,
    step_fields,
    usual_steps,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

HIDDEN = ("out", "resume")
"""Options that the page answers itself: a run has its folder, and is continued with a button."""
USUAL = (
    "start_from",
    "task",
    "network",
    "size",
    "preset",
    "plan",
    "augmenter",
    "organ",
    "steps",
    "seed",
    "name",
    "device",
)
"""Options shown at once, where a recipe has them; and those that say how long is trained."""
TEXTS = {"seed": "S&eed", "name": "&Name", "device": "De&vice", "steps": "S&teps", "label_maps": "&Label maps",
         "validation": "Validation", "start_from": "Start from"}  # fmt: skip
NOTHING = {"threads": "automatic", "only": "all three"}
OWN = ("seed", "name", "device", "threads", "start_from")
"""Options that a preset leaves as they are."""
FORGOTTEN = ("name",)
USUAL_STEPS = "as usual"


class RecipeForm(QWidget):
    """Collects the options of one recipe.

    Args:
        viewer: whose layers are offered as data.
        entry: of `training.runs.RECIPES`.
    """

    changed = Signal()
    night_wanted = Signal()  # how long the options take is to be measured

    def __init__(self, viewer: ViewerModel, entry: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entry = entry
        self.options = entry.options
        self._filling = False
        self._night: dict[str, int] = {}
        self._measured = False  # defaults are no night: how many steps fit into one has to be measured
        fields = {one.name: one for one in fields_of(self.options)}
        self.data = {one.name: DataChooser(viewer, one) for one in data_fields(self.options)}
        usual = [name for name in USUAL if name in fields and name not in self.data and _is_usual(name, fields)]
        steps = [name for name in step_fields(self.options) if name not in usual]
        at = usual.index("seed") if "seed" in usual else len(usual)
        devices = {"device": device_choices()} if "device" in fields else {}
        self.form = OptionsForm(
            self.options,
            usual=usual[:at] + steps + usual[at:],
            leave_out=(*HIDDEN, *self.data),
            texts=TEXTS,
            choices=devices,
            nothing={
                "threads": "automatic",
                "only": "all three",
                **dict.fromkeys(step_fields(self.options), USUAL_STEPS),
            },
            defaults={"name": own_name(fields["name"].default)} if "name" in fields else None,
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
        for row, chooser in enumerate(self.data.values()):
            label = QLabel(_data_text(chooser))
            label.setBuddy(chooser)
            label.setToolTip(chooser.field.field.doc)
            form.insertRow(row, label, chooser)
        form.insertRow(len(self.data), QLabel("Set up"), self.presets)
        form.addRow(QLabel("Stages"), self.stages)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)

    def request(self, *, here: bool = False) -> Request:
        """Return the request.

        Raises:
            InputError: something is missing or cannot be used.
        """
        sources = {name: source for name, one in self.data.items() if (source := one.source()) is not None}
        values = self.form.values()
        self.options(**values, **dict.fromkeys(sources, LATER), out=LATER)  # what it refuses, it refuses now
        return Request(self._entry.name, values, sources, here)

    def problem(self) -> str | None:
        """Return why nothing can be started, as a sentence; None if it can."""
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
        """Return the choices to remember: plain values, and folders as text."""
        values = {name: value for name, value in self.form.differences().items() if name not in FORGOTTEN}
        data = {name: one.chosen() for name, one in self.data.items()}
        folders = {name: str(path) for name, path in data.items() if isinstance(path, Path)}
        plain = {name: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v
                 for name, v in values.items()}  # fmt: skip
        return {"values": plain, "folders": folders, "advanced": self.form.advanced.unfolded}

    def recall(self, kept: Mapping[str, Any], device: str) -> None:
        """Show remembered choices, except folders that no longer exist."""
        self._filling = True
        self.form.set_values({"device": device, **kept.get("values", {})})
        for name, text in kept.get("folders", {}).items():
            if name in self.data and Path(text).exists():
                self.data[name].choose(Path(text))
        self.form.advanced.set_unfolded(bool(kept.get("advanced", False)))
        self._filling = False
        self._mark_preset()

    def set_night(self, seconds: float) -> None:
        """Ask for as many steps as fit into a night.

        Args:
            seconds: that the options as they are take, as measured.
        """
        stages = self._stages()
        options = self._options()
        if options is not None and sum(stages.values()):
            self._night = scaled(options, stages, night_steps(seconds, sum(stages.values())))
            self.form.set_values(self._night)

    def set_devices(self, names: Mapping[str, str]) -> None:
        """Offer each of several GPUs.

        Args:
            names: of the GPUs, by device.
        """
        control = self.form.controls.get("device")
        if isinstance(control, QComboBox) and len(names) > 1:
            for device, name in names.items():
                if control.findData(device) < 0:
                    control.addItem(f"{name} ({device})", device)

    def _make_presets(self) -> None:
        self._presets = presets(self.options)
        for one in self._presets:
            button = QPushButton(one.name)
            button.setCheckable(True)
            button.setToolTip(one.tip)
            button.clicked.connect(lambda *_, one=one: self._choose_preset(one))
            self._preset_row.addWidget(button, 1)
            self.preset_buttons[one.name] = button
        self._mark_preset()

    def _options(self) -> Any:
        """Return the current options, with placeholders for data; None if they are invalid."""
        data = {name: LATER for name, one in self.data.items() if _is_something(one) or one.field.field.required}
        try:
            return self.options(**self.form.values(), **data, out=LATER)
        except (TypeError, ValueError):
            return None

    def _stages(self) -> dict[str, int]:
        """Return the steps of each stage with the current options; empty if they are invalid."""
        try:
            options = self._options()
            return dict(self._entry.stages(options)) if options is not None else {}
        except ValueError:
            return {}

    def _choose_preset(self, preset: Preset) -> None:
        kept = {name: value for name, value in self.form.differences().items() if name in OWN}
        self._filling = True
        self.form.set_defaults()
        self.form.set_values({**kept, **preset.values})
        self._filling = False
        self._night, self._measured = {}, preset.name == NIGHT
        self._on_changed()
        if preset.name == NIGHT:
            self.night_wanted.emit()

    def _on_changed(self) -> None:
        if not self._filling:
            self._mark_preset()
            self.changed.emit()

    def _show_usual_steps(self) -> None:
        """Say how many steps "as usual" are with the options as they are."""
        options = self._options()
        for name, steps in (usual_steps(options, self._entry.stages) if options is not None else {}).items():
            control = self.form.controls[name]
            if isinstance(control, IntegerSpin):
                control.show_nothing_as(f"{steps:,} ({USUAL_STEPS})" if steps else USUAL_STEPS)

    def _mark_preset(self) -> None:
        changed = {name: value for name, value in self.form.differences().items() if name not in OWN}
        night = [Preset(NIGHT, "", {**one.values, **self._night}) for one in self._presets if one.name == NIGHT]
        known = [one for one in self._presets if one.name != NIGHT or self._measured]
        chosen = matching([*(night if self._night else ()), *known], changed)
        for name, button in self.preset_buttons.items():
            button.setChecked(name == chosen)
        self._show_usual_steps()
        stages = self._stages()
        self.stages.setText(" · ".join(f"{name} {steps:,}" for name, steps in stages.items()) or "–")


def _is_something(chooser: DataChooser) -> bool:
    return chooser.chosen() != "nothing" and chooser.problem() is None


def _data_text(chooser: DataChooser) -> str:
    """Return the label of a data row."""
    if chooser.name in TEXTS:
        return TEXTS[chooser.name]
    return "Labe&lled scans" if chooser.field.kind == PAIRS else chooser.field.field.label


def _is_usual(name: str, fields: Mapping[str, Any]) -> bool:
    """Tell whether an option is shown at once: weights to start from only if they are required."""
    return name != "start_from" or not fields[name].optional
