"""Dice of weights on fixed synthetic heads of random contrast, from label maps that they were not trained on.

    python benchmarks/random_contrasts.py LABEL_MAPS --hold-out NAME ... [--weights NAME_OR_FILE ...]
        [--seeds 1 3 4] [--json FILE]

LABEL_MAPS is what `train synthseg` takes, --hold-out the maps that the weights have not seen. For each seed two heads a
held-out map, the ones that `train synthseg --seed SEED` scores as "synthetic"; without flips as there, and with them as
`segment` does; no post-processing.
"""

from __future__ import annotations

import statistics
import sys

import torch
from harness import arguments, command, write_json

from napari_synthseg.generator.presets import preset
from napari_synthseg.jobs import run
from napari_synthseg.training.data.cases import score_refiner, synthetic_cases
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.training.data.labelled_scans import hold_out
from napari_synthseg.weights.catalogue import DEFAULT
from napari_synthseg.weights.store import load_model


@command
def main() -> int:
    args = arguments(
        __doc__, "label_maps", "--hold-out", "--weights", "--json", weights={"nargs": "+", "default": [DEFAULT]},
        seeds={"nargs": "+", "type": int, "default": [1, 3, 4]},
    )  # fmt: skip
    _, held_out = hold_out(run(read_maps(args.label_maps)), args.hold_out, "label map")
    found: dict[str, dict[int, float]] = {}
    for name, model in {name: load_model(name) for name in args.weights}.items():
        kinds = {name: False, f"{name}, flips": True}
        found |= {kind: {} for kind in kinds}
        for seed in args.seeds:
            cases = synthetic_cases(held_out, preset("synthseg"), model.labels, 2, seed + 5)  # type: ignore[arg-type]
            for kind, flip in kinds.items():
                score = score_refiner(model, cases, torch.device("cpu"), flip=flip).mean  # type: ignore[arg-type]
                print(f"{kind}: seed {seed}, Dice {score:.3f}", flush=True)
                found[kind][seed] = round(score, 6)
        for kind in kinds:
            print(f"{kind}: mean {statistics.mean(found[kind].values()):.3f}", flush=True)
    write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
