"""Makes the pictures in docs/images of the real window, with the weights we ship. Nothing in them is arranged by hand.

Without a screen: `xvfb-run -a -s "-screen 0 1600x1200x24" python docs/make_screenshots.py [PICTURE ...]`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import napari
import numpy as np
from napari.layers import Labels, Layer
from napari.settings import get_settings
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_synthseg.io import write_labels
from napari_synthseg.widgets._shared import user
from napari_synthseg.widgets.layers.geometry import layer_to_volume
from napari_synthseg.widgets.layers.reader import synthetic_head

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from phantom import head_phantom

SIZE = (1280, 800)
IMAGES = Path(__file__).parent / "images"
PATIENCE_S = 600
DOCK_WIDTH = 340
SEED = 12
DEGRADED_SEED = 8
HEAD_SEED, DICE_COLUMN, LOOKED_AT = 3, 1, 8
SCENE_SEED, SCENE_TARGET, SCENES = 11, 4, 9
CORONAL_MM, SAGITTAL_MM = 10.0, 6.0
MOST_SLICES = 20
TRAINED = {"preset": "paper", "crop": 32, "features": 4, "learning_rate": 3e-3, "steps": 60, "validate_every": 5,
           "hold_out": ("head3",), "device": "cpu", "threads": 1, "name": "heads"}  # fmt: skip
"""Options of the training that is shown: small heads, so that it comes along while one looks."""
TRAINED_MAPS, TRAINED_VALIDATIONS = 4, 3
TRAINED_SHAPE, TRAINED_MM = (48, 60, 60), 4.0
OBJECTS = {
    "Left lateral ventricle": [(True, (12, -6)), (False, (12, 6)), (False, (8, -14)), (False, (20, -2))],
    "Right lateral ventricle": [(True, (12, 6)), (False, (20, 2)), (False, (8, 14)), (False, (12, -6))],
}
"""What is pointed at on the coronal slice: inside or outside, and (S, R) in mm."""


@contextmanager
def window(widget_name: str, theme: str = "dark") -> Iterator[tuple[napari.Viewer, QWidget]]:
    """A napari window with one of the manifest's widgets and the MNI152 sample."""
    get_settings().appearance.theme = theme
    viewer = napari.Viewer(show=False)
    try:
        viewer.open_sample("napari-synthseg", "mni152")
        viewer.window.show()
        viewer.window.resize(*SIZE)
        dock, widget = viewer.window.add_plugin_dock_widget("napari-synthseg", widget_name)
        viewer.window._qt_window.resizeDocks([dock], [DOCK_WIDTH], Qt.Orientation.Horizontal)
        QTest.qWait(500)
        yield viewer, widget
    finally:
        viewer.close()


def save(viewer: napari.Viewer, name: str) -> None:
    """Take a picture of the whole window, once it has come to rest."""
    QTest.qWait(1500)
    IMAGES.mkdir(parents=True, exist_ok=True)
    viewer.window.screenshot(str(IMAGES / f"{name}.png"), canvas_only=False, flash=False)


def press(button: QWidget) -> None:
    """A click with the left button."""
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_for(condition: Callable[[], bool]) -> None:
    """Let the window live until the condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"Nothing came within {PATIENCE_S} s.")
        QTest.qWait(50)


def segment() -> None:
    """Segment brain: the labels of a scan, their volumes, one structure in three dimensions, both sides compared."""
    with window("Segment brain") as (viewer, widget):
        press(widget.run)
        wait_for(widget.run.isEnabled)
        labels = next((layer for layer in viewer.layers if isinstance(layer, Labels)), None)
        if labels is None:
            raise SystemExit(widget.status.text())
        press(widget.view.buttons["axial"])
        viewer.dims.set_point(0, richest_slice(labels))
        viewer.scene.camera.zoom *= 1.15
        point_at(viewer, labels, 49)
        save(viewer, "segment")
        press(widget.volumes.sides)
        widget.volumes.filter.setText("hippo")
        press_row(widget.volumes.table, 0)
        press(widget.view.buttons["coronal"])
        viewer.scene.camera.zoom *= 1.5
        save(viewer, "asymmetry")
        press(widget.volumes.sides)
        widget.volumes.filter.setText("")
        viewer.fit_to_view()
        press(widget.view.buttons["3d"])
        save(viewer, "three_d")


def preview() -> None:
    """Preview synthesis: a synthetic scan, its priors and steps; several samples with their records."""
    with window("Preview synthesis") as (viewer, widget):
        brains = widget.brains
        brains.seed.setValue(SEED)
        press(brains.draw)
        brains.seed.setValue(SEED)
        wait_for(lambda: brains.pair.image is not None and not brains.redrawer.running)
        press(widget.view.buttons["axial"])
        viewer.fit_to_view()
        brains.form.set_unfolded(["Spatial deformation", "Acquisition"])
        brains.target.setChecked(True)
        save(viewer, "preview")
        brains.target.setChecked(False)
        brains.form.set_unfolded([])
        brains.sheet.set_unfolded(True)
        press(brains.samples.draw)
        wait_for(
            lambda: (
                brains.samples.table.model().rowCount() == brains.samples.count.value() and not brains._sampling.running
            )
        )
        save(viewer, "samples")


def degrade() -> None:
    """The second tab: a real scan made worse, in the light theme."""
    with window("Preview synthesis", theme="light") as (viewer, widget):
        widget.tabs.setCurrentIndex(1)
        page = widget.degrade
        press(page.draw)
        page.seed.setValue(DEGRADED_SEED)
        wait_for(lambda: page.pair.image is not None and not page.redrawer.running)
        press(widget.view.buttons["axial"])
        viewer.fit_to_view()
        save(viewer, "degrade")


def prompt() -> None:
    """Prompt: the current object beside one that was accepted; then followed through the slices, from the side."""
    with window("Prompt") as (viewer, widget):
        press(widget.view.buttons["coronal"])
        viewer.dims.set_point(1, CORONAL_MM)
        viewer.scene.camera.zoom *= 1.5
        press(widget.point)
        for name, clicks in OBJECTS.items():
            for inside, place in clicks:
                click_at(viewer, widget, place, inside)
            if name != [*OBJECTS][-1]:
                widget.name.setText(name)
                press(widget.accept)
        save(viewer, "prompt")
        widget.options.follow.set_values({"most_slices": MOST_SLICES})
        press(widget.follow)
        wait_for(lambda: not widget.prompting.through.running)
        widget.name.setText([*OBJECTS][-1])
        press(widget.view.buttons["sagittal"])
        viewer.dims.set_point(2, SAGITTAL_MM)
        viewer.scene.camera.zoom *= 1.3
        save(viewer, "prompt_follow")


def click_at(viewer: napari.Viewer, widget: QWidget, place: tuple[float, float], inside: bool) -> None:
    """A click on the canvas at (S, R) in mm of the coronal slice that is shown."""
    canvas = viewer.window._qt_viewer.canvas
    x, y, _, w = canvas.view.scene.transform.map([place[1], place[0], 0, 1])
    modifier = Qt.KeyboardModifier.NoModifier if inside else Qt.KeyboardModifier.ControlModifier
    QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, modifier, QPoint(round(x / w), round(y / w)))
    wait_for(lambda: not widget.prompting.asker.waiting)


def shapes() -> None:
    """The third tab of Preview synthesis: a scene with a target and its points; several scenes with their records."""
    with window("Preview synthesis") as (viewer, widget):
        widget.tabs.setCurrentIndex(2)
        page = widget.shapes
        press(page.draw)
        page.seed.setValue(SCENE_SEED)
        wait_for(lambda: page.pair.image is not None and not page.redrawer.running)
        page.sheet.set_unfolded(True)
        page.samples.count.setValue(SCENES)
        press(page.samples.draw)
        wait_for(lambda: page.samples.table.model().rowCount() == SCENES and not page._sampling.running)
        for _ in range(SCENE_TARGET):
            press(page.another)
        wait_for(lambda: not page.redrawer.running)
        save(viewer, "shapes")


def train() -> None:
    """Train: a run that goes on, with its curves and a sample in the viewer; and the form, in the light theme."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.environ["NAPARI_SYNTHSEG_DATA"] = home
        maps = Path(home) / "maps"
        for seed in range(TRAINED_MAPS):
            write_labels(maps / f"head{seed}.nii.gz", head_phantom(TRAINED_SHAPE, TRAINED_MM, seed))
        with window("Train") as (viewer, widget):
            widget.new.form.data["label_maps"].choose(maps)
            widget.new.form.form.set_values(TRAINED)
            press(widget.new.start)
            wait_for(lambda: widget.runs.list.current() is not None)
            viewer.layers.clear()
            widget.runs.every.setValue(TRAINED["validate_every"])
            press_box(widget.runs.show_samples)
            for number in range(TRAINED_VALIDATIONS):
                steps = (number + 1) * TRAINED["validate_every"]
                wait_for(lambda steps=steps: widget.runs.list.current().state.done > steps)
            wait_for(lambda: len(viewer.layers) == 3)
            widget.runs.dice.table.selectRow(2)
            press(widget.view.buttons["axial"])
            viewer.fit_to_view()
            save(viewer, "train")
            press(widget.runs.buttons.others["stop"])
            wait_for(lambda: widget.runs.list.current().state.kind == "stopped")
        with window("Train", theme="light") as (viewer, widget):
            viewer.open_sample("napari-synthseg", "label_map")
            widget.new.form.data["label_maps"].choose("layers")
            press(widget.new.estimate.button)
            wait_for(lambda: not widget.new.estimate.running)
            press(widget.view.buttons["axial"])
            save(viewer, "train_new")


def evaluate() -> None:
    """Evaluate: the labels of a synthetic head against those it was drawn from, and the slice where one is worst."""
    from napari_synthseg import segment as segmented
    from napari_synthseg.widgets.layers.reader import labels_layer

    with window("Evaluate") as (viewer, widget):
        viewer.layers.clear()
        (labels, truth_kwargs, _), (image, image_kwargs, _) = synthetic_head(HEAD_SEED)
        scan = viewer.add_image(image, **image_kwargs)
        viewer.add_labels(labels, **truth_kwargs | {"visible": True})
        found, found_kwargs, _ = labels_layer(segmented(layer_to_volume(scan)).labels, "synthseg-fast")
        viewer.add_labels(found, **found_kwargs)
        press(widget.run)
        wait_for(lambda: not widget.job.running)
        press(widget.view.buttons["coronal"])
        viewer.fit_to_view()
        viewer.scene.camera.zoom *= 1.4
        header = widget.results.table.horizontalHeader()
        where = QPoint(header.sectionViewportPosition(DICE_COLUMN) + 8, header.height() // 2)
        QTest.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=where)
        press_row(widget.results.table, LOOKED_AT)
        save(viewer, "evaluate")


def press_box(box: QWidget) -> None:
    """A click on a check box, on its square."""
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(10, box.height() // 2))


def press_row(table: QWidget, row: int) -> None:
    """A click on a row of a table, on the name in it."""
    where = table.visualRect(table.model().index(row, 2)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(where.x(), where.y()))


def richest_slice(labels: Labels) -> float:
    """The world coordinate (S, mm) of the axial slice with the most structures; of several, the middle one."""
    counts = np.array([len(np.unique(section)) for section in labels.data])
    best = np.flatnonzero(counts == counts.max())
    return labels.data_to_world((best[len(best) // 2], 0, 0))[0]


def point_at(viewer: napari.Viewer, labels: Labels, value: int) -> None:
    """Put the cursor where a structure is, so that the status bar names it."""
    step = labels.world_to_data(viewer.dims.point)[0]
    section = labels.data[round(step)]
    inside = (section == value).nonzero() if (section == value).any() else section.nonzero()
    if len(inside[0]):
        middle = len(inside[0]) // 2
        viewer.cursor.position = labels.data_to_world((step, inside[0][middle], inside[1][middle]))
        viewer.status = Layer.get_status(
            labels, viewer.cursor.position, view_direction=None, dims_displayed=list(viewer.dims.displayed), world=True
        )


PICTURES = {
    "segment": segment,
    "prompt": prompt,
    "preview": preview,
    "degrade": degrade,
    "shapes": shapes,
    "train": train,
    "evaluate": evaluate,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="*", default=[*PICTURES], help=", ".join(PICTURES))
    names = parser.parse_args().pictures
    if unknown := set(names) - set(PICTURES):
        parser.error(f"there is no picture {sorted(unknown)[0]}, but {', '.join(PICTURES)}")
    QApplication.instance() or napari.qt.get_qapp()
    user._path = lambda: None  # neither read nor changed: the user's own choices
    for name in names:
        PICTURES[name]()


if __name__ == "__main__":
    main()
