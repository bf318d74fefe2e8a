"""What threads that wait cost: segmenting with OpenMP's threads spinning or asleep, beside other work and alone.

    python benchmarks/waiting.py SCAN [--busy 0 1 2] [-n 2] [--json FILE]

At the end of every parallel part Torch's threads spin for a while, waiting for the others; where other processes have
the cores, that is lost time for all. With GNU's OpenMP (Torch on Linux) GOMP_SPINCOUNT says how long; the package sets
a short time unless the user has set one. Here each is run in turn, in a new process every time (its start and imports
are in the figures), beside so many processes that keep a core busy. Prints wall and CPU seconds, the least of n.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLICIES = {"spin (300,000 turns, OpenMP's default)": "300000", "spin shortly (10,000, ours)": "10000", "sleep": "0"}
"""What GOMP_SPINCOUNT is."""
Row = dict[str, float | str]


def main() -> None:
    """Runs all of it and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("-n", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[Row] = []
    for busy in args.busy:
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            runs = [(policy, *seconds(args.scan, policy)) for _ in range(args.n) for policy in POLICIES]
        finally:
            for other in others:
                other.kill()
                other.wait()
        for policy in POLICIES:
            wall, cpu = (min(run[place] for run in runs if run[0] == policy) for place in (1, 2))
            rows.append({"busy": busy, "policy": policy, "wall_s": wall, "cpu_s": cpu})
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


def seconds(scan: Path, policy: str) -> tuple[float, float]:
    """(wall, CPU) seconds of `segment --fast` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "napari_synthseg.cli", "segment", str(scan), "--fast"]
        before, started = _of_children(), time.perf_counter()
        subprocess.run(
            [*command, "-o", f"{folder}/labels.nii.gz"],
            env={**os.environ, "GOMP_SPINCOUNT": POLICIES[policy]},
            check=True,
            capture_output=True,
        )
        return round(time.perf_counter() - started, 1), round(_of_children() - before, 1)


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def table(rows: list[Row]) -> str:
    """Markdown: a line for each run."""
    lines = ["| busy processes beside it | threads that wait | wall s | CPU s |", "|---|---|---|---|"]
    lines += [f"| {row['busy']} | {row['policy']} | {row['wall_s']} | {row['cpu_s']} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
