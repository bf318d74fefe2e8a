"""`models`: the weights that are at hand."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import json
import sys
from collections.abc import Callable
from typing import Annotated

import tyro

from napari_synthseg.cli.ends import DONE


def make_models() -> Callable[..., int]:
    """List the weights that are at hand."""
    from napari_synthseg import promptable_weights, weights

    def models(as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
        """List the weights that are at hand.

        Args:
            as_json: print their cards as JSON.
        """
        cards = [*weights.available(), *promptable_weights.available()]
        if as_json:
            print(json.dumps(cards, indent=1))
        else:
            for card in cards:
                what = f"{len(card['labels'])} labels" if "labels" in card else "clicks"
                print(f"{card['name']:20} {card['network']:14} {what:>10}  {card['path']}")
            if not cards:
                print("There are no weights; the README says where they are looked for.", file=sys.stderr)
        return DONE

    return models
