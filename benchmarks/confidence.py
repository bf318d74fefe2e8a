"""How sure a network is of scans as they are, made worse, and turned: what `confident_score` of its card should be.

    python benchmarks/confidence.py SCAN_OR_FOLDER ... --model MODEL [--turns 3] [--worse] [--threads N]

A scan whose score (`inference.plausibility.score`) lies below the card's `confident_score` is looked at in 24
orientations, which takes a while, and told of. So ordinary scans should lie above, and scans that lie otherwise than
their header says below. Prints the score of every scan as it is and turned by right angles (with a fixed seed), with
--worse also of scans with noise and thick slices, and proposes a third of the way from the surest turned scan to the
least sure ordinary one. It goes into the card by `napari-synthseg export RUN -o FILE --confident-score FIGURE`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from harness import arguments, command
from robustness import made_worse
from torch import nn

from napari_synthseg.inference.grid import Reorientation, reorientations
from napari_synthseg.inference.locate_refine import locate_steps
from napari_synthseg.inference.orientation import score
from napari_synthseg.inference.preprocess import prepare
from napari_synthseg.io import read_volume, stem
from napari_synthseg.io.finding import find_scans
from napari_synthseg.jobs import run
from napari_synthseg.volume import Volume
from napari_synthseg.weights.catalogue import DEFAULT
from napari_synthseg.weights.store import load_model

WORSE = (("noise", 50.0), ("axial slices", 7.0))
"""Kinds and levels of `robustness.py` that --worse adds."""
STEP = 0.05
"""What proposals are rounded down to."""


def sureness(model: nn.Module, scan: Volume, turn: Reorientation | None = None) -> float:
    """The score that `segment` gets of a scan, or would get if the scan lay turned."""
    prepared = prepare(scan)
    image = prepared.image if turn is None else np.ascontiguousarray(turn.apply(prepared.image))
    found = run(locate_steps(model, image, torch.device("cpu")))
    return score(found.posteriors, model.labels)  # type: ignore[arg-type]


def rows(model: nn.Module, scans: Sequence[Path], each: int, worse: bool) -> Iterator[tuple[str, str, float]]:
    """Scan, how it is shown ("as it is", "turned", or what makes it worse), and the score."""
    draws = random.Random(1)
    for number, path in enumerate(scans):
        scan = read_volume(path)
        yield stem(path), "as it is", sureness(model, scan)
        for kind, level in WORSE if worse else ():
            yield stem(path), f"{kind} {level:g}", sureness(model, made_worse(scan, kind, level, number))
        for turn in draws.sample(reorientations()[1:], each):
            yield stem(path), "turned", sureness(model, scan, turn)


def proposal(upright: Sequence[float], turned: Sequence[float]) -> float | None:
    """A score between the two, nearer to the turned ones; None where they overlap."""
    high, low = max(turned), min(upright)
    if high >= low:
        return None
    return max(round((high + (low - high) / 3) // STEP * STEP, 2), round(high + 0.01, 2))


@command
def main() -> int:
    args = arguments(
        __doc__, "--threads", scans_={"nargs": "+", "type": Path}, model={"default": DEFAULT},
        turns={"type": int, "default": 3, "help": "turned views of each scan"},
        worse={"action": "store_true", "help": "scans with noise and thick slices too"},
    )  # fmt: skip
    scans = [path for path in find_scans(args.scans) if "label" not in stem(path)]
    found: dict[str, list[float]] = {}
    for name, how, value in rows(load_model(args.model), scans, args.turns, args.worse):
        found.setdefault(how, []).append(value)
        print(f"{name}, {how}: {value:.3f}", flush=True)
    for how, values in found.items():
        print(f"{how}: {min(values):.3f} to {max(values):.3f} ({len(values)})")
    if "turned" in found:
        best = proposal(found["as it is"], found["turned"])
        print("No score tells turned scans." if best is None else f"--confident-score {best:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
