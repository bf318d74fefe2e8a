"""How cost grows: with the voxels of a scan, with labels, with the batch, with the number of scans.

    python benchmarks/growth.py [OUT.json] [--threads 1] [--only NAME ...]

Each row is a process of its own: CPU seconds (user + system, all threads) of the work after imports, and peak memory
of the whole process. Scans are phantoms at 1 mm. Prints Markdown tables; the titles say how the seconds grow, as the
power of what grows, fitted over the rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import Row, arguments, command, cost, finish, markdown, peak_gib, script_output, since, write_json

SERIES: dict[str, tuple[str, tuple[int, ...]]] = {
    "field of view": (
        "segment with synthseg-fast, one head in more and more voxels a side",
        (192, 224, 256, 320),
    ),
    "spacing": ("segment with synthseg-fast, the same head at a spacing of so many tenths of a mm", (20, 15, 10, 7)),
    "paper": ("the paper's U-Net with flips (random weights), side of the scan in voxels", (96, 128, 160)),
    "generator": ("one synthetic sample, side in voxels", (64, 96, 128, 160, 192)),
    "evaluate": ("scores of a pair of label maps, side in voxels", (96, 128, 192, 256)),
    "labels drawn": ("one synthetic sample of 128 voxels a side, labels in its map", (5, 10, 20, 40)),
    "labels found": ("the paper's U-Net on 96 voxels a side, without flips, labels", (5, 17, 33, 65, 129)),
    "batch": ("a training step of the locator, images in the batch", (1, 2, 4, 8)),
    "scans": ("segment with synthseg-fast, scans one after another", (1, 2, 4)),
}
CUBES = ("field of view", "paper", "generator", "evaluate")
"""Series whose number is the side of a cube; they grow with its third power."""


@command
def main() -> int:
    """Run the series and print their tables."""
    args = arguments(
        __doc__, "--threads", threads={"default": 1}, one={"nargs": 2},
        only={"nargs": "*", "choices": list(SERIES), "default": list(SERIES)}, out_={"nargs": "?", "type": Path},
    )  # fmt: skip
    if args.one:  # in a process of its own
        print(json.dumps(measured(args.one[0], int(args.one[1]), args.threads)))
        return 0
    rows: dict[str, list[Row]] = {}
    for name in args.only:
        title, numbers = SERIES[name]
        words = ("--threads", args.threads, "--one", name)
        rows[name] = [json.loads(script_output(__file__, *words, n, threads=args.threads)[0]) for n in numbers]
        power, of = growing(rows[name], name in CUBES)
        cells = ([r["n"], *(f"{r[key]:.2f}" for key in ("cpu_s", "wall_s", "peak_gib"))] for r in rows[name])
        finish(f"\n{title} (CPU seconds grow with {of}^{power:.2f})\n")
        finish(markdown(["n", "CPU s", "wall s", "peak GiB"], cells))
        write_json(args.out, rows)
    return 0


def measured(name: str, number: int, threads: int) -> Row:
    """Seconds of the work and the peak of the process."""
    import torch

    torch.manual_seed(0)
    work = JOBS[name](number, threads)
    started = cost()
    work()
    return {"n": number, **since(started), "peak_gib": peak_gib()}


def compact(rows: dict[str, list[dict[str, Any]]]) -> str:
    """A line for each series, in Markdown: seconds in the order of what grows, least and most memory, and the power."""
    lines = []
    for name, one in rows.items():
        numbers = ", ".join(f"{row['n']:g}" for row in one)
        seconds = ", ".join(f"{row['cpu_s']:.2f}" if row["cpu_s"] < 1 else f"{row['cpu_s']:.1f}" for row in one)
        low, high = (f"{end(row['peak_gib'] for row in one):.1f}" for end in (min, max))
        memory = low if low == high else f"{low} to {high}"
        power, of = growing(one, name in CUBES)
        lines.append([f"{SERIES[name][0]}: {numbers}", seconds, memory, f"{of}^{power:.2f}"])
    return markdown(["what grows", "CPU s", "peak GiB", "CPU seconds grow with"], lines)


def growing(rows: list[dict[str, Any]], cubes: bool) -> tuple[float, str]:
    """The power with which CPU seconds grow, and of what."""
    power = float(np.polyfit(np.log([row["n"] for row in rows]), np.log([row["cpu_s"] for row in rows]), 1)[0])
    return (power / 3, "voxels") if cubes else (power, "n")


# What is measured: each makes its input and gives the work


HEAD = 192
"""Voxels of 1 mm a side of a phantom as large as a head; smaller ones are doubted, and turned this way and that."""


def head(side: int = HEAD, spacing: float = 1.0) -> Any:
    """A T1-like phantom in a field of view of side^3 mm."""
    from phantom import head_phantom, phantom_image

    from napari_synthseg.volume import pad, resample_image

    image = phantom_image(head_phantom((HEAD,) * 3))
    if side > HEAD:
        image = pad(image, ((side - HEAD) // 2,) * 3, ((side - HEAD) // 2,) * 3)
    return image if spacing == 1.0 else resample_image(image, spacing)


def segmentation(scan: Any, threads: int, scans: int = 1) -> Callable[[], Any]:
    """Scans in memory to labels in memory."""
    from napari_synthseg.inference.options import SegmentOptions
    from napari_synthseg.inference.pipeline import segment_steps
    from napari_synthseg.inference.state import load
    from napari_synthseg.jobs import run

    chosen = SegmentOptions(threads=threads)
    model = load(chosen)

    def work() -> None:
        for _ in range(scans):
            run(segment_steps(scan, chosen, model))

    return work


def unet(labels: int) -> Any:
    """The paper's network, untrained."""
    from napari_synthseg.networks.unet import UNet3d

    return UNet3d(labels, features=24).eval()


def paper(side: int, threads: int) -> Callable[[], Any]:
    """The network and its flips alone, on a cube."""
    import torch

    from napari_synthseg.anatomy import predicted_values
    from napari_synthseg.inference.whole_volume import unet_posteriors

    values = predicted_values()
    model = unet(len(values))
    model.labels = values
    image = torch.rand(1, 1, side, side, side)
    return lambda: unet_posteriors(model, image)


def found(labels: int, threads: int) -> Callable[[], Any]:
    """A forward pass."""
    import torch

    model, image = unet(labels), torch.rand(1, 1, 96, 96, 96)

    def work() -> None:
        with torch.inference_mode():
            model(image)

    return work


def generator(side: int, threads: int, labels: int | None = None) -> Callable[[], Any]:
    """A sample from a label map of 192^3 voxels."""
    from phantom import head_phantom

    from napari_synthseg import synthesize
    from napari_synthseg.generator.sample import prepared

    volume = head_phantom((192,) * 3)
    if labels is not None:
        there = np.unique(volume.data)
        kept = np.array([there[min(i, labels - 1)] for i in range(len(there))], volume.data.dtype)
        volume = volume.with_data(kept[np.searchsorted(there, volume.data)])
    label_map, _ = prepared(volume)
    return lambda: synthesize(label_map, seed=1, shape=(side,) * 3)


def evaluated(side: int, threads: int) -> Callable[[], Any]:
    """Dice and surface distances."""
    from phantom import head_phantom

    from napari_synthseg.evaluation import evaluate

    truth, other = head_phantom((side,) * 3), head_phantom((side,) * 3, seed=1)
    return lambda: evaluate(other, truth)


def batched(images: int, threads: int) -> Callable[[], Any]:
    """A step of the locator: images drawn, forward, backward, optimiser."""
    from phantom import head_phantom
    from speed import fast_steps, read_map

    locate, _ = fast_steps(read_map(head_phantom((192,) * 3)), "fast", (images, 1))
    return lambda: locate(1)


JOBS: dict[str, Callable[[int, int], Callable[[], Any]]] = {
    "field of view": lambda side, threads: segmentation(head(side), threads),
    "spacing": lambda tenths, threads: segmentation(head(spacing=tenths / 10), threads),
    "paper": paper,
    "generator": generator,
    "evaluate": evaluated,
    "labels drawn": lambda labels, threads: generator(128, threads, labels),
    "labels found": found,
    "batch": batched,
    "scans": lambda scans, threads: segmentation(head(), threads, scans),
}

if __name__ == "__main__":
    sys.exit(main())
