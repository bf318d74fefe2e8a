"""What is asked of a run by others: `requests.json` in its folder, which the run looks at after every step."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from napari_synthseg.atomic_io import write_text
from napari_synthseg.training.folder import REQUESTS, read_json


@dataclass(frozen=True)
class Requests:
    """What is asked.

    Attributes:
        do: go, pause or stop.
        pictures: steps from one picture of a training sample to the next; None: no pictures.
    """

    do: Literal["go", "pause", "stop"] = "go"
    pictures: int | None = None


def asked(run: Path) -> Requests:
    """What is asked of a run at the moment; a damaged file asks nothing."""
    content = read_json(run / REQUESTS)
    do, pictures = content.get("do", "go"), content.get("pictures")
    every = pictures if isinstance(pictures, int) and pictures > 0 else None
    return Requests(do if do in ("go", "pause", "stop") else "go", every)


def ask(run: Path, **changes: Any) -> None:
    """Ask something of a run, and leave the rest as it is."""
    write_text(run / REQUESTS, json.dumps(asdict(replace(asked(run), **changes))) + "\n")


class Listener:
    """Looks at the requests of a run, and reads them only when they changed.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.seen, self.last = run, -1, Requests()

    def now(self) -> Requests:
        """What is asked at the moment."""
        try:
            stamp = (self.run / REQUESTS).stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != self.seen:
            self.seen, self.last = stamp, asked(self.run)
        return self.last
