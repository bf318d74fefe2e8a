"""Which weights exist, where they are found, and what their cards say. No torch here.

Weights are looked for in this order: an explicit path, the folder NAPARI_SYNTHSEG_WEIGHTS, the user's own folder
(`use_folder`), what the user trained (`data_folder`), `resources/weights`, FREESURFER_HOME/models, the user's cache.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.networks import registry
from napari_synthseg.weights import keras

logger = logging.getLogger(__name__)
_warn_once = functools.cache(logger.warning)

DEFAULT = "synthseg-fast"
ROBUST = ("synthseg-robust", "synthseg_robust_2.0")
"""Names of robust networks: this program's own, and FreeSurfer's."""
ENDINGS = (".safetensors", ".h5")
"""Of the files that a name may stand for."""
NEEDED = ("name", "network", "labels")
"""What every card says; the labels only of networks that have some."""
MOST_BYTES = 4 << 20
"""Largest size of a card."""


def data_folder() -> Path:
    """Return the folder of the user's own runs and their weights; NAPARI_SYNTHSEG_DATA overrides it."""
    import platformdirs

    return Path(os.environ.get("NAPARI_SYNTHSEG_DATA") or platformdirs.user_data_dir("napari-synthseg", False))


def cache_folder() -> Path:
    """Return the folder of imported and copied weights; NAPARI_SYNTHSEG_CACHE overrides it."""
    import platformdirs

    return Path(os.environ.get("NAPARI_SYNTHSEG_CACHE") or platformdirs.user_cache_dir("napari-synthseg"))


_own: list[Path] = []


def use_folder(folder: Path | str | None) -> None:
    """Search a folder of the user's own too, for as long as this process lives; None or "" ends that."""
    _own[:] = [Path(folder).expanduser()] if folder else []


def folders() -> list[Path]:
    """Return the folders searched for weights, in order."""
    given, freesurfer = os.environ.get("NAPARI_SYNTHSEG_WEIGHTS"), os.environ.get("FREESURFER_HOME")
    return [
        *([Path(given).expanduser()] if given else []),
        *_own,
        data_folder() / "weights",
        _shipped_folder(),
        *([Path(freesurfer) / "models"] if freesurfer else []),
        cache_folder() / "weights",
    ]


def own_name(name: str) -> str:
    """Return a name for new weights that cannot collide with a shipped model: "my-" is put before such a name."""
    return f"my-{name}" if (_shipped_folder() / f"{name}.safetensors").exists() else name


def _shipped_folder() -> Path:
    return anatomy.resources() / "weights"


def available(roles: Collection[str] = ("segmenter",)) -> list[dict[str, Any]]:
    """Return the cards of all weights found, each with its "path"; a name found twice counts where it is found first.

    Weights whose card cannot be used are left out, with a warning.

    Args:
        roles: of the networks (`networks.registry`); segmenters are those that work by themselves.
    """
    cards: dict[str, dict[str, Any]] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
            if path.stem not in cards and path.with_suffix(".json").exists():
                try:
                    cards[path.stem] = {**read_card(path), "name": path.stem, "path": str(path)}
                except InputError as error:
                    _warn_once("%s", str(error))
        for path in sorted(folder.glob("*.h5")) if folder.is_dir() and "prompt" not in roles else []:
            with contextlib.suppress(InputError):  # other programs keep their .h5 files in these folders too
                cards.setdefault(path.stem, {**keras.describe(path), "path": str(path)})
    chosen = [(registry.spec_of(card).role, card) for card in cards.values()]
    return [card for role, card in chosen if role in roles and (role != "segmenter" or registry.segments(card))]


def find(name_or_path: str | Path) -> Path:
    """Return the weights file of a name or path.

    Raises:
        InputError: if there is none; the message lists what there is.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix in {".safetensors", ".h5", ".pt", ".pth"}:
        if path.is_file():
            return path
        raise InputError(f"The weights file {path} does not exist: check its name.")
    for folder in folders():
        for ending in ENDINGS:
            candidate = folder / f"{name_or_path}{ending}"
            if candidate.is_file():
                return candidate
    names = ", ".join(card["name"] for card in available()) or "none"
    raise InputError(f"There are no weights named {str(name_or_path)!r} (available: {names}): give a name or a file.")


def find_robust() -> Path:
    """Return the first weights file of a robust network: of this program's own, else of the official ones.

    Raises:
        InputError: there is none.
    """
    for name in ROBUST:
        with contextlib.suppress(InputError):
            return find(name)
    raise InputError(
        f"There are no weights of a robust network: give {ROBUST[-1]}.h5, or set FREESURFER_HOME where FreeSurfer is."
    )


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file of bounded size and depth; a `ValueError` if it is larger, deeper or no JSON."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES >> 20} MB")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_card(path: Path) -> dict[str, Any]:
    """Read the JSON card beside a weights file.

    Raises:
        InputError: it is missing or broken, or an entry has the wrong type.
    """
    card = path.with_suffix(".json")
    try:
        content = read_json(card)
    except OSError as error:
        raise InputError(f"{path.name} needs its card {card.name} beside it: copy both files.") from error
    except ValueError as error:
        why = " ".join(str(error).split())[:80]
        raise InputError(f"The card {card.name} of {path.name} is damaged ({why}): copy both files again.") from error
    content = content if isinstance(content, dict) else {}
    answers_clicks = registry.spec_of(content).role == "prompt"
    missing = [key for key in NEEDED if key not in content and not (key == "labels" and answers_clicks)]
    if missing:
        raise InputError(f"The card {card.name} of {path.name} does not say its {missing[0]}: copy both files again.")
    wrong = _wrong_entry(content)
    if wrong:
        raise InputError(f"The card {card.name} of {path.name} is damaged ({wrong}): copy both files again.")
    return content


def _whole(number: Any, low: int, high: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and low <= number <= high


def _all(items: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(items, list) and all(map(fits, items))


def _by_value(items: Any, fits: Callable[[Any], bool]) -> bool:
    """Return whether something is a dictionary whose keys are whole numbers and whose values fit."""
    keys = isinstance(items, dict) and all(key.isascii() and key.isdigit() and len(key) < 6 for key in items)
    return keys and all(map(fits, items.values()))


LARGEST = 1_000_000
"""No size of a network is larger than this."""
ENTRIES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("name network title summary description recipe licence sha256 preset encoder", lambda x: isinstance(x, str),
     "a text"),
    ("features levels kernel growth convolutions in_channels edge hidden mlp heads layers window field spacing "
     "image_size depths locator_features refiner_features s1_features",
     lambda x: _all(x if isinstance(x, list) else [x], lambda one: _whole(one, 1, LARGEST)),
     f"a whole number from 1 to {LARGEST}, or a list of such"),
    ("labels one_piece", lambda x: _all(x, lambda one: _whole(one, 0, 32_767)),
     "a list of whole numbers from 0 to 32767"),
    ("spacing_mm confident_score",
     lambda x: isinstance(x, int | float) and not isinstance(x, bool) and 0 < x < math.inf, "a positive number"),
    ("names", lambda x: _by_value(x, lambda one: isinstance(one, str)), "texts by label"),
    ("colors", lambda x: _by_value(x, lambda one: _all(one, lambda part: _whole(part, 0, 255))),
     "lists of numbers from 0 to 255 by label"),
    ("parts", lambda x: isinstance(x, dict) and all(isinstance(one, dict) for one in x.values()), "cards by name"),
)  # fmt: skip
"""Entries of a card: their names, whether a value fits, and what it must be."""


def _wrong_entry(card: Mapping[str, Any], depth: int = 0) -> str:
    """Return which entry of a card has the wrong type, and what it should be; empty if all are right."""
    for names, fits, what in ENTRIES:
        for name in names.split():
            if name in card and not fits(card[name]):
                return f"its {name} must be {what}"
    if depth > 2:
        return "its parts must be cards by name"
    return next((wrong for one in card.get("parts", {}).values() if (wrong := _wrong_entry(one, depth + 1))), "")
