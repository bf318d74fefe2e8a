"""The recipes that can be run, by name. Nothing of a recipe is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.fields import from_json
from napari_synthseg.jobs import Progress
from napari_synthseg.training.recipe import recipes


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe and where its parts are.

    Attributes:
        name: on the command line, as in `train NAME`.
        title: for people.
        summary: one line on what it is for.
        where: "module:Class" of its options; the module has `stages(options)` too, and needs no torch.
        module: has `train(options)` and `export(run, path, best=..., scores=...)`.
        use: what follows `napari-synthseg` to use its weights; WEIGHTS stands for their file.
    """

    name: str
    title: str
    summary: str
    where: str
    module: str
    use: str = "segment SCAN -o LABELS.nii.gz --weights WEIGHTS"

    @property
    def options(self) -> type[Any]:
        """The dataclass of its options."""
        module, _, name = self.where.partition(":")
        return getattr(import_module(module), name)

    def read_options(self, values: Mapping[str, Any]) -> Any:
        """Options from a run's config."""
        return from_json(self.options, values)

    def stages(self, options: Any) -> dict[str, int]:
        """Steps of each stage, in their order."""
        return import_module(self.where.partition(":")[0]).stages(options)

    def train(self, options: Any) -> Generator[Progress, None, Path]:
        """The training job; returns the exported weights. Imports torch."""
        return import_module(self.module).train(options)

    def export(self, run: Path, path: Path, **wanted: Any) -> Path:
        """Make weights of a run's checkpoints: `best`, `scores`, and what else this recipe's export takes."""
        return import_module(self.module).export(run, path, **wanted)


HERE = "napari_synthseg.training"
_WAITING: dict[str, RecipeEntry] = {
    entry.name: entry
    for entry in (
        RecipeEntry(
            "pretrain",
            "Pre-train",
            "An encoder of transformers, trained on scans without labels.",
            f"{HERE}.options.pretrain:TrainPretrainOptions",
            f"{HERE}.pretrain.train",
            "train finetune --scans SCANS --out RUN --start-from WEIGHTS",
        ),
        RecipeEntry(
            "finetune",
            "Fine-tune",
            "A network trained further, or anew, on labelled scans.",
            f"{HERE}.options.finetune:TrainFinetuneOptions",
            f"{HERE}.finetune.train",
        ),
    )
}


RECIPES: dict[str, Any] = {**recipes(), **_WAITING}


def recipe(name: str) -> Any:
    """A recipe by its name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError(f"There is no recipe {name!r}: choose {', '.join(RECIPES)}.")
    return RECIPES[name]
