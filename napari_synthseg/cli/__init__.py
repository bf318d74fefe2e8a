"""The command `napari-synthseg`: one sub-command a job, options made from each job's dataclass by tyro.

No logic of its own: a sub-command imports its job, follows it with a progress bar and turns its end into an exit code
(0 done, 1 some scans failed, 2 the input or an option cannot be used, 130 stopped).
"""

import sys

try:
    from napari_synthseg.cli.main import main
    from napari_synthseg.cli.terminal import BAD_INPUT, COMMANDS, DONE, SOME_FAILED, STOPPED, complain, follow
except KeyboardInterrupt:  # loading takes a second or two
    print("napari-synthseg: stopped", file=sys.stderr)
    sys.exit(130)

__all__ = ["BAD_INPUT", "COMMANDS", "DONE", "SOME_FAILED", "STOPPED", "complain", "follow", "main"]
