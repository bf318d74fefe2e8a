"""`python -m napari_synthseg.training.runs.member RUN DEVICE`: one of the other processes of a run that has several."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from napari_synthseg.fields import from_json
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.training.engine.distributed import along
from napari_synthseg.training.folder import read_config
from napari_synthseg.training.runs.recipes import recipe

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Be one of the other processes of a run: its folder and the first one's device are the arguments."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first process decides
    config = read_config(Path(arguments[0]))
    entry = recipe(config["recipe"])
    options = from_json(entry.options_type(), config["options"])
    try:
        run(along(entry, options, arguments[1]))
    except Stopped:
        return 0
    except RuntimeError as error:
        logger.warning("This process ends, for the first one is gone: %s", str(error).splitlines()[0])
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
