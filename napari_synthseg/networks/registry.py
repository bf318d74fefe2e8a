"""Registry of networks: how each kind is built from the card of its weights, and how it is run on a scan.

A network is one file in this folder whose class is decorated with `@register("kind", ...)` and has a class method
`from_card`. No other file names it: loading, inference, the command line and the window ask the registry.

    >>> from napari_synthseg.networks import registry
    >>> registry.spec_of({"network": "unet"}).predictor
    'whole_volume'

What `register` is given are literals. They are read from the source without running it, so that kinds of networks can
be listed without importing torch.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from napari_synthseg.errors import InputError

if TYPE_CHECKING:
    from torch import nn

Card = Mapping[str, Any]
Role = Literal["segmenter", "helper", "prompt", "encoder", "part"]
_Class = TypeVar("_Class", bound=type)
ENCODER = "-encoder"
"""Ends the kind of an encoder alone that was pre-trained to be fine-tuned."""


@dataclass(frozen=True)
class InferenceSpec:
    """How a kind of network is used."""

    role: Role = "segmenter"
    """A segmenter makes labels from a scan alone, a helper works on what a segmenter found, "prompt" answers clicks, an
    encoder is there to be fine-tuned, a part belongs to a hierarchy."""
    option: str = ""
    """Of `segment`, that takes the weights of a helper."""
    predictor: Literal["locate_refine", "whole_volume", "sliding_window"] = "whole_volume"
    """Of a segmenter, a name in `inference.memory.PREDICTORS`."""
    autocast: bool = False
    """Whether it was trained in half precision, and runs in it where that is faster."""
    channels_last: bool = False
    """Whether its weights are laid channels last."""
    fixed_window: bool = False
    """Whether blocks have the size it was trained on; else they shrink where memory runs out."""
    whole: bool = False
    """Whether our own preset predicts the whole volume at once if memory allows."""
    reference: Literal["none", "full", "fast"] = "none"
    """How much of the reference implementation's procedure applies to it."""
    tissues: bool = False
    """Whether it has inner networks that find tissues."""


class NetworkEntry(NamedTuple):
    """A registered network: its kind on cards, where its class stands, and how it is used."""

    kind: str
    module: str
    class_name: str
    spec: InferenceSpec

    def build(self, card: Card) -> nn.Module:
        """Return the untrained network that a card describes."""
        made = getattr(importlib.import_module(self.module), self.class_name).from_card(card)
        return made.encoder if self.spec.role == "encoder" else made


def register(kind: str, **spec: Any) -> Callable[[_Class], _Class]:
    """Register a network class; of several decorators the topmost sets its attribute `spec`.

    Args:
        kind: as cards name it in "network". A hierarchy whose last part decides on its class adds that part's kind:
            "robust/locate-refine".
        **spec: fields of `InferenceSpec`, all of them literals.
    """

    def decorate(cls: _Class) -> _Class:
        cls.spec = InferenceSpec(**spec)  # type: ignore[attr-defined]
        return cls

    return decorate


@functools.cache
def entries() -> Mapping[str, NetworkEntry]:
    """Return all registered networks by kind, without importing them."""
    found: dict[str, NetworkEntry] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body if "\n@register(" in text else ():
            if not isinstance(node, ast.ClassDef):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "register":
                    kind = ast.literal_eval(call.args[0])
                    given = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
                    module = f"{__package__}.{path.stem}"
                    found[kind] = NetworkEntry(kind, module, node.name, InferenceSpec(**given))
    return found


def from_scratch(name: str) -> bool:
    """Tell whether fine-tuning can train a network from random weights: those whose encoders can be pre-trained."""
    return name + ENCODER in entries()


def entry_of(card: Card) -> NetworkEntry:
    """Return the entry of the network that a card describes.

    Raises:
        InputError: the kind of network is unknown.
    """
    kind, parts = card.get("network"), card.get("parts")
    s2 = parts.get("s2") if isinstance(parts, Mapping) else None
    last = s2.get("network") if isinstance(s2, Mapping) else None
    found = entries().get(f"{kind}/{last}") or entries().get(str(kind))
    if found is None:
        raise InputError(f"The weights {card.get('name')!r} are for a network of unknown kind {kind!r}: update it.")
    return found


def spec_of(card: Card) -> InferenceSpec:
    """Return how the network of a card is used; as a part, which nobody can choose, if its kind is unknown."""
    try:
        return entry_of(card).spec
    except InputError:
        return InferenceSpec(role="part")


def segments(card: Card) -> bool:
    """Return whether the network of a card makes labels from a scan alone."""
    return spec_of(card).role == "segmenter" and card.get("in_channels", 1) == 1


def build(card: Card) -> nn.Module:
    """Return the untrained network that a card describes.

    Raises:
        InputError: the kind of network is unknown.
        KeyError: the card lacks a size.
    """
    return entry_of(card).build(card)
