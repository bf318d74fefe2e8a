"""How a command ends: exit codes, and errors as one sentence."""

from __future__ import annotations

import os
import sys
import traceback

PROGRAM = "napari-synthseg"
DONE, SOME_FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def complain(error: Exception, code: int) -> int:
    """Print an error as one sentence (and the traceback where NAPARI_SYNTHSEG_DEBUG is set); returns `code`."""
    if os.environ.get("NAPARI_SYNTHSEG_DEBUG"):
        traceback.print_exception(error)
    sentence = " ".join(str(error).split()) or "no reason was given"
    if not isinstance(error, ValueError):
        sentence = f"{type(error).__name__}: {sentence} (NAPARI_SYNTHSEG_DEBUG=1 shows where)"
    print(f"{PROGRAM}: error: {sentence}", file=sys.stderr)
    return code
