"""What one scan and one generated sample cost: wall seconds, CPU seconds and peak memory, each in a process of its own.

    python benchmarks/speed.py pipeline  [--size 256] [--scan FILE] [--threads N] [--device cpu] [--random-weights]
    python benchmarks/speed.py generator [--size 160] [--label-map FILE] [--preset synthseg] [--threads 1] [-n 3]
    python benchmarks/speed.py training | paper [--size 96] [--label-map FILE] [--float32] [--threads 1] [-n 6]
    python benchmarks/speed.py encode    [--encoder mobile] [--precision float32] [--threads N] [-n 3]
    python benchmarks/speed.py window    --model unetr|swin-unetr [--threads 1]
    python benchmarks/speed.py shapes | phantom | evaluate

`pipeline` segments a T1-like phantom head of SIZE^3 voxels of 1 mm (or FILE) from disk to disk, flips included; only
the first run pays for imports and weights. `generator` makes samples cropped to SIZE^3 from a label map of 256^3.
`training` takes steps of `train synthseg`: the first half of them the locator's, the others the refiner's. `paper`
takes steps of `--preset paper`: a crop of SIZE^3 is drawn, and the 24-feature U-Net learns from it in bfloat16 where
the processor has it, or (--float32) as on one that has not. `shapes` makes 32 scenes of SIZE x SIZE for promptable
segmentation. `encode` embeds one image of 1024 x 1024 with an untrained network, and says what a click costs then.

Peak memory is that of the whole process. CPU seconds (user + system, all threads) are the figure to compare where other
work runs on the machine. `pipeline`, `generator`, `training` and `paper` run on --device cuda too: wall seconds until
the GPU is done, and its peak memory, are the figures then. Prints one JSON object a run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import arguments, command, cost, peak_gib, script_output, since

Work = Callable[[int], Any]
JOBS: dict[str, Callable[[argparse.Namespace], Work]] = {}


@command
def main() -> int:
    args = arguments(
        __doc__, "--threads", size={"type": int}, scan={"type": Path}, label_map={"type": Path}, preset={},
        model={"default": "synthseg-fast"}, weights={"type": Path},
        encoder={"default": "mobile", "choices": ["mobile", "vit_b", "vit_l", "vit_h"]},
        precision={"default": "float32", "choices": ["float32", "bfloat16", "float16"]},
        random_weights={"action": "store_true", "help": "untrained; as costly, but for the orientation it doubts"},
        float32={"action": "store_true", "help": "train as on a processor without bfloat16"},
        device={"default": "cpu", "help": "of pipeline, generator, training and paper"},
        n={"type": int, "default": 1}, folder={"type": Path}, job_={"choices": list(JOBS)},
    )  # fmt: skip
    if args.folder is not None:  # in a process of its own
        started = cost()
        work = JOBS[args.job](args)
        report("prepare", started)
        for run in range(args.n):
            started = cost()
            about = work(run)
            report(f"run {run}", started, about, settled() if args.device.startswith("cuda") else {})
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make_input(args, Path(folder))
        print("\n".join(script_output(__file__, *sys.argv[1:], "--folder", folder, threads=args.threads)))
    return 0


def make_input(args: argparse.Namespace, folder: Path) -> None:
    """Writes the head that the measured process works on (not measured)."""
    from phantom import head_phantom, phantom_image

    from napari_synthseg.io import write_volume

    if args.job in ("phantom", "shapes", "encode", "window") or args.scan is not None or args.label_map is not None:
        return
    size = args.size or 256 if args.job == "pipeline" else 256
    labels = head_phantom((size, size, size))
    write_volume(folder / "labels.nii.gz", labels)
    if args.job == "pipeline":
        write_volume(folder / "scan.nii.gz", phantom_image(labels))


def report(name: str, started: tuple[float, float], about: Any = None, gpu: dict[str, Any] | None = None) -> None:
    memory = {"peak_gib": round(peak_gib(), 2), **(gpu or {})}
    print(json.dumps({"what": name, **since(started), **memory, "about": about}), flush=True)


def settled() -> dict[str, Any]:
    """Waits until the GPU has done its work; its name, and the most memory that was in use there."""
    import torch

    torch.cuda.synchronize()
    return {"gpu": torch.cuda.get_device_name(), "gpu_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


class Meter:
    """CPU seconds from each report of a job to the next one, by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._stage, self._last = "reading", cost()[1]

    def __call__(self, stage: Any) -> None:
        """Takes a `Progress`, or the name of a stage that begins."""
        now = cost()[1]
        self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._last
        self._stage, self._last = getattr(stage, "stage", stage), now

    def rounded(self) -> dict[str, float]:
        return {stage: round(seconds, 2) for stage, seconds in self.stages.items()}


def pipeline(args: argparse.Namespace) -> Work:
    """Scan on disk to labels on disk."""
    import torch

    from napari_synthseg.anatomy import predicted_values
    from napari_synthseg.inference.options import SegmentOptions
    from napari_synthseg.inference.pipeline import segment_steps
    from napari_synthseg.io import read_volume, write_labels
    from napari_synthseg.jobs import run

    options = SegmentOptions(model=args.model, weights=args.weights, threads=args.threads, device=args.device)
    model = None
    if args.random_weights:
        from napari_synthseg.networks.locate_refine import LocateRefine

        torch.manual_seed(0)
        model = LocateRefine(predicted_values()).eval()
    path = args.scan or args.folder / "scan.nii.gz"

    def work(number: int) -> Any:
        meter = Meter()
        found = run(segment_steps(read_volume(path), options, model, name=path.name), meter)
        meter("writing")
        write_labels(args.folder / f"{number}_dseg.nii.gz", found.labels)
        meter("")
        return {"shape": found.record["shape"], "threads": found.record["threads"], "cpu_s": meter.rounded()}

    return work


def generator(args: argparse.Namespace) -> Work:
    """A prepared label map in memory to an image and its target in memory."""
    from napari_synthseg import synthesize
    from napari_synthseg.generator.sample import prepared
    from napari_synthseg.io import read_labels

    label_map, _ = prepared(read_labels(args.label_map or args.folder / "labels.nii.gz"))
    shape = (args.size or 160,) * 3

    def work(number: int) -> Any:
        sample = synthesize(label_map, priors=args.preset or "synthseg", seed=number, shape=shape, device=args.device)
        return {"shape": list(sample.image.shape)}

    return work


def training(args: argparse.Namespace) -> Work:
    """A prepared label map in memory to a step of the optimiser, from the weights of --model."""
    from napari_synthseg.training.engine.checkpoints import start_from

    label_map = read_map(args.label_map or args.folder / "labels.nii.gz")
    steps = fast_steps(label_map, args.preset or "fast", (2, 3), args.device, lambda m: start_from(m, args.model))

    def work(number: int) -> Any:
        stage = int(number >= args.n / 2)
        return {"stage": ("locate", "refine")[stage], **steps[stage](number)}

    return work


def read_map(labels: Any) -> Any:
    """A prepared label map, of a file or a volume."""
    from dataclasses import replace

    from napari_synthseg.generator.sample import prepared

    return replace(prepared(labels)[0], name="map")


def fast_steps(
    label_map: Any, priors: str, batch: tuple[int, int], device: str = "cpu", start: Callable[[Any], Any] = id
) -> list[Callable[[int], dict[str, float]]]:
    """A step of the locator, and one of the refiner, of a number of images each."""
    from napari_synthseg.generator.presets import preset
    from napari_synthseg.networks.locate_refine import LocateRefine
    from napari_synthseg.training.data.label_maps import predicted_labels
    from napari_synthseg.training.data.synthetic import Heads
    from napari_synthseg.training.objectives.locate_refine import Locate, Refine

    model = LocateRefine(predicted_labels([label_map]))
    start(model)
    heads = Heads([label_map], preset(priors), model.labels, device=device)
    common: dict[str, Any] = {"seed": 1, "device": device, "validation": lambda m: {}}
    return [
        step_of(kind(model, heads, batch=n, **common), 1e-5) for kind, n in zip((Locate, Refine), batch, strict=True)
    ]


def step_of(objective: Any, learning_rate: float) -> Callable[[int], dict[str, float]]:
    """A step of the optimiser: images drawn, forward, backward."""
    import torch

    optimizer = torch.optim.AdamW(objective.trained.parameters(), learning_rate)

    def step(number: int) -> dict[str, float]:
        optimizer.zero_grad()
        loss, figures = objective.loss(number)
        loss.backward()
        optimizer.step()
        return {name: round(value, 3) for name, value in figures.items()}

    return step


def paper(args: argparse.Namespace) -> Work:
    """A prepared label map in memory to a step of the paper's recipe, generator included."""
    from napari_synthseg import devices
    from napari_synthseg.generator.presets import preset
    from napari_synthseg.networks.unet import UNet3d
    from napari_synthseg.training.data.label_maps import predicted_labels
    from napari_synthseg.training.data.synthetic import random_crops
    from napari_synthseg.training.objectives.crops import UNetCrops

    if args.float32:
        devices.quick_in_bfloat16 = lambda device: False
    maps = [read_map(args.label_map or args.folder / "labels.nii.gz")]
    model = UNet3d(predicted_labels(maps))
    priors, crop = preset(args.preset or "synthseg"), args.size or 96
    crops = random_crops(maps, priors, model.labels, batch=1, crop=crop, device=args.device)
    return step_of(UNetCrops(model, crops, model.labels, seed=1, device=args.device, validation=lambda m: {}), 1e-4)


def phantom(args: argparse.Namespace) -> Work:
    from phantom import head_phantom

    shape = (args.size,) * 3 if args.size else None
    return lambda number: {"shape": list(head_phantom(shape, seed=number).shape)}


def evaluate(args: argparse.Namespace) -> Work:
    from phantom import head_phantom

    from napari_synthseg.evaluation import evaluate
    from napari_synthseg.io import read_labels

    truth = read_labels(args.folder / "labels.nii.gz")
    pred = head_phantom(truth.shape, seed=1)
    return lambda _: evaluate(pred, truth)["mean"]


def shapes(args: argparse.Namespace) -> Work:
    import torch

    from napari_synthseg.generator.presets import shape_preset
    from napari_synthseg.generator.shapes.scenes import scene

    torch.set_num_threads(args.threads or 1)
    priors, count = shape_preset(args.preset or "both"), 32

    def work(number: int) -> Any:
        before = cost()
        for seed in range(number * count, (number + 1) * count):
            scene(priors, seed, side=args.size or 1024)
        spent = since(before)
        rates = {"per_second": count / spent["wall_s"], "per_cpu_second": count / spent["cpu_s"]}
        return {"scenes": count, **{name: round(rate, 1) for name, rate in rates.items()}}

    return work


def encode(args: argparse.Namespace) -> Work:
    import torch

    from napari_synthseg.networks.promptable import IMAGE_SIZE, Promptable, quicken

    torch.manual_seed(0)
    model = Promptable(args.encoder).eval()
    quicken(model)  # as sessions do
    image = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE) * 255
    point, inside = torch.tensor([[[300.0, 400.0]]]), torch.ones(1, 1)

    @torch.inference_mode()
    def work(number: int) -> Any:
        embedding = model.encode(image, getattr(torch, args.precision))
        started = cost()
        model.decode(embedding, point, inside)
        return {**{f"click_{k}": v for k, v in since(started).items()}, "threads": torch.get_num_threads()}

    return work


def window(args: argparse.Namespace) -> Work:
    import torch

    from napari_synthseg.networks.registry import build

    model = build({"network": args.model, "labels": list(range(33))}).eval()

    @torch.inference_mode()
    def work(number: int) -> Any:
        model(torch.rand(1, 1, *[model.edge] * 3))
        return {"edge": model.edge}

    return work


JOBS.update(shapes=shapes, pipeline=pipeline, generator=generator, training=training, paper=paper)
JOBS.update(phantom=phantom, evaluate=evaluate, encode=encode, window=window)

if __name__ == "__main__":
    sys.exit(main())
