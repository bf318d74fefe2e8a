"""What a scan costs with networks of the official sizes, beside the reference implementation's figures.

    python benchmarks/official.py --scan t1_crop.nii.gz [--size 160] [--network v2] [--fast] [--threads N] [--plain]

The weights are random (they cost the same): SynthSeg 1.0 or 2.0 (`v1`, `v2`), or robust 2.0 (`robust`), with their
preset, so exactly the reference's steps with flip averaging. The scan is cropped and zero-padded about its middle to
SIZE^3 voxels of 1 mm. `--plain` runs the same network as torch does by default instead, the whole volume at once.
Prints one JSON object: CPU seconds (user + system, all threads) and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from harness import arguments, command, cost, peak_gib, since
from speed import Meter

REFERENCE = {
    ("v1", 160, False): {"preparation": 0.4, "network": 27.7, "post-processing": 11.4, "peak_gib": 10.9},
    ("v2", 160, False): {"preparation": 0.4, "network": 26.9, "post-processing": 9.0, "peak_gib": 11.1},
    ("v2", 256, True): {"preparation": 1.7, "network": 66.5, "post-processing": 7.3, "peak_gib": 17.0},
}
"""CPU seconds and memory of the reference implementation (TensorFlow 2.15, two cores): network, size, `--fast`."""

STAGES = {"Segmenting": "network", "Cleaning up": "post-processing", "Measuring": "post-processing"}
"""Beginnings of the stages' names, and what they count to; all others are preparation."""


@command
def main() -> None:
    """Measures one run."""
    args = arguments(
        __doc__, "--fast", "--threads", scan={"type": Path, "required": True}, size={"type": int, "default": 160},
        network={"choices": ["v1", "v2", "robust"], "default": "v2"}, bfloat16={"action": "store_true"},
        plain={"action": "store_true"},
    )  # fmt: skip
    result = plain(args) if args.plain else pipeline(args)
    reference = REFERENCE.get((args.network, args.size, args.fast))
    if reference:
        result["reference"] = reference
        result["network_share"] = round(result["cpu_s"]["network"] / reference["network"], 2)
    print(json.dumps({"network": args.network, "size": args.size, "fast": args.fast, **result}))


def network(kind: str) -> Any:
    """An untrained network of the official size, with its card."""
    import torch

    from napari_synthseg.anatomy import predicted_values
    from napari_synthseg.networks.hierarchy import Hierarchy
    from napari_synthseg.networks.unet import Denoiser, UNet3d

    torch.manual_seed(0)
    values = predicted_values(1 if kind == "v1" else 2)
    if kind == "robust":
        denoiser = Denoiser(5, growth=2, convolutions=2)
        model: Any = Hierarchy(UNet3d(5), denoiser, UNet3d(values, in_channels=6))
    else:
        model = UNet3d(values)
    model.card = {"network": "robust" if kind == "robust" else "unet", "name": kind, "preset": "reference"}
    return model.eval()


def centred(path: Path, size: int) -> Any:
    """The scan at 1 mm, SIZE^3 voxels about its middle."""
    import numpy as np

    from napari_synthseg.io import read_volume
    from napari_synthseg.volume import crop, pad, resample_image, to_canonical

    scan = to_canonical(read_volume(path))
    if np.any(np.abs(scan.spacing - 1) > 0.05):
        scan = resample_image(scan, 1.0)
    start = [max(0, (n - size) // 2) for n in scan.shape]
    scan = crop(scan, start, [a + min(n, size) for a, n in zip(start, scan.shape, strict=True)])
    before = [(size - n) // 2 for n in scan.shape]
    return pad(scan, before, [size - n - b for n, b in zip(scan.shape, before, strict=True)])


def pipeline(args: argparse.Namespace) -> dict[str, Any]:
    """Scan in memory to labels in memory."""
    from napari_synthseg.inference.options import SegmentOptions
    from napari_synthseg.inference.pipeline import segment_steps
    from napari_synthseg.jobs import run

    scan, model = centred(args.scan, args.size), network(args.network)
    options = SegmentOptions(device="cpu", threads=args.threads, fast=args.fast, bfloat16=args.bfloat16)
    started, meter = cost(), Meter()
    found = run(segment_steps(scan, options, model), meter)
    meter("")
    spent: dict[str, float] = {}
    for stage, seconds in meter.stages.items():
        name = next((to for beginning, to in STAGES.items() if stage.startswith(beginning)), "preparation")
        spent[name] = spent.get(name, 0.0) + seconds
    return {**figures(spent, started), "warnings": list(found.warnings), "threads": found.record["threads"]}


def plain(args: argparse.Namespace) -> dict[str, Any]:
    """The network alone on the volume at once and on its mirror image, upsampling and all."""
    import torch

    from napari_synthseg.inference.preprocess import rescale

    scan, model = centred(args.scan, args.size), network(args.network)
    image = torch.from_numpy(rescale(scan.data, 0.5, 99.5))[None, None]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    started = cost()
    for _ in range(1 if args.fast else 2):
        model(image)  # with gradients on, the network takes the way it trains on
    return figures({"network": since(started)["cpu_s"]}, started)


def figures(spent: dict[str, float], started: tuple[float, float]) -> dict[str, Any]:
    """What is printed of a run."""
    cpu = {stage: round(seconds, 2) for stage, seconds in spent.items()}
    return {"cpu_s": cpu, "wall_s": round(since(started)["wall_s"], 1), "peak_gib": round(peak_gib(), 2)}


if __name__ == "__main__":
    sys.exit(main())
