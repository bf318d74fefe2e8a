"""What threads that wait cost: segmenting with OpenMP's threads spinning or asleep, beside other work and alone.

    python benchmarks/waiting.py SCAN [--busy 0 1 2] [-n 2] [--json FILE]

At the end of every parallel part Torch's threads spin for a while, waiting for the others; where other processes have
the cores, that is lost time for all. With GNU's OpenMP (Torch on Linux) GOMP_SPINCOUNT says how long; the package sets
a short time unless the user has set one. Here each is run in turn, in a new process every time (its start and imports
are in the figures), beside so many processes that keep a core busy. Prints wall and CPU seconds, the least of n.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile

from harness import Row, arguments, command, cost, finish, markdown, since, write_json

POLICIES = {"spin (300,000 turns, OpenMP's default)": "300000", "spin shortly (10,000, ours)": "10000", "sleep": "0"}
"""What GOMP_SPINCOUNT is."""


@command
def main() -> int:
    args = arguments(
        __doc__, "--json", busy={"type": int, "nargs": "+", "default": [0, 1, 2]},
        n={"type": int, "default": 2, "help": "runs of each"}, scan_={},
    )  # fmt: skip
    rows: list[Row] = []
    for busy in args.busy:
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            runs = [(policy, seconds(args.scan, policy)) for _ in range(args.n) for policy in POLICIES]
        finally:
            for other in others:
                other.kill()
                other.wait()
        for policy in POLICIES:
            least = {key: min(run[key] for name, run in runs if name == policy) for key in ("wall_s", "cpu_s")}
            rows.append({"busy": busy, "policy": policy, **least})
    write_json(args.json, rows)
    return finish(table(rows))


def seconds(scan: str, policy: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "napari_synthseg.cli", "segment", scan, "--fast", "-o", f"{folder}/out.nii.gz"]
        started = cost(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "GOMP_SPINCOUNT": POLICIES[policy]}
        subprocess.run(words, env=environment, check=True, capture_output=True)
        return {key: round(value, 1) for key, value in since(started, resource.RUSAGE_CHILDREN).items()}


def table(rows: list[Row]) -> str:
    cells = ([row["busy"], row["policy"], str(row["wall_s"]), str(row["cpu_s"])] for row in rows)
    return markdown(["busy processes beside it", "threads that wait", "wall s", "CPU s"], cells)


if __name__ == "__main__":
    sys.exit(main())
