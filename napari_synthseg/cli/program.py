"""Choosing a sub-command, and turning its end into an exit code.

A sub-command is made when it is asked for, so that `--help` of another one does not load torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import tyro

from napari_synthseg import __version__
from napari_synthseg.cli.batch import make_batch
from napari_synthseg.cli.ends import BAD_INPUT, DONE, PROGRAM, SOME_FAILED, STOPPED, complain
from napari_synthseg.cli.evaluate import make_evaluate
from napari_synthseg.cli.import_weights import make_import_weights
from napari_synthseg.cli.models import make_models
from napari_synthseg.cli.prompts import make_evaluate_prompts, make_prompt
from napari_synthseg.cli.runs import RUNS
from napari_synthseg.cli.segment import make_segment
from napari_synthseg.cli.study import STUDIES
from napari_synthseg.cli.synthesize import make_degrade, make_presets, make_synthesize, make_synthesize_shapes
from napari_synthseg.cli.train import make_export, make_train
from napari_synthseg.progress import Stopped
from napari_synthseg.training.runs import RECIPES

LOOKS = (tyro.conf.DisallowNone, tyro.conf.OmitArgPrefixes)
"""No word for "nothing", and no prefixes: --threads, not --segmentation.threads."""

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
    if name is None:
        return explain(words)
    try:
        rest = words[len(name.split()) :]
        command = COMMANDS[name](rest) if name.startswith(TRAIN) else COMMANDS[name]()
        return tyro.cli(command, prog=f"{PROGRAM} {name}", args=rest, config=LOOKS)
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
    """Print what there is to choose from; an error unless help was asked for."""
    width = max(map(len, COMMANDS))
    summaries = "\n".join(f"  {name:{width}} {(make.__doc__ or '').splitlines()[0]}" for name, make in COMMANDS.items())
    text = f"usage: {PROGRAM} COMMAND ...\n\n{summaries}\n\n{PROGRAM} COMMAND --help says more about one; --version."
    if not words or words[0] in ("-h", "--help"):
        print(text)
        return DONE if words else BAD_INPUT
    print(text, file=sys.stderr)
    print(f"{PROGRAM}: error: there is no command {' '.join(words[:1])!r}.", file=sys.stderr)
    return BAD_INPUT
