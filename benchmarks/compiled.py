"""Whether `torch.compile` pays: networks as they are and compiled, one after the other in one process.

    python benchmarks/compiled.py [--device cpu] [--threads N] [--runs 5] [--only NAME ...] [--json FILE]

For each network: seconds of a forward pass as the program runs it, seconds of the compiled one, seconds that compiling
takes, and after how many scans it has paid for itself. Channels last; bfloat16 where the device is quick in it, and
always float32 for the paper's U-Net. Weights are random: they cost the same. Prints a Markdown table.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median

import torch
from harness import arguments, command, finish, markdown, write_json
from torch import nn

from napari_synthseg.devices import half_precision
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d

LABELS = tuple(range(33))
CROP = (96, 112, 96)
"""What the locator sees, at 2 mm; and the block that the refiner and the U-Net get here, at 1 mm."""
Forward = Callable[[], torch.Tensor]


def locator(device: torch.device, compiled: Callable[[nn.Module], nn.Module]) -> Forward:
    """The fast network's locator on its field of view, both directions in one batch as for flips."""
    network = compiled(placed(LocateRefine(LABELS).locator, device))
    image = torch.rand(2, 1, *CROP, device=device)
    return lambda: network(image)


def refiner(device: torch.device, compiled: Callable[[nn.Module], nn.Module]) -> Forward:
    """The trunk of the fast network's refiner, which is most of its work."""
    model = placed(LocateRefine(LABELS), device)
    trunk = compiled(model.refiner.trunk)
    image = torch.rand(1, 1, *CROP, device=device)
    prior = torch.rand(1, len(LABELS), *(n // 2 for n in CROP), device=device).softmax(1)
    seen = torch.rand(1, len(LABELS), 2, device=device) + 0.1
    hints = model.refiner.hints(image, prior, seen)
    return lambda: trunk(image, hints)


def unet(device: torch.device, compiled: Callable[[nn.Module], nn.Module]) -> Forward:
    network = compiled(placed(UNet3d(len(LABELS)), device))
    image = torch.rand(1, 1, *CROP, device=device)
    return lambda: network(image)


NETWORKS = {"locator": (locator, "locate-refine"), "refiner": (refiner, "locate-refine"), "unet": (unet, "unet")}


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    return model.eval().to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


@command
def main() -> int:
    args = arguments(
        __doc__, "--threads", "--json", device={"default": "cpu", "type": torch.device},
        runs={"type": int, "default": 5}, only={"nargs": "+", "choices": NETWORKS, "default": list(NETWORKS)},
    )  # fmt: skip
    rows = {}
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:  # a second run would find what the first has compiled
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
            rows[name] = measured(name, args.device, args.runs)
    write_json(args.json, rows)
    return finish(table(rows))


def measured(name: str, device: torch.device, repetitions: int) -> dict[str, float]:
    """Seconds of a network both ways, timed in turn, so that what else the machine does meets both."""
    torch.manual_seed(0)
    make, kind = NETWORKS[name]
    with torch.inference_mode(), half_precision(device) if kind == "locate-refine" else nullcontext():
        plain, quick = make(device, lambda model: model), make(device, torch.compile)  # type: ignore[arg-type]
        seconds(plain, device)
        compiling = seconds(quick, device)
        pairs = [(seconds(plain, device), seconds(quick, device)) for _ in range(repetitions)]
    before, after = (median(times) for times in zip(*pairs, strict=True))
    return {"plain": round(before, 4), "compiled": round(after, 4), "compiling": round(compiling, 1)}


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = []
    for name, row in rows.items():
        before, after, compiling = row["plain"], row["compiled"], row["compiling"]
        pays = f"{compiling / (before - after):.0f} passes" if after < before else "never"
        lines.append([name, before, after, f"{after / before:.2f}", f"{compiling:.0f}", pays])
    return markdown(["network", "as it is, s", "compiled, s", "ratio", "compiling, s", "pays after"], lines)


def seconds(forward: Forward, device: torch.device) -> float:
    started = time.perf_counter()
    forward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
