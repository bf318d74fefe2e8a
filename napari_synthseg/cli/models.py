"""`models`: the weights that are at hand."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from napari_synthseg.cli.terminal import DONE
from napari_synthseg.networks.registry import spec_of


def purpose(card: dict[str, Any]) -> str:
    """What weights are for: how many labels they find, or the option of `segment` that uses them."""

    spec = spec_of(card)
    if spec.option:
        return f"--{spec.option}"
    return "clicks" if spec.role == "prompt" else f"{len(card['labels'])} labels"


def make_models() -> Callable[..., int]:
    """List the weights that are at hand."""
    from napari_synthseg.weights import catalogue, sam

    def models(as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
        """List the weights that are at hand.

        Args:
            as_json: print their cards as JSON.
        """
        cards = [*catalogue.available(), *catalogue.available(["helper"]), *sam.available()]
        if as_json:
            print(json.dumps(cards, indent=1))
        else:
            for card in cards:
                print(f"{card['name']:20} {card['network']:14} {purpose(card):16}  {card['path']}")
            if not cards:
                print("There are no weights; the README says where they are looked for.", file=sys.stderr)
        return DONE

    return models
