"""A step of a generative model: its parameters, what it draws from them, and what it does to a head. No torch here.

A step is one file in `generator.steps` with one frozen dataclass that inherits from `Step`. Forms, tables, presets,
JSON, command line and Python text follow from its annotated fields; no other file names it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Self

from napari_synthseg.fields import Range, check

if TYPE_CHECKING:
    from napari_synthseg.generator.labelmap import LabelMap

Triple = tuple[float, float, float]
Params = dict[str, Any]
"""What a step draws: plain numbers, texts and tuples of them, the keywords of its `apply`."""
Cell = Callable[[Params], "str | float"]
Columns = Mapping[str, tuple[str, Cell]]
"""Columns of a table of records: a sentence on each, and its cell for the params of a step."""
STEPS: dict[str, type[Step]] = {}
"""Every step, by name."""


class Rng:
    """A stream of random numbers for one step, given the seed of the draw: a new step changes nobody else's draws.

    Every method takes one number from the stream (`triple` three), whatever its arguments are.
    """

    def __init__(self, seed: int | str, name: str = "") -> None:
        self._key = f"{seed}/{name}"
        self._random = random.Random(self._key)

    def stream(self, name: str) -> Rng:
        """Return a stream of its own for a part of the step; nothing is taken from this one."""
        return Rng(self._key, name)

    def __call__(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * self._random.random()

    def triple(self, bounds: Range) -> Triple:
        return self(*bounds), self(*bounds), self(*bounds)

    def log(self, low: float, high: float) -> float:
        """Draw log-uniformly."""
        low = max(low, 1e-6)
        return low * (max(high, low) / low) ** self()

    def normal(self, mean: float = 0.0, std: float = 1.0) -> float:
        return mean + std * self.quantile(self())

    @staticmethod
    def quantile(u: float) -> float:
        return NormalDist().inv_cdf(min(max(u, 1e-12), 1 - 1e-12))

    def chance(self, probability: float) -> bool:
        return self() < probability

    def choice(self, count: int) -> int:
        """Draw one of 0 to `count` - 1."""
        return min(int(count * self()), count - 1)

    def seed(self) -> int:
        """Draw a seed of 52 bits."""
        return int(self() * 2**52)


class Drawing:
    """One draw of a generator: each step draws from its own stream, so that steps may ask for each other's params."""

    def __init__(self, steps: Sequence[Step], label_map: LabelMap | None, seed: int) -> None:
        self._steps = {step.name: step for step in steps}
        self._label_map, self._seed = label_map, seed
        self._drawn: dict[str, Params | None] = {}

    @property
    def label_map(self) -> LabelMap:
        """The map to be turned into an image."""
        assert self._label_map is not None, "this generator needs a label map"
        return self._label_map

    def __getitem__(self, name: str) -> Params | None:
        """Params of a step; None if it does nothing this time."""
        if name not in self._drawn:
            self._drawn[name] = self._steps[name].sample(Rng(self._seed, name), self)
        return self._drawn[name]

    def params(self, name: str) -> Params:
        """Params of a step that always has some."""
        return self[name] or {}

    def step(self, name: str) -> Any:
        return self._steps[name]


@dataclass(frozen=True)
class Step:
    """What steps have in common; a class registers itself: `class Bias(Step, name="bias", title=..., place=50)`."""

    name: ClassVar[str]
    """Of its stream, and of its params in records."""
    title: ClassVar[str]
    """Heading of its fields in forms."""
    place: ClassVar[float]
    """Steps are applied in the order of this number."""
    models: ClassVar[tuple[str, ...]] = ("brains",)
    """Generative models that it belongs to."""
    columns: ClassVar[Columns] = {}
    """Of tables of records."""
    apply: ClassVar[Callable[..., None]]
    """Changes a head or scene in place; its keywords are what `sample` draws."""

    def __init_subclass__(cls, **attributes: Any) -> None:
        super().__init_subclass__()
        for key, value in attributes.items():
            setattr(cls, key, value)
        if "name" in cls.__dict__:
            STEPS[cls.name] = cls

    def __post_init__(self) -> None:
        check(self, "prior")

    def sample(self, rng: Rng, drawing: Drawing) -> Params | None:
        """Draw the params of `apply`, or None; take as many numbers whatever the parameters are."""
        raise NotImplementedError

    def milder(self, strength: float) -> Self:
        """Return the step for the beginning of a curriculum: itself at 1, least extreme at 0."""
        return self


def around(middle: float, bounds: Range, strength: float) -> Range:
    """Return a range drawn together towards its middle; `strength` 1 is the range itself."""
    return middle + strength * (bounds[0] - middle), middle + strength * (bounds[1] - middle)


def cell(name: str, digits: int | None = None) -> Cell:
    """Return the cell of one of the params: yes or no for a flag; a number with that many digits."""

    def show(params: Params) -> str | float:
        value = params[name]
        if isinstance(value, bool):
            return "yes" if value else "no"
        return value if digits is None else round(value, digits)

    return show
