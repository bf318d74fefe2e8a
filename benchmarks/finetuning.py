"""Pre-training and fine-tuning at a scale that fits a CPU: how many labelled scans, how long, and what is forgotten.

    python benchmarks/finetuning.py masks TRAINING VALIDATION OUT [--label-maps DIR --maps NAME ...] [--counts 1 2 4 8]
    python benchmarks/finetuning.py forgetting TRAINING VALIDATION OUT --label-maps DIR --maps NAME ... [--heads NAME]
    python benchmarks/finetuning.py tables - - OUT

TRAINING and VALIDATION are folders of labelled scans (`1002_t1.nii.gz`, `1002_labels.nii.gz`).

masks       the question of Table III of "Pretrain Once and Finetune Many Times": a UNETR, with and without an encoder
            that was pre-trained on TRAINING's scans without their labels (and on synthetic scans of the label maps), is
            trained on the first 1, 2, 4, 8 labelled scans of it. A small UNETR sees whole heads at 3 mm. Dice on
            VALIDATION's scans at 3 mm is followed; at the end the same scans are segmented at 1 mm.
forgetting  a network of SynthSeg's kinds is trained on the same scans for a few steps, mixed with synthetic images and
            without: Dice before and after on VALIDATION's scans as they are, inverted, and on synthetic heads (--heads)

All checkpoints are of the last step. Cells that OUT holds already are not done again; several processes can share the
work (--only). CPU-seconds are those of the process: give it one thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, command, finish, write_json
from reporting.learning import forgetting_table, masks_table
from sequences import inverted

from napari_synthseg import cli
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.scans import labelled_scans
from napari_synthseg.generator.presets import preset
from napari_synthseg.generator.sample import label_map_files
from napari_synthseg.inference.patches import crop_with_padding
from napari_synthseg.inference.preprocess import brain_center, rescale
from napari_synthseg.inference.sliding_window import field_start, pooled
from napari_synthseg.jobs import run
from napari_synthseg.networks.transformers import SMALL, Transformer
from napari_synthseg.training.data.cases import synthetic_cases
from napari_synthseg.training.data.finetune_data import (
    FinetuneData,
    dice_of,
    gather,
    labels_of,
    score,
    starting_network,
)
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.training.data.labelled_scans import RawScan
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.objectives.finetune import ScanCropsObjective
from napari_synthseg.training.recipes.finetune import Finetune, TrainFinetuneOptions
from napari_synthseg.training.recipes.pretrain import Pretrain, TrainPretrainOptions

SIZES: dict[str, Any] = {
    "edge": 64, "field": 64, "spacing": 3, "hidden": 192, "mlp": 768, "heads": 6, "layers": 8, "features": 8,
}  # fmt: skip
"""Of the UNETR: whole heads of 192 mm at 3 mm, 64 patches of 48 mm."""
CPU = torch.device("cpu")
Row = dict[str, Any]


@command
def main() -> int:
    names, counts = {"nargs": "*", "default": []}, {"nargs": "*", "type": int}
    args = arguments(
        __doc__, "what", "training", "validation", "out", "--seed", "--threads", "--json", threads={"default": 1},
        what={"choices": ["masks", "forgetting", "tables"]},
        label_maps={"type": Path}, maps=names | {"help": "names of the label maps to learn from; default all"},
        heads=names | {"help": "names of label maps that make synthetic heads to score"},
        counts=counts | {"default": [1, 2, 4, 8]},
        task={"default": "four", "choices": ["all", "four", "brain"], "help": "of masks"},
        steps={"type": int, "default": 200, "help": "of fine-tuning"},
        every={"type": int, "default": 20, "help": "steps between scores at 3 mm"},
        rate={"type": float, "default": 5e-4, "help": "learning rate of masks"},
        encoder_share={"type": float, "default": 0.1, "help": "of that rate, for a pre-trained encoder"},
        pretrain_steps={"type": int, "default": 400},
        shares={"nargs": "*", "type": float, "default": [0.5, 0.0], "help": "of synthetic samples"},
        start={"default": "synthseg-fast", "help": "what forgetting starts from"},
        unlabelled=counts | {"default": [24], "help": "labels that the scans show in part"},
        only={"nargs": "*", "help": "names of cells"},
    )  # fmt: skip
    if args.what == "masks":
        masks(args)
    elif args.what == "forgetting":
        forgetting(args)
    write_json(args.json, cells(args.out))
    return finish(tables(args.out))


def some_scans(folder: Path, count: int, out: Path) -> Path:
    pairs = labelled_scans(folder)
    if len(pairs) < count:
        raise InputError(f"{folder} holds {len(pairs)} labelled scans: {count} are needed.")
    return linked([file for pair in pairs[:count] for file in pair], out / f"scans-{count}")


def some_maps(folder: Path, names: list[str], out: Path) -> Path:
    files = [f for f in label_map_files(folder) if not names or f.name.split(".")[0] in names]
    if len(files) < len(names):
        raise InputError(f"{folder} lacks some of the label maps {', '.join(names)}.")
    return linked(files, out)


def linked(files: list[Path], out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (out / file.name).exists():
            (out / file.name).symlink_to(file.resolve())
    return out


def missing(args: argparse.Namespace, name: str) -> bool:
    return (args.only is None or name in args.only) and not (args.out / f"{name}.json").exists()


def keep(out: Path, name: str, row: Row) -> None:
    write_json(out / f"{name}.json", row)
    print(f"{name}: {json.dumps({k: v for k, v in row.items() if k != 'curve'})}", flush=True)


# With and without pre-training


def masks(args: argparse.Namespace) -> None:
    SMALL["unetr"].clear()
    SMALL["unetr"].update(SIZES)  # what both recipes build as small
    encoder = args.out / "encoder" / "pretrained.safetensors"
    if missing(args, "pretraining") and not encoder.exists():
        began = time.process_time()
        maps = some_maps(args.label_maps, args.maps, args.out / "maps") if args.label_maps else None
        options = TrainPretrainOptions(
            out=args.out / "encoder", scans=args.training, label_maps=maps, size="small", steps=args.pretrain_steps,
            warmup=20, learning_rate=args.rate, synthetic=0.25, validate_every=50, seed=args.seed, threads=args.threads,
            device="cpu", resume=(args.out / "encoder").exists(),
        )  # fmt: skip
        cli.follow(Pretrain().train(options))
        row = {"steps": args.pretrain_steps, "cpu_s": round(time.process_time() - began), "losses": losses(options.out)}
        keep(args.out, "pretraining", row)
    for count in args.counts:
        for kind in ("without", "with"):
            name = f"{args.task}-{kind}-{count}"
            if missing(args, name):
                keep(args.out, name, trained(args, count, str(encoder) if kind == "with" else "unetr", name))


def losses(run: Path) -> dict[str, float]:
    """Mean loss of the first and of the last tenth of a run's steps."""
    found = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    values = [line["loss"] for line in found if "loss" in line]
    n = max(1, len(values) // 10)
    return {"first": round(float(np.mean(values[:n])), 4), "last": round(float(np.mean(values[-n:])), 4)}


def trained(args: argparse.Namespace, count: int, start: str, name: str) -> Row:
    torch.manual_seed(args.seed)
    run = args.out / name
    shutil.rmtree(run, ignore_errors=True)
    options = TrainFinetuneOptions(
        scans=some_scans(args.training, count, args.out), out=run, start_from=start, task=args.task, size="small",
        validation=args.validation, unlabelled=tuple(args.unlabelled) if args.task == "all" else (), seed=args.seed,
        device="cpu",
    )  # fmt: skip
    model, card = starting_network(start, args.task, "small")
    assert isinstance(model, Transformer)
    material = gather(options, model, card, CPU)
    boxes = [boxed(scan, model) for scan in material.scored]
    curve: list[tuple[int, float, float]] = []
    spent, began = 0.0, time.process_time()

    def follow(network) -> dict[str, float]:
        nonlocal spent, began
        spent += time.process_time() - began
        dice = float(np.mean([coarse_dice(network, box, material) for box in boxes]))
        curve.append((args.every * (len(curve) + 1), round(spent, 1), round(dice, 4)))
        began = time.process_time()
        return {"score": dice}

    recipe = ScanCropsObjective(
        model, material.sampler, seed=args.seed, batch=1, crop=model.edge, device=CPU, validation=follow,
        encoder=list(model.encoder_parameters()), encoder_lr_scale=1.0 if start == "unetr" else args.encoder_share,
    )  # fmt: skip
    loop = LoopOptions(
        args.steps, args.rate, optimizer="adamw", weight_decay=1e-5, warmup=10, decay_fraction=0.3, ema_decay=0.99,
        clip=2.0, validate_every=args.every,
    )  # fmt: skip
    network = cli.follow(fit(recipe, loop, run, name="masks"))
    with torch.no_grad():
        fine = score(network, material, CPU)
    return {
        "count": count,
        "start": "random" if start == "unetr" else "pre-trained",
        "steps": args.steps,
        "cpu_s": curve[-1][1],
        "dice_3mm": curve[-1][2],
        "dice_1mm": round(fine["score"], 4),
        "structures": fine["dice"],
        "curve": curve,
    }


def boxed(scan: RawScan, model: Transformer) -> tuple[torch.Tensor, np.ndarray]:
    """A scan as the network sees it whole: (1, 1, X, Y, Z) image at its spacing, and the targets there."""
    s = model.spacing
    start = field_start(brain_center(scan.image), s, model.field)
    size = (model.field,) * 3
    image = crop_with_padding(pooled(torch.from_numpy(rescale(scan.image, 0.5, 99.5)), s), start, size)
    middle = torch.from_numpy(scan.values)[s // 2 :: s, s // 2 :: s, s // 2 :: s]
    return image[None, None].clone(), crop_with_padding(middle, start, size).numpy()


def coarse_dice(network, box: tuple[torch.Tensor, np.ndarray], material: FinetuneData) -> float:
    """Mean Dice of the scored structures at the network's own spacing."""
    found = network.logits(box[0])[0].argmax(0).numpy().astype(np.uint8)
    groups = np.array(material.targets.groups, np.uint8)
    row = dice_of(groups[found], box[1], material.targets)
    return float(np.mean([d for i, d in row.items() if material.targets.scored[i]]))


# What is forgotten


def forgetting(args: argparse.Namespace) -> None:
    """Scores of the network as it is, and of what becomes of it."""
    if args.label_maps is None:
        raise InputError("Synthetic images need label maps: give their folder with --label-maps.")
    maps = some_maps(args.label_maps, args.maps, args.out / "maps")
    heads = some_maps(args.label_maps, args.heads, args.out / "heads") if args.heads else None
    if missing(args, "forgetting-before"):
        keep(args.out, "forgetting-before", {"count": 0, "share": None, **scored(args, args.start, heads)})
    for count in args.counts:
        for share in args.shares:
            name = f"forgetting-{count}-{share:g}"
            if missing(args, name):
                keep(args.out, name, continued(args, count, share, maps, heads, name))


def continued(args: argparse.Namespace, count: int, share: float, maps: Path, heads: Path | None, name: str) -> Row:
    run, began = args.out / name, time.process_time()
    options = TrainFinetuneOptions(
        scans=some_scans(args.training, count, args.out), out=run, start_from=args.start, steps=args.steps,
        validation=args.validation, synthetic=share, label_maps=maps if share else None,
        unlabelled=tuple(args.unlabelled), seed=args.seed, patience=0, validate_every=10**6, device="cpu",
        threads=args.threads, resume=run.exists(), name=name,
    )  # fmt: skip
    path = cli.follow(Finetune().train(options))
    spent = round(time.process_time() - began)
    return {"count": count, "share": share, "steps": args.steps, "cpu_s": spent, **scored(args, str(path), heads)}


def scored(args: argparse.Namespace, weights: str, heads: Path | None) -> Row:
    """Dice on the validation scans, on the same inverted, and on synthetic heads."""
    model, card = starting_network(weights, "all")
    options = TrainFinetuneOptions(
        scans=args.validation, out=args.out, validation=args.validation, synthetic=0.0,
        unlabelled=tuple(args.unlabelled),
    )  # fmt: skip
    material = gather(options, model, card, CPU)
    wrong = [replace(scan, image=inverted(scan.image)) for scan in material.scored]
    groups = {"scans": material.scored, "inverted": wrong}
    if heads is not None:
        cases = synthetic_cases(run(read_maps(heads)), preset("synthseg"), labels_of(model), 2, 77)
        groups["synthetic"] = [
            RawScan(
                c.name, "", c.image.float().numpy(), np.array(material.targets.groups, np.uint8)[c.channels.numpy()]
            )
            for c in cases
        ]
    found: Row = {}
    with torch.no_grad():
        for name, scans in groups.items():
            result = score(model, replace(material, scored=scans), CPU)
            found |= {name: round(result["score"], 4), f"{name}_each": result["by_scan"]}
    return found


# Tables


def cells(out: Path) -> dict[str, Row]:
    return {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(out.glob("*.json"))
        if file.stem == "pretraining" or file.stem.startswith(("all-", "four-", "brain-", "forgetting-"))
    }


def tables(out: Path) -> str:
    rows = cells(out)
    forgetting = {name: row for name, row in rows.items() if name.startswith("forgetting-")}
    tasks = [task for task in ("four", "all", "brain") if any(name.startswith(f"{task}-") for name in rows)]
    parts = [masks_table(rows, task) for task in tasks]
    return "\n\n".join([*parts, *([forgetting_table(forgetting)] if "forgetting-before" in forgetting else [])])


if __name__ == "__main__":
    sys.exit(main())
