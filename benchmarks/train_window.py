"""How fluid napari's window stays while a training goes on and is followed live, samples and curves included.

A timer of 10 ms runs in the window's event loop; what is reported is the largest gap between two of its ticks, how many
gaps were longer than 100 ms, and the most processor time that the window's own thread spent in one gap. A busy machine
makes everything wait. So Linux is asked how long the window's thread was ready but had no core, and the gaps are also
told without that (`own`: what the window does, and what it waits for, such as locks and the X server's drawing); and a
process that does nothing but sleep for 10 ms at a time is measured beside it: its largest gap is the machine's. First
the window is measured with the widget open and no run going, then while a run in a process of its own goes on and
shows a sample every few steps.

    xvfb-run -a python benchmarks/train_window.py [--seconds 60] [--of-training 1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from faces import wait_for
from harness import arguments, command

TICK_MS = 10
LIMIT_S = 0.1
WARM_UP_S = 5.0
OPTIONS = {"preset": "paper", "crop": 32, "features": 4, "steps": 1_000_000, "validate_every": 50,
           "hold_out": ("head1",), "device": "cpu", "name": "window"}  # fmt: skip
"""Of the training that goes on meanwhile."""
SLEEPER = """
import sys, time
worst, before, end = 0.0, time.perf_counter(), time.perf_counter() + float(sys.argv[1])
while before < end:
    time.sleep(0.01)
    now = time.perf_counter()
    worst, before = max(worst, now - before), now
print(worst)
"""


def now() -> np.ndarray:
    """Seconds: the time, the processor time of this thread, and how long it was ready but had no core (Linux only)."""
    try:
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        waited = 0.0
    return np.array([time.perf_counter(), time.thread_time(), waited])


class Ticks:
    """Records the gaps between ticks of a timer in Qt's event loop."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.gaps: list[np.ndarray] = []
        self._before = now()
        self.timer = QTimer()
        self.timer.timeout.connect(self._tick)

    def measure(self, seconds: float) -> dict[str, float]:
        """Let the window live for a while; what its ticks were like."""
        from qtpy.QtTest import QTest

        self.gaps = []
        sleeper = subprocess.Popen([sys.executable, "-c", SLEEPER, str(seconds)], stdout=subprocess.PIPE, text=True)
        self._before = now()
        self.timer.start(TICK_MS)
        QTest.qWait(round(1000 * seconds))
        self.timer.stop()
        machine = float(sleeper.communicate()[0])
        gaps, spent, waited = np.array(self.gaps).T
        return {
            "ticks": len(gaps),
            **_of_gaps("", gaps),
            **_of_gaps("own_", gaps - waited),
            "largest_cpu_in_a_gap_s": round(float(spent.max()), 3),
            "cpu_percent": round(100 * float(spent.sum() / gaps.sum()), 1),
            "machine_largest_gap_s": round(machine, 3),
        }

    def _tick(self) -> None:
        moment = now()
        self.gaps.append(moment - self._before)
        self._before = moment


def _of_gaps(kind: str, gaps: np.ndarray) -> dict[str, float]:
    return {
        f"{kind}largest_gap_s": round(float(gaps.max()), 3),
        f"{kind}gaps_over_100ms": int((gaps > LIMIT_S).sum()),
        f"{kind}gap_99.9_percent_s": round(float(np.quantile(gaps, 0.999)), 3),
    }


def label_maps(folder: Path, side: int = 48) -> Path:
    """Two small heads of spheres, so that a step takes tenths of a second."""
    from napari_synthseg.io import write_labels
    from napari_synthseg.volume import Volume

    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij"))
    for number in range(2):
        labels = np.zeros((side,) * 3, np.int32)
        for value, radius in ((24, 0.95), (3, 0.85), (2, 0.65), (10, 0.3)):
            labels[(place**2).sum(0) < (radius - 0.03 * number) ** 2] = value
        labels[side // 2 :][labels[side // 2 :] == 3] = 42
        write_labels(folder / f"head{number}.nii.gz", Volume(labels, np.eye(4)))
    return folder


@command
def main() -> None:
    wanted = arguments(
        __doc__, seconds={"type": float, "default": 60.0, "help": "of each of the two measurements"},
        of_training={"type": int, "default": 1, "help": "threads of the training"},
        every={"type": int, "default": 5, "help": "steps from one sample in the viewer to the next"},
    )  # fmt: skip
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.environ["NAPARI_SYNTHSEG_DATA"] = home
        os.environ.pop("NAPARI_SYNTHSEG_RUNS", None)
        maps = Path(home) / "maps"
        maps.mkdir()
        watch(label_maps(maps), wanted)


def watch(maps: Path, wanted: argparse.Namespace) -> None:
    import napari
    from qtpy.QtTest import QTest

    from napari_synthseg.training import runs
    from napari_synthseg.widgets._shared import user
    from napari_synthseg.widgets.train import TrainWidget

    user._path = lambda: None  # neither read nor changed: the user's own choices
    viewer = napari.Viewer(show=False)
    viewer.window.show()
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Train", area="right")
    QTest.qWait(round(1000 * WARM_UP_S))
    ticks = Ticks()
    print(json.dumps({"what": "at rest", **ticks.measure(wanted.seconds)}), flush=True)

    form = widget.new.form
    form.data["label_maps"].choose(maps)
    form.form.set_values({**OPTIONS, "threads": wanted.of_training})
    widget.new.start.click()
    wait_for(lambda: (one := widget.runs.list.current()) is not None and one.state.kind == "running")
    run = widget.runs.run
    widget.runs.every.setValue(wanted.every)
    widget.runs.show_samples.click()
    wait_for(lambda: len(viewer.layers) == 3)
    QTest.qWait(round(1000 * WARM_UP_S))
    before = runs.status(run).done
    figures = ticks.measure(wanted.seconds)
    steps = runs.status(run).done - before
    drawn = sum(len(values) for values in widget.runs.curves.plot.drawn().values())
    print(json.dumps({"what": "a run goes on", **figures, "steps": steps, "points_drawn": drawn}), flush=True)
    runs.stop(run)
    wait_for(lambda: not runs.is_active(run))
    viewer.close()


if __name__ == "__main__":
    sys.exit(main())
