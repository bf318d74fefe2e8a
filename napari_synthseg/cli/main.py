"""The program: choose a sub-command, run it, and turn its end into an exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from napari_synthseg import __version__
from napari_synthseg.cli import evaluate, runs, segment, synthesize, train  # noqa: F401  (register)
from napari_synthseg.cli.terminal import (
    BAD_INPUT,
    COMMANDS,
    DONE,
    IMAGES,
    PROGRAM,
    SOME_FAILED,
    STOPPED,
    STUDIES,
    TRAINING,
    complain,
    run_command,
)  # fmt: skip
from napari_synthseg.jobs import Stopped

HELP = ("-h", "--help")
FIRST = ("segment", "batch", "evaluate", "prompt", "models")
"""What most people want."""
GROUPS = {"runs": "Manage the runs of training", "train": "Train a network"}
"""Groups that the list of all commands shows in one line."""
SPELLINGS = {"runs export": "export"}
"""Other names of commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        arguments: the words after the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be UTF-8
    if words[:1] == ["--version"]:
        print(f"{PROGRAM} {__version__}")
        return DONE
    names = [*COMMANDS, *SPELLINGS]
    name = max((name for name in names if words[: len(name.split())] == name.split()), key=len, default=None)
    try:
        if name is None:
            return explain(words)
        return run_command(SPELLINGS.get(name, name), words[len(name.split()) :])
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
    """Print the commands, or those of a group such as `runs`; an error unless help was asked for.

    For a mistyped command, name the nearest one.
    """
    group = words[0] if words and words[0] in GROUPS else ""
    rest = words[bool(group) :]
    if not rest or rest[0] in HELP:
        print(listing(group))
        return DONE if rest else BAD_INPUT
    typed = f"{group} {rest[0]}".strip()
    listed = [name for name in COMMANDS if not group or name.startswith(f"{group} ")]
    near = get_close_matches(typed, [*listed, *GROUPS], n=1)
    if not near:
        print(listing(group), file=sys.stderr)
    call = f"{PROGRAM} {group}".strip()
    guess = f" (did you mean {near[0]!r}?): {call} --help lists all" if near else ""
    print(f"{PROGRAM}: error: there is no command {typed!r}{guess}.", file=sys.stderr)
    return BAD_INPUT


def listing(group: str = "") -> str:
    """Return a line for each command, or for each of a group: the common ones first, the others below headings."""
    call = f"{PROGRAM} {group} COMMAND".replace("  ", " ")
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    parts = {"": [name for name in COMMANDS if name.startswith(f"{group} ")] if group else list(FIRST)}
    if not group:
        for heading in (STUDIES, IMAGES, TRAINING):
            parts[heading] = [name for name, one in COMMANDS.items() if one.heading == heading]
        for name, title in GROUPS.items():
            inner = [other for other in COMMANDS if other.startswith(f"{name} ")]
            parts[TRAINING] = [f"{name} ...", *(other for other in parts[TRAINING] if other not in inner)]
            summaries[f"{name} ..."] = f"{title}: {', '.join(other.split()[1] for other in inner)}."
    width = max(len(name) for names in parts.values() for name in names)
    lines = [f"usage: {call} ..."]
    for heading, names in parts.items():
        lines += ["", f"{heading}:"] if heading else [""]
        lines += [f"  {name:{width}}  {summaries[name]}" for name in names]
    return "\n".join([*lines, "", f"{call} --help says more about one; --version."])
