"""Recipes: each is run by `train NAME`, from its options to weights with a card.

A recipe is one file in `training/recipes/` that declares its options (a dataclass that inherits `RunOptions`) and a
subclass of `Recipe` with the decorator `register`; the command line, the form and background runs find it there. Such
a file imports torch inside its methods only, so that options are listed quickly.
"""

from __future__ import annotations

import functools
import json
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from napari_synthseg import __version__
from napari_synthseg.errors import InputError
from napari_synthseg.fields import (
    Folder,
    Fraction,
    LabelledScans,
    LabelMaps,
    Positive,
    PositiveInt,
    PriorSettings,
    changed,
    check,
    from_json,
    to_json,
)
from napari_synthseg.jobs import Progress
from napari_synthseg.training import folder
from napari_synthseg.training.engine.events import watch

if TYPE_CHECKING:
    import torch

    from napari_synthseg.generator.model import GenerativeModel
    from napari_synthseg.training.engine.loop import LoopOptions, Objective


UNSAID = ("name", "resume", "validate_every", "save_minutes", "device", "devices", "threads")
"""Options that a card never names, besides folders and files."""
FAST_LOOP: Mapping[str, Any] = {"optimizer": "adamw", "weight_decay": 1e-4, "ema_decay": 0.995, "clip": 2.0}
"""Settings of a loop (`engine.optim.LoopOptions`) for the fast networks."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of every run."""

    out: Folder
    """Folder of the run: config.json, events.jsonl, checkpoints, and the exported weights."""
    name: str = "trained"
    """Name of the exported weights."""
    resume: bool = False
    """Continue from the newest checkpoint in the run's folder."""
    start_from: str | None = None
    """Name or file of weights to start from, in place of random ones; of the same sizes and labels."""
    seed: int = 1
    """Seed of everything random."""
    batch: PositiveInt | None = None
    """Samples a step."""
    learning_rate: Positive | None = None
    """Peak learning rate."""
    decay_fraction: Fraction = 0.25
    """Fraction of the steps, at the end, over which the learning rate falls to zero."""
    validate_every: PositiveInt = 500
    """Steps between validations."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads; default torch's."""

    def __post_init__(self) -> None:
        """Refuse options out of range; files become absolute, so that another process finds them."""
        check(self)
        for name in ("priors", "start_from"):
            value = getattr(self, name, None)
            if value is not None and (path := Path(value).expanduser()).is_file():
                object.__setattr__(self, name, str(path.absolute()))


@dataclass(frozen=True, kw_only=True)
class SharedRunOptions(RunOptions):
    """Options of runs whose steps several processes can share."""

    devices: PositiveInt = 1
    """GPUs of this machine (or processes on the CPU) that share the work: each has a batch, and all learn from them."""


@dataclass(frozen=True, kw_only=True)
class PriorOptions:
    """Options of recipes that learn from generated images."""

    priors: str | None = None
    """Preset of the generative model, or a JSON file of priors; default synthseg."""
    set: PriorSettings = ()
    """Priors to change, as name=value or name=low,high, for example slice_spacing_mm=5,5 slice_direction=axial."""

    def generative_model(self, usual: GenerativeModel | None = None) -> GenerativeModel:
        """Return the generative model that the options name, or the usual one with the changes."""
        from napari_synthseg.generator import presets

        if self.priors is None and usual is not None:
            return presets.changed(usual, self.set)
        return presets.load_priors(self.priors or "synthseg", self.set)


@dataclass(frozen=True, kw_only=True)
class DataOptions(PriorOptions):
    """Options of recipes that learn from images generated from label maps."""

    label_maps: LabelMaps
    """Folder of label maps (NIfTI, MGZ, NRRD), or one .npz file of prepared maps."""
    lesions: bool = False
    """Paint white matter lesions into the label maps; the network learns to label them white matter."""
    csf: bool = True
    """Predict the CSF around the brain, as SynthSeg 2.0 does; the paper does not (Table S2): 32 labels, not 33."""
    hold_out: tuple[str, ...] = ()
    """Names of label maps kept for validation; default the last tenth."""
    validation: LabelledScans | None = None
    """Folder of labelled scans, <id>_t1.nii.gz with <id>_labels.nii.gz: they choose the best checkpoint."""


def check_curriculum(curriculum: tuple[float, int]) -> None:
    """Raise an `InputError` if a curriculum's fraction does not lie between 0 and 1, or it has no step."""
    if not 0.0 <= curriculum[0] <= 1.0 or curriculum[1] < 1:
        raise InputError("The curriculum is a fraction from 0 to 1 and a number of steps of at least 1.")


@dataclass(frozen=True)
class TrainingStage:
    """One stage of a run, ready to be trained."""

    name: str
    """Of its checkpoints."""
    objective: Objective
    loop: LoopOptions
    card: Callable[[], dict[str, Any]] = dict
    """Called for facts stored with every checkpoint."""


class Recipe(ABC):
    """A way to train a network. Subclasses say what is special; training, resuming and exporting stand here once."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    """One line on its purpose."""
    options: ClassVar[type[Any]]
    rank: ClassVar[int] = 99
    """Place in lists of recipes."""
    use: ClassVar[str] = "segment SCAN -o LABELS.nii.gz --weights WEIGHTS"
    """Words after `napari-synthseg` that use its weights; WEIGHTS stands for their file."""
    renamed: ClassVar[Mapping[str, str]] = {"cooldown": "decay_fraction"}
    """Names of options in runs of earlier versions, with their names today."""
    retired: ClassVar[tuple[str, ...]] = ()
    """Options in runs of earlier versions that are read no more."""
    headline: ClassVar[tuple[str, ...]] = ("seed",)
    """Options that a card's recipe names first; the others follow only if they were changed."""
    score: ClassVar[str] = "Dice"
    """Name of what its validation measures."""
    locates: ClassVar[bool] = False
    """Whether its networks locate the brain first: their cards may have a confident score."""

    @abstractmethod
    def stages(self, options: Any) -> dict[str, int]:
        """Return the steps of each stage to train, in their order, without reading data."""

    @abstractmethod
    def prepare(self, options: Any, device: torch.device) -> Generator[Progress, None, Any]:
        """Read the data, which `card` and `build` get.

        Raises:
            InputError: the data or options cannot be used.
        """

    @abstractmethod
    def card(self, options: Any, data: Any) -> dict[str, Any]:
        """Return the facts of the weights to come: network, sizes, labels, description, data, license."""

    @abstractmethod
    def build(self, options: Any, data: Any, device: torch.device) -> Iterator[TrainingStage]:
        """Yield the stages one after the other; each is asked for when the one before is trained."""

    def places(self, options: Any) -> dict[str, str]:
        """Return where in the network each stage's weights belong, as the prefix of their names."""
        return dict.fromkeys(self.stages(options), "")

    def exports_best(self, options: Any) -> bool:
        """Tell whether the finished run is exported from its best checkpoints rather than its newest."""
        return False

    def state(self, run: Path, stage: str, best: bool) -> dict[str, Any]:
        """Read the checkpoint of a stage to export."""
        from napari_synthseg.training.engine.checkpoints import trained_state

        return trained_state(run, stage, best=best)

    def tensors(self, run: Path, options: Any, states: Mapping[str, dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the weights to export from the checkpoints of the stages: averaged ones, if there are."""
        found: dict[str, torch.Tensor] = {}
        for stage, place in self.places(options).items():
            weights = states[stage]["average"] or states[stage]["model"]
            found |= {f"{place}.{name}".lstrip("."): tensor for name, tensor in weights.items()}
        return found

    def stored_card(self, run: Path, options: Any) -> dict[str, Any]:
        """Return the facts that a run keeps for its card."""
        return folder.card_of(run)

    def read_options(self, values: Mapping[str, Any]) -> Any:
        """Read options from a run's config, of this or an earlier version; an `InputError` if they do not fit."""
        kept = {name: value for name, value in values.items() if name not in self.retired}
        return from_json(self.options, {self.renamed.get(name, name): value for name, value in kept.items()})

    def train(self, options: Any) -> Generator[Progress, None, Path]:
        """Train and export.

        Returns:
            The exported weights file; the checkpoint if one stage alone was trained and others are missing.

        Raises:
            InputError: the data or options cannot be used, or the folder contains a run already.
        """
        from napari_synthseg.training.engine.loop import begin, fit

        stages = self.stages(options)
        if not options.resume:
            check_new(options.out, self.name, stages)
        device = begin(options)
        data = yield from self.prepare(options, device)
        card = {
            "trained with": f"napari-synthseg {__version__}",
            "licence": "Apache-2.0",
            "recipe": self.words(options),
            **self.card(options, data),
        }
        if watch().recorded:  # these options have a device of this machine in place of "auto"
            folder.write_config(options.out, card=card)
        else:
            folder.write_config(options.out, recipe=self.name, options=to_json(options), stages=stages, card=card)
        for stage in self.build(options, data, device):
            if stage.name in stages:
                out, resume = options.out, options.resume
                yield from fit(stage.objective, stage.loop, out, name=stage.name, resume=resume, card=stage.card)
            else:
                stage.objective.use(self.state(options.out, stage.name, best=False))
        wanted = self.places(options)
        if missing := [stage for stage in wanted if not folder.checkpoint(options.out, stage).exists()]:
            return folder.checkpoint(options.out, next(stage for stage in stages if stage not in missing))
        best = self.exports_best(options) and all(folder.checkpoint(options.out, s, "best").exists() for s in wanted)
        return self.export(options.out, options.out / f"{options.name}.safetensors", best=best)

    def export(
        self,
        run: Path,
        path: Path,
        *,
        best: bool = False,
        scores: Path | None = None,
        confident_score: float | None = None,
    ) -> Path:
        """Write the weights of a run as float16 safetensors with a card.

        Args:
            run: its folder; it may still be running.
            path: of the weights, ending in .safetensors.
            best: export the checkpoints with the best validation scores instead of the newest.
            scores: JSON of `evaluate`, whose means go into the card.
            confident_score: score of the first stage (`inference.orientation`) above which a scan needs no second look.

        Raises:
            InputError: the folder contains no such run, a stage has no checkpoint, the name ends otherwise, or the
                networks have no confident score.
        """
        from napari_synthseg.weights import store

        check_weights_name(path)
        if confident_score is not None and not self.locates:
            raise InputError(f"Weights of the recipe {self.name} have no confident score: leave that option out.")
        if folder.recipe_of(run) != self.name:
            raise InputError(f"{run} is not a `train {self.name}` run. Choose a folder that contains one.")
        options = self.read_options({**folder.read_config(run)["options"], "out": str(run)})
        states = {stage: self.state(run, stage, best) for stage in self.places(options)}
        card = {**self.stored_card(run, options), "name": path.stem, **progress_facts(states, best)}
        for state in states.values():
            card |= state.get("card") or {}
        if "stopped early" in card and "summary" in card:
            card["summary"] += f", stopped {card['stopped early']}"
        if "score" in card and "summary" in card:
            card["summary"] += f", Dice {card['score']:.2f}"
        if scores is not None:
            card["scores"] = self.mean_scores(json.loads(scores.read_text(encoding="utf-8")))
        if confident_score is not None:
            card["confident_score"] = confident_score
        store.save(path, self.tensors(run, options, states), card)
        return path

    def mean_scores(self, content: Any) -> dict[str, float]:
        """Return the means in the content of `evaluate --json`, rounded for a card."""
        return {name: round(value, 4) for name, value in content["mean"].items() if value is not None}

    def words(self, options: Any) -> str:
        """Return a recipe in words: its headline, then the options that differ from their defaults."""
        told = {name: getattr(options, name) for name in self.headline}
        for name, value in changed(options).items():
            if name in ("start_from", "priors") and value is not None:
                told[name] = Path(str(value)).stem  # a folder says nothing to others
            elif name not in (*told, *UNSAID) and not isinstance(value, Path):
                told[name] = value
        return ", ".join([f"train {self.name}", *(f"{name} {value}" for name, value in told.items())])


def progress_facts(states: Mapping[str, Mapping[str, Any]], best: bool) -> dict[str, Any]:
    """Return facts of checkpoints for a card: steps, whether fewer than asked for, CPU-hours, the last stage's score.

    Of best checkpoints the score is the best one.
    """
    steps = {stage: int(state["step"]) for stage, state in states.items()}
    asked = {stage: int(state.get("steps") or state["step"]) for stage, state in states.items()}
    facts: dict[str, Any] = {"steps": steps if len(steps) > 1 else next(iter(steps.values()))}
    if not best and any(steps[stage] < asked[stage] for stage in steps):
        facts["stopped early"] = f"after {sum(steps.values()):,} of {sum(asked.values()):,} steps"
    if seconds := sum(state.get("cpu_seconds", 0.0) for state in states.values()):
        facts["cpu_hours"] = round(seconds / 3600, 2)
    last = list(states.values())[-1]
    score = last.get("best") if best else last.get("score")
    if isinstance(score, float) and abs(score) < float("inf"):
        facts["score"] = round(score, 4)
    return facts


def check_new(out: Path, name: str, stages: Collection[str]) -> None:
    """Raise an `InputError` if a folder has checkpoints of these stages, or of another recipe."""
    there = {path.stem for path in (out / folder.CHECKPOINTS).glob("*.pt")}
    if there and (folder.recipe_of(out) not in (None, name) or there.intersection(stages)):
        raise InputError(
            f"The folder {out} contains a run already. Add --resume to continue it, or choose another folder."
        )


def check_weights_name(path: Path) -> None:
    """Raise an `InputError` if the name of weights does not end in .safetensors."""
    if path.suffix != ".safetensors":
        raise InputError(f"{path} must end in .safetensors: give such a name for the weights.")


Kind = TypeVar("Kind", bound=type[Recipe])
_registered: dict[str, Recipe] = {}


def register(kind: Kind) -> Kind:
    """Make a recipe known under its name (a class decorator)."""
    _registered[kind.name] = kind()
    return kind


@functools.cache
def recipes() -> dict[str, Recipe]:
    """Return all recipes by name; every file of `training/recipes/` is imported, and none of them imports torch."""
    package = import_module("napari_synthseg.training.recipes")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_registered.items(), key=lambda one: one[1].rank))


def recipe(name: str) -> Recipe:
    """Return a recipe by its name; an `InputError` if there is none."""
    if name not in recipes():
        raise InputError(f"There is no recipe {name!r}: choose {', '.join(recipes())}.")
    return recipes()[name]
