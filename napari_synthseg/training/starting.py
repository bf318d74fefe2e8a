"""What recipes do alike before their first step and after their last: options, device, the run's folder, its card."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError

FACTS = "run.json"
"""File of a run that says what it is trained on and how; goes into the card of its weights."""


class RunOptions(Protocol):
    """What the options of all recipes have."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""

    @property
    def device(self) -> str:
        """auto, cpu, cuda or mps."""

    @property
    def threads(self) -> int | None:
        """CPU threads; None: torch's."""


def check_positive(options: object, names: Sequence[str]) -> None:
    """Refuse options that are not above 0; None is left alone.

    Raises:
        InputError: one of them is 0 or less.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise InputError(f"The option {name} must be above 0, not {value}.")


def check_shares(options: object, names: Sequence[str]) -> None:
    """Refuse shares out of range.

    Raises:
        InputError: one of them does not lie between 0 and 1.
    """
    for name in names:
        if not 0.0 <= getattr(options, name) <= 1.0:
            raise InputError(f"The option {name} is a share from 0 to 1, not {getattr(options, name)}.")


def check_curriculum(curriculum: tuple[float, int]) -> None:
    """Refuse a curriculum that cannot be meant.

    Raises:
        InputError: its share does not lie between 0 and 1, or it has no step.
    """
    if not 0.0 <= curriculum[0] <= 1.0 or curriculum[1] < 1:
        raise InputError("The curriculum is a share from 0 to 1 and a number of steps of at least 1.")


def begin(options: RunOptions) -> torch.device:
    """Set threads and seed; where to train."""
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    automatic = "cuda" if torch.cuda.is_available() else "cpu"  # not mps, on which nothing was ever trained
    return resolve_device(automatic if options.device == "auto" else options.device)


def check_new(out: Path, resume: bool, checkpoints: str = "*.pt") -> None:
    """Refuse to start over in the folder of a run.

    Raises:
        InputError: there are checkpoints, and the run is not to be resumed.
    """
    if not resume and any(out.glob(checkpoints)):
        raise InputError(f"The folder {out} holds a run already: add --resume to go on, or choose another folder.")


def write_facts(out: Path, facts: Mapping[str, Any]) -> None:
    """Keep what is to stand on the card of the weights; makes the run's folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def recipe_words(first: str, options: Any, plain: Any, hidden: Collection[str]) -> str:
    """A recipe in words: what it begins with, then the options that differ from the defaults.

    Args:
        first: such as "train synthseg, preset fast, seed 1".
        options: a dataclass.
        plain: the same with its defaults.
        hidden: options that are left out.
    """
    defaults = asdict(plain)
    chosen = {k: v for k, v in asdict(options).items() if v != defaults[k] and k not in hidden}
    return ", ".join([first, *(f"{k} {v}" for k, v in chosen.items())])


def check_weights_name(path: Path) -> None:
    """Refuse names of weights that end otherwise.

    Raises:
        InputError: the name does not end in .safetensors.
    """
    if path.suffix != ".safetensors":
        raise InputError(f"{path} must end in .safetensors: give such a name for the weights.")


def mean_scores(scores: Path) -> dict[str, float]:
    """The means in a file of `evaluate --json`, fit for a card."""
    return {k: round(v, 4) for k, v in json.loads(scores.read_text())["mean"].items() if v is not None}
