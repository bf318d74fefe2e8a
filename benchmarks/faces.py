"""How quick the napari faces are: opening each widget, a redraw of the preview, a click, a cancelled run.

    xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/faces.py [opening] [preview] [clicks] [cancel] [window]
        [-n 5] [--json FILE]

`opening` is measured in a fresh process for each widget of the manifest, from the click to the dock being drawn, in a
napari window that is already open. `preview` is the time from a changed prior to the half-size image in the layer, and
to the full-size one, on the bundled label map (the first one pays for importing torch). `cancel` is the time from the
click on Cancel to the end of the thread, at random moments of segmenting a synthetic head. `clicks` is the time from a
click on the picture to its answer drawn: on the first of a slice, which has to be encoded, and on the others. `window`
(on demand) times a segmentation in the window and in a program, with their processor time; `drawing` is the part of
`user` that software OpenGL spends in threads of its own (Linux), which a graphics card does elsewhere. Prints a JSON
object a line.
"""

from __future__ import annotations

import functools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import arguments, command, script_output, write_json

SAID: list[dict[str, object]] = []
"""All that this process has said."""
SPACING = 1.5
"""Of the scan of `window`, mm: a short run that has every stage."""
UNITS = ("wall", "user", "system", "drawing")
"""Seconds that `window` measures."""


@command
def main() -> int:
    args = arguments(
        __doc__, "--json", n={"type": int, "default": 5, "help": "repetitions of preview, cancel and window"},
        widget={}, jobs_={"nargs": "*", "choices": [*JOBS, []], "metavar": "JOB"},
    )  # fmt: skip
    if args.widget in WINDOW:  # these two in a process of their own
        say(job="window", kind=args.widget, **WINDOW[args.widget]())
    elif args.widget is not None:
        opening(args.widget)
    else:
        for job in args.jobs or ("opening", "preview", "clicks", "cancel"):
            JOBS[job](args.n)
        write_json(args.json, SAID)
    return 0


def told(widget: str) -> None:
    say(**json.loads(script_output(__file__, "--widget", widget)[-1]))


def widget_names() -> list[str]:
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    widgets = manager.get_manifest("napari-synthseg").contributions.widgets or []
    return [widget.display_name for widget in widgets]


def opening(name: str) -> None:
    """Open one widget in a window that has had time to settle."""
    import napari
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer()
    QTest.qWait(1500)
    started = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-synthseg", name)
    QApplication.processEvents()
    say(job="opening", widget=name, seconds=time.perf_counter() - started, torch="torch" in sys.modules)
    assert widget is not None
    viewer.close()


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> float:
    """Let the window live until the condition holds; how long that took."""
    from qtpy.QtTest import QTest

    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > seconds:
            raise SystemExit(f"Nothing came within {seconds:g} s.")
        QTest.qWait(5)
    return time.perf_counter() - started


def say(**figures: object) -> None:
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    SAID.append(rounded)
    print(json.dumps(rounded), flush=True)


def preview(count: int) -> None:
    """Change a prior of the preview and wait for its answers."""
    import napari
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    from napari_synthseg.widgets.preview import PreviewWidget

    viewer = napari.Viewer()
    widget = PreviewWidget(viewer)
    viewer.window.add_dock_widget(widget)
    page, pictures = widget.brains, []
    page.full.setChecked(True)
    QTest.qWait(500)
    page.redrawer.pictured.connect(lambda picture: pictures.append((picture.quick, time.perf_counter())))
    answers = {"half": [], "full": []}
    for number in range(count + 1):
        pictures.clear()
        started = time.perf_counter()
        if number == 0:
            QTest.mouseClick(page.draw, Qt.MouseButton.LeftButton)
        else:
            page.form.set_values({"velocity_std": (0.0, 1.0 + 0.1 * number)})
        wait_for(lambda: any(not quick for quick, _ in pictures) and not page.redrawer.running)
        half, full = (next(at for quick, at in pictures if quick is kind) - started for kind in (True, False))
        say(job="preview", change="first draw" if number == 0 else "velocity field", half=half, full=full)
        if number:
            answers["half"].append(half)
            answers["full"].append(full)
    medians = {f"{size}_median": statistics.median(times) for size, times in answers.items()}
    say(job="preview", **medians, half_largest=max(answers["half"]), wait_before=0.15)
    viewer.close()


def clicks(count: int) -> None:
    """Click on a head, each time on a new object: the first click of a slice encodes it."""
    import napari
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from napari_synthseg.widgets.prompt import PromptWidget

    viewer = napari.Viewer()
    viewer.add_image(scan().data)
    widget = PromptWidget(viewer)
    viewer.window.add_dock_widget(widget)
    QTest.qWait(1000)
    widget.point.click()
    canvas, places, answers = viewer.window._qt_viewer.canvas.native, random.Random(1), {"first": [], "further": []}
    QTest.qWait(500)
    for number in range(-2, 2 * count):  # the first ones import torch and load the model
        kind = "further" if number % 2 else "first"
        if kind == "first":
            viewer.dims.set_current_step(0, viewer.dims.current_step[0] + 1)
            QTest.qWait(500)
        place = QPoint(*(int(size * places.uniform(0.45, 0.55)) for size in (canvas.width(), canvas.height())))
        idle: list[float] = []
        widget.prompting.asker.idle.connect(lambda: idle.append(time.perf_counter()))  # noqa: B023
        started = time.perf_counter()
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
        wait_for(lambda: bool(idle))  # noqa: B023
        QApplication.processEvents()
        answers[kind] += [time.perf_counter() - started] if number >= 0 else []
    for kind, seconds in answers.items():
        say(job="clicks", of_a_slice=kind, median=statistics.median(seconds), largest=max(seconds))
    viewer.close()


def cancel(count: int) -> None:
    """Segment the synthetic head and cancel after a while, several times."""
    import napari
    from napari.layers import Layer
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    from napari_synthseg.widgets.layers.reader import synthetic_head
    from napari_synthseg.widgets.segment.widget import SegmentWidget

    viewer = napari.Viewer()
    for data, kwargs, kind in synthetic_head(1)[1:]:
        viewer.add_layer(Layer.create(data, kwargs, kind))
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget)
    before, moments, seconds = len(viewer.layers), random.Random(1), []
    for _ in range(count):
        QTest.mouseClick(widget.run, Qt.MouseButton.LeftButton)
        QTest.qWait(int(1000 * moments.uniform(0.5, 5.0)))
        stage = widget.status.text()
        QTest.mouseClick(widget.cancel, Qt.MouseButton.LeftButton)
        seconds.append(wait_for(lambda: not widget.queue.busy))
        say(job="cancel", during=stage, seconds=seconds[-1], layers_added=len(viewer.layers) - before)
    say(job="cancel", median=statistics.median(seconds), largest=max(seconds))
    viewer.close()


def window(count: int) -> None:
    """Segment a scan in the window and in a program of its own, in turn: does the window itself cost any?"""
    for _ in range(count):
        for kind in WINDOW:
            told(kind)
    found: dict[str, dict[str, float]] = {
        kind: {unit: sum(one[unit] for one in SAID if one.get("kind") == kind) for unit in UNITS}  # type: ignore[misc]
        for kind in WINDOW
    }
    for one in found.values():
        one["user without drawing"] = one["user"] - one["drawing"]
    for unit in ("wall", "user", "user without drawing", "system"):
        say(job="window", unit=unit, ratio=found["window"][unit] / max(found["program"][unit], 0.01))


def scan() -> Any:
    """Return a synthetic head, the same in every process."""
    from napari_synthseg import synthesize
    from napari_synthseg.volume import resample_image
    from napari_synthseg.widgets.layers.reader import bundled_label_map

    return resample_image(synthesize(bundled_label_map(), seed=1).image, SPACING)


def in_program() -> dict[str, float]:
    from napari_synthseg import segment

    return timed(functools.partial(segment, scan()))


def in_window() -> dict[str, float]:
    """Segment by a click on the button of *Segment brain*."""
    import napari
    from napari.layers import Image
    from qtpy.QtCore import QEventLoop, Qt
    from qtpy.QtTest import QTest

    from napari_synthseg.widgets.layers.geometry import volume_to_layer
    from napari_synthseg.widgets.segment import SegmentWidget

    viewer = napari.Viewer()
    array, kwargs = volume_to_layer(scan())
    viewer.add_layer(Image(array, **kwargs))
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget)
    QTest.qWait(1000)

    def click() -> None:
        loop = QEventLoop()  # as in use: `wait_for` looks two hundred times a second, which costs time of its own
        widget.queue.changed.connect(lambda: widget.queue.busy or loop.quit())
        QTest.mouseClick(widget.run, Qt.MouseButton.LeftButton)
        loop.exec()

    found = timed(click)
    viewer.close()
    return found


def timed(work: Any) -> dict[str, float]:
    before = seconds_so_far()
    work()
    return {unit: round(now - before[unit], 2) for unit, now in seconds_so_far().items()}


def seconds_so_far() -> dict[str, float]:
    """Return the `UNITS` that this process has spent."""
    times = os.times()
    return {"wall": times.elapsed, "user": times.user, "system": times.system, "drawing": drawing_seconds()}


def drawing_seconds(tasks: Path = Path("/proc/self/task")) -> float:
    """Return what the threads of Mesa's software OpenGL have computed."""
    drawers = [(one / "stat").read_text().rpartition(")") for one in (tasks.iterdir() if tasks.is_dir() else ())]
    ticks = sum(int(rest.split()[11]) for name, _, rest in drawers if "(llvmpipe" in name)
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0


WINDOW = {"program": in_program, "window": in_window}
JOBS: dict[str, Callable[[int], None]] = {
    "opening": lambda _: [told(name) for name in widget_names()] and None,
    "preview": preview,
    "clicks": clicks,
    "cancel": cancel,
    "window": window,
}

if __name__ == "__main__":
    sys.exit(main())
