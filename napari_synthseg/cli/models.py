"""`models` and `import-weights`: list the weights at hand, and convert official ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from napari_synthseg.cli.terminal import DONE, TRAINING, Json, command


@command("models")
def models(as_json: Json = False) -> int:
    """List the weights at hand."""
    from napari_synthseg.weights import catalogue, sam

    cards = [*catalogue.available(), *catalogue.available(["helper"]), *sam.available()]
    if as_json:
        print(json.dumps(cards, indent=1))
        return DONE
    for card in cards:
        print(f"{card['name']:20} {card['network']:14} {purpose(card):16}  {card['path']}")
    if not cards:
        print("There are no weights; the README says where they are looked for.", file=sys.stderr)
    return DONE


def purpose(card: dict[str, Any]) -> str:
    """Return what weights are for: how many labels they find, or the option of `segment` that uses them."""
    from napari_synthseg.networks.registry import spec_of

    spec = spec_of(card)
    if spec.option:
        return f"--{spec.option}"
    return "clicks" if spec.role == "prompt" else f"{len(card['labels'])} labels"


@command("import-weights", heading=TRAINING)
def import_weights(
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")],
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    labels: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Convert SynthSeg's official weights (Keras .h5) into safetensors.

    The weights of SynthSeg 1.0, 2.0 and robust, its parcellation and its quality regressor.

    Args:
        file: the .h5 file; its layers say what it holds.
        out: the .safetensors file or the folder to write; by default the cache, where segment finds it by name.
        labels: list of the values that the network predicts (.npy or text), for networks of your own training.
        overwrite: replace existing files.
    """
    from napari_synthseg.weights.keras import read_labels
    from napari_synthseg.weights.store import import_weights as write

    print(write(file, out, labels=read_labels(labels) if labels is not None else None, overwrite=overwrite))
    return DONE
