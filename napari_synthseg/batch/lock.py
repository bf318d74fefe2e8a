"""One batch at a time in a folder: a lock that lives as long as the process that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from napari_synthseg.errors import InputError

WHOLE = ".batch.lock"
PARTS = ".batch-part-*.lock"
PATIENCE = 1.0
"""Seconds to wait for a lock, which somebody may only be looking at."""


@contextmanager
def alone(out: Path, part: tuple[int, int]) -> Iterator[None]:
    """Hold a folder of results. Different parts of one batch may go on side by side, as in a job array.

    Each takes its own lock before it looks for others': of two that start at once at least one sees the other.

    Args:
        out: the folder; made where it is not there.
        part: which share of the scans, and of how many.

    Raises:
        InputError: another batch is at it, or the folder cannot be written to.
    """
    number, count = part
    name = WHOLE if count == 1 else f".batch-part-{number}of{count}.lock"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(FileLock(str(out / name), timeout=PATIENCE))
            for other in [out / WHOLE] if count > 1 else sorted(out.glob(PARTS)):
                if other.exists():
                    FileLock(str(other), timeout=PATIENCE).acquire().lock.release()
            yield
    except Timeout:
        raise InputError(
            f"Another batch is writing into {out}: wait for it, stop it, or choose another folder."
        ) from None
    except (NotADirectoryError, FileExistsError):
        raise InputError(f"{out} is a file: give a folder for the results.") from None
    except PermissionError:
        raise InputError(f"{out} cannot be written to: choose another folder.") from None
