"""A batch as SLURM's own job array: scripts that are written into the folder of results, and submitted with sbatch.

Every task of the array takes its share of the scans (`--part k/n`), so that nothing has to run on the login node, no
task needs another, and SLURM may start, requeue and kill them as it likes. A last job, after all of them, runs the
batch once more without a part: it finds most scans done, tries again what failed, and writes the report over all.
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
    """Write the scripts, and submit them where there is sbatch; says what was done, line by line.

    Args:
        inputs: as for `segment_many`.
        out: the folder of the results; all nodes must see it, and the inputs, under the same paths.
        segmentation: how to segment.
        options: how many tasks, and what sbatch is told of each.

    Raises:
        InputError: there is nothing to segment, or sbatch refuses the job.
    """
    out = absolute(out)
    bids.check_free(out)
    made_with(segmentation)  # the weights are there
    tasks = plan(find(inputs, out, options), out, segmentation.grid)
    count = min(options.slurm_tasks, len(tasks))
    array, last = out / FOLDER / ARRAY, out / FOLDER / LAST
    write_text(array, script(inputs, out, segmentation, options, count))
    write_text(last, script(inputs, out, segmentation, options))
    yield f"{len(tasks)} scans in {count} tasks: {array}, {last}"
    if shutil.which("sbatch") is None:
        yield (
            f"There is no sbatch here. On a login node: "
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
        raise InputError(f"sbatch refused the job ({said}): mend --slurm-options and try again.")
    return done.stdout.strip()


def script(
    inputs: Sequence[Path | str],
    out: Path,
    segmentation: SegmentOptions,
    options: BatchOptions,
    tasks: int | None = None,
) -> str:
    """The script of the job array with so many tasks; without a number that of the job after it."""
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
    """Return the words of a command line that give these options, with absolute paths."""
    return shlex.split(command_text(from_json(type(options), to_json(options))))
