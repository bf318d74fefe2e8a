"""Files that appear complete or not at all: written beside their place, and moved there at the end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def placed(path: Path | str) -> Iterator[Path]:
    """A path to write to in place of `path`, whose folder is made. What was there stays until the end, or an error.

    Its name is hidden, has the same ending, and differs between processes and machines that share the folder.

    Raises:
        OSError: the place cannot be written to.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}.part{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, all or nothing.

    Raises:
        OSError: the place cannot be written to.
    """
    with placed(path) as part:
        part.write_text(text, encoding="utf-8")
