"""A batch as a SLURM job array: scripts are written into the folder of results, and submitted with sbatch.

Each task of the array segments one part of the scans (`--part k/n`), independent of the others, so that nothing runs on
the login node and SLURM may start, requeue and kill tasks in any order. A last job, after all tasks, runs the batch
without a part: it skips finished scans, retries failed ones, and writes the report of all.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_synthseg.atomic_io import write_text
from napari_synthseg.batch import bids
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.batch.plan import absolute, find, plan
from napari_synthseg.batch.provenance import made_with
from napari_synthseg.errors import InputError
from napari_synthseg.fields import command_text, from_json, to_json
from napari_synthseg.inference.options import SegmentOptions

FOLDER = "slurm"
ARRAY, LAST = "array.sh", "last.sh"


def submit(
    inputs: Sequence[Path | str], out: Path | str, segmentation: SegmentOptions, options: BatchOptions
) -> Iterator[str]:
    """Write the scripts, and submit them if sbatch is installed; yields lines that report what was done.

    All nodes must see the inputs and the folder of results under the same paths.

    Raises:
        InputError: there is nothing to segment, or sbatch refuses the job.
    """
    out = absolute(out)
    bids.check_free(out)
    made_with(segmentation)  # raises if the weights are missing
    tasks = plan(find(inputs, out, options), out, segmentation.grid)
    count = min(options.slurm_tasks, len(tasks))
    array, last = out / FOLDER / ARRAY, out / FOLDER / LAST
    write_text(array, script(inputs, out, segmentation, options, count))
    write_text(last, script(inputs, out, segmentation, options))
    yield f"{len(tasks)} scans in {count} tasks: {array}, {last}"
    if shutil.which("sbatch") is None:
        yield (
            f"sbatch is not installed here. Run on a login node: "
            f"sbatch --dependency=afterany:$(sbatch --parsable {shlex.quote(str(array))}) {shlex.quote(str(last))}"
        )
        return
    number = _sbatch("--parsable", str(array)).partition(";")[0]
    after = _sbatch("--parsable", f"--dependency=afterany:{number}", str(last)).partition(";")[0]
    yield f"Submitted as job {number}, and job {after} after it for the report."


def _sbatch(*words: str) -> str:
    done = subprocess.run(["sbatch", *words], capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise InputError(f"sbatch refused the job ({said}): correct --slurm-options and try again.")
    return done.stdout.strip()


def script(
    inputs: Sequence[Path | str],
    out: Path,
    segmentation: SegmentOptions,
    options: BatchOptions,
    tasks: int | None = None,
) -> str:
    """Return the script of the job array; if `tasks` is None, of the job after it."""
    logs = out / FOLDER / ("%A_%a.log" if tasks else "%j.log")
    head = [
        "#!/bin/bash",
        f"#SBATCH --job-name=napari-synthseg{'' if tasks else '-last'}",
        f'#SBATCH --output="{logs}"',
        *([f"#SBATCH --array=1-{tasks}"] if tasks else []),
        "#SBATCH --requeue",
        *(f"#SBATCH {shlex.quote(word) if ' ' in word else word}" for word in shlex.split(options.slurm_options)),
    ]
    own = replace(options, slurm=False, slurm_tasks=10, slurm_options="")
    words = ["batch", *(str(absolute(one)) for one in inputs), "-o", str(out), *typed(own), *typed(segmentation)]
    command = " ".join(shlex.quote(word) for word in (sys.executable, "-m", "napari_synthseg.cli", *words))
    part = f' --part "$SLURM_ARRAY_TASK_ID/{tasks}"' if tasks else ""
    threads = 'export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"'
    return "\n".join([*head, "", threads, f"exec {command}{part}", ""])


def typed(options: Any) -> list[str]:
    """Return the command line arguments for options, with absolute paths."""
    return shlex.split(command_text(from_json(type(options), to_json(options))))
