"""Time one segmentation in napari's window and in a program of its own, one after the other, with their processor time.

    python -m benchmarks.window_speed --runs 2

Wall-clock time depends on what else the machine does; processor time tells whether the window itself costs any.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

UNITS = ("wall", "user", "system")
SPACING = 1.5
"""Of the scan, mm: a short run that has every stage."""


def scan() -> Any:
    """Return a synthetic head, the same in every process."""
    from napari_synthseg import synthesize
    from napari_synthseg.volume import resample_image
    from napari_synthseg.widgets.layers.reader import bundled_label_map

    image = synthesize(bundled_label_map(), seed=1).image
    return resample_image(image, SPACING)


def in_program() -> dict[str, float]:
    """Segment in the main thread, as the command line does."""
    from napari_synthseg import segment

    volume = scan()
    return timed(lambda: segment(volume))


def in_window() -> dict[str, float]:
    """Segment by a click on the button of *Segment brain*."""
    import napari
    from napari.layers import Image
    from qtpy.QtCore import Qt
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
        QTest.mouseClick(widget.run, Qt.MouseButton.LeftButton)
        while widget.queue.busy:
            QTest.qWait(50)

    found = timed(click)
    viewer.close()
    return found


def timed(work: Any) -> dict[str, float]:
    """Return wall-clock and processor seconds of a call."""
    wall, before = time.monotonic(), os.times()
    work()
    after = os.times()
    return {
        "wall": round(time.monotonic() - wall, 2),
        "user": round(after.user - before.user, 2),
        "system": round(after.system - before.system, 2),
    }


def _total(times: list[dict[str, float]], name: str) -> float:
    return sum(one[name] for one in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2, help="of each kind, taken in turn")
    parser.add_argument("--kind", choices=("program", "window"), help="one run in this process (used by itself)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(in_window() if options.kind == "window" else in_program()))
        return
    found: dict[str, list[dict[str, float]]] = {"program": [], "window": []}
    for _ in range(options.runs):
        for kind, times in found.items():
            command = [sys.executable, "-m", "benchmarks.window_speed", "--kind", kind]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            times.append(json.loads(out.splitlines()[-1]))
            print(kind, times[-1], flush=True)
    ratios = {name: _total(found["window"], name) / max(_total(found["program"], name), 0.01) for name in UNITS}
    print("window / program:", {name: f"{ratio:.2f}" for name, ratio in ratios.items()})
    if options.out:
        options.out.write_text(json.dumps(found | {"ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
