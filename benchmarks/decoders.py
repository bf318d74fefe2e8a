"""Promptable decoders on the same held-out synthetic scenes: what chooses weights before any real image is looked at.

    python benchmarks/decoders.py MODEL ... [--preset both] [--scenes N] [--targets N] [--seed N] [--json FILE]

MODELs are names or files with one encoder, such as mobilesam-decoder, synthfm-mobile, synthfm-sam. Prints mean Dice of
each setting, on the decoders' grid, with the decoders' whole answers. The default seed is that of no training, no
validation and no other benchmark.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from harness import arguments, command, finish, markdown, write_json

from napari_synthseg.errors import InputError
from napari_synthseg.generator.presets import SHAPE_PRESETS, shape_preset
from napari_synthseg.networks.promptable import FrozenEncoder
from napari_synthseg.training.data.scenes import EncodedScenes, PromptValidation
from napari_synthseg.weights.sam import load_model


@command
def main() -> int:
    """Print the table."""
    args = arguments(
        __doc__, "--seed", "--json", seed={"default": 555}, models_={"nargs": "+", "metavar": "MODEL"},
        preset={"choices": SHAPE_PRESETS, "default": "both"}, scenes={"type": int, "default": 32},
        targets={"type": int, "default": 4, "help": "of each scene"},
    )  # fmt: skip
    models = {Path(name).stem: load_model(name) for name in args.models}
    first = next(iter(models.values()))
    if any(one.card.get("encoder sha256") != first.card.get("encoder sha256") for one in models.values()):
        raise InputError("The models have different encoders: give decoders of one.")
    scenes = EncodedScenes(FrozenEncoder(first), shape_preset(args.preset), args.seed, torch.device("cpu"))
    validation = PromptValidation(scenes, args.scenes, args.targets)
    found = {name: validation(model) for name, model in models.items()}
    write_json(args.json, found)
    columns = [*validation.settings, "mean"]
    rows = [[name, *scores.values()] for name, scores in found.items()]
    return finish(markdown(["decoder", *columns], rows))


if __name__ == "__main__":
    sys.exit(main())
