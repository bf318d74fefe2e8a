"""The denoisers of several runs of `train robust` (fast plan) on degraded scans: tissue Dice by kind of degradation.

    python benchmarks/denoisers.py RUN [RUN ...] --labelled FOLDER [--draws 4] [--seed 1] [--out FILE.json]

FOLDER holds scans that no run has learned from, `<id>_t1.nii.gz` of 1 mm with `<id>_labels.nii.gz`. Each is degraded
`--draws` times in every way: as D's training does it (everything at once, section 2.3 of SynthSeg+), and by one thing
at a time from the same ranges. All runs see the same images. A row says the Dice of tissue classes at 2 mm that S1
reaches and what each D makes of that. To compare a D trained on real scans with one trained on synthetic images:

    mkdir -p real/checkpoints && cp run/checkpoints/s1.pt real/checkpoints/
    napari-synthseg train robust --label-maps MAPS --out real --only d --labelled REAL [what else run was trained with]
    python benchmarks/denoisers.py run real --labelled FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from harness import arguments, command, finish, markdown, write_json

from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import degradation
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.networks.registry import build
from napari_synthseg.training.data.degraded import NEAR, degraded_case
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.data.validation import ValidationCase, labelled_cases
from napari_synthseg.training.engine.checkpoints import trained_state
from napari_synthseg.training.folder import read_config
from napari_synthseg.training.objectives.tissues import score_fast_tissues

STILL: dict[str, Any] = {
    "rotation_deg": (0.0, 0.0), "scaling": (1.0, 1.0), "shearing": (0.0, 0.0), "translation_mm": (0.0, 0.0),
    "velocity_std": (0.0, 0.0), "bias_std": (0.0, 0.0), "gamma_exponent": (1.0, 1.0), "slice_spacing_mm": (1.0, 1.0),
    "slice_blur_mm": (0.5, 0.5), "noise_std": (0.0, 0.0),
}  # fmt: skip
"""Ranges of a degradation that changes next to nothing."""
PARTS = {
    "deformation": ("rotation_deg", "scaling", "shearing", "translation_mm", "velocity_std"),
    "bias field": ("bias_std",),
    "contrast (gamma)": ("gamma_exponent",),
    "thick slices": ("slice_spacing_mm", "slice_blur_mm"),
    "noise": ("noise_std",),
}
"""What is left of D's own ranges for each single kind."""


def kinds() -> dict[str, GenerativeModel]:
    """The ways to degrade: none, one thing at a time, and everything at once as D's training does it."""
    still = degradation().with_values(**STILL)
    single = {kind: still.with_values(**{name: NEAR.values[name] for name in names}) for kind, names in PARTS.items()}
    return {"none": still, **single, "all at once": NEAR}


def inner_networks(run: Path) -> RobustLocateRefine:
    """The network of a run with its S1 and D; S2 may be untrained.

    Raises:
        InputError: the folder holds no run of the fast plan, or lacks S1's or D's checkpoint.
    """
    try:
        model = build(read_config(run)["card"])
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{run} is no run of train robust: give another folder.") from error
    if not isinstance(model, RobustLocateRefine):
        raise InputError(f"{run} is no run of the fast plan: give another folder.")
    for stage, part in (("s1", model.locator.s1), ("d", model.locator.denoiser)):
        state = trained_state(run, stage)
        part.load_state_dict(state["average"] or state["model"])
    return model.eval()


def compare(
    models: dict[str, RobustLocateRefine], cases: Sequence[ValidationCase], draws: int, seed: int
) -> Iterator[dict[str, Any]]:
    device = torch.device("cpu")
    for kind, priors in kinds().items():
        images = [
            degraded_case(case, priors, step_generator(seed, 100 * i + j), device, RobustLocateRefine.head_spacing)
            for i, case in enumerate(cases)
            for j in range(1 if kind == "none" else draws)
        ]
        scores = {name: score_fast_tissues(model, images, device) for name, model in models.items()}
        yield {"kind": kind, "images": len(images), **{name: list(one) for name, one in scores.items()}}


def table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    heads = [f"{part}, {name}" for name in names for part in ("S1", "D")]
    return markdown(
        ["degradation", "images", *heads],
        [[row["kind"], row["images"], *(score for name in names for score in row[name])] for row in rows],
    )


@command
def main() -> int:
    args = arguments(
        __doc__, "--seed", "--threads", "--out", out={"help": "JSON of the rows"},
        runs_={"nargs": "+", "type": Path}, labelled={"type": Path, "required": True},
        draws={"type": int, "default": 4, "help": "degraded images of each scan and kind"},
    )  # fmt: skip
    models = {str(run): inner_networks(run) for run in args.runs}
    first = next(iter(models.values()))
    if any(model.labels != first.labels for model in models.values()):
        raise InputError("The runs predict other labels than one another: compare runs of the same label maps.")
    rows = list(compare(models, labelled_cases(args.labelled, first.labels), args.draws, args.seed))
    write_json(args.out, rows)
    return finish(table(rows, list(models)))


if __name__ == "__main__":
    sys.exit(main())
