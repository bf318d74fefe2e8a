"""A seeded monkey in a real napari window: `python -m tests.widgets.monkey SEED ACTIONS FOLDER`.

It opens and closes the widgets, presses what can be pressed, types, clicks into the picture, and adds, renames,
reshapes and deletes layers while work runs. Networks are stand-ins of a few hundredths of a second that sometimes fail.
What it did is written down as it goes, so that a crash tells its way; what it left is told in `report.json`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import logging
import os
import random
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import psutil
from napari.utils.notifications import notification_manager
from napari.utils.progress import progress
from napari_orthogonal_views import ortho_view_manager
from qtpy.compat import isalive
from qtpy.QtCore import QPoint, Qt, QThreadPool, qInstallMessageHandler
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QFileDialog,
    QLineEdit,
    QTabBar,
    QWidget,
)
from vispy.gloo.glir import GlirProgram

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.weights import sam
from napari_synthseg.widgets._shared import user
from napari_synthseg.widgets.prompt.widget import PromptWidget
from napari_synthseg.widgets.segment.widget import SegmentWidget
from tests.widgets.builders import AFFINES, half_labels, steps, volume, volume_to_layer
from tests.widgets.journeys import HARMLESS, python_s
from tests.widgets.prompt.fakes import maker

WIDGETS = ("Segment brain", "Preview synthesis", "Prompt", "Train", "Evaluate")
KEYS = "abcdefghijklmnopqrstuvwxyz0123456789"
SPECIAL = (Qt.Key.Key_Return, Qt.Key.Key_Escape, Qt.Key.Key_Delete, Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Tab)
PRESSED_NEVER = ("Estimate",)
"""Texts of buttons that start a real training of seconds, which has its own tests."""


class Monkey:
    """One window and what may be done to it.

    Args:
        viewer: the window.
        seed: of its choices.
        folder: where what it saves goes.
    """

    def __init__(self, viewer: napari.Viewer, seed: int, folder: Path) -> None:
        self.viewer, self.folder = viewer, folder
        self.random = random.Random(seed)
        self.window = viewer.window._qt_window
        self.docks: dict[str, QWidget] = {}
        self.opened: list[weakref.ref] = []
        self.diary = (folder / "diary.txt").open("w", encoding="utf-8")

    # What it does

    def act(self) -> None:
        """One random action."""
        actions: list[tuple[int, Callable[[], str | None]]] = [
            (6, self.add_layer), (3, self.delete_layer), (2, self.rename), (2, self.reshape), (2, self.paint),
            (3, self.select), (2, self.hide), (9, self.open_widget), (3, self.close_widget), (24, self.press),
            (10, self.choose), (6, self.step_number), (6, self.write), (4, self.turn_page), (8, self.click_picture),
            (4, self.type_key), (3, self.turn_view), (6, self.wait),
        ]  # fmt: skip
        weights, functions = zip(*actions, strict=True)
        action = self.random.choices(functions, weights)[0]
        self.note(action.__name__)
        self.note(f"  {action() or 'nothing to do'}")
        QTest.qWait(self.random.choice((0, 0, 5, 30)))

    def note(self, text: str) -> None:
        self.diary.write(text + "\n")
        self.diary.flush()

    def add_layer(self) -> str:
        kind = self.random.choice(("scan", "labels", "plane", "colours", "points", "constant", "time"))
        name = self.random.choice(("scan", "scan", "odd/näme", "x" * 60))
        rng = np.random.default_rng(self.random.randrange(1000))
        if kind in ("scan", "labels"):
            scan = volume(self.random.choice(list(AFFINES)), (12, 14, 10))
            array, options = volume_to_layer(half_labels(scan) if kind == "labels" else scan)
            add = self.viewer.add_labels if kind == "labels" else self.viewer.add_image
            add(np.ascontiguousarray(array), name=name, **options)
        elif kind == "points":
            self.viewer.add_points(rng.uniform(0, 10, (4, 3)), name=name)
        else:
            shape = {"plane": (20, 24), "colours": (20, 24, 3), "constant": (8, 9, 10), "time": (3, 8, 9, 10)}[kind]
            data = np.zeros(shape, np.uint8) if kind == "constant" else rng.integers(0, 255, shape, np.uint8)
            self.viewer.add_image(data, name=name)
        return f"{kind} {name}"

    def layer(self):
        return self.random.choice(list(self.viewer.layers)) if len(self.viewer.layers) else None

    def delete_layer(self) -> str | None:
        layer = self.layer()
        if layer is not None:
            self.viewer.layers.remove(layer)
            return layer.name
        return None

    def rename(self) -> str | None:
        layer = self.layer()
        if layer is not None:
            layer.name = self.random.choice(("scan", "a", "segmentation", "äöü/\\:*?"))
            return layer.name
        return None

    def reshape(self) -> str | None:
        """Other data, of another size, in a layer that may be at work."""
        layer = self.layer()
        if layer is None or layer.ndim != 3 or not hasattr(layer.data, "shape") or layer.data.ndim != 3:
            return None
        shape = tuple(self.random.randrange(4, 16) for _ in range(3))
        layer.data = np.arange(np.prod(shape)).reshape(shape).astype(np.asarray(layer.data).dtype)
        return f"{layer.name} {shape}"

    def paint(self) -> str | None:
        layer = self.layer()
        if layer is None or not isinstance(layer.data, np.ndarray) or layer.data.ndim != 3:
            return None
        layer.data[: self.random.randrange(1, 5)] = self.random.randrange(0, 5)
        layer.refresh()
        return layer.name

    def select(self) -> str | None:
        layer = self.layer()
        self.viewer.layers.selection = {layer} if layer is not None and self.random.random() < 0.8 else set()
        return str(layer)

    def hide(self) -> str | None:
        layer = self.layer()
        if layer is not None:
            layer.visible = not layer.visible
            return layer.name
        return None

    def open_widget(self) -> str:
        name = self.random.choice(WIDGETS)
        dock, widget = self.viewer.window.add_plugin_dock_widget("napari-synthseg", name)
        if name not in self.docks:
            self.opened.append(weakref.ref(widget))
            self.docks[name] = widget
        return name

    def close_widget(self) -> str | None:
        if not self.docks:
            return None
        name = self.random.choice(sorted(self.docks))
        self.viewer.window.remove_dock_widget(self.docks.pop(name))
        return name

    def seen(self, *kinds: type) -> list[QWidget]:
        """What can be used of these kinds in a random open widget."""
        if not self.docks:
            return []
        root = self.docks[self.random.choice(sorted(self.docks))]
        found = [one for kind in kinds for one in root.findChildren(kind)]
        return [one for one in found if one.isVisible() and one.isEnabled()]

    def press(self) -> str | None:
        buttons = [one for one in self.seen(QAbstractButton) if one.text().replace("&", "") not in PRESSED_NEVER]
        if not buttons:
            return None
        button = self.random.choice(buttons)
        self.note(f"  {type(button).__name__} {button.text()!r} {button.toolTip()[:40]!r}")
        QTest.mouseClick(
            button, Qt.MouseButton.LeftButton, pos=QPoint(min(8, button.width() // 2), button.height() // 2)
        )
        return "pressed"

    def choose(self) -> str | None:
        combos = [one for one in self.seen(QComboBox) if one.count()]
        if not combos:
            return None
        combo = self.random.choice(combos)
        index = self.random.randrange(combo.count())
        self.note(f"  {combo.accessibleName()!r}: {combo.itemText(index)!r}")
        combo.setCurrentIndex(index)
        combo.activated.emit(index)
        return "chosen"

    def step_number(self) -> str | None:
        spins = self.seen(QAbstractSpinBox)
        if not spins:
            return None
        spin = self.random.choice(spins)
        spin.stepBy(self.random.choice((-10, -1, 1, 10)))
        return spin.accessibleName()

    def write(self) -> str | None:
        lines = [one for one in self.seen(QLineEdit) if not one.isReadOnly()]
        if not lines:
            return None
        line = self.random.choice(lines)
        text = self.random.choice(("", "1", "-5", "1e99", "nan", "hippo", "/no/such/path", "ü" * 30))
        self.note(f"  {type(line.parent()).__name__} {line.accessibleName()!r} {line.text()!r}: {text!r}")
        line.selectAll()
        line.insert(text)  # QTest types no letters outside ASCII
        if isalive(line):
            QTest.keyClick(line, Qt.Key.Key_Return)
        return "written"

    def turn_page(self) -> str | None:
        bars = [one for one in self.seen(QTabBar) if one.count() > 1]
        if not bars:
            return None
        bar = self.random.choice(bars)
        bar.setCurrentIndex(self.random.randrange(bar.count()))
        return bar.tabText(bar.currentIndex())

    def click_picture(self) -> str:
        canvas = self.viewer.window._qt_viewer.canvas.native
        place = QPoint(self.random.randrange(canvas.width()), self.random.randrange(canvas.height()))
        button = self.random.choice((Qt.MouseButton.LeftButton, Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton))
        if self.random.random() < 0.3:
            QTest.mousePress(canvas, button, pos=place)
            QTest.mouseMove(canvas, place + QPoint(20, 15))
            QTest.mouseRelease(canvas, button, pos=place + QPoint(20, 15))
        else:
            QTest.mouseClick(canvas, button, pos=place)
        return f"{place.x()}, {place.y()}"

    def type_key(self) -> str:
        canvas = self.viewer.window._qt_viewer.canvas.native
        key = self.random.choice((*KEYS, *SPECIAL))
        if isinstance(key, str):
            QTest.keyClicks(canvas, key)
        else:
            QTest.keyClick(canvas, key)
        return str(key)

    def turn_view(self) -> str:
        what = self.random.choice(("3D", "roll", "step", "reset"))
        if what == "3D":
            self.viewer.dims.ndisplay = 5 - self.viewer.dims.ndisplay
        elif what == "roll":
            self.viewer.dims.roll()
        elif what == "step" and self.viewer.dims.ndim > 2:
            self.viewer.dims.set_current_step(0, self.random.randrange(10))
        else:
            self.viewer.reset_view()
        return what

    def wait(self) -> str:
        milliseconds = self.random.choice((20, 100, 300))
        QTest.qWait(milliseconds)
        return f"{milliseconds} ms"

    # The end

    def tidy(self) -> None:
        """Close every widget and delete every layer, as it was at the beginning."""
        while self.docks:
            self.close_widget()
        if (planes := ortho_view_manager._VIEWER_MANAGERS.get(self.viewer)) is not None:
            planes.main_controls_widget.show_checkbox.setChecked(False)  # two more canvases
        self.viewer.layers.clear()
        self.viewer.dims.ndisplay = 2
        end = time.monotonic() + 20
        while time.monotonic() < end and (progress._all_instances or QThreadPool.globalInstance().activeThreadCount()):
            QTest.qWait(50)
        QTest.qWait(200)
        sys.last_type = sys.last_value = sys.last_traceback = (
            None  # an error in a slot would keep its viewer and layers
        )
        for _ in range(3):
            gc.collect()
            QTest.qWait(20)


def moody(number: random.Random):
    """A pipeline of half a second that now and then fails, or has nothing to stop it in the middle."""

    def run(scan, **options):
        reports, seconds = number.randrange(1, 8), number.choice((0.0, 0.02, 0.1))
        yield Progress("Reading")
        checkpoint()
        if number.random() < 0.15:
            raise number.choice((InputError("The scan is empty."), RuntimeError("out of memory"), MemoryError()))
        return (yield from steps(reports, seconds=seconds)(scan, **options))

    return run


def stand_ins(number: random.Random, folder: Path) -> None:
    """Nothing that takes long, nothing that asks, nothing outside the folder."""
    user._path = lambda: None
    logging.getLogger("napari_synthseg").addHandler(logging.NullHandler())  # errors of fakes are told in the window
    SegmentWidget.__init__.__defaults__ = (moody(number),)
    PromptWidget.__init__.__defaults__ = (maker(0.05),)
    sam.available = lambda: [{"name": "mobilesam", "path": "mobile_sam.pt"}]
    importlib.import_module("napari_synthseg.training.runs.process").PROCESS = "this"  # a process that ends at once
    GlirProgram.draw = lambda *_: None  # vispy draws from the buffers of deleted layers and crashes: napari#8471
    chosen = lambda *_, **__: (str(folder / number.choice(("a.nii.gz", "b.json", "no/such/c.csv"))), "")  # noqa: E731
    QFileDialog.getSaveFileName = QFileDialog.getOpenFileName = staticmethod(chosen)
    QFileDialog.getExistingDirectory = staticmethod(lambda *_, **__: str(folder))


def close_popups() -> None:
    """Menus and dialogs are left, as by Escape; none may stay and none may block."""
    for _ in range(5):
        top = QApplication.activePopupWidget() or QApplication.activeModalWidget()
        top = top or next(
            (one for one in QApplication.topLevelWidgets() if isinstance(one, QDialog) and one.isVisible()), None
        )
        if top is None:
            return
        QTest.keyClick(top, Qt.Key.Key_Escape)
        if isalive(top):
            top.close()
        QTest.qWait(5)


def megabytes() -> float:
    """What the process holds, after the C library has given back what it only keeps in store."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss / 2**20


def main(seed: int, actions: int, folder: Path) -> None:
    """Let the monkey go the same way twice: what the first leaves (imports, caches) is no leak, what the second is."""
    said: list[str] = []
    errors: list[str] = []
    os.environ["NAPARI_SYNTHSEG_DATA"] = str(folder / "home")
    qInstallMessageHandler(lambda kind, context, text: said.append(text))
    stand_ins(random.Random(seed + 1), folder)
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1280, 720)
    QTest.qWait(50)
    sys.excepthook = lambda *error: errors.append("".join(traceback.format_exception(*error)))
    threading.excepthook = lambda args: errors.append("".join(traceback.format_exception(args.exc_value)))
    sizes, opened = [], []
    for _ in range(2):
        monkey = Monkey(viewer, seed, folder)
        for _ in range(actions):
            monkey.act()
            close_popups()
        monkey.tidy()
        sizes.append(megabytes())
        opened += monkey.opened
    told = [
        one.exception
        for one in notification_manager.records
        if hasattr(one, "exception") and "failed (" not in one.message
    ]
    errors += ["".join(traceback.format_exception(one)) for one in told]
    report = {
        "errors": [one for one in errors if "napari_synthseg" in one],
        "napari's own": [one for one in errors if "napari_synthseg" not in one],
        "qt": [text for text in said if not any(part in text for part in HARMLESS)],
        "threads": [one.name for one in threading.enumerate() if one is not threading.main_thread() and python_s(one)],
        "pool": QThreadPool.globalInstance().activeThreadCount(),
        "processes": [" ".join(one.cmdline()) for one in psutil.Process().children(recursive=True)],
        "bars": len(progress._all_instances),
        "alive": [type(one()).__name__ for one in opened if one() is not None and isalive(one())],
        "opened": len(opened),
        "megabytes": sizes,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    viewer.close()
    qInstallMessageHandler(None)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
