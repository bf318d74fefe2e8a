"""In a real napari window: from the sample to the labels, hovering, and windows that close too early."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Surface
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QContextMenuEvent
from qtpy.QtWidgets import QApplication, QDockWidget, QMenu

from napari_synthseg.widgets.evaluate import EvaluateWidget
from napari_synthseg.widgets.segment.widget import SegmentWidget
from tests.widgets.builders import click, labels_in, scan_layer, steps, volume

CHECKOUT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def docked(window, qtbot):
    """Opens a window with a scan and the widget docked in it."""

    def make(fake):
        viewer = window(show=True)
        viewer.add_layer(scan_layer("LIA"))
        widget = SegmentWidget(viewer, steps=fake)
        viewer.window.add_dock_widget(widget, name="Segment brain", area="right")
        qtbot.waitUntil(widget.isVisible)
        return viewer, widget

    return make


def test_a_click_adds_labels_that_say_what_they_are(docked, qtbot):
    viewer, widget = docked(steps())
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: bool(labels_in(viewer)))
    (labels,) = labels_in(viewer)
    where = np.argwhere(labels.data == 17)[0]
    viewer.dims.set_point(range(3), labels.data_to_world(where))
    status = labels.get_status(labels.data_to_world(where), dims_displayed=list(viewer.dims.displayed), world=True)
    assert "Left-Hippocampus" in status["value"]
    assert "3.91" in status["value"]
    assert viewer.screenshot(canvas_only=True, flash=False)[..., :3].std() > 0


def test_the_dock_closed_while_running(docked, qtbot):
    fake = steps(100_000, seconds=0.02)
    viewer, widget = docked(fake)
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: widget.progress.value() >= 2)
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: bool(fake.ended))
    qtbot.waitUntil(lambda: not widget.queue.busy)
    assert labels_in(viewer) == []
    viewer.add_image(volume().data)  # the removed widget still hears of layers, and must not mind
    widget.deleteLater()


def test_in_a_narrow_dock_nothing_is_cut_off_and_no_button_moves_while_words_come_and_go(docked, qtbot):
    viewer, widget = docked(
        steps(20, seconds=0.02, warnings=("A long warning about something implausible in this scan.",))
    )
    click(qtbot, widget.run)
    places = set()
    while widget.queue.busy:
        places.add(tuple(one.mapTo(widget, QPoint(0, 0)).y() for one in (widget.run, widget.cancel, widget.view)))
        qtbot.wait(20)
    assert len(places) == 1
    qtbot.waitUntil(lambda: not widget.volumes.isHidden())
    assert widget.minimumSizeHint().width() <= 260
    dock = next(dock for dock in viewer.window._qt_window.findChildren(QDockWidget) if dock.widget() is widget)
    viewer.window._qt_window.resizeDocks([dock], [270], Qt.Orientation.Horizontal)
    qtbot.wait(50)
    right = widget.volumes.export.mapTo(widget, widget.volumes.export.rect().bottomRight())
    assert right.x() <= widget.width()


def of_the_menu(qtbot, menu: QMenu, text: str) -> QMenu | None:
    """Click on the entry that begins with a text; return the menu that it opens, if it opens one."""
    qtbot.waitUntil(menu.isVisible)
    action = next(one for one in menu.actions() if one.text().startswith(text))
    inner = action.menu()  # a menu is deleted once something in it was chosen
    qtbot.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())
    return inner


def test_a_structure_is_corrected_and_becomes_a_surface_by_the_menu_of_its_row(docked, qtbot):
    viewer, widget = docked(steps())
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: not widget.volumes.isHidden())
    (labels,), table = labels_in(viewer), widget.volumes.table
    before = np.array(labels.data)

    def menu() -> QMenu:
        place = table.visualRect(table.model().index(1, 1)).center()  # the first one has no voxels
        event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, place, table.viewport().mapToGlobal(place))
        QApplication.sendEvent(table.viewport(), event)
        qtbot.waitUntil(lambda: isinstance(QApplication.activePopupWidget(), QMenu))
        return QApplication.activePopupWidget()

    of_the_menu(qtbot, of_the_menu(qtbot, menu(), "Correct"), "Shrink")
    qtbot.waitUntil(lambda: "voxels changed" in widget.volumes.note.text())
    assert not np.array_equal(labels.data, before)
    of_the_menu(qtbot, of_the_menu(qtbot, menu(), "Correct"), "Undo")
    np.testing.assert_array_equal(labels.data, before)
    of_the_menu(qtbot, menu(), "Surface as a layer")
    qtbot.waitUntil(lambda: any(isinstance(layer, Surface) for layer in viewer.layers))


def docks_of(*widgets) -> list[QDockWidget]:
    docks = []
    for widget in widgets:
        while not isinstance(widget, QDockWidget):
            widget = widget.parentWidget()
        docks.append(widget)
    return docks


def test_a_second_widget_is_a_tab_beside_the_first_and_there_is_one_view_bar(docked, qtbot):
    viewer, first = docked(steps())
    second, third = EvaluateWidget(viewer), EvaluateWidget(viewer)
    viewer.window.add_dock_widget(second, name="Evaluate", area="right")
    one, two = docks_of(first, second)
    qtbot.waitUntil(lambda: two in one.parentWidget().tabifiedDockWidgets(one))
    qtbot.waitUntil(lambda: second.on_screen and not first.on_screen)
    assert second.view.isVisible()
    one.raise_()
    qtbot.waitUntil(lambda: first.on_screen and first.view.isVisible())
    assert first.height() > 400
    viewer.window.add_dock_widget(third, name="Evaluate again", area="left")
    qtbot.waitUntil(third.isVisible)
    assert [widget.view.isVisible() for widget in (first, third)] == [True, False]
    viewer.window.remove_dock_widget(first)
    viewer.window.remove_dock_widget(second)
    qtbot.waitUntil(third.view.isVisible)


OPENING = """
import importlib, json, os, sys, time
import napari.qt
from napari.components import ViewerModel
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests.sockets import listening
application, viewer, opened, told = QApplication([]), ViewerModel(), [], []
for name in ("segment", "preview", "prompt", "train", "evaluate"):
    before = time.process_time()
    module = importlib.import_module(f"napari_synthseg.widgets.{name}")
    opened.append(getattr(module, f"{name.title()}Widget")(viewer))
    opened[-1].show()
    application.processEvents()
    told.append([name, time.process_time() - before, "torch" in sys.modules])
    QTest.qWait(100)
heard = sorted(listening([os.getpid()])) if sys.platform == "linux" else []
for one in opened:
    one.close()
print(json.dumps([told, heard]))
"""


def test_every_widget_opens_quickly_without_torch_and_listens_nowhere():
    """In a fresh interpreter; the first one imports what all share."""
    done = subprocess.run([sys.executable, "-c", OPENING], capture_output=True, text=True, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    told, heard = json.loads(done.stdout.splitlines()[-1])
    assert len(told) == 5 and {name: seconds for name, seconds, torch in told if torch or seconds > 0.5} == {}
    assert heard == []
