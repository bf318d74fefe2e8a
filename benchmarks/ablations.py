"""What each choice of SynthFM's training is worth: equal short runs that differ in one choice, on real images.

    python benchmarks/ablations.py MANIFEST OUT [--steps N] [--late-steps N] [--seed N] [--only NAME ...] [--json FILE]

MANIFEST is that of `napari-synthseg evaluate-prompts`. OUT gets the run of each variant and the rows of its evaluation;
what is there already is not done again, so that several processes can share the work (--only). Prints a Markdown table:
mean Dice by modality (over datasets and settings) and by setting (over datasets).

The first variants train a decoder from nothing; the last two go on from `synthfm-mobile`, once as they are and once
with an encoder that learns too.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from harness import arguments, cells, command, finish, markdown, write_json

from napari_synthseg import cli
from napari_synthseg.prompting.evaluate import EvaluatePromptsOptions, Row, evaluate_steps, setting_name
from napari_synthseg.prompting.session import Session
from napari_synthseg.training.recipe import recipe
from napari_synthseg.training.recipes.synthfm import TrainSynthFMOptions
from napari_synthseg.weights.sam import frozen_source, load_model

VARIANTS: dict[str, dict[str, Any]] = {
    "all": {},
    "shape-only": {"scenes": "shape-only"},
    "boundary-only": {"scenes": "boundary-only"},
    "no-boxes": {"boxes": False},
    "no-masks": {"masks": False},
    "no-drawn-prompts": {"draws_prompts": False},
    "adamw": {"optimizer": "adamw"},
}
"""One choice each; the learning rate of all is the same."""
LATE: dict[str, dict[str, Any]] = {"later": {}, "later-encoder": {"train_encoder": True}}
"""Variants that go on from `synthfm-mobile`."""
SESSIONS: dict[str, Session] = {}
"""By their encoder."""


@command
def main() -> int:
    every = [*VARIANTS, *LATE]
    args = arguments(
        __doc__, "manifest", "out", "--seed", "--json", steps={"type": int, "default": 500},
        late_steps={"type": int, "default": 100}, only={"nargs": "*", "choices": every, "default": every},
    )  # fmt: skip
    found = means(cells(args.out, every, args.only, lambda name: rows_of(name, args)))
    write_json(args.json, found)
    return finish(table(found))


def rows_of(name: str, args: argparse.Namespace) -> list[Row]:
    if name in VARIANTS:
        changes = {"steps": args.steps, **VARIANTS[name]}
    else:
        late = {"start_from": "synthfm-mobile", "learning_rate": 1e-4, "decay_fraction": 1.0, "pool": 24}
        changes = {"steps": args.late_steps, **late, **LATE[name]}
    weights = short_run(args.out / name, args.seed, **changes)
    return cli.follow(evaluate_steps(args.manifest, EvaluatePromptsOptions(str(weights)), session_of(weights)))


def short_run(out: Path, seed: int, **changes: Any) -> Path:
    """Weights of a short run of `train synthfm`, trained now unless they are there."""
    common = TrainSynthFMOptions(
        out=out, seed=seed, learning_rate=4e-4, scene_steps=4, decay_fraction=0.5, validate_every=10**9
    )
    options = replace(common, **changes)
    weights = out / f"{options.name}.safetensors"
    if not weights.exists():
        torch.manual_seed(seed)
        cli.follow(recipe("synthfm").train(options))
    return weights


def session_of(weights: Path) -> Session:
    """A session with these weights; those with the same frozen encoder share its embeddings."""
    model = load_model(weights)
    source = frozen_source(model)
    if source is None:
        return Session(model, memory=0)
    session = SESSIONS.setdefault(source, Session(model, memory=2**32))
    session.model.parts().load_state_dict(model.parts().state_dict())
    session.model.draws_prompts = model.draws_prompts
    return session


def means(rows: dict[str, list[Row]]) -> dict[str, dict[str, float]]:
    """Of each variant: mean Dice by modality (over datasets and settings), by setting (over datasets), and of all."""
    found: dict[str, dict[str, float]] = {}
    for name, of_variant in rows.items():
        by_cell: dict[tuple[str, str, str], list[float]] = {}
        for row in of_variant:
            by_cell.setdefault((row["modality"], row["dataset"], setting_name(row)), []).append(row["dsc"])
        dice = {key: fmean(values) for key, values in by_cell.items()}
        parts = [(at, part) for at in (0, 2) for part in dict.fromkeys(key[at] for key in dice)]
        found[name] = {part: fmean(v for k, v in dice.items() if k[at] == part) for at, part in parts}
        found[name]["mean"] = fmean(dice.values())
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    columns = list(next(iter(found.values()), {}))
    return markdown(["variant", *columns], ([name, *(row[c] for c in columns)] for name, row in found.items()))


if __name__ == "__main__":
    sys.exit(main())
