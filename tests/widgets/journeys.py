"""Journeys through a real napari window, each in a process of its own: `python -m tests.widgets.journeys NAME FOLDER`.

A crash, a thread that outlives the window, a warning of Qt and a process that does not end would be hidden inside
another test run. `test_journey.py` starts these and reads how they ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from napari.utils.progress import progress
from qtpy.QtCore import QPoint, Qt, QThreadPool, QTimer, qInstallMessageHandler
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QMenu, QTableView, QWidget

from napari_synthseg.widgets._shared import user
from tests.widgets.builders import labels_in

LEFT_HIPPOCAMPUS = 17
HARMLESS = ("propagateSizeHints", "XDG_RUNTIME_DIR", "Could not connect", "QFont", "session management")
"""Parts of what Qt says about the virtual screen."""
BAD = ("warning", "error")
"""What napari must not have told the user."""

PATIENCE_S = 300.0
"""What has not come by then never comes; computers that are slow and busy take long for a segmentation."""
SOON_S = 5.0
"""Within which work that is stopped has ended there: after the layer or block that it is at."""

said: list[str] = []


def wait_until(true: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> float:
    """Let Qt work until something is true; returns how long it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, f"waited {seconds} s in vain: {what}"
        QTest.qWait(10)
    return time.monotonic() - start


def click(button: QWidget) -> None:
    """A click with the left button, on what can be clicked."""
    assert button.isVisible(), f"{button} cannot be seen"
    assert button.isEnabled(), f"{button} cannot be pressed"
    QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=_inside(button))


def _inside(button: QWidget) -> QPoint:
    """The left end: a check box in a wide row is pressed on its box."""
    return QPoint(min(12, button.width() // 2), button.height() // 2)


def choose(menu: QMenu, *texts: str) -> None:
    """Open a menu and its submenus and click on the entries with these texts."""
    menu.popup(QPoint(5, 5))
    wait_until(menu.isVisible, f"menu {menu.title()}")
    for text in texts[:-1]:
        action = _entry(menu, text)
        QTest.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())
        menu = action.menu()
        wait_until(menu.isVisible, f"submenu {text}")
    action = _entry(menu, texts[-1])
    QTest.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())


def _entry(menu: QMenu, text: str):
    found = [one for one in menu.actions() if text in one.text().replace("&", "")]
    assert found, f"no {text!r} among {[one.text() for one in menu.actions()]}"
    return found[0]


def opened(viewer: napari.Viewer, kind: str) -> QWidget:
    """The widget that the Plugins menu opens."""
    choose(viewer.window.plugins_menu, "SynthSeg", kind)
    name = {"Segment brain": "SegmentWidget", "Preview synthesis": "PreviewWidget", "Prompt": "PromptWidget"}[kind]

    def there() -> list[QWidget]:
        window = viewer.window._qt_window
        return [one for one in window.findChildren(QWidget) if type(one).__name__ == name and one.isVisible()]

    wait_until(there, kind)
    return there()[0]


def with_sample(viewer: napari.Viewer) -> Image:
    """The bundled MNI152 head, through File > Open Sample."""
    choose(viewer.window.file_menu, "Open Sample", "SynthSeg", "MNI152")
    wait_until(lambda: len(viewer.layers) == 1, "the sample")
    return viewer.layers[0]


def running(viewer: napari.Viewer):
    """The Segment brain widget, with the real network at work on the sample."""
    with_sample(viewer)
    widget = opened(viewer, "Segment brain")
    run(widget)
    return widget


def run(widget) -> None:
    """Press the button and wait until the network is at work."""
    click(widget.run)
    wait_until(lambda: widget.progress.maximum() > 1 and widget.progress.value() >= 1, "the network")


def threads_ended() -> None:
    """Nothing works in the background any more."""
    wait_until(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, "the thread to end", SOON_S)


# Segment brain


def whole_way(viewer: napari.Viewer, folder: Path) -> None:
    """Sample, segment, click in the table, export, open again."""
    image = with_sample(viewer)
    widget = opened(viewer, "Segment brain")
    click(widget.choices.form.advanced.button)
    click(widget.choices.form.controls["fast"])
    assert widget.choices.options()["fast"]
    click(widget.run)
    wait_until(lambda: labels_in(viewer) and not widget.queue.busy, "the labels")
    (labels,) = labels_in(viewer)
    assert labels.name == f"{image.name} segmentation"
    assert "good" not in widget.volumes.light.text() or not widget.volumes.warnings.text()
    np.testing.assert_array_equal(labels.extent.world, image.extent.world)
    _click_in_the_table(viewer, widget, labels)
    _export_and_open(viewer, widget, labels, folder)


def _click_in_the_table(viewer: napari.Viewer, widget, labels: Labels) -> None:
    table: QTableView = widget.volumes.table
    QTest.keyClicks(widget.volumes.filter, "left hipp")
    assert [row.value for row in table.listed()] == [LEFT_HIPPOCAMPUS]
    index = table.model().index(0, 1)
    before = viewer.dims.point
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualRect(index).center())
    wait_until(lambda: viewer.dims.point != before, "the view to move")
    where = np.array(viewer.dims.point)
    assert labels.get_value(where, world=True) == LEFT_HIPPOCAMPUS, "the slices do not meet in the structure"
    inside = np.argwhere(np.asarray(labels.data) == LEFT_HIPPOCAMPUS)
    middle = np.array(labels.data_to_world(inside.mean(axis=0)))
    assert np.linalg.norm(where - middle) < 5, "the slices are far from the middle of the structure"
    assert where[2] < 0, "the left hippocampus is not on the left"
    camera = np.array(viewer.scene.camera.center)[-2:]
    np.testing.assert_allclose(camera, where[list(viewer.dims.displayed)], atol=1e-6)
    assert labels.selected_label == LEFT_HIPPOCAMPUS


def _export_and_open(viewer: napari.Viewer, widget, labels: Labels, folder: Path) -> None:
    path = folder / "exported.nii.gz"
    QFileDialog.getSaveFileName = staticmethod(lambda *_, **__: (str(path), ""))
    click(widget.volumes.export.labels)
    wait_until(lambda: path.is_file() and path.with_name("exported.tsv").is_file(), "the files")
    wait_until(widget.volumes.export.labels.isEnabled, "the end of the export")
    (again,) = viewer.open(str(path), plugin="napari-synthseg")
    assert isinstance(again, Labels)
    np.testing.assert_array_equal(again.data, labels.data)
    np.testing.assert_allclose(again.extent.world, labels.extent.world, atol=1e-5)
    for place in ((0, 0, 0), (10, 20, 30)):
        np.testing.assert_allclose(again.data_to_world(place), labels.data_to_world(place), atol=1e-5)
    assert again.units == labels.units
    assert list(again.features["volume (mL)"][1:]) == list(labels.features["volume (mL)"][1:]), (
        "other volumes in the file"
    )
    lines = path.with_name("exported.tsv").read_text().splitlines()
    assert any("Left-Hippocampus" in line and str(LEFT_HIPPOCAMPUS) in line.split("\t") for line in lines)


def interrupted(viewer: napari.Viewer, folder: Path) -> None:
    """Cancelled, the scan deleted, and the window closed (by `main`), each while the real network is at work."""
    widget = running(viewer)
    _cancel(viewer, widget)
    run(widget)
    _delete_the_scan(viewer, widget)
    with_sample(viewer)
    run(widget)


def _cancel(viewer: napari.Viewer, widget) -> None:
    click(widget.cancel)
    seconds = wait_until(lambda: not widget.queue.busy, "the end of the run")
    assert seconds < SOON_S, f"it took {seconds:.2f} s to cancel"
    threads_ended()
    QTest.qWait(200)
    assert len(viewer.layers) == 1
    assert "nothing was added" in widget.status.text()
    assert not progress._all_instances


def _delete_the_scan(viewer: napari.Viewer, widget) -> None:
    viewer.layers.selection = {viewer.layers[0]}
    click(viewer.window._qt_viewer.layerButtons.deleteButton)
    wait_until(lambda: len(viewer.layers) == 0, "the layer to go")
    wait_until(lambda: not widget.queue.busy, "the end of the run", SOON_S)
    threads_ended()
    QTest.qWait(200)
    assert len(viewer.layers) == 0
    assert not widget.run.isEnabled()


# Preview synthesis


def drawn(viewer: napari.Viewer):
    """The Brains tab after its first draw, quick looks alone."""
    page = opened(viewer, "Preview synthesis").brains
    if page.full.isChecked():
        click(page.full)
    assert not page.full.isChecked()
    click(page.draw)
    wait_until(lambda: page.pair.image is not None and not page.redrawer.running, "the first draw")
    return page


def previewed(viewer: napari.Viewer, folder: Path) -> None:
    """A prior changed, the scan deleted while it is drawn, and the window closed (by `main`) while it is drawn."""
    page = drawn(viewer)
    _type_a_prior(viewer, page)
    _delete_while_drawing(viewer, page)
    click(page.draw)
    wait_until(lambda: page.pair.image is not None, "another draw")
    wait_until(lambda: page.redrawer._job.running, "the full size to start")


def _type_a_prior(viewer: napari.Viewer, page) -> None:
    """The record differs in that prior alone, and the picture is another; taken back, it is the very one of before."""
    group = page.form.groups["Bias field"]
    if not group.unfolded:
        click(group.button)
    spin = page.form.rows["bias_std"].control.high
    page.scroll.ensureWidgetVisible(spin)
    layers, seed = list(viewer.layers), page.seed.value()
    before, picture = dict(page.pair.image.metadata["synthesis"]), np.array(page.pair.image.data)
    spin.setFocus()
    QTest.keyClick(spin, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(spin, "1.9")
    QTest.keyClick(spin, Qt.Key.Key_Return)
    wait_until(lambda: page.redrawer.running, "the redraw to start")
    wait_until(lambda: not page.redrawer.running, "the redraw")
    after = page.pair.image.metadata["synthesis"]
    steps, others = after["steps"], before["steps"]
    assert {name for name in steps if steps[name] != others[name]} == {"bias"}
    assert not np.array_equal(page.pair.image.data, picture)
    assert list(viewer.layers) == layers and page.seed.value() == seed
    assert group.button.text().endswith("1 changed")
    click(page.form.rows["bias_std"].reset)
    wait_until(lambda: page.redrawer.running, "the redraw to start")
    wait_until(lambda: not page.redrawer.running, "the redraw")
    np.testing.assert_array_equal(page.pair.image.data, picture)


def _delete_while_drawing(viewer: napari.Viewer, page) -> None:
    click(page.full)
    wait_until(lambda: page.redrawer._job.running, "the full size to start")
    viewer.layers.selection = {page.pair.image}
    click(viewer.window._qt_viewer.layerButtons.deleteButton)
    wait_until(lambda: not page.redrawer.running, "the end of the job", SOON_S)
    threads_ended()
    QTest.qWait(200)
    assert not any(isinstance(layer, Image) for layer in viewer.layers)


# Prompt


def pointed(viewer: napari.Viewer, folder: Path) -> None:
    """Clicks on the sample, an object accepted, taken back, followed, and the window closed (by `main`) meanwhile."""
    with_sample(viewer)
    widget = opened(viewer, "Prompt")
    click(widget.view.buttons["coronal"])
    click(widget.point)
    middle = viewer.window._qt_viewer.canvas.native.rect().center()
    for _ in range(2):
        QTest.mouseClick(viewer.window._qt_viewer.canvas.native, Qt.MouseButton.LeftButton, pos=middle)
        middle += QPoint(25, 0)
    assert widget.prompting.asker.waiting == 2
    wait_until(lambda: not widget.prompting.asker.waiting, "the answers")
    voxels = int(widget.prompting.work.draft.voxels.sum())
    assert voxels, widget.status.text()
    click(widget.accept)
    (labels,) = labels_in(viewer)
    assert int((np.asarray(labels.data) > 0).sum()) == voxels and len(viewer.layers) == 2
    click(widget.undo)
    assert not np.asarray(labels.data).any()
    canvas = viewer.window._qt_viewer.canvas.native
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=canvas.rect().center())
    wait_until(lambda: not widget.prompting.asker.waiting, "another answer")
    voxels = int(widget.prompting.work.draft.voxels.sum())
    click(widget.follow)
    wait_until(lambda: int(widget.prompting.work.draft.voxels.sum()) != voxels, "the next slice")


JOURNEYS = {one.__name__: one for one in (whole_way, interrupted, previewed, pointed)}


def python_s(thread: threading.Thread) -> bool:
    """Of Qt's threads Python keeps stand-ins, which outlive them; Qt counts them itself ("pool")."""
    return not isinstance(thread, threading._DummyThread)


def working() -> list[str]:
    """Threads beside the main one."""
    return [one.name for one in threading.enumerate() if one is not threading.main_thread() and python_s(one)]


def main(name: str, folder: Path) -> None:
    """Go one way and close the window; what was left behind is told in `report.json`, an error in a traceback."""
    user._path = lambda: None  # nothing is remembered
    qInstallMessageHandler(lambda kind, context, text: said.append(text))
    viewer = napari.Viewer()
    window = viewer.window._qt_window
    window.resize(1280, 720)
    QTest.qWait(50)
    try:
        JOURNEYS[name](viewer, folder)
    except BaseException:
        traceback.print_exc()
        print("Qt said:", *said, sep="\n", file=sys.stderr, flush=True)
        os._exit(1)
    del viewer
    complaints = [str(one.message) for one in notification_manager.records if str(one.severity) in BAD]
    closing = time.monotonic()
    QTimer.singleShot(0, window.close)
    napari.run()  # until the last window is closed, as for a user
    seconds = time.monotonic() - closing
    pool = QThreadPool.globalInstance()
    while (working() or pool.activeThreadCount()) and time.monotonic() - closing < seconds + 2 * SOON_S:
        time.sleep(0.05)
    report = {
        "seconds to close": seconds,
        "threads": working(),
        "pool": pool.activeThreadCount(),
        "qt": [text for text in said if not any(part in text for part in HARMLESS)],
        "complaints": complaints,
    }
    (folder / "report.json").write_text(json.dumps(report))
    qInstallMessageHandler(None)  # what Qt says while the process ends goes to the error stream


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
