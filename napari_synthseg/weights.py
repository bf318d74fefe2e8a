"""Which weights exist, where they are found, and how they become networks. Weights are data: nothing is unpickled.

Looked for in this order: an explicit path, the folder NAPARI_SYNTHSEG_WEIGHTS, the user's own folder (`use_folder`),
what the user trained (`data_folder`), `resources/weights`, FREESURFER_HOME/models, the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import placed_files
from napari_synthseg.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    _Model = TypeVar("_Model", bound=nn.Module)

logger = logging.getLogger(__name__)

DEFAULT = "synthseg-fast"
ROBUST = ("synthseg-robust", "synthseg_robust_2.0")
"""Names of robust networks: this program's own, and FreeSurfer's."""
ENDINGS = (".safetensors", ".h5")
"""Of the files that a name may stand for."""
SEGMENTERS = ("locate-refine", "unet", "robust", "unetr", "swin-unetr")
"""Kinds of network, on a card, that make labels from a scan alone."""
HELPERS = {"parcellation": "parcellation", "quality": "regressor"}
"""Kinds that work on what a segmenter found, and the option of `segment` that takes them."""
NEEDED = ("name", "network", "labels")
"""What every card says; the labels only where there are some."""
PROMPTABLE = "promptable"
"""The kind of network, on a card, that answers clicks instead of segmenting labels; see `promptable_weights`."""


def data_folder() -> Path:
    """Where the user's own runs and the weights that came of them are kept; NAPARI_SYNTHSEG_DATA overrides it."""
    import platformdirs

    return Path(os.environ.get("NAPARI_SYNTHSEG_DATA") or platformdirs.user_data_dir("napari-synthseg", False))


def cache_folder() -> Path:
    """Where downloaded weights are kept; NAPARI_SYNTHSEG_CACHE overrides it."""
    import pooch

    return Path(os.environ.get("NAPARI_SYNTHSEG_CACHE") or pooch.os_cache("napari-synthseg"))


_own: list[Path] = []


def use_folder(folder: Path | str | None) -> None:
    """Search a folder of the user's own too, for as long as this process lives; None or "" ends that."""
    _own[:] = [Path(folder).expanduser()] if folder else []


def folders() -> list[Path]:
    """Folders searched for weights, first one first."""
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
    """A name for new weights that nobody mixes up with those that are shipped: "my-" stands before a name of theirs."""
    return f"my-{name}" if (_shipped_folder() / f"{name}.safetensors").exists() else name


def _shipped_folder() -> Path:
    return anatomy.resources() / "weights"


def available(kinds: Collection[str] = SEGMENTERS) -> list[dict[str, Any]]:
    """Cards of all weights found, each with its "path"; a name found twice counts where it is found first.

    Weights whose card cannot be used are left out, with a warning.

    Args:
        kinds: of networks, as their cards say: those that segment by themselves, `HELPERS`, or `PROMPTABLE`.
    """
    cards: dict[str, dict[str, Any]] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
            if path.stem not in cards and path.with_suffix(".json").exists():
                try:
                    cards[path.stem] = {**read_card(path), "name": path.stem, "path": str(path)}
                except InputError as error:
                    logger.warning("%s", error)
        for path in sorted(folder.glob("*.h5")) if folder.is_dir() and PROMPTABLE not in kinds else []:
            with contextlib.suppress(InputError):  # other programs keep their .h5 files in these folders too
                cards.setdefault(path.stem, {**describe_keras_h5(path), "path": str(path)})
    guided = {name for name, card in cards.items() if card["network"] in SEGMENTERS and card.get("in_channels", 1) != 1}
    return [card for name, card in cards.items() if card["network"] in kinds and name not in guided]


def find(name_or_path: str | Path) -> Path:
    """The weights file of a name or path.

    Raises:
        InputError: if there is none; the message lists what there is.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix in {".safetensors", ".h5", ".pt"}:
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
    """The first weights file of a robust network: of this program's own, else of the official ones.

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
    """Checksum of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_card(path: Path) -> dict[str, Any]:
    """The JSON card beside a weights file.

    Raises:
        InputError: if it is missing or broken.
    """
    card = path.with_suffix(".json")
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} needs its card {card.name} beside it: copy both files.") from error
    answers_clicks = isinstance(content, dict) and content.get("network") == PROMPTABLE
    needed = [key for key in NEEDED if not (key == "labels" and answers_clicks)]
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise InputError(f"The card {card.name} of {path.name} does not say its {missing[0]}: copy both files again.")
    return content


def save(path: Path, tensors: dict[str, torch.Tensor], card: dict[str, Any], *, exact: bool = False) -> None:
    """Write weights as float16 safetensors with their card, both atomically; the card gains "sha256".

    A tensor with values that float16 cannot hold keeps its precision.

    Args:
        path: ends in .safetensors.
        tensors: state of a network.
        card: at least "name", "network", "labels", and the sizes that build the network.
        exact: keep the precision that the weights have.
    """
    import torch
    from safetensors.torch import save_file

    def stored(v: torch.Tensor) -> torch.Tensor:
        """As float16, unless that is too small for it: variances of batch norms may be millions."""
        half = v.to(torch.float16) if v.dtype.is_floating_point and not exact else v
        return half if bool(torch.isfinite(half).all()) else v

    half = {k: stored(v).contiguous().cpu() for k, v in tensors.items()}
    card_file = path.with_suffix(".json").name
    with placed_files(path.parent, rank=lambda name: int(name == card_file)) as folder:
        part = folder / path.name
        save_file(half, part)
        part.chmod(0o644)  # safetensors makes files that only their owner can read
        full = {**card, "sha256": sha256(part), "bytes": part.stat().st_size}
        (folder / card_file).write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")


def build(card: dict[str, Any]) -> nn.Module:
    """The untrained network that a card describes.

    Raises:
        InputError: the kind of network is unknown, or answers clicks.
    """
    from napari_synthseg.networks.build import build as build_network

    if card.get("network") == PROMPTABLE:
        raise InputError(f"The weights {card.get('name')!r} answer clicks and segment no whole brain: choose others.")
    return build_network(card)


def describe_keras_h5(path: Path | str) -> dict[str, Any]:
    """The card of SynthSeg's official weights in a Keras file, without reading them.

    Raises:
        InputError: the file holds no network of SynthSeg; the sentence says what it is.
    """
    from napari_synthseg.keras_weights import describe

    return describe(path)


def load_keras_h5(path: Path | str, labels: Sequence[int] | None = None) -> nn.Module:
    """SynthSeg's official weights, whatever network they are of (told by the layers, not by the file's name).

    Args:
        path: a Keras `.h5` file: SynthSeg 1.0 or 2.0, a training checkpoint, robust 2.0, the parcellation (its forward
            takes three channels: the scan, what is no cortex, and cortex), or the quality regressor (its forward takes
            the one-hot groups of `anatomy.QUALITY_GROUPS` and gives a number for each).
        labels: the values that the network predicts, sorted, where its number of channels does not tell.

    Returns:
        The network in evaluation mode, (B, 1, X, Y, Z) float32 -> posteriors (B, K, X, Y, Z), with attributes `labels`
        and `card`; that of a robust file also has `stages(x)`, the posteriors of its three networks.

    Raises:
        InputError: the file holds no network of SynthSeg; the sentence says what it is.
    """
    from napari_synthseg.keras_weights import load

    model, card = load(path, labels)
    return _with_card(model, card, Path(path))


def load_model(name_or_path: str | Path = DEFAULT, device: str = "cpu") -> nn.Module:
    """A network ready to predict.

    Args:
        name_or_path: name of known weights, or a file: `.safetensors` with a card, a Keras `.h5` of SynthSeg.
        device: torch device.

    Returns:
        The network in evaluation mode, with attributes `labels` (sorted values, background first) and `card`.

    Raises:
        InputError: if the weights are missing, damaged or of an unknown kind.
    """
    path = find(name_or_path)
    if path.suffix == ".h5":
        return load_keras_h5(path).to(device)
    model, card = load_safetensors(path, lambda card: _build_no_larger(card, path))
    return _with_card(model, card, path).to(device).eval()


def _build_no_larger(card: dict[str, Any], path: Path) -> nn.Module:
    """The network that a card describes, made only if its file can hold the weights: cards may claim anything."""
    import torch
    from torch.overrides import TorchFunctionMode

    class NumbersAreReal(TorchFunctionMode):
        """MONAI's Swin reads numbers from a `linspace` while it is made."""

        def __torch_function__(self, func, types, args=(), kwargs=None):
            real = {"device": "cpu"} if func is torch.linspace else {}
            return func(*args, **{**(kwargs or {}), **real})

    with torch.device("meta"), NumbersAreReal():  # shapes without memory
        numbers = sum(tensor.numel() for tensor in build(card).state_dict().values())
    if numbers > path.stat().st_size:  # two bytes each in float16, four in float32
        raise InputError(f"{path.name} is too small for the network its card describes: copy both again.")
    return build(card)


def load_kind(name_or_path: str | Path, kind: str, what: str, example: str) -> nn.Module:
    """As `load_model`, of one kind of network that helps another.

    Args:
        name_or_path: see `load_model`.
        kind: of the network, on its card.
        what: how a message calls it.
        example: a file that holds one.

    Raises:
        InputError: as `load_model`, or the weights are of another network.
    """
    model = load_model(name_or_path)
    card: dict[str, Any] = model.card  # type: ignore[assignment]
    if card["network"] != kind:
        title = card.get("title", card["network"])
        raise InputError(f"The weights {card.get('name')!r} are not of {what} ({title}): give {example}.")
    return model


def _with_card(model: nn.Module, card: dict[str, Any], path: Path) -> nn.Module:
    model.labels = tuple(card["labels"])  # type: ignore[assignment]
    model.card = {**card, "path": str(path), "sha256": card.get("sha256") or sha256(path)}  # type: ignore[assignment]
    return model


def load_safetensors(path: Path, build: Callable[[dict[str, Any]], _Model]) -> tuple[_Model, dict[str, Any]]:
    """A network with the weights of a file, float32, and its card.

    Args:
        path: .safetensors with its card beside it.
        build: makes the untrained network that a card describes.

    Raises:
        InputError: the file or its card is missing, damaged or of another kind.
    """
    import torch
    from safetensors.torch import load_file

    card = read_card(path)
    if card.get("sha256") and card["sha256"] != sha256(path):
        raise InputError(
            f"{path.name} is damaged or not the file its card describes (checksum differs): copy it again."
        )
    try:
        model = build(card)
        tensors = load_file(path)
        model.load_state_dict({k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()})
    except InputError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:120].rstrip(".") or type(error).__name__
        raise InputError(f"{path.name} does not hold the weights its card describes ({why}): copy it again.") from error
    return model, card
