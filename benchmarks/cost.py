"""The costs of docs/results.md: runs of benchmarks/speed.py, each in a process of its own.

    python benchmarks/cost.py SHARED --json FILE [--only NAME ...] [--device cuda]

With a GPU as the device, only what runs there. SHARED holds the development data. The file gets, by name of a run, what
speed.py said of each repetition and what the machine was; runs that it holds already and that are not wanted now stay
in it. Where other processes are at work, the machine is called busy: CPU seconds are the figure to look at then.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import arguments, command, finish, markdown, script_output, write_json

Report = dict[str, Any]
RUNS = {
    "pipeline": "pipeline --scan SHARED/data/scans/t1_crop.nii.gz -n 3",
    "generator": "generator --threads 1 -n 10 --label-map SHARED/data/label_maps/training_seg_01.nii.gz",
    "scenes": "shapes --threads 1 --preset both -n 2",
    "encode": "encode --threads 2 -n 3",
    "evaluate": "evaluate",
    "training": "training --threads 1 -n 6 --label-map SHARED/data/label_maps/training_seg_18.nii.gz",
    "paper, 96": "paper --size 96 --threads 1 -n 3 --label-map SHARED/data/label_maps/training_seg_01.nii.gz",
    "paper, 96, float32": "paper --size 96 --float32 --threads 1 -n 2 --label-map "
    "SHARED/data/label_maps/training_seg_01.nii.gz",
    "paper, 160": "paper --size 160 --threads 1 -n 2 --label-map SHARED/data/label_maps/training_seg_01.nii.gz",
    "phantom": "phantom",
}
"""Words for speed.py."""
ON_A_GPU = ("pipeline", "generator", "training", "paper, 96", "paper, 160")
SCENES = 32
"""Of a run of `shapes`."""
BUSY = 0.8
"""Average number of other processes at work from which on a machine is called busy."""


@dataclass(frozen=True)
class Line:
    """A line of the table: what it is, the run it comes from, and which of its repetitions count.

    Attributes:
        stage: of training, whose repetitions count alone.
        click: is it about the click on an embedded image?
        parts: how many things one repetition makes.
    """

    title: str
    run: str
    kept: tuple[int | None, ...] = (None,)
    stage: str = ""
    click: bool = False
    parts: int = 1


FIRST, LATER = (1,), (1, None)
"""The repetition that pays for imports, and those that find everything ready."""
LINES = (
    Line("segment one head of 256^3 with skull, flips, file to file; first run, with imports", "pipeline", FIRST),
    Line("the same, a later run", "pipeline", LATER),
    Line("one synthetic sample of 160^3, one thread", "generator"),
    Line("a synthetic scene of 1024^2 for prompts, one thread", "scenes", parts=SCENES),
    Line("an embedding of the mobile SAM encoder (float32)", "encode"),
    Line("a click on it", "encode", click=True),
    Line("scores of one pair of 256^3 label maps", "evaluate"),
    Line("a step of `train synthseg`, one thread: locator", "training", stage="locate"),
    Line("the same: refiner", "training", stage="refine"),
    Line("a step of `train synthseg --preset paper`, one thread: crop of 96^3, bfloat16", "paper, 96", LATER),
    Line("the same in float32", "paper, 96, float32", LATER),
    Line("the same: crop of 160^3, bfloat16", "paper, 160", LATER),
    Line("an analytic head at 1 mm", "phantom"),
)  # fmt: skip
REFERENCE = {"generator": 8.5, "pipeline": 40.0, "paper, 96": 13.6, "paper, 96, float32": 13.6, "paper, 160": 43.3}
"""CPU seconds of the reference implementation on this kind of machine: a sample of 160^3, a head of that, a step."""


@command
def main() -> int:
    args = arguments(
        __doc__, "--json", json={"required": True}, device={"default": "cpu"},
        only={"nargs": "+", "choices": RUNS}, shared_={"type": Path},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {}
    busy = ", busy" if os.getloadavg()[0] > BUSY else ""  # before the first run, which is work too
    for name in args.only or (RUNS if args.device == "cpu" else ON_A_GPU):
        found[name] = measured(name, args.shared, busy, args.device)
        write_json(args.json, found)
    return finish(table(found))


def measured(name: str, shared: Path, busy: str, device: str = "cpu") -> dict[str, Any]:
    words = RUNS[name].replace("SHARED", str(shared.resolve())).split()
    words += [] if device == "cpu" else ["--device", device]
    reports = [json.loads(line) for line in script_output(str(Path(__file__).with_name("speed.py")), *words)]
    print(f"{name}: {len(reports) - 1} repetitions", file=sys.stderr, flush=True)
    gpu = reports[-1].get("gpu")
    return {
        "machine": (f"{gpu}, " if gpu else "") + f"{os.cpu_count()} CPU cores{busy}",
        "runs": [one for one in reports if one["what"] != "prepare"],
    }


def table(found: dict[str, Any]) -> str:
    rows = [[line.title, *cells(line, found[line.run])] for line in LINES if line.run in found]
    text = markdown(["what", "wall s", "CPU s", "peak GiB", "command", "machine"], rows)
    said = []
    if "generator" in found:
        times = REFERENCE["generator"] / _mean(found["generator"]["runs"])
        said.append(f"a synthetic sample takes {times:.0f} times less CPU time than the reference's")
    if "pipeline" in found:
        share = _mean(found["pipeline"]["runs"][1:]) / REFERENCE["pipeline"]
        said.append(f"a scan {100 * share:.0f} % of its time")
    shares = {name: _mean(found[name]["runs"][1:]) / REFERENCE[name] for name in found if name.startswith("paper")}
    if any("gpu" in run["runs"][-1] for run in found.values()):  # the reference was measured on a CPU
        return text
    if shares:
        words = ", ".join(f"{100 * share:.0f} % ({name.partition(', ')[2]})" for name, share in shares.items())
        said.append(f"a step of the paper's recipe {words}")
    return text + (f"\n\nThat is: {', '.join(said)}." if said else "")


def cells(line: Line, run: dict[str, Any]) -> list[str]:
    kept = [one for one in run["runs"][slice(*line.kept)] if not line.stage or one["about"]["stage"] == line.stage]
    pairs = ([(one["about"]["click_wall_s"], one["about"]["click_cpu_s"]) for one in kept] if line.click
             else [(one["wall_s"] / line.parts, one["cpu_s"] / line.parts) for one in kept])  # fmt: skip
    wall, cpu = zip(*pairs, strict=True)
    peak = max(float(one.get("gpu_gib") or one["peak_gib"]) for one in kept)
    return [spread(wall), spread(cpu), f"{peak:.3g}", f"`python benchmarks/speed.py {RUNS[line.run]}`", run["machine"]]


def spread(figures: Sequence[float]) -> str:
    """The least and the most of some figures, two digits each."""
    low, high = (f"{figure:.2f}" if figure < 1 else f"{figure:.1f}" for figure in (min(figures), max(figures)))
    return low if low == high else f"{low}-{high}"


def _mean(reports: list[Report]) -> float:
    return sum(one["cpu_s"] for one in reports) / len(reports)


if __name__ == "__main__":
    sys.exit(main())
