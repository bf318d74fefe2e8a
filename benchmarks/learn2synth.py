"""Learn2Synth's first experiments in 2D: which noise does it infer (Table 1), and does the network gain (Table 2)?

    python benchmarks/learn2synth.py LABEL_MAPS OUT [--table 1|2] [--steps N] [--seed N] [--only NAME ...]

LABEL_MAPS is a folder of whole-head label maps. Slices through their middle, at 3 mm and without the skull, become
images of random contrast that are the same for all but noise: synthetic ones have none, "real" ones a preset deviation,
or one drawn for each image from U(0.025, 0.2). The last four maps make the test images. The labelled "real" ones of
training are made from the very maps that the synthetic ones are made from, or (--teachers others) from three more maps.

    naive    trained on noise-free images
    oracle   trained with the very noise of the "real" images
    learned  Learn2Synth: its noise is learned from the "real" images, from --teach-from on; starts at --start

OUT gets the slices, the runs (resumable) and a JSON file of the figures of each; what is there is not done again, so
that several processes can share the work (--only). Prints what there is, in Markdown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from harness import arguments, cells, command, finish, markdown, write_json
from torch import nn

from napari_synthseg import anatomy, cli
from napari_synthseg.errors import InputError
from napari_synthseg.generator.head import blur_matrix
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.sample import label_map_files, prepared
from napari_synthseg.networks.augmenter import Augmenter, Noise, SmallUNet, Unchanged
from napari_synthseg.training.data.synthetic import Batch, step_generator
from napari_synthseg.training.engine.events import read_events, steps_that_count
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.engine.losses import soft_dice_loss
from napari_synthseg.training.objectives.learn2synth import Bilevel

LEVELS = {"0": (0.0, 0.0), "0.05": (0.05, 0.05), "0.10": (0.1, 0.1), "0.15": (0.15, 0.15), "U": (0.025, 0.2)}
"""Preset deviations of the "real" images' noise, intensities in [0, 1]: the same, or uniform between two ends."""
INFERRED = {"0": 0.001, "0.05": 0.042, "0.10": 0.098, "0.15": 0.146, "U": 0.134}
"""The paper's Table 1."""
CLASSES = {
    "white matter": (2, 25),
    "cortex": (3,),
    "deep grey matter": (10, 11, 12, 13, 17, 18, 26, 28),
    "ventricles": (4, 5, 14, 15, 136, 137),
}
"""What is segmented: FreeSurfer values of the left side, to which those of the right side belong; the rest is not."""
TEACHERS = {"same": "train", "others": "real"}
"""Which slices "real" images are made from."""
SHAPE, SPACING_MM = (32, 48), 3.0
HEIGHTS_MM = range(-6, 31, 6)
"""Of the axial slices, from the middle of the brain."""
TEST, REAL = 4, 3
"""How many label maps make the test images, and how many the labelled ones of training."""
FEATURES = (8, 16, 32)
BATCH = 8
LEARNING_RATE = 2e-3


@command
def main() -> int:
    args = arguments(
        __doc__, "label_maps", "out", "--seed", "--threads", "--json",
        table={"type": int, "choices": [1, 2], "nargs": "*", "default": [1, 2]}, steps={"type": int, "default": 3000},
        start={"type": float, "default": 0.02, "help": "the learned deviation at the beginning"},
        teach_from={"type": int, "default": 1000, "help": "steps before the deviation begins to be learned"},
        augmenter_rate={"type": float, "default": 1e-3}, only={"nargs": "*", "choices": names()},
        teachers={"choices": ["same", "others"], "default": "same", "help": 'maps of the "real" images'},
    )  # fmt: skip
    wanted = [n for n in names() if 2 in args.table or n.startswith("learned")] if args.only is None else args.only
    slices = slices_of(args.label_maps, args.out / "slices.npz")
    found = cells(args.out, names(), wanted, lambda name: figures_of(name, slices, args))
    write_json(args.json, found)
    return finish("\n\n".join({1: table1, 2: table2}[table](found) for table in args.table))


def names() -> list[str]:
    return ["naive", *(f"{kind}-{level}" for level in LEVELS for kind in ("oracle", "learned"))]


# Images


def slices_of(folder: Path, file: Path) -> dict[str, torch.Tensor]:
    """Label slices of the maps for training, for "real" images and for tests, read once.

    Returns:
        "train", "real" and "test": (N, X, Y) FreeSurfer values of the brain, 0 outside; "classes": (values,)
        channel of each.

    Raises:
        InputError: there are too few maps.
    """
    if not file.exists():
        paths = label_map_files(folder)
        if len(paths) <= TEST + REAL:
            raise InputError(f"{folder} holds {len(paths)} label maps: at least {TEST + REAL + 1} are needed.")
        cut = [sections(prepared(p)[0]) for p in paths]
        parts = {"train": cut[: -TEST - REAL], "real": cut[-TEST - REAL : -TEST], "test": cut[-TEST:]}
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **{k: np.concatenate(v) for k, v in parts.items()})
    with np.load(file) as f:
        found = {k: torch.from_numpy(f[k]) for k in f.files}
    return {**found, "classes": channels()}


def channels() -> torch.Tensor:
    """(256,) channel of each FreeSurfer value below 256."""
    table = torch.zeros(256, dtype=torch.long)
    for channel, values in enumerate(CLASSES.values(), 1):
        for value in values:
            table[[value, anatomy.structure(value).contralateral]] = channel
    return table


def sections(label_map: LabelMap) -> np.ndarray:
    """(N, X, Y) axial slices of a map at 3 mm, FreeSurfer values, extra-cerebral ones 0."""
    kept = [0 if gone or v >= 256 else v for v, gone in zip(label_map.values, label_map.removed, strict=True)]
    values = torch.tensor(kept, dtype=torch.uint8)[label_map.index.long()]
    step = round(SPACING_MM / label_map.spacing)
    low = [round(c - n * step / 2) for c, n in zip(label_map.center, SHAPE, strict=False)]
    made = []
    for height in HEIGHTS_MM:
        z = round(label_map.center[2] + height / label_map.spacing)
        x, y = (low[i] + step * torch.arange(n) for i, n in enumerate(SHAPE))
        inside = [(at >= 0) & (at < size) for at, size in zip((x, y), values.shape, strict=False)]
        part = values[x.clamp(0, values.shape[0] - 1)][:, y.clamp(0, values.shape[1] - 1), z]
        made.append((part * inside[0][:, None] * inside[1][None]).numpy())
    return np.stack(made)


class Images:
    """Random images of random slices: mirrored, moved and turned a little, random contrast, blurred, noisy.

    Args:
        labels: (N, X, Y) values.
        classes: channel of each value.
        noise: ends of the noise's deviation.
    """

    def __init__(self, labels: torch.Tensor, classes: torch.Tensor, noise: tuple[float, float] = (0.0, 0.0)) -> None:
        self.labels, self.classes, self.noise = labels.float(), classes, noise
        self.blur = [blur_matrix(n, 0.4) for n in SHAPE]

    def __call__(self, g: torch.Generator) -> Batch:
        """(B, 1, X, Y) images and (B, X, Y) channels."""
        chosen = self.labels[torch.randint(len(self.labels), (BATCH,), generator=g)]
        labels = moved(chosen, g)
        means = torch.rand(BATCH, 256, generator=g)
        means[:, 0] *= torch.rand(BATCH, generator=g) < 0.5  # half of the backgrounds are black
        image = means.gather(1, looks()[labels].flatten(1)).view(labels.shape)
        image = self.blur[0] @ image @ self.blur[1].T
        low, high = self.noise
        sigma = low + (high - low) * torch.rand(BATCH, 1, 1, generator=g)
        image = image + sigma * torch.randn(image.shape, generator=g)
        return image[:, None], self.classes[labels]


def looks() -> torch.Tensor:
    """(256,) the value whose intensity each FreeSurfer value shows: that of its left side."""
    table = torch.arange(256)
    for s in anatomy.table():
        if max(s.value, s.contralateral) < 256:
            table[s.value] = min(s.value, s.contralateral)
    return table


def moved(labels: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """(B, X, Y) values mirrored at random, turned by up to 15 degrees, scaled by up to 15%, shifted by up to 8 mm."""
    u = 2 * torch.rand(len(labels), 6, generator=g) - 1
    turn, scale = 0.26 * u[:, 0], 1 + 0.15 * u[:, 1:3]
    ratio = SHAPE[0] / SHAPE[1]
    flip = torch.where(u[:, 3] < 0, -1.0, 1.0)
    cos, sin = torch.cos(turn), torch.sin(turn)
    # affine_grid's axes are (y, x) here, each from -1 to 1.
    rows = (
        torch.stack([cos * scale[:, 0], -sin * scale[:, 0] * ratio, 0.08 * u[:, 4]], 1),
        torch.stack([flip * sin * scale[:, 1] / ratio, flip * cos * scale[:, 1], 0.1 * u[:, 5]], 1),
    )
    grid = nn.functional.affine_grid(torch.stack(rows, 1), [len(labels), 1, *SHAPE], align_corners=False)
    return nn.functional.grid_sample(labels[:, None], grid, "nearest", align_corners=False)[:, 0].long()


# Runs


class Segmenter(nn.Module):
    """A small U-Net with a softmax, of images of 2 or 3 dimensions."""

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__()
        self.net = SmallUNet(dimensions, 1, 1 + classes, FEATURES, norm=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image).softmax(1)


def figures_of(name: str, slices: dict[str, torch.Tensor], args: argparse.Namespace) -> dict[str, Any]:
    kind, _, level = name.partition("-")
    torch.manual_seed(args.seed)
    augmenter: Augmenter = Noise(args.start) if kind == "learned" else Unchanged()
    classes = slices["classes"]
    recipe = Bilevel(
        Segmenter(2, len(CLASSES)), augmenter,
        Images(slices["train"], classes, LEVELS[level] if kind == "oracle" else (0.0, 0.0)),
        Images(slices[TEACHERS[args.teachers]], classes, LEVELS[level]) if kind == "learned" else None,
        seed=args.seed, device="cpu", validation=lambda model: {}, lr_scale=args.augmenter_rate / LEARNING_RATE,
        warmup=args.teach_from, criterion=lambda found, target: soft_dice_loss(found[..., None], target[..., None]),
    )  # fmt: skip
    options = LoopOptions(args.steps, LEARNING_RATE, decay_fraction=0.2, validate_every=10**9)
    model = cli.follow(fit(recipe, options, args.out / name, name="slices", resume=True))
    figures: dict[str, Any] = {name: getattr(args, name) for name in ("steps", "seed", "teachers")}
    figures["dice"] = scores(model, slices)
    if kind == "learned":
        figures |= {"start": args.start, "sigma": inferred(args.out / name, args.teach_from, args.steps)}
    return figures


def inferred(run: Path, teach_from: int, steps: int) -> float:
    """Mean learned deviation over the second half of the steps that learn it, which is steadier than the last one."""
    lines = steps_that_count(read_events(run))
    return fmean(line["sigma"] for line in lines if line["step"] > (teach_from + steps) / 2)


@torch.no_grad()
def scores(model: nn.Module, slices: dict[str, torch.Tensor]) -> dict[str, float]:
    """Mean Dice of the four tissues on the test maps' images, for each noise; the same images for every model."""
    found = {}
    for level, noise in LEVELS.items():
        images = Images(slices["test"], slices["classes"], noise)
        pairs = [(model(image).argmax(1), truth) for image, truth in (images(step_generator(77, i)) for i in range(8))]
        found[level] = fmean(fmean(all_dice(*pair)) for pair in pairs)
    return found


def all_dice(found: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """Of the tissues of each image of a batch."""
    images = zip(found, truth, strict=True)
    return [dice for one in images for dice in dice_of(*one, len(CLASSES)).values()]


def dice_of(found: torch.Tensor, truth: torch.Tensor, classes: int) -> dict[int, float]:
    """Dice of the classes 1 ... that the truth has."""
    pairs = {c: (found == c, truth == c) for c in range(1, 1 + classes)}
    return {c: 2.0 * float((a & b).sum()) / float(a.sum() + b.sum()) for c, (a, b) in pairs.items() if b.any()}


# Tables


def title(level: str) -> str:
    return "[0.025 0.2]" if level == "U" else level


def table1(found: dict[str, dict[str, Any]]) -> str:
    ours = [found.get(f"learned-{level}", {}).get("sigma") for level in LEVELS]
    rows = [["inferred, ours", *ours], ["inferred, paper", *INFERRED.values()]]
    return markdown(["preset sigma", *map(title, LEVELS)], rows)


def table2(found: dict[str, dict[str, Any]]) -> str:
    """Dice by noise of the "real" training images (rows) and of the test images (columns)."""
    rows = [
        [title(level), kind, *(found[name]["dice"][v] for v in LEVELS)]
        for level in LEVELS
        for kind in ("naive", "learned", "oracle")
        if (name := kind if kind == "naive" else f"{kind}-{level}") in found
    ]
    return markdown(["real images", "model", *(f"test {title(v)}" for v in LEVELS)], rows)


if __name__ == "__main__":
    sys.exit(main())
