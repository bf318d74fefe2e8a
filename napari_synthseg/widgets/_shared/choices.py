"""Choices of the widgets (models, devices, preferences), and times in words. No torch, no Qt."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, duration
from napari_synthseg.networks.registry import segments
from napari_synthseg.weights import catalogue, keras

PLUGIN = "napari-synthseg"
CACHE = "NAPARI_SYNTHSEG_CACHE"
SCORES = {
    "dice": "Dice",
    "sd95_mm": "SD95",
    "msd_mm": "mean distance",
    "absolute_difference_percent": "volumes off (%)",
}
_cache_of_ours: str | None = None
"""Value of that variable by `use_folders`, which child processes inherit."""


@dataclass(frozen=True)
class Choice:
    """An entry of a combo box: the value of the option, its text, and a tooltip."""

    value: Any
    text: str
    tip: str = ""


def device_choices() -> list[Choice]:
    """Return devices that this kind of machine may have, without loading torch."""
    gpu = Choice("mps", "Apple GPU (MPS)") if sys.platform == "darwin" else Choice("cuda", "NVIDIA GPU (CUDA)")
    return [Choice("auto", "Automatic", "A GPU if there is one, else the processor."), Choice("cpu", "Processor"), gpu]


def model_cards() -> list[dict[str, Any]]:
    """Return the cards of all weights, also in the folders of the user's preferences."""
    use_folders()
    try:
        return catalogue.available()
    except (OSError, ValueError):  # a folder that cannot be read; choosing a model later reports it
        return []


def use_folders() -> None:
    """Search weights in the folders of the user's current preferences too."""
    global _cache_of_ours
    cache = str(preference("cache", "", group="files") or "")
    if os.environ.get(CACHE) in (None, _cache_of_ours):  # a variable that the user has set goes first
        os.environ.pop(CACHE, None)
        if cache:
            os.environ[CACHE] = cache
        _cache_of_ours = cache or None
    catalogue.use_folder(preference("weights", "", group="files"))


def weights_card(path: Path) -> dict[str, Any]:
    """Return the card of a weights file, with its path; that of a Keras file is made from its layers.

    Raises:
        InputError: the file or its card is missing or broken, or it holds no network that segments scans.
    """
    if catalogue.find(path).suffix == ".safetensors":
        return {**catalogue.read_card(path), "path": str(path)}
    card = keras.describe(path)
    if not segments(card):
        raise InputError(f"{path.name} ({card['title']}) segments no scan by itself; choose another file.")
    return {**card, "path": str(path), "bytes": path.stat().st_size}


def card_rows(card: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a model's card as a table: use, training data, scores, license and file."""
    path = Path(card["path"]) if card.get("path") else None
    labels = card.get("labels")
    rows = [
        ("About", card.get("description") or card.get("summary")),
        ("Structures", f"{len(labels) - 1} ({len(labels)} labels with background)" if labels else None),
        ("Trained on", card.get("data")),
        ("Recipe", card.get("recipe")),
        ("Scores", _scores(card.get("scores"))),
        ("License", card.get("licence") or card.get("license")),
        ("File", path.name if path else None),
        ("Folder", path.parent if path else None),
        ("Size", f"{card['bytes'] / 1e6:.1f} MB" if card.get("bytes") else None),
        ("SHA-256", card.get("sha256")),
    ]
    return [(name, str(value)) for name, value in rows if value]


def card_summary(card: dict[str, Any]) -> str:
    shown = ("About", "Trained on", "Recipe", "Scores", "License")
    return "\n".join(f"{name}: {value}" for name, value in card_rows(card) if name in shown)


def _scores(scores: Any) -> str:
    """Return scores in one line: "Dice 0.753, SD95 3.416 mm (5 scans)"."""
    if not isinstance(scores, dict):
        return ""
    shown = [
        f"{SCORES.get(name, name)} {value:.3f}{' mm' if name.endswith('_mm') else ''}"
        for name, value in scores.items()
        if isinstance(value, float)
    ]
    count = f" ({scores['scans']} scans)" if scores.get("scans") else ""
    return ", ".join(shown) + count if shown else ""


def preference(name: str, default: Any, *, group: str = "computing") -> Any:
    """Return a value of the plugin's preferences; `default` if napari does not know them."""
    try:
        from napari.settings import get_plugin_settings, get_settings

        kept = get_settings().config_path
        if kept and not Path(kept).with_name(f"{PLUGIN}.yaml").is_file():
            return default  # nothing was changed: napari reads the manifests of all plugins to know, for 0.1 to 0.2 s
        return getattr(getattr(get_plugin_settings(PLUGIN), group), name)
    except (ImportError, AttributeError, KeyError):
        return default


def so_far(report: Progress, seconds: float) -> str:
    """Format the stage of a running job and its time: "Network (3 of 12), 1 min 5 s"."""
    count = f" ({report.done} of {report.total})" if report.total > 1 else ""
    return f"{report.stage}{count}{f', {elapsed(seconds)}' if seconds >= 1 else ''}"


def elapsed(seconds: float) -> str:
    """Format the time of a running job, to the second for an hour, so that it visibly moves."""
    if not 60 <= seconds < 3600:
        return duration(seconds)
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s"
