"""`train RECIPE`, `export`, `models`, `import-weights`: networks, and weights: those of runs, and those at hand."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from napari_synthseg.cli.terminal import (
    COMMANDS,
    DONE,
    PROGRAM,
    TRAINING,
    Command,
    Json,
    Out,
    RunName,
    command,
    follow,
    typed,
)  # fmt: skip
from napari_synthseg.fields import to_json
from napari_synthseg.jobs import Progress
from napari_synthseg.training import runs
from napari_synthseg.training.recipe import check_weights_name
from napari_synthseg.training.runs import RECIPES, Recipe


def make_train(name: str) -> Callable[[Sequence[str]], Callable[..., int]]:
    """Return the maker of `train NAME`: a run that the words resume gives the defaults of its options."""
    entry = RECIPES[name]

    def make(words: Sequence[str]) -> Callable[..., int]:
        run = run_to_resume(words)
        own = runs.options_to_resume(run, name) if run is not None else None

        def train(
            training: Any = tyro.MISSING_NONPROP if own is None else own,
            estimate: bool = False,
            background: bool = False,
        ) -> int:
            options = replace(training, out=training.out.expanduser())
            if estimate:
                print(follow(runs.estimate(name, options)).sentence)
            elif background:
                print(start_in_background(name, options))
            else:
                train_to_the_end(entry, runs.train_recorded(entry, options), options.out)
            return DONE

        train.__annotations__["training"] = entry.options
        train.__doc__ = f"""{entry.summary}

        With --resume, options that are not given are those of the run in the folder --out.

        Args:
            estimate: only try a few steps, and say what time and memory the whole training would take.
            background: train in a process of its own, behind other runs on this device; `runs list` shows it.
        """
        return typed(train)

    return make


COMMANDS |= {f"train {name}": Command(make_train(name), entry.summary, TRAINING) for name, entry in RECIPES.items()}


def run_to_resume(words: Sequence[str]) -> Path | None:
    """Return the folder of the run that a command resumes, before its options are read; None if it starts one."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path, nargs="?")
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction)
    given, _ = parser.parse_known_args(words)
    return given.out.expanduser() if given.resume and given.out is not None else None


def train_to_the_end(entry: Recipe, training: Generator[Progress, None, Path], run: Path) -> None:
    """Follow a training, then say where its weights are and how they are used."""
    from napari_synthseg.training.engine import distributed  # brings torch

    made = follow(training).absolute()
    if distributed.own_rank().rank:  # another of the processes that a cluster started
        return
    steps = sum(runs.steps_done(run).values())
    done = f"Finished: {steps:,} steps in all, in {run.absolute()}"
    if made.suffix != ".safetensors":  # a stage that makes no weights alone
        print(f"{done}; its checkpoint is {made}")
        return
    use = entry.use.replace("WEIGHTS", shlex.quote(str(made)))
    print(f"{done}; its weights are {made}\nTo use them: {PROGRAM} {use}")


def start_in_background(name: str, options: Any) -> str:
    """Make a run, or take up the one in the folder with these options, and start it; return where it is.

    Raises:
        InputError: the folder holds a run and --resume is not given, or it cannot be started.
    """
    out = options.out.expanduser().absolute()
    if options.resume and runs.recipe_of(out) == name:
        runs.change(out, **{k: v for k, v in to_json(options).items() if k not in ("out", "resume")})
    else:
        runs.create(name, options)
    runs.launch(out)
    return f"Training {out}; `runs show {out.name}` shows its progress."


@command("export", heading=TRAINING)
def export(
    run: RunName, out: Out, best: bool = False, scores: Path | None = None, confident_score: float | None = None
) -> int:
    """Write weights of a training run's checkpoints, finished or not.

    Args:
        out: the weights to write (.safetensors); their card is written beside them.
        best: the checkpoints with the best validation scores instead of the newest.
        scores: figures of `evaluate --json` on scans segmented with these weights, or of `evaluate-prompts --json`,
            for their card.
        confident_score: how sure the first stage is on ordinary scans; below, other orientations are looked at.
    """
    check_weights_name(out)
    folder = Path(run).expanduser() if Path(run).expanduser().is_dir() else runs.find_run(run)
    entry = runs.recipe(runs.read_config(folder).recipe)
    print(entry.export(folder, out, best=best, scores=scores, confident_score=confident_score))
    return DONE


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
