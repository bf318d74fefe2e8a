"""The form of one recipe: its data, a row of presets, and every option, the rare ones folded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QSizePolicy, QWidget
from superqt.utils import signals_blocked

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.weights.catalogue import own_name
from napari_synthseg.widgets._shared.choices import Choice, device_choices
from napari_synthseg.widgets._shared.choosers import ChoiceBox, Opener
from napari_synthseg.widgets._shared.controls import WrappedLabel, button, column, listen, row
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets.layers.geometry import layer_problem, shown_scan
from napari_synthseg.widgets.train import new_run_model as model
from napari_synthseg.widgets.train.watcher import is_sample

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

NOTHING, BUNDLED, LAYERS = "nothing", "bundled", "layers"
WORDS = {model.LABELS: "label maps", model.SCANS: "scans", model.PAIRS: "labelled scans"}
BUNDLED_TEXT = {model.LABELS: "Bundled label map (one head)", model.SCANS: "MNI152 T1 (one scan)"}
LAYERS_TEXT = {
    model.LABELS: "Labels layers of the viewer",
    model.SCANS: "Image layers of the viewer",
    model.PAIRS: "Image layers with their labels",
}
NO_LAYERS = {
    model.LABELS: "The viewer has no 3D Labels layer: open label maps first, or choose a folder.",
    model.SCANS: "The viewer has no 3D Image layer: open scans first, or choose a folder.",
    model.PAIRS: "The viewer has no Image layer with a Labels layer on the same grid: open both, or choose a folder.",
}
LAYERS_TIP = "Those that are selected in the layer list; all, if none of them is."


class DataChooser(ChoiceBox):
    """The sources for an option: what comes along, a folder, or layers: those that are selected, else all that fit."""

    def __init__(self, viewer: ViewerModel, field: Field) -> None:
        self._viewer, self.field, self.name, self.kind = viewer, field, field.name, field.info.data or model.LABELS
        kind, title = self.kind, f"Choose {WORDS[self.kind]}"
        entries = [] if field.required else [Choice(NOTHING, "none")]
        entries += [Choice(BUNDLED, BUNDLED_TEXT[kind])] if model.bundled(kind) else []
        openers = [Opener(f"Folder of {WORDS[kind]}…", title)]
        if kind == model.LABELS:
            openers.append(Opener("Prepared maps (.npz)…", title, lambda: "Prepared maps (*.npz)"))
        super().__init__([*entries, Choice(LAYERS, LAYERS_TEXT[kind], LAYERS_TIP)], openers, field.doc)
        self.opened.connect(self.choose)
        events = viewer.layers.events
        listen(self, DataChooser._on_layers, events.inserted, events.removed, viewer.layers.selection.events.changed)

    def problem(self) -> str | None:
        chosen = self.chosen()
        if chosen == LAYERS and not self.layers():
            return NO_LAYERS[self.kind]
        if isinstance(chosen, Path) and not chosen.exists():
            return f"{chosen} does not exist: choose another folder."
        return None

    def source(self) -> model.DataSource | None:
        """Return the choice for a worker; None if nothing was chosen.

        Raises:
            InputError: a layer is no scan.
        """
        if (problem := self.problem()) is not None:
            raise InputError(problem)
        chosen = self.chosen()
        if chosen == BUNDLED:
            return model.DataSource(files=model.bundled(self.kind))
        if chosen != LAYERS:
            return model.DataSource(path=chosen) if isinstance(chosen, Path) else None
        layers = self.layers()
        scans = tuple(shown_scan(one, self._viewer.dims) for one in layers)
        if self.kind == model.LABELS:
            return model.DataSource(labels=scans)
        partners = [one for layer in layers if (one := self._partner(layer)) is not None]
        return model.DataSource(scans=scans, labels=tuple(shown_scan(one, self._viewer.dims) for one in partners))

    def layers(self) -> list[Layer]:
        """Return the layers to learn from, top ones first."""
        fitting = self._layers_of(Labels if self.kind == model.LABELS else Image)
        fitting = [one for one in fitting if self.kind != model.PAIRS or self._partner(one) is not None]
        return [one for one in fitting if one in self._viewer.layers.selection] or fitting

    def _partner(self, image: Layer) -> Layer | None:
        return model.partner(image, self._layers_of(Labels)) if self.kind == model.PAIRS else None

    def _layers_of(self, kind: type[Layer]) -> list[Layer]:
        ours = [one for one in reversed(self._viewer.layers) if isinstance(one, kind) and not is_sample(one)]
        return [one for one in ours if layer_problem(one) is None]

    def _on_layers(self, event: Any = None) -> None:
        if self.chosen() == LAYERS:
            self.changed.emit()


HIDDEN = ("out", "resume")
"""Options without a row: a run has its folder, and is resumed with a button."""
USUAL = (
    "start_from", "task", "network", "size", "preset", "plan", "augmenter", "organ", "steps", "seed", "name", "device",
)  # fmt: skip
"""Options shown at once, if a recipe has them; the numbers of steps stand before the seed."""
TEXTS = {"seed": "S&eed", "name": "&Name", "device": "De&vice", "steps": "S&teps", "label_maps": "&Label maps",
         "validation": "Validation"}  # fmt: skip
OWN = ("seed", "name", "device", "threads", "start_from")
"""Options that a preset leaves as they are."""
USUAL_STEPS = "as usual"


class RecipeForm(QWidget):
    """Collects the options of one recipe, an entry of `training.runs.RECIPES`."""

    changed = Signal()

    def __init__(self, viewer: ViewerModel, entry: Any) -> None:
        super().__init__()
        self._entry, self.options = entry, entry.options
        fields = {one.name: one for one in fields_of(self.options)}
        self.data = {one.name: DataChooser(viewer, one) for one in model.data_fields(self.options)}
        usual = [name for name in USUAL if name in fields and name not in self.data]
        if "start_from" in usual and fields["start_from"].optional:  # weights to start from, only if they are required
            usual.remove("start_from")
        steps = [name for name in model.step_fields(self.options) if name not in usual]
        at = usual.index("seed") if "seed" in usual else len(usual)
        self._presets = model.presets(self.options)
        self.preset_buttons = {
            name: button(name, model.PRESET_TIPS[name], partial(self._choose_preset, name), checkable=True)
            for name in self._presets
        }
        buttons = row(*((one, 1) for one in self.preset_buttons.values()), spacing=4)
        self.form = OptionsForm(
            self.options,
            above=[*((_data_text(chooser), chooser) for chooser in self.data.values()), ("Set up", buttons)],
            usual=usual[:at] + steps + usual[at:],
            leave_out=(*HIDDEN, *self.data),
            texts=TEXTS,
            choices={"device": device_choices()} if "device" in fields else {},
            nothing={
                "threads": "automatic",
                "only": "all three",
                **dict.fromkeys(model.step_fields(self.options), USUAL_STEPS),
            },
            defaults={"name": own_name(fields["name"].default)} if "name" in fields else {},
        )
        self.stages = WrappedLabel()
        self.stages.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.stages.setToolTip("The stages that are trained one after the other, with their steps.")
        self.form.usual.addRow("Stages", self.stages)
        column(self.form, parent=self)
        self._mark_preset()
        self.form.changed.connect(self._on_changed)
        for chooser in self.data.values():
            chooser.changed.connect(self._on_changed)

    def request(self, *, here: bool = False) -> model.Request:
        """Return the request.

        Raises:
            InputError: something is missing or cannot be used.
        """
        sources = {name: source for name, one in self.data.items() if (source := one.source()) is not None}
        values = self.form.values()
        self.options(**values, **dict.fromkeys(sources, model.LATER), out=model.LATER)  # to refuse bad values now
        return model.Request(self._entry.name, values, sources, here)

    def problem(self) -> str | None:
        for chooser in self.data.values():
            if (problem := chooser.problem()) is not None:
                return problem
        chosen = {name: model.LATER for name, one in self.data.items() if _is_something(one)}
        return self.form.problem(**chosen, out=model.LATER)

    def fill(self, values: Mapping[str, Any]) -> None:
        with signals_blocked(self):
            self.form.set_defaults()
            self.form.set_values({name: value for name, value in values.items() if name not in self.data})
            for name, chooser in self.data.items():
                chooser.choose(values[name] if isinstance(values.get(name), Path) else NOTHING)
        self.changed.emit()

    def kept(self) -> dict[str, Any]:
        """Return the choices to remember: plain values, and folders as text."""
        values = {name: value for name, value in self.form.differences().items() if name != "name"}
        data = {name: one.chosen() for name, one in self.data.items()}
        folders = {name: str(path) for name, path in data.items() if isinstance(path, Path)}
        plain = {name: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v
                 for name, v in values.items()}  # fmt: skip
        return {"values": plain, "folders": folders}

    def recall(self, kept: Mapping[str, Any], device: str) -> None:
        """Show remembered choices, except folders that no longer exist."""
        with signals_blocked(self):
            self.form.set_values({"device": device, **kept.get("values", {})})
            for name, text in kept.get("folders", {}).items():
                if name in self.data and Path(text).exists():
                    self.data[name].choose(Path(text))

    def _stages(self) -> dict[str, int]:
        data = {name: model.LATER for name, one in self.data.items() if _is_something(one) or one.field.required}
        try:
            return dict(self._entry.stages(self.options(**self.form.values(), **data, out=model.LATER)))
        except (TypeError, ValueError):
            return {}

    def _choose_preset(self, name: str) -> None:
        kept = {name: value for name, value in self.form.differences().items() if name in OWN}
        with signals_blocked(self):
            self.form.set_defaults()
        self.form.set_values({**kept, **self._presets[name]})

    def _on_changed(self) -> None:
        self._mark_preset()
        self.changed.emit()

    def _mark_preset(self) -> None:
        changed = {name: value for name, value in self.form.differences().items() if name not in OWN}
        for name, one in self.preset_buttons.items():
            one.setChecked(self._presets[name] == changed)
        self.stages.setText(" · ".join(f"{name} {steps:,}" for name, steps in self._stages().items()) or "–")


def _is_something(chooser: DataChooser) -> bool:
    return chooser.chosen() != NOTHING and chooser.problem() is None


def _data_text(chooser: DataChooser) -> str:
    if chooser.name in TEXTS:
        return TEXTS[chooser.name]
    return "Labe&lled scans" if chooser.kind == model.PAIRS else chooser.field.label
