"""Train the shipped weights further, at the lowest priority, for as long as the machine is on.

    python benchmarks/train_shipped.py start SHARED     # make train-shipped
    python benchmarks/train_shipped.py status           # make train-status
    python benchmarks/train_shipped.py stop             # make train-stop
    python benchmarks/train_shipped.py export OUT.safetensors

A campaign is one run in the user's cache; --weights says which. Every start resumes the newest state, and trains in
rounds of as many steps as `CAMPAIGNS` says. `runs show` and the window follow it as any run.

synthseg-fast: `train synthseg` from the shipped weights; both stages take turns. SHARED holds `data/label_maps` and
`data/real_t1/validation`, which selects nothing but is scored at every validation.
synthfm-sam: `train synthfm` from the shipped decoder; SHARED is not read.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from harness import arguments, command

from napari_synthseg.jobs import Progress, Stopped, run
from napari_synthseg.training import folder
from napari_synthseg.training.engine.events import read_events, steps_that_count
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.runs.process import train_recorded
from napari_synthseg.training.runs.run import is_active, request

HELD_OUT = ("training_seg_19", "training_seg_20")
STOP_S = 120.0
"""Seconds that a stop may take: a step ends, the state is written."""


@dataclass(frozen=True)
class Campaign:
    """One set of weights, and how it is trained further; paths among the options lie in SHARED."""

    name: str
    recipe: str
    round: dict[str, int]
    """Steps of each stage in a round."""
    options: dict[str, Any]

    @property
    def run(self) -> Path:
        return platformdirs.user_cache_path("napari-synthseg") / "campaign" / self.name


CAMPAIGNS = {
    campaign.name: campaign
    for campaign in (
        Campaign("synthseg-fast", "synthseg", {"locate": 4800, "refine": 150}, {
            "label_maps": Path("data/label_maps"), "validation": Path("data/real_t1/validation"), "hold_out": HELD_OUT,
            "start_from": "synthseg-fast", "seed": 10, "locate_fraction": 4800 / 4950, "curriculum": (1.0, 1),
            "decay_fraction": 0.3, "learning_rate": 1e-3, "ema_decay": 0.998, "held_heads": 16,
        }),
        Campaign("synthfm-sam", "synthfm", {"prompts": 2000}, {
            "start_from": "synthfm-sam", "scenes": "hard-targets", "edge_clicks": 0.3, "seed": 22, "batch": 16,
            "learning_rate": 5e-5, "decay_fraction": 0.6, "validate_every": 250,
        }),
    )
}  # fmt: skip


@command
def main() -> int:
    a = arguments(
        __doc__, "--weights", "--threads", weights={"choices": CAMPAIGNS, "help": "which campaign"},
        run={"type": Path, "help": "folder of the campaign; by default in the user's cache"},
        rounds={"type": int, "default": 1000, "help": "rounds to train now"},
        what_={"choices": ("start", "status", "stop", "export")},
        path_={"type": Path, "nargs": "?", "help": "SHARED of start, or the file of export"},
    )  # fmt: skip
    campaign = CAMPAIGNS[a.weights]
    out = a.run or campaign.run
    if a.what == "start":
        with contextlib.suppress(Stopped, KeyboardInterrupt):
            start(campaign, out, a.path or Path("../shared"), a.threads or os.cpu_count() or 1, a.rounds)
    elif a.what == "status":
        print("\n".join(status(campaign, out)))
    elif a.what == "stop":
        stop(out)
    else:
        print(recipes()[campaign.recipe].export(out, a.path or Path(f"{campaign.name}.safetensors")))
    return 0


def start(campaign: Campaign, out: Path, shared: Path, threads: int, rounds: int) -> None:
    """Train round after round until the rounds are done or a signal or request says stop."""
    lowest_priority()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    done = steps_done(campaign, out)
    first = min(done[stage] // steps for stage, steps in campaign.round.items())
    recipe = recipes()[campaign.recipe]
    for number in range(first + 1, first + 1 + rounds):
        run(train_recorded(recipe, options(campaign, out, shared, threads, number)), on_progress=tell)


def options(campaign: Campaign, out: Path, shared: Path, threads: int, number: int) -> Any:
    own = {name: shared / value if isinstance(value, Path) else value for name, value in campaign.options.items()}
    own["steps"] = number * sum(campaign.round.values())
    resume = any((out / folder.CHECKPOINTS).glob("*.pt"))
    return recipes()[campaign.recipe].options(**own, out=out, resume=resume, threads=threads, name=campaign.name)


def lowest_priority() -> None:
    """Give way to everything else: the process's niceness, and that of its group on Linux."""
    if hasattr(os, "nice"):
        os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


def tell(report: Progress) -> None:
    if "score" in report.figures or report.done % 100 == 0:
        numbers = {k: v for k, v in report.figures.items() if k in ("loss", "synthetic", "score")}
        text = ", ".join(f"{k} {v:.4f}" for k, v in numbers.items())
        print(f"{time.strftime('%H:%M')} {report.stage} {report.done} of {report.total}: {text}", flush=True)


def stop(out: Path) -> None:
    """Ask the campaign to stop and wait until its state is written."""
    request(out, do="stop")
    end = time.monotonic() + STOP_S
    while is_active(out) and time.monotonic() < end:
        time.sleep(0.5)
    print("still stopping" if is_active(out) else "stopped")


def steps_done(campaign: Campaign, out: Path) -> dict[str, int]:
    done = dict.fromkeys(campaign.round, 0)
    for line in steps_that_count(read_events(out)):
        done[line["stage"]] = line["step"]
    return done


def status(campaign: Campaign, out: Path) -> list[str]:
    lines = [f"{out}: {'running' if is_active(out) else 'not running'}"]
    events = steps_that_count(read_events(out))
    for stage in campaign.round:
        own = [line for line in events if line["stage"] == stage]
        took = [line["took"] for line in own[-100:] if "took" in line]
        cpu = max((line.get("cpu_seconds", 0.0) for line in own), default=0.0)
        pace = f"{sum(took) / len(took):.2f} s a step" if took else "not begun"
        lines.append(f"{stage}: {own[-1]['step'] if own else 0} steps, {pace}, {cpu / 3600:.2f} CPU-hours")
        curve = [line for line in own if "score" in line]
        for one in curve:
            synthetic = f"synthetic {one['synthetic']:.4f}  real T1" if "synthetic" in one else "synthetic"
            lines.append(f"  {one['step']:6d}  {synthetic} {one['score']:.4f}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
