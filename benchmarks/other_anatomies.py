"""Another organ than the brain: cardiac-like phantoms in contrasts never trained on (SynthSeg, section 5.4).

    python benchmarks/other_anatomies.py OUT [--only NAME ...] [--steps N] [--seed N] [--threads N]

Makes CT-like phantoms of a chest with seven labelled structures of the heart, trains three networks on the same of
them for as many steps, and scores these on phantoms of other shapes in three contrasts, of which only the first was
ever seen:

    subregions  `train organ`: images made from the labels, split by EM; the background into 3 to 10 classes
    whole       the same with every label, and the background, in one piece
    images      trained on the CT-like images themselves, bent alike, with mild changes of their intensities

OUT gets the phantoms, the runs (resumable) and a JSON file of the Dice of each; what is there is not done again, so
that several processes can share the work (--only). Prints what there is, in Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, cells, command, finish, markdown, write_json
from heart_phantom import STRUCTURES, contrasts, write_heart_pairs

from napari_synthseg import cli
from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.generator.head import crop_grid
from napari_synthseg.generator.sample import deformed
from napari_synthseg.generator.subregions import LEVELS, Split
from napari_synthseg.inference.options import OWN
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.io import read_labels, read_volume
from napari_synthseg.training.objectives.crops import OrganCrops
from napari_synthseg.training.recipes.organ import Organ, TrainOrganOptions
from napari_synthseg.weights.store import load_model

NAMES = ("subregions", "whole", "images")
SEEN = "ct"
TRAINING, HELD_OUT, TEST = 12, 2, 10
"""How many phantoms are trained on, choose the checkpoint, and are scored on."""
SHAPE, SPACING_MM = (64, 64, 64), 2.5
"""Of the phantoms."""
WORKING_MM, CROP, FEATURES = 3.5, 32, 12
"""Of the networks, small enough for one core: what they find is scored on the phantoms' own voxels."""
LEARNING_RATE = 2e-3


@command
def main() -> int:
    args = arguments(
        __doc__, "out", "--seed", "--threads", only={"nargs": "*", "choices": NAMES, "default": NAMES},
        steps={"type": int, "default": 1600},
        test={"type": int, "default": TEST, "help": "phantoms of each contrast to score on"},
    )  # fmt: skip
    found = cells(args.out, NAMES, args.only, lambda name: scores_of(name, args))
    write_json(args.out / "figures.json", figures(found))
    return finish(f"{by_contrast(found)}\n\n{by_structure(found)}")


class Pictures(OrganCrops):
    """What a network usually learns from: crops of the scans themselves, bent as synthetic ones are, their brightness,
    contrast and noise changed mildly."""

    def sample(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        images, targets = [], []
        for _ in range(self.batch):
            which = int(torch.randint(len(self.scans), (1,), generator=g))
            scan = self.scans[which]
            record = self.record(which, scan.label_map, g)
            grid = crop_grid(scan.label_map, (self.crop,) * 3, record["crop"]["at"])
            grey = deformed(record, replace(scan.label_map, index=scan.levels), grid).labels.float()
            low, high = ends_of(scan)
            image = ((grey - low) / (high - low)).clamp(0, 1)
            gamma, shift, noise = torch.randn(3, generator=g).tolist()
            image = image ** float(np.exp(0.15 * gamma)) + 0.03 * shift
            image = image + abs(0.02 * noise) * torch.randn(image.shape, generator=g)
            images.append(image.clamp(0, 1))
            targets.append(deformed(record, scan.label_map, grid).target(self.values))
        return torch.stack(images)[:, None], torch.stack(targets)


class RealOrgan(Organ):
    """The recipe with scans themselves in place of generated images."""

    def objective(self) -> type[OrganCrops]:
        return Pictures


def ends_of(scan: Split) -> tuple[float, float]:
    """The levels that become 0 and 1 at prediction."""
    inside = scan.levels[scan.label_map.index > 0].numpy()
    low, high = np.percentile(inside, OWN.percentiles)
    return float(low), float(max(high, low + LEVELS / 100))


def trained(name: str, args: argparse.Namespace) -> Path:
    pairs, run = args.out / "training", args.out / name
    weights = run / f"{name}.safetensors"
    if weights.exists():
        return weights
    if not pairs.exists():
        _made(pairs, TRAINING + HELD_OUT, SEEN, 100)
    options = TrainOrganOptions(
        pairs=pairs, out=run, organ="heart", spacing=WORKING_MM, crop=CROP, features=FEATURES, steps=args.steps,
        seed=args.seed, learning_rate=LEARNING_RATE, subregions=name == "subregions", validate_every=400,
        hold_out=tuple(f"heart{100 + TRAINING + i}" for i in range(HELD_OUT)), bfloat16=True, threads=args.threads,
        device="cpu", name=name, resume=True,
    )  # fmt: skip
    return cli.follow((RealOrgan() if name == "images" else Organ()).train(options))


def scores_of(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Dice by contrast, phantom and structure."""
    network = load_model(trained(name, args))
    found: dict[str, Any] = {"steps": args.steps, "seed": args.seed, "dice": {}}
    for contrast in contrasts():
        folder = args.out / f"test-{contrast}"
        if len(list(folder.glob(f"*_{contrast}.nii.gz"))) < args.test:
            _made(folder, args.test, contrast, 500)
        paths = sorted(folder.glob(f"*_{contrast}.nii.gz"))[: args.test]
        found["dice"][contrast] = [dice_on(network, path) for path in paths]
    return found


def dice_on(network: torch.nn.Module, scan: Path) -> dict[str, float]:
    """Dice of every structure on a phantom, segmented as any scan is."""
    labels = segment(read_volume(scan), network=network, device="cpu").labels.data
    truth = read_labels(scan.with_name(f"{scan.name.split('_')[0]}_labels.nii.gz")).data
    return {text: dice(labels == value, truth == value) for value, text in STRUCTURES.items()}


def _made(folder: Path, count: int, contrast: str, seed: int) -> None:
    """Phantoms in a folder that appears when they are all there, since another process may want them too."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
        write_heart_pairs(Path(made) / "pairs", count, contrast, SHAPE, SPACING_MM, seed=seed)
        shutil.rmtree(folder, ignore_errors=True)  # fewer than are wanted now
        with contextlib.suppress(OSError):  # the other process was first
            (Path(made) / "pairs").rename(folder)


def figures(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean Dice and its standard deviation over phantoms, and the mean of each structure, by network and contrast."""
    rows = {}
    for name, one in found.items():
        for contrast in contrasts():
            scans = one["dice"][contrast]
            each = [np.mean(list(scan.values())) for scan in scans]
            parts = {s: float(np.mean([scan[s] for scan in scans])) for s in STRUCTURES.values()}
            rows[f"{name}: {contrast}"] = {"mean": float(np.mean(each)), "sd": float(np.std(each)), **parts}
    return rows


def by_contrast(found: dict[str, dict[str, Any]]) -> str:
    """Mean Dice over structures and phantoms, a row a network."""
    rows, heads = figures(found), [f"{c} (seen)" if c == SEEN else c for c in contrasts()]
    cells = {name: [rows[f"{name}: {c}"] for c in contrasts()] for name in found}
    lines = [[name, *(f"{one['mean']:.3f} ({one['sd']:.3f})" for one in row)] for name, row in cells.items()]
    return markdown(["trained on", *heads], lines)


def by_structure(found: dict[str, dict[str, Any]]) -> str:
    """Mean Dice of each structure over phantoms, a row for a network and a contrast."""
    lines = [
        [*name.split(": "), *(f"{row[s]:.2f}" for s in STRUCTURES.values())] for name, row in figures(found).items()
    ]
    return markdown(["trained on", "test", *STRUCTURES.values()], lines)


if __name__ == "__main__":
    sys.exit(main())
