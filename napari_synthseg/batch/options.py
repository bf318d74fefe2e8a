"""Options of a batch, for the command line and Python. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from napari_synthseg.errors import InputError
from napari_synthseg.fields import NonNegativeInt, PositiveInt, check


@dataclass(frozen=True)
class BatchOptions:
    """Options of a batch."""

    jobs: PositiveInt = 1
    """Processes on this machine; each loads the network and segments one scan at a time."""
    scheduler: str | None = None
    """Address of a dask.distributed scheduler (tcp://host:8786): its workers segment, instead of processes here."""
    slurm: bool = False
    """Write a SLURM job array into the folder's `slurm`, and submit it if sbatch is installed."""
    slurm_tasks: PositiveInt = 10
    """Tasks of the job array; each segments its part of the scans."""
    slurm_options: str = ""
    """Options of sbatch for each task, such as "--partition=gpu --gres=gpu:1 --time=8:00:00"."""
    part: str | None = None
    """Segment only the k-th of n parts of the scans, as k/n: for job arrays, on machines that share the folder."""
    retries: NonNegativeInt = 1
    """How often a scan that failed is tried again, after all others."""
    deaths: PositiveInt = 2
    """How many processes a scan may take down (memory, crash), alone in them, before it is given up."""
    redo: bool = False
    """Segment finished scans again, and replace results of other scans of the same name."""
    suffixes: tuple[str, ...] = ()
    """Suffixes of the images to segment in a BIDS dataset (T1w FLAIR); by default all structural ones."""
    participants: tuple[str, ...] = ()
    """Participants to segment in a BIDS dataset, with or without sub-; by default all."""
    pictures: NonNegativeInt = 500
    """Pictures embedded in the HTML report, worst scans first; others are linked."""

    def __post_init__(self) -> None:
        check(self)
        if self.scheduler is not None and (self.slurm or self.jobs != 1):
            raise InputError("Choose one of --jobs, --scheduler and --slurm: they say where scans are segmented.")
        if self.slurm and self.part is not None:
            raise InputError("--part is one task of a job array, and --slurm makes all of them: omit one.")
        if self.part is not None:
            self.share()

    def share(self) -> tuple[int, int]:
        """Return the part as (k, n), k from 1; (1, 1) is all.

        Raises:
            InputError: `part` has another form.
        """
        number, _, count = (self.part or "1/1").partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise InputError(f"--part {self.part!r} is not k/n: give the k-th of n parts, such as 3/10.")
        return int(number), int(count)
