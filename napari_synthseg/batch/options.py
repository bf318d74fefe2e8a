"""How a batch of scans is run: the options that the command line and Python share. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from napari_synthseg.errors import InputError
from napari_synthseg.fields import NonNegativeInt, PositiveInt, check


@dataclass(frozen=True)
class BatchOptions:
    """How many scans are run."""

    jobs: PositiveInt = 1
    """Processes on this machine; each has a network of its own and takes one scan at a time."""
    scheduler: str | None = None
    """Address of a dask.distributed scheduler (tcp://host:8786): its workers segment, instead of processes here."""
    slurm: bool = False
    """Write a SLURM job array into the folder's `slurm`, and submit it where there is sbatch."""
    slurm_tasks: PositiveInt = 10
    """Tasks of the job array; each takes its share of the scans."""
    slurm_options: str = ""
    """What sbatch is told of each task, as on its command line: "--partition=gpu --gres=gpu:1 --time=8:00:00"."""
    part: str | None = None
    """Only the k-th of n shares of the scans, as k/n: for job arrays, on any number of machines that see the folder."""
    retries: NonNegativeInt = 1
    """How often a scan that failed is tried again, after all others."""
    deaths: PositiveInt = 2
    """Processes that a scan may take down (memory, crash), alone in them, before it is given up."""
    redo: bool = False
    """Segment scans again that are done, and replace results of other scans of the same name."""
    suffixes: tuple[str, ...] = ()
    """Of a BIDS dataset only images with these suffixes (T1w FLAIR); without it all structural ones."""
    participants: tuple[str, ...] = ()
    """Of a BIDS dataset only these participants, with or without sub-."""
    pictures: NonNegativeInt = 500
    """Pictures inside the HTML report, worst scans first; further ones are linked."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)
        ways = [self.scheduler is not None, self.slurm, self.jobs != 1]
        if sum(ways[:2]) > 1 or (self.scheduler is not None and self.jobs != 1):
            raise InputError("Choose one of --jobs, --scheduler and --slurm: they say where the scans are segmented.")
        if self.slurm and self.part is not None:
            raise InputError("--part is for one task of a job array, --slurm makes all of them: leave one out.")
        if self.part is not None:
            self.share()

    def share(self) -> tuple[int, int]:
        """Which share of the scans, counted from 1, and of how many; (1, 1) is all.

        Raises:
            InputError: `part` is no such share.
        """
        number, _, count = (self.part or "1/1").partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise InputError(f"The part {self.part!r} is none: give it as k/n, the k-th of n, such as 3/10.")
        return int(number), int(count)
