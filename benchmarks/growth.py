"""How cost grows: with the voxels of a scan, with labels, with the batch, with the number of scans.

    python benchmarks/growth.py [OUT.json] [--threads 1] [--only NAME ...]

Each row is a process of its own: CPU seconds (user + system, all threads) of the work after imports, and peak memory
of the whole process. Scans are phantoms at 1 mm. Prints a Markdown table, which says how the seconds grow, as the power
of what grows, fitted over the rows.
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
    "field of view": ("segment with synthseg-fast, one head in more and more voxels a side", (192, 224, 256, 320)),
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
HEAD = 192
"""Voxels of 1 mm a side of a phantom as large as a head; smaller ones are doubted, and turned this way and that."""


@command
def main() -> int:
    args = arguments(
        __doc__, "--threads", threads={"default": 1}, one={"nargs": 2},
        only={"nargs": "*", "choices": list(SERIES), "default": list(SERIES)}, out_={"nargs": "?", "type": Path},
    )  # fmt: skip
    if args.one:  # in a process of its own
        print(json.dumps(measured(args.one[0], int(args.one[1]), args.threads)))
        return 0
    rows: dict[str, list[Row]] = {}
    for name in args.only:
        words = ("--threads", args.threads, "--one", name)
        rows[name] = [json.loads(script_output(__file__, *words, n, threads=args.threads)[0]) for n in SERIES[name][1]]
        write_json(args.out, rows)
    return finish(compact(rows))


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
        power = float(np.polyfit(np.log([row["n"] for row in one]), np.log([row["cpu_s"] for row in one]), 1)[0])
        grows = f"voxels^{power / 3:.2f}" if name in CUBES else f"n^{power:.2f}"
        lines.append([f"{SERIES[name][0]}: {numbers}", seconds, memory, grows])
    return markdown(["what grows", "CPU s", "peak GiB", "CPU seconds grow with"], lines)


# What is measured: each makes its input and gives the work


def segmentation(threads: int, side: int = HEAD, spacing: float = 1.0, scans: int = 1) -> Callable[[], Any]:
    """T1-like phantoms in a field of view of side^3 mm, in memory, to labels in memory."""
    from phantom import head_phantom, phantom_image

    from napari_synthseg.inference.options import SegmentOptions
    from napari_synthseg.inference.pipeline import segment_steps
    from napari_synthseg.inference.state import load
    from napari_synthseg.jobs import run
    from napari_synthseg.volume import pad, resample_image

    scan = phantom_image(head_phantom((HEAD,) * 3))
    if side > HEAD:
        scan = pad(scan, ((side - HEAD) // 2,) * 3, ((side - HEAD) // 2,) * 3)
    if spacing != 1.0:
        scan = resample_image(scan, spacing)
    chosen = SegmentOptions(threads=threads)
    model = load(chosen)
    return lambda: [run(segment_steps(scan, chosen, model)) for _ in range(scans)]


def unet(side: int, labels: int | None) -> Callable[[], Any]:
    """The paper's network, untrained, on a cube: a forward pass with so many labels, or the usual ones and flips."""
    import torch

    from napari_synthseg.anatomy import predicted_values
    from napari_synthseg.inference.whole_volume import unet_posteriors
    from napari_synthseg.networks.unet import UNet3d

    values = predicted_values()
    model = UNet3d(labels or len(values), features=24).eval()
    image = torch.rand(1, 1, side, side, side)
    if labels:
        return torch.inference_mode()(lambda: model(image))
    model.labels = values
    return lambda: unet_posteriors(model, image)


def generator(side: int, labels: int | None = None) -> Callable[[], Any]:
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


def evaluated(side: int) -> Callable[[], Any]:
    from phantom import head_phantom

    from napari_synthseg.evaluation import evaluate

    truth, other = head_phantom((side,) * 3), head_phantom((side,) * 3, seed=1)
    return lambda: evaluate(other, truth)


def batched(images: int) -> Callable[[], Any]:
    """A step of the locator: images drawn, forward, backward, optimiser."""
    from phantom import head_phantom
    from speed import fast_steps, read_map

    locate, _ = fast_steps(read_map(head_phantom((192,) * 3)), "fast", (images, 1))
    return lambda: locate(1)


JOBS: dict[str, Callable[[int, int], Callable[[], Any]]] = {
    "field of view": lambda side, threads: segmentation(threads, side=side),
    "spacing": lambda tenths, threads: segmentation(threads, spacing=tenths / 10),
    "paper": lambda side, threads: unet(side, None),
    "generator": lambda side, threads: generator(side),
    "evaluate": lambda side, threads: evaluated(side),
    "labels drawn": lambda labels, threads: generator(128, labels),
    "labels found": lambda labels, threads: unet(96, labels),
    "batch": lambda images, threads: batched(images),
    "scans": lambda scans, threads: segmentation(threads, scans=scans),
}

if __name__ == "__main__":
    sys.exit(main())
