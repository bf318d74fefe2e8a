"""`models`: the weights that are at hand."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from napari_synthseg.cli.terminal import DONE


def purpose(card: dict[str, Any]) -> str:
    """What weights are for: how many labels they find, or the option of `segment` that uses them."""
    from napari_synthseg import weights

    kind = card["network"]
    if kind in weights.HELPERS:
        return f"--{weights.HELPERS[kind]}"
    return "clicks" if kind == weights.PROMPTABLE else f"{len(card['labels'])} labels"


def make_models() -> Callable[..., int]:
    """List the weights that are at hand."""
    from napari_synthseg import promptable_weights, weights

    def models(as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
        """List the weights that are at hand.

        Args:
            as_json: print their cards as JSON.
        """
        cards = [*weights.available(), *weights.available(weights.HELPERS), *promptable_weights.available()]
        if as_json:
            print(json.dumps(cards, indent=1))
        else:
            for card in cards:
                print(f"{card['name']:20} {card['network']:14} {purpose(card):16}  {card['path']}")
            if not cards:
                print("There are no weights; the README says where they are looked for.", file=sys.stderr)
        return DONE

    return models
