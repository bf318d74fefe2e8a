"""Choosing a sub-command, and turning its end into an exit code.

A sub-command is made when it is asked for, so that `--help` of another one does not load torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from napari_synthseg import __version__
from napari_synthseg.cli.batch import make_batch
from napari_synthseg.cli.evaluate import make_evaluate
from napari_synthseg.cli.import_weights import make_import_weights
from napari_synthseg.cli.models import make_models
from napari_synthseg.cli.prompts import make_evaluate_prompts, make_prompt
from napari_synthseg.cli.runs import RUNS
from napari_synthseg.cli.segment import make_segment
from napari_synthseg.cli.study import STUDIES
from napari_synthseg.cli.synthesize import make_degrade, make_presets, make_synthesize, make_synthesize_shapes
from napari_synthseg.cli.terminal import BAD_INPUT, DONE, PROGRAM, SOME_FAILED, STOPPED, complain, run_command
from napari_synthseg.cli.train import make_export, make_train
from napari_synthseg.jobs import Stopped
from napari_synthseg.training.runs import RECIPES

HELP = ("-h", "--help")
TRAIN = "train "
"""How the names of sub-commands begin that are made from their words, which may name a run to go on with."""
COMMANDS: dict[str, Callable[..., Callable[..., int]]] = {
    "segment": make_segment,
    "batch": make_batch,
    "prompt": make_prompt,
    "evaluate": make_evaluate,
    "evaluate-prompts": make_evaluate_prompts,
    **STUDIES,
    "synthesize": make_synthesize,
    "synthesize-shapes": make_synthesize_shapes,
    "presets": make_presets,
    "degrade": make_degrade,
    **{f"{TRAIN}{name}": make_train(name) for name in RECIPES},
    **RUNS,
    "export": make_export,
    "import-weights": make_import_weights,
    "models": make_models,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        arguments: what stands after the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--version"]:
        print(f"{PROGRAM} {__version__}")
        return DONE
    name = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), None)
    try:
        if name is None:
            return explain(words)
        rest = words[len(name.split()) :]
        command = COMMANDS[name](rest) if name.startswith(TRAIN) else COMMANDS[name]()
        return run_command(command, name, rest)
    except (Stopped, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        return DONE
    except (ValueError, OSError) as error:
        return complain(error, BAD_INPUT)
    except Exception as error:
        return complain(error, SOME_FAILED)


def explain(words: list[str]) -> int:
    """Print what there is to choose from, of a group such as `runs` what belongs to it; an error unless help was asked.

    Of what looks like a command wrongly typed, the nearest one is told.
    """
    groups = list(dict.fromkeys(name.split()[0] for name in COMMANDS if " " in name))
    group = words[:1] if words[:1] and words[0] in groups else []
    rest = words[len(group) :]
    listed = {name: make for name, make in COMMANDS.items() if name.split()[: len(group)] == group}
    if not rest or rest[0] in HELP:
        print(_list_of(listed, group))
        return DONE if rest else BAD_INPUT
    typed = " ".join([*group, rest[0]])
    near = get_close_matches(typed, listed if group else [*listed, *groups], n=1)
    if not near:
        print(_list_of(listed, group), file=sys.stderr)
    guess = f" (did you mean {near[0]!r}?): {' '.join([PROGRAM, *group])} --help lists all" if near else ""
    print(f"{PROGRAM}: error: there is no command {typed!r}{guess}.", file=sys.stderr)
    return BAD_INPUT


def _list_of(commands: Mapping[str, Callable[..., Callable[..., int]]], group: Sequence[str]) -> str:
    """A line for each of them."""
    width = max(map(len, commands))
    lines = [f"  {name:{width}} {(make.__doc__ or '').splitlines()[0]}" for name, make in commands.items()]
    usage = " ".join([PROGRAM, *group, "COMMAND"])
    return "\n".join([f"usage: {usage} ...", "", *lines, "", f"{usage} --help says more about one; --version."])
