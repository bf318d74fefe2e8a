"""Promptable decoders on the same held-out synthetic scenes: what chooses weights before any real image is looked at.

    python benchmarks/decoders.py MODEL ... [--preset both] [--scenes N] [--targets N] [--clicks N] [--seed N]

MODELs are names or files with one encoder, such as mobilesam-decoder, synthfm-mobile, synthfm-sam. Prints mean Dice of
each setting, on the decoders' grid, with the decoders' whole answers; with --clicks, after each of so many clicks too,
the first inside the target and each further one amid the error of the answer before. The default seed is that of no
training, no validation and no other benchmark. --json FILE keeps the figures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from harness import arguments, command, finish, markdown, write_json
from torch.nn import functional as F

from napari_synthseg.errors import InputError
from napari_synthseg.generator.presets import SHAPE_PRESETS, shape_preset
from napari_synthseg.networks.prompt_layers import PromptTensors
from napari_synthseg.networks.promptable import SINGLE, FrozenEncoder, Promptable
from napari_synthseg.training.data.prompts import CELL, correction
from napari_synthseg.training.data.scenes import EncodedScenes, PromptValidation
from napari_synthseg.weights.sam import load_model


@command
def main() -> int:
    args = arguments(
        __doc__, "--seed", "--json", seed={"default": 555}, models_={"nargs": "+", "metavar": "MODEL"},
        preset={"choices": SHAPE_PRESETS, "default": "both"}, scenes={"type": int, "default": 32},
        targets={"type": int, "default": 4, "help": "of each scene"}, clicks={"type": int, "default": 0},
    )  # fmt: skip
    models = {Path(name).stem: load_model(name) for name in args.models}
    first = next(iter(models.values()))
    if any(one.card.get("encoder sha256") != first.card.get("encoder sha256") for one in models.values()):
        raise InputError("The models have different encoders: give decoders of one.")
    scenes = EncodedScenes(FrozenEncoder(first), shape_preset(args.preset), args.seed, torch.device("cpu"))
    validation = PromptValidation(scenes, args.scenes, args.targets)
    found = {name: validation(model) for name, model in models.items()}
    columns = [*validation.settings, "mean"]
    if args.clicks:
        found = {name: scores | clicked(models[name], validation, args.clicks) for name, scores in found.items()}
        columns += [f"click {number}" for number in range(1, args.clicks + 1)]
    write_json(args.json, found)
    rows = [[name, *scores.values()] for name, scores in found.items()]
    return finish(markdown(["decoder", *columns], rows))


@torch.inference_mode()
def clicked(model: Promptable, validation: PromptValidation, count: int) -> dict[str, float]:
    """Mean Dice after each click of someone who corrects."""
    sums, targets = [0.0] * count, 0
    for encoded, masks, prompts in validation.cases():
        covered = F.avg_pool2d(masks[:, None].float(), CELL)
        for number, cover in enumerate(covered[:, 0]):
            g, targets = torch.Generator().manual_seed(number), targets + 1
            given = PromptTensors(*(None if one is None else one[number : number + 1] for one in prompts["1+0"]))
            for click in range(count):
                logits = model.decode(encoded.embedding[None].float(), *given)[0][0, SINGLE]
                answer, truth = logits > 0, cover > 0.5
                sums[click] += float(2 * (answer & truth).sum() / (answer.sum() + truth.sum()).clamp(min=1))
                at, sign = correction(logits, cover, g)
                given = given.with_points(at.flip(-1)[None], torch.tensor([sign]))
    return {f"click {number}": total / targets for number, total in enumerate(sums, start=1)}


if __name__ == "__main__":
    sys.exit(main())
