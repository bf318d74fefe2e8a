"""Learn2Synth in 3D, on real scans: does a network gain when a few labelled ones tune its synthesis?

    python benchmarks/learn2synth_3d.py LABEL_MAPS TRAINING VALIDATION OUT [--only NAME ...] [--json FILE]

LABEL_MAPS is a folder (or a prepared .npz) of whole-head label maps, of which the last two are held out; TRAINING and
VALIDATION hold labelled T1 scans. At a size that a CPU can do: whole brains at 3 mm, four tissues, a small U-Net. It
learns from synthetic images (preset `synthseg`) for --first steps; from there on, in --then more steps each,

    naive       goes on as before (SynthSeg)
    noise       learns from images to which noise of a learned deviation is added
    bias        noise, and a bias field, of learned deviations
    unet        noise, and what a small network adds
    supervised  learns from the labelled scans themselves, mirrored at random: what they are worth by the usual way

The three in the middle are Learn2Synth: TRAINING's scans teach the augmenter alone. Dice (mean of the tissues, at 3 mm)
on VALIDATION's scans, on the same with inverted intensities, and on synthetic heads of the maps held out. OUT gets the
runs (resumable) and a JSON file of the figures of each; what is there is not done again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from harness import arguments, cells, command, finish, markdown, write_json
from learn2synth import Segmenter, dice_of
from torch import nn
from torch.nn import functional as F

from napari_synthseg import anatomy, cli
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import preset
from napari_synthseg.generator.sample import apply
from napari_synthseg.jobs import run
from napari_synthseg.networks.augmenter import build_augmenter
from napari_synthseg.training.data.cases import ValidationCase, labelled_cases
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.training.data.synthetic import Batch, percentile_limits, rescaled, step_generator
from napari_synthseg.training.engine.loop import LoopOptions, fit
from napari_synthseg.training.objectives.learn2synth import Bilevel

TISSUES = {
    "white matter": (2, 7, 16, 25, 28),
    "cortex": (3, 8),
    "deep grey matter": (10, 11, 12, 13, 17, 18, 26),
    "ventricles": (4, 5, 14, 15),
}
"""FreeSurfer values of the left side and the middle, to which those of the right side belong; the rest is not."""
SHAPE, SPACING_MM = (48, 64, 48), 3
LEARNING_RATE = 1e-3
HELD_OUT, HEADS = 2, 4
"""Label maps kept back, and heads drawn from each of them."""
KINDS = ("naive", "noise", "bias", "unet", "supervised")


@command
def main() -> int:
    args = arguments(
        __doc__, "label_maps", "training", "validation", "out", "--seed", "--threads", "--json",
        only={"nargs": "*", "choices": KINDS, "default": KINDS},
        first={"type": int, "default": 800, "help": "steps before the ways part"},
        then={"type": int, "default": 500, "help": "steps of each way"},
        teach_from={"type": int, "default": 100, "help": "of these, before the augmenter learns"},
        augmenter_rate={"type": float, "default": 1e-3},
    )  # fmt: skip
    data = Data(args)
    found = cells(args.out, ("start", *KINDS), ("start", *args.only), lambda name: figures_of(name, data, args))
    write_json(args.json, found)
    return finish(table(found))


# Images


class Data:
    """All that is trained and judged on, at 3 mm."""

    def __init__(self, args: argparse.Namespace) -> None:
        maps = run(read_maps(args.label_maps))
        self.maps, held = maps[:-HELD_OUT], maps[-HELD_OUT:]
        self.values = anatomy.predicted_values(2)
        self.teachers = [coarse(c, self.values) for c in labelled_cases(args.training, self.values)]
        scans = [coarse(c, self.values) for c in labelled_cases(args.validation, self.values)]
        inverted = [(torch.where(image > 0, 1 - image, image), truth) for image, truth in scans]
        drawn = Heads(held, preset("synthseg"), self.values)
        heads = [drawn(step_generator(77, i)) for i in range(HELD_OUT * HEADS)]
        self.tests: dict[str, Sequence[Batch]] = {"scans": scans, "inverted": inverted, "synthetic": heads}
        self.synthetic = Heads(self.maps, preset("synthseg"), self.values)

    def real(self, g: torch.Generator) -> Batch:
        """One of the labelled scans."""
        return self.teachers[int(torch.randint(len(self.teachers), (1,), generator=g))]

    def mirrored(self, g: torch.Generator) -> Batch:
        """One of the labelled scans, or its mirror image."""
        image, truth = self.real(g)
        return (image.flip(2), truth.flip(1)) if torch.rand((), generator=g) < 0.5 else (image, truth)


class Heads:
    """Random synthetic brains of random label maps; `values` are the labels that are grouped to tissues."""

    def __init__(self, maps: Sequence[LabelMap], priors: GenerativeModel, values: Sequence[int]) -> None:
        self.maps, self.priors, self.values = maps, priors, values
        self.tissue = tissues(values)

    def __call__(self, g: torch.Generator) -> Batch:
        """(1, 1, X, Y, Z) images and (1, X, Y, Z) tissues."""
        label_map = self.maps[int(torch.randint(len(self.maps), (1,), generator=g))]
        sample = apply(self.priors.sample(label_map, g), label_map, Grid.centered(SHAPE, SPACING_MM))
        image = rescaled(sample.image, percentile_limits(sample.image))
        return image[None, None], self.tissue[sample.target(self.values).long()][None]


def tissues(values: Sequence[int]) -> torch.Tensor:
    """(K,) number of each label's tissue; 0 is none."""
    number = {v: n for n, group in enumerate(TISSUES.values(), 1) for v in group}
    return torch.tensor([number.get(v, number.get(anatomy.structure(v).contralateral, 0)) for v in values])


def coarse(case: ValidationCase, values: Sequence[int]) -> Batch:
    """A scan at 3 mm: means of its voxels, tissues of the middle ones."""
    room = [(have - SPACING_MM * want) // 2 for have, want in zip(case.image.shape, SHAPE, strict=True)]
    where = tuple(slice(low, low + SPACING_MM * n) for low, n in zip(room, SHAPE, strict=True))
    image = F.avg_pool3d(case.image[where].float()[None, None], SPACING_MM)
    middle = (slice(SPACING_MM // 2, None, SPACING_MM),) * 3
    return rescaled(image, percentile_limits(image)), tissues(values)[case.channels[where][middle].long()][None]


# Runs


def figures_of(name: str, data: Data, args: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(args.seed)
    first = name == "start"
    learns = name in ("noise", "bias", "unet")
    model = Segmenter(3, len(TISSUES)).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if not first:
        model.load_state_dict(torch.load(args.out / "start.pt", weights_only=True))
    augmenter = build_augmenter(name if learns else "none", 3, 0.02)
    batches: Callable[[torch.Generator], Batch] = data.mirrored if name == "supervised" else data.synthetic
    recipe = Bilevel(
        model, augmenter, batches, data.real if learns else None, seed=args.seed if first else args.seed + 1,
        device="cpu", validation=lambda model: {}, lr_scale=args.augmenter_rate / LEARNING_RATE, warmup=args.teach_from,
    )  # fmt: skip
    options = LoopOptions(
        args.first if first else args.then, LEARNING_RATE, decay_fraction=0.0 if first else 0.3, validate_every=10**9
    )
    trained = cli.follow(fit(recipe, options, args.out / name, name="brains", resume=True))
    if first:
        torch.save(trained.state_dict(), args.out / "start.pt")
    return {"steps": options.steps, "seed": args.seed, "learned": augmenter.figures(), "dice": scores(trained, data)}


@torch.no_grad()
def scores(model: nn.Module, data: Data) -> dict[str, dict[str, float]]:
    """Mean Dice of each tissue, by kind of images."""
    model.eval()
    found = {}
    for kind, cases in data.tests.items():
        each = [dice_of(model(image).argmax(1), truth, len(TISSUES)) for image, truth in cases]
        found[kind] = {name: statistics.fmean(one.get(n, 0.0) for one in each) for n, name in enumerate(TISSUES, 1)}
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, one in found.items():
        means = {kind: statistics.fmean(values.values()) for kind, values in one["dice"].items()}
        learned = ", ".join(f"{k} {v:.3f}" for k, v in one["learned"].items())
        own = one["dice"]["scans"].values()
        rows.append([name, means["scans"], *own, means["inverted"], means["synthetic"], learned])
    return markdown(["network", "scans", *TISSUES, "inverted", "synthetic", "learned"], rows)


if __name__ == "__main__":
    sys.exit(main())
