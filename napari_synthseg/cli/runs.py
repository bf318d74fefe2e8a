"""`runs`: what was trained, what is being trained, and what one asks of it."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from napari_synthseg.cli.terminal import DONE, Out, follow
from napari_synthseg.cli.train import exported, train_to_the_end
from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.training import runs

Run = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Some = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
Json = Annotated[bool, tyro.conf.arg(name="json")]
LATELY = ("loss", "score", "synthetic", "rate")
"""Figures that `show` tells first."""


def make_list() -> Callable[..., int]:
    """List the runs of training."""

    def list_runs(as_json: Json = False) -> int:
        """List the runs of training, the newest first.

        Args:
            as_json: as JSON.
        """
        found = [(run, runs.status(run)) for run in runs.all_runs()]
        if as_json:
            print(json.dumps([facts(run, state) for run, state in found], indent=1))
            return DONE
        width = max((len(run.name) for run, _ in found), default=3)
        for run, state in found:
            print(f"{run.name:{width}}  {runs.recipe_of(run) or '?':12} {state.kind:11} {progress_of(state)}")
        if not found:
            print("There are no runs yet: `train RECIPE` makes one.", file=sys.stderr)
        return DONE

    return list_runs


def make_show() -> Callable[..., int]:
    """Tell how a run goes."""

    def show(run: Run, as_json: Json = False) -> int:
        """Tell how a run goes: state, options, newest figures, Dice of each structure.

        Args:
            run: its folder, or the folder's name.
            as_json: as JSON.
        """
        path = runs.find_run(run)
        state, follower = runs.status(path), runs.Follower(path)
        while follower.read():
            pass
        if as_json:
            print(json.dumps({**facts(path, state), "figures": follower.figures, "dice": follower.dice}, indent=1))
            return DONE
        print("\n".join(described(path, state, follower)))
        return DONE

    return show


def described(path: Path, state: runs.Status, follower: runs.Follower) -> list[str]:
    """What `show` prints."""
    config = runs.read_config(path)
    lines = [f"{path.name}: {config.recipe}, {state.kind}", f"  folder    {path}"]
    if state.message:
        lines.append(f"  because   {state.message}")
    if state.started:
        lines.append(f"  started   {time.strftime('%Y-%m-%d %H:%M', time.localtime(state.started))} on {state.device}")
    lines.append(f"  progress  {progress_of(state)}")
    if state.memory:
        lines.append(f"  memory    {state.memory / 2**30:.1f} GiB")
    lines.append(f"  options   {', '.join(f'{k} {v}' for k, v in chosen(config.options).items()) or 'all defaults'}")
    newest = [name for name in (*LATELY, *follower.figures) if name in follower.figures]
    told = [f"{name} {follower.figures[name]:.4g}" for name in dict.fromkeys(newest) if name != "memory"]
    if told:
        lines.append(f"  newest    {', '.join(told)}")
    lines += [f"  Dice      {value:.3f} {name}" for name, value in sorted(follower.dice.items())]
    if state.weights:
        lines.append(f"  weights   {state.weights}")
    return lines


def make_stop() -> Callable[..., int]:
    """Stop runs; each ends with a checkpoint."""

    def stop(run: Some) -> int:
        """Stop runs; each ends after its step, with a checkpoint.

        Args:
            run: their folders, or the folders' names.
        """
        return ask_of_going(run, runs.stop)

    return stop


def make_pause() -> Callable[..., int]:
    """Have runs wait; their memory stays taken."""

    def pause(run: Some) -> int:
        """Have runs wait after their step; their memory stays taken. `runs resume` ends it.

        Args:
            run: their folders, or the folders' names.
        """
        return ask_of_going(run, runs.pause)

    return pause


def ask_of_going(wishes: tuple[str, ...], ask: Callable[[Path], None]) -> int:
    """Ask the same of some runs.

    Raises:
        InputError: no run is named, or one of them is not going; nothing is asked of any then.
    """
    if not wishes:
        raise InputError("Name at least one run: `runs list` says which there are.")
    paths = [runs.find_run(wish) for wish in wishes]
    for path in paths:
        if not runs.is_active(path):
            raise InputError(f"The run {path.name} is not going.")
    for path in paths:
        ask(path)
    return DONE


def make_resume() -> Callable[..., int]:
    """Go on with a run that was paused, stopped, or interrupted, or make it longer."""

    def resume(run: Run, steps: int | None = None, background: bool = False) -> int:
        """Go on with a run that was paused, stopped, interrupted, or is to be longer.

        Args:
            run: its folder, or the folder's name.
            steps: of the whole training, where they are to be others than before.
            background: in a process of its own, behind other runs on its device.
        """
        path = runs.find_run(run)
        if steps is not None:
            if "steps" not in {one.name for one in fields(runs.read_config(path).options)}:
                raise InputError("This recipe has steps for each of its networks: give them to `train ... --resume`.")
            runs.change(path, steps=steps)
        if runs.is_active(path):
            runs.unpause(path)
        elif background:
            runs.launch(path)
        else:
            train_to_the_end(runs.recipe(runs.read_config(path).recipe), runs.train_run(path), path)
        return DONE

    return resume


def make_delete() -> Callable[..., int]:
    """Remove a run with its checkpoints and weights."""

    def delete(run: Run, yes: bool = False) -> int:
        """Remove a run: what it wrote into its folder, checkpoints and weights included.

        Args:
            run: its folder, or the folder's name.
            yes: do not ask.
        """
        path = runs.find_run(run)
        if not yes and not agreed(f"Remove {path} with its checkpoints?"):
            return DONE
        runs.delete(path)
        return DONE

    return delete


def agreed(question: str) -> bool:
    """Whether whoever sits at the terminal says yes."""
    if not sys.stdin.isatty():
        raise InputError("Nobody can be asked here: add --yes to remove the run.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def make_duplicate() -> Callable[..., int]:
    """Make a new run with the options of another."""

    def duplicate(run: Run, name: str = "", seed: int | None = None, steps: int | None = None) -> int:
        """Make a new run with the options of another, and without its checkpoints; `runs resume` starts it.

        Args:
            run: its folder, or the folder's name.
            name: of the new folder; default the old one's with a number.
            seed: another seed.
            steps: other steps.
        """
        changes: dict[str, Any] = {k: v for k, v in (("seed", seed), ("steps", steps)) if v is not None}
        print(runs.duplicate(runs.find_run(run), name, **changes))
        return DONE

    return duplicate


def make_export() -> Callable[..., int]:
    """Write weights of a run's checkpoints to a file."""

    def export(run: Run, out: Out, best: bool = False, scores: Path | None = None) -> int:
        """Write weights of a run's checkpoints, finished or not, to a file.

        Args:
            run: its folder, or the folder's name.
            out: the weights to write (.safetensors); their card is written beside them.
            best: the checkpoints with the best validation scores instead of the newest.
            scores: figures of `evaluate --json`, or of `evaluate-prompts --json`, for their card.
        """
        print(exported(runs.find_run(run), out, best, scores))
        return DONE

    return export


def make_use() -> Callable[..., int]:
    """Make weights of a run, and put them where segmenting and prompting find them."""

    def use(run: Run, name: str | None = None, newest: bool = False) -> int:
        """Make weights of a run, and put them where segmenting and prompting find them by name.

        Args:
            run: its folder, or the folder's name.
            name: for the weights; default the one that the run's options give.
            newest: those of the newest checkpoint, not of the one with the best validation score.
        """
        path = runs.use(runs.find_run(run), name, best=not newest)
        print(f"{path.stem}: {path}")
        return DONE

    return use


def make_tensorboard() -> Callable[..., int]:
    """Write a run's curves as event files of TensorBoard."""

    def tensorboard(run: Run, out: Out, watch: bool = False) -> int:
        """Write a run's curves as event files of TensorBoard.

        Args:
            run: its folder, or the folder's name.
            out: folder for the files; `tensorboard --logdir` takes it.
            watch: go on until the run has ended.
        """
        from napari_synthseg.training.runs.follow import to_tensorboard

        print(f"{follow(to_tensorboard(runs.find_run(run), out, follow=watch)):,} figures in {out}")
        return DONE

    return tensorboard


RUNS: dict[str, Callable[[], Callable[..., int]]] = {
    "runs list": make_list,
    "runs show": make_show,
    "runs stop": make_stop,
    "runs pause": make_pause,
    "runs resume": make_resume,
    "runs duplicate": make_duplicate,
    "runs delete": make_delete,
    "runs export": make_export,
    "runs use": make_use,
    "runs tensorboard": make_tensorboard,
}


def chosen(options: Any) -> dict[str, Any]:
    """Options that differ from their defaults."""
    plain = {one.name: one.default for one in fields(options)}
    return {k: v for k, v in to_json(options).items() if getattr(options, k) != plain[k] and k not in ("out", "resume")}


def progress_of(state: runs.Status) -> str:
    """How far a run is, in a few words."""
    if not state.done:
        return state.message or f"0 of {state.total:,} steps"
    words = [f"{state.done:,} of {state.total:,} steps"] if state.total else [f"{state.done:,} steps"]
    if state.active and state.steps_per_second:
        words.append(f"{state.steps_per_second:.2f} steps/s")
    if state.seconds_left is not None:
        words.append(f"{runs.in_hours(state.seconds_left)} left")
    if state.score is not None:
        words.append(f"score {state.score:.3f}")
    return ", ".join(words)


def facts(run: Path, state: runs.Status) -> dict[str, Any]:
    """A run as JSON."""
    values = {**asdict(state), "weights": str(state.weights) if state.weights else None}
    return {"name": run.name, "folder": str(run), "recipe": runs.recipe_of(run), "state": values.pop("kind"), **values}
