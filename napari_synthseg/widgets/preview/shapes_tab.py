"""The Shapes tab: SynthFM's scenes: their priors, objects, the points that training gives, several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QFormLayout, QPushButton, QVBoxLayout, QWidget

from napari_synthseg.generator.files import SynthesizeShapesOptions
from napari_synthseg.generator.presets import SHAPE_PRESET_TIPS, SHAPE_PRESETS, differences, shape_preset
from napari_synthseg.widgets._shared.choices import device_choices
from napari_synthseg.widgets._shared.controls import Section
from napari_synthseg.widgets._shared.form import OptionsForm, PriorsForm
from napari_synthseg.widgets._shared.memory import recall
from napari_synthseg.widgets.preview.generator_page import GeneratorPage
from napari_synthseg.widgets.preview.layers import SceneLayers
from napari_synthseg.widgets.preview.model import SceneMaker, WantedScene
from napari_synthseg.widgets.preview.panels import SamplesPanel
from napari_synthseg.widgets.preview.pictures import Picture

if TYPE_CHECKING:
    from napari.components import ViewerModel

FACE = "shapes"
ELSEWHERE = ("preset", "prior", "seed", "record")
"""Options that the tab has other controls for."""
SHEET_TIP = "Each scene, its seed below it."
OBJECTS_TIP = "Show all objects: each of them can be the target."
TARGET_TIP = "Show one object, and the points that a step of training might give for it: discs inside, crosses outside."
SETTINGS = {"body": "in a body", "ground": "on a ground", "cells": "a crowd of cells"}


class ShapesTab(GeneratorPage):
    """Synthetic images of shapes, from nothing."""

    title = "Shapes"
    tip = "SynthFM's generative model: scenes of shapes with their objects, made from no data at all."
    layer_type = SceneLayers
    recorded_by = "scene"
    maker_type = SceneMaker

    def __init__(self, viewer: ViewerModel) -> None:
        self._turn = 0
        presets = {name: shape_preset(name) for name in SHAPE_PRESETS}
        base = presets["both"]
        samples = SamplesPanel(base.columns(), SHEET_TIP)
        super().__init__(viewer, FACE, PriorsForm(base), presets, SHAPE_PRESET_TIPS, samples)
        self.full.hide()  # a scene takes no longer than a quick look at a brain
        self.target.setText("&Objects")
        self.target.setToolTip(OBJECTS_TIP)
        self._add_prompts()
        self.seed.valueChanged.connect(self._on_seed)
        self.output.changed.connect(self.redraw)
        self.recall_choices()
        self.show_problem()

    # Parts

    def head(self, form: QFormLayout) -> None:
        """The preset."""
        form.addRow("Preset", self.preset)

    def middle(self) -> list[QWidget]:
        """Another target."""
        self.another = QPushButton("A&nother target")
        self.another.setToolTip("Another target of the same scene, and other points.")
        self.another.clicked.connect(self.take_another)
        return [self.another]

    def _add_prompts(self) -> None:
        self.prompts = QCheckBox("&Target and points")
        self.prompts.setToolTip(TARGET_TIP)
        self.prompts.toggled.connect(self._on_prompts)
        self.options.insertWidget(self.options.count() - 1, self.prompts)  # before the room at the end
        self.prompts.setChecked(bool(recall(FACE).get("prompts", True)))

    def below(self) -> list[QWidget]:
        """The samples, and the options that are no priors."""
        self.output = OptionsForm(SynthesizeShapesOptions, leave_out=ELSEWHERE, choices={"device": device_choices()})
        self.output.set_values(recall(FACE).get("output", {}))
        section = Section("Image", "Size of the image, what is saved of it, and where it is computed.")
        layout = QVBoxLayout(section.body)
        layout.setContentsMargins(10, 0, 0, 4)
        layout.addWidget(self.output)
        return [*super().below(), section]

    def choices(self) -> dict[str, Any]:
        """What the other tabs keep, the target, and the options that are no priors."""
        return super().choices() | {"prompts": self.prompts.isChecked(), "output": self.output.differences()}

    # What is drawn

    def chosen(self) -> SynthesizeShapesOptions:
        """The present choices, as the command line has them.

        Raises:
            InputError: if they cannot be used.
        """
        name = self.preset.currentData()
        settings = differences(self.form.priors(), self._presets[name])
        record = () if self.record is None else (self.record,)
        return SynthesizeShapesOptions(name, tuple(settings), self.seed.value(), record, **self.output.values())

    def wanted(self) -> WantedScene:
        """The scene with its target; see `PreviewPage.wanted`."""
        return WantedScene(self.chosen(), self._turn)

    def recipe(self, *, python: bool) -> str:
        """`napari-synthseg synthesize-shapes`, or Python."""
        from napari_synthseg.generator.files import command_line, python_code

        return (python_code if python else command_line)(None, Path("scenes"), self.chosen())

    def measured(self, picture: Picture) -> str:
        """Pixels, and how many objects."""
        rows, columns = picture.image.data.shape  # type: ignore[union-attr]
        count = len(picture.labels.table["index"]) - 1  # type: ignore[union-attr,index]
        return f"{rows} × {columns} pixels, {count} object{'s' * (count != 1)}"

    def described(self, summary: dict[str, str | float]) -> str:
        """What a scene is, in one line."""
        shapes = f"{summary['shapes']} {'labels' if summary['module'] == 'boundary' else 'shapes'}"
        look, setting = str(summary["looks like"]), SETTINGS[str(summary["setting"])]
        parts = [look.upper() if look in ("ct", "mr") else look.capitalize(), shapes, setting]
        parts += [f"acquired {summary['acquired']}", f"gamma {summary['gamma']}"]
        return ", ".join(parts + ["inverted"] * (summary["inverted"] == "yes")) + "."

    # What the user does

    def take_another(self) -> None:
        """Point at another object of the scene, and show it."""
        self._turn += 1
        self.prompts.setChecked(True)
        self._drawn = True
        self.redraw(wait_ms=0)

    def _on_seed(self) -> None:
        self._turn = 0

    def _on_prompts(self, shown: bool) -> None:
        self.pair.set_target_visible(shown)
