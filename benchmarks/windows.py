"""What a window of UNETR and of Swin UNETR costs without a GPU, at the paper's sizes: CPU seconds, most memory.

    python benchmarks/windows.py [unetr] [swin-unetr] [--threads 1]

The weights are random: they change nothing about the cost. Every network is measured in a process of its own, from
the network built to its posteriors of 33 labels.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

KINDS = ("unetr", "swin-unetr")


def main() -> int:
    """Measures the networks asked for, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", choices=[*KINDS, []], metavar="NETWORK")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    kinds = args.networks or KINDS
    if len(kinds) == 1:
        print(measured(kinds[0], args.threads))
        return 0
    for kind in kinds:
        subprocess.run([sys.executable, __file__, kind, "--threads", str(args.threads)], check=True)
    return 0


def measured(kind: str, threads: int) -> str:
    """The figures of a network, in a line."""
    import torch

    from napari_synthseg.networks.registry import build

    torch.set_num_threads(threads)
    model = build({"network": kind, "labels": list(range(33))}).eval()
    before = resource.getrusage(resource.RUSAGE_SELF)
    with torch.inference_mode():
        model(torch.rand(1, 1, *[model.edge] * 3))
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    gib = after.ru_maxrss / 2**20  # KiB on Linux
    return f"{kind}: {model.edge}^3 voxels, {seconds:.1f} CPU seconds, at most {gib:.2f} GiB"


if __name__ == "__main__":
    sys.exit(main())
