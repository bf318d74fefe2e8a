"""How much the partner's answer counts beside the default decoder's, for each kind of prompts: synthetic scenes choose.

    python benchmarks/partner.py [--scenes N] [--targets N] [--json FILE]

Both decoders answer the same prompts on the same embeddings of held-out scenes with targets of any size (the priors of
`sizes.py`, another seed). Prints mean Dice on the decoders' grid of each weight of the partner's logits, the best
weight of each kind, and its difference to the decoder alone with the 95 % interval (scenes drawn again 2,000 times). A
weight is shipped if that interval is above 0. No real image is looked at.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from harness import arguments, command, finish, write_json
from sizes import JUDGES, on_cells
from torch.nn import functional as F

from napari_synthseg.networks.promptable import SINGLE, FrozenEncoder
from napari_synthseg.prompting.decode import meant_parts
from napari_synthseg.training.data.prompts import CELL, Plan
from napari_synthseg.training.data.scenes import SETTINGS, EncodedScenes, PromptValidation
from napari_synthseg.weights.sam import load_model

WEIGHTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
KINDS = {
    "inside": {name: SETTINGS[name] for name in ("1+0", "3+0")},
    "outside": {name: SETTINGS[name] for name in ("1+2", "3+2")},
    "box": {"box": SETTINGS["box"]},
    "mask": {"mask": Plan(0, 0, mask=True), "mask 1+2": Plan(1, 2, mask=True)},
}
"""Kinds of prompts (`Prompts.kind`), and the settings that are measured for each."""
SCENE_SEED = 88_000_007
"""No training, no validation and no other benchmark is near it."""


@command
def main() -> int:
    """Print the table."""
    args = arguments(__doc__, "--json", scenes={"type": int, "default": 48}, targets={"type": int, "default": 3})
    dice = measured(args.scenes, args.targets)
    write_json(args.json, {kind: values.tolist() for kind, values in dice.items()})
    return finish(markdown(dice))


@torch.inference_mode()
def measured(count: int, targets: int) -> dict[str, np.ndarray]:
    """By kind: mean Dice (scenes, weights)."""
    model = load_model("default")
    partner = load_model(model.card.get("partner", "mobilesam-decoder"))
    held_out = EncodedScenes(FrozenEncoder(model), JUDGES, SCENE_SEED, torch.device("cpu"))
    validation = PromptValidation(held_out, count, targets)
    validation.settings = {name: plan for settings in KINDS.values() for name, plan in settings.items()}
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for index in range(count):
        encoded, masks, prompts = validation._case(index)
        truth = (F.avg_pool2d(masks[:, None].float(), CELL)[:, 0] > 0.5).numpy()
        embedding = encoded.embedding[None].float()
        for kind, settings in KINDS.items():
            scores = []
            for given in (prompts[name] for name in settings):
                asked = (embedding, *given)
                own, other = (one.decode(*asked)[0][:, SINGLE] for one in (model, partner))
                for number, target in enumerate(truth):
                    said = on_cells(given, number)
                    answers = [(torch.lerp(own[number], other[number], w) > 0).numpy() for w in WEIGHTS]
                    if given.masks is None:
                        answers = [meant_parts(answer, said) for answer in answers]
                    scores.append([2 * (a & target).sum() / max(1, a.sum() + target.sum()) for a in answers])
            found[kind].append(np.mean(scores, 0))
        print(f"{index + 1} of {count} scenes", file=sys.stderr, flush=True)
    return {kind: np.array(values) for kind, values in found.items()}


def markdown(dice: dict[str, np.ndarray]) -> str:
    """A line a kind: mean Dice of each weight, the best weight, its difference to 0 with the interval."""
    lines = [f"| prompts | {' | '.join(map(str, WEIGHTS))} | best | difference | 95 % |", "|---" * 10 + "|"]
    rng = np.random.default_rng(0)
    for kind, values in dice.items():
        means = values.mean(0)
        best = int(means.argmax())
        gain = values[:, best] - values[:, 0]
        low, high = np.percentile(rng.choice(gain, (2000, len(gain))).mean(1), (2.5, 97.5))
        figures = " | ".join(f"{mean:.3f}" for mean in means)
        lines.append(f"| {kind} | {figures} | {WEIGHTS[best]} | {gain.mean():+.3f} | {low:+.3f} to {high:+.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
