"""Saving and loading weights: safetensors with a JSON card, and SynthSeg's Keras files. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_synthseg.atomic_io import placed_files
from napari_synthseg.errors import InputError
from napari_synthseg.networks import registry
from napari_synthseg.weights.catalogue import DEFAULT, cache_folder, find, read_card, sha256

if TYPE_CHECKING:
    import torch
    from torch import nn

    _Model = TypeVar("_Model", bound=nn.Module)


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
        """Cast to float16, unless that is too small: variances of batch norms may be millions."""
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
    """Build the untrained network that a card describes; an `InputError` if it is unknown, or answers clicks."""
    if registry.spec_of(card).role == "prompt":
        raise InputError(f"The weights {card.get('name')!r} answer clicks and segment no whole brain: choose others.")
    return registry.build(card)


def load_keras_h5(path: Path | str, labels: Sequence[int] | None = None) -> nn.Module:
    """Load SynthSeg's official weights, recognized by their layers and not by the file's name.

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
    from napari_synthseg.weights.keras_arrays import load

    model, card = load(Path(path), labels)
    return _with_card(model, card, Path(path))


def load_model(name_or_path: str | Path = DEFAULT, device: str = "cpu") -> nn.Module:
    """Load a network ready to predict.

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
    """Build the network that a card describes, if its file can hold the weights: cards may claim anything."""
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
    """Load a network that helps another one; see `load_model`.

    Args:
        kind: of the network, on its card.
        what, example: how a message calls it, and a file that holds one.

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
    """Load a network with the weights of a file, float32, and its card.

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
        check_finite(tensors, path)
        model.load_state_dict({k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()})
    except InputError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:120].rstrip(".") or type(error).__name__
        raise InputError(f"{path.name} does not hold the weights its card describes ({why}): copy it again.") from error
    return model, card


def check_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise an `InputError` if a tensor holds NaN or infinity: what it predicts would be blamed on the scan."""
    import torch

    for name, tensor in tensors.items():
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path.name} holds numbers that are not finite in {name}: copy it again.")


def import_weights(
    source: Path, out: Path | None = None, *, labels: Sequence[int] | None = None, overwrite: bool = False
) -> Path:
    """Write the weights of a Keras file as safetensors with a card.

    Args:
        source: the `.h5` file of SynthSeg.
        out: the file to write, or a folder for it; default the user's cache, where it is found by its name.
        labels: as for `load_keras_h5`.
        overwrite: replace existing files.

    Raises:
        InputError: the file holds no network of SynthSeg, or there is such a file already.
    """
    out = out or cache_folder() / "weights"
    if out.suffix in (".h5", ".json", ".pt"):
        raise InputError(f"{out} must end in .safetensors, or be a folder.")
    path = out if out.suffix == ".safetensors" else out / f"{source.stem}.safetensors"
    model = load_keras_h5(source, labels)
    if not overwrite and (path.exists() or path.with_suffix(".json").exists()):
        raise InputError(f"{path} is there already: choose another name, or --overwrite.")
    card = {key: value for key, value in model.card.items() if key not in ("path", "sha256")}  # type: ignore[union-attr, operator]
    made = {"name": path.stem, "source": source.name, "source_sha256": model.card["sha256"]}  # type: ignore[index]
    save(path, model.state_dict(), {**card, **made}, exact=True)
    return path
