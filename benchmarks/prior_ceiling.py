"""Dice of the refiner by the prior it is given: the locator's, the truth, or the truth blurred. Where does error arise?

    python benchmarks/prior_ceiling.py LABEL_MAPS --hold-out NAME ... [--weights NAME_OR_FILE] [--contrast T1 ...]
        [--blur 3] [--times 2] [--seed 1] [--json FILE]

LABEL_MAPS is what `train synthseg` takes, --hold-out the maps that the weights have not seen: one head of each is drawn
in every contrast (T1, T2, PD, FLAIR, CT, or random1, random2 ...). The refiner starts from a prior at 2 mm: the
locator's posteriors; these averaged with what the refiner makes of them (as `segment` does with a clear T1); the truth
averaged to 2 mm; or that, blurred by boxes of --blur voxels of 2 mm, --times times. Prints a Markdown table: Dice at
1 mm of the prior alone (linear interpolation) and of what the refiner makes of it, contrast by contrast. A refiner that
loses on a blurred but clean prior trusts its prior more than the image.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch
from consistency import anatomy_record, variant
from harness import arguments, command, finish, markdown, write_json
from torch.nn import functional as F

from napari_synthseg.errors import InputError
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.sample import apply
from napari_synthseg.jobs import run
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.training.data.labelled_scans import hold_out
from napari_synthseg.training.data.synthetic import percentile_limits, rescaled
from napari_synthseg.training.data.validation import ValidationCase, dice, pooled, score_refiner
from napari_synthseg.weights.store import load_model

CPU = torch.device("cpu")


@command
def main() -> int:
    args = arguments(
        __doc__, "label_maps", "--hold-out", "--weights", "--seed", "--json", "--threads",
        contrast={"nargs": "+", "default": ["T1"], "help": "T1, T2, PD, FLAIR, CT, or random1, random2 ..."},
        blur={"type": int, "default": 3, "help": "voxels of 2 mm, odd"}, times={"type": int, "default": 2},
    )  # fmt: skip
    _, held_out = hold_out(run(read_maps(args.label_maps)), args.hold_out, "label map")
    model = load_model(args.weights)
    if not isinstance(model, LocateRefine):
        raise InputError(f"{args.weights} has no refiner: give weights of a locate-and-refine network.")
    if args.blur % 2 == 0:
        raise InputError(f"A blur of {args.blur} voxels has no middle: give an odd number.")
    cases = [head(one, model, contrast, args.seed + n) for contrast in args.contrast for n, one in enumerate(held_out)]
    found = measure(model, cases, args.blur, args.times)
    write_json(args.json, found)
    return finish(table(found))


def head(label_map: LabelMap, model: LocateRefine, contrast: str, seed: int) -> ValidationCase:
    """Draw one head of a label map at 1 mm, with its skull, in one contrast (see `benchmarks/consistency.py`)."""
    record = variant(anatomy_record(label_map, seed, 0.0), label_map, contrast, 1.0, 0)
    sample = apply(record, label_map, Grid.centered((192, 224, 192), 1.0))
    image = rescaled(sample.image, percentile_limits(sample.image))
    return ValidationCase(f"{label_map.name} {contrast}", image.half(), sample.target(model.labels))


@torch.no_grad()
def measure(
    model: LocateRefine, cases: list[ValidationCase], blur: int, times: int
) -> dict[str, dict[str, list[float]]]:
    def truth(case: ValidationCase) -> torch.Tensor:
        one_hot = F.one_hot(case.channels.long(), len(model.labels)).movedim(-1, 0)[None]
        return torch.cat([F.avg_pool3d(part.float(), 2) for part in one_hot.split(1, 1)], 1)

    def blurred(case: ValidationCase) -> torch.Tensor:
        prior = truth(case)
        for _ in range(times):
            prior = F.avg_pool3d(prior, blur, 1, blur // 2, count_include_pad=False)
        return prior

    def located(case: ValidationCase) -> torch.Tensor:
        return model.locate(pooled(case.image.float())).float()

    def second(case: ValidationCase) -> torch.Tensor:
        prior, image = located(case), case.image.float()
        refined = model.refine(image[None, None], prior, model.appearance(pooled(image), prior))
        return (prior + F.avg_pool3d(refined, 2)) / 2

    priors: dict[str, Callable[[ValidationCase], torch.Tensor]] = {
        "the locator's": located,
        "the mean of that and the refiner's answer": second,
        "the truth, averaged to 2 mm": truth,
        f"the truth, blurred {times} times by {blur} voxels of 2 mm": blurred,
    }
    found: dict[str, dict[str, list[float]]] = {}
    for name, prior_of in priors.items():
        rows = found[name] = {"prior": [], "refined": []}
        for case in cases:
            prior = prior_of(case)
            fine = F.interpolate(prior, scale_factor=2, mode="trilinear").argmax(1)[0].to(torch.uint8)
            rows["prior"].append(statistics.mean(dice(fine, case.channels, model.labels).values()))
            rows["refined"].append(score_refiner(model, [case], CPU, lambda _, prior=prior: prior).mean)
            print(f"{case.name}, {name}: {rows['prior'][-1]:.3f}, {rows['refined'][-1]:.3f}", file=sys.stderr)
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    rows = [[name, *(", ".join(f"{one:.3f}" for one in by[key]) for key in ("prior", "refined"))]
            for name, by in found.items()]  # fmt: skip
    return markdown(["prior given to the refiner", "prior alone", "refined"], rows)


if __name__ == "__main__":
    sys.exit(main())
