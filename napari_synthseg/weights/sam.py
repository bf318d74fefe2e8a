"""Weights of promptable models: our own (safetensors with a card), and SAM's and MobileSAM's official checkpoints.

Checkpoints are found by path, or by name in the folders of `catalogue.folders()`, and are fetched only when asked for.
Weights of ours with a frozen encoder hold the decoder alone; their card names the encoder, which is kept once.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg.errors import InputError
from napari_synthseg.networks import registry
from napari_synthseg.weights import catalogue, store

if TYPE_CHECKING:
    import torch

    from napari_synthseg.networks.promptable import Promptable

DEFAULT = "synthfm-sam"
"""Ours, shipped with the package."""
_META = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True)
class Checkpoint:
    """An official checkpoint: which encoder it holds, and how its file is known."""

    encoder: str
    """Name in `networks.promptable.ENCODERS`."""
    file: str
    url: str
    sha256: str
    bytes: int
    licence: str = "Apache-2.0"


CHECKPOINTS: dict[str, Checkpoint] = {
    "mobilesam": Checkpoint(
        "mobile", "mobile_sam.pt", "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f", 40_728_226,
    ),
    "vit_b": Checkpoint(
        "vit_b", "sam_vit_b_01ec64.pth", _META + "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 375_042_383,
    ),
    "vit_l": Checkpoint(
        "vit_l", "sam_vit_l_0b3195.pth", _META + "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", 1_249_524_607,
    ),
    "vit_h": Checkpoint(
        "vit_h", "sam_vit_h_4b8939.pth", _META + "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", 2_564_550_879,
    ),
}  # fmt: skip


def available() -> list[dict[str, Any]]:
    """Return cards of the promptable models at hand, with "path": the default, others with a card, checkpoints."""
    official = [
        {"name": name, "network": "promptable", "encoder": known.encoder, "licence": known.licence, "path": str(path)}
        for name, known in CHECKPOINTS.items()
        if (path := _in_folders(known.file)) is not None
    ]
    own = sorted(catalogue.available(["prompt"]), key=lambda card: card["name"] != DEFAULT)
    return [*own, *official]


def find(name_or_path: str | Path = DEFAULT) -> Path:
    """Return the file of a promptable model.

    Args:
        name_or_path: "default", a name in `CHECKPOINTS`, the name of weights of ours, or a file
            (.safetensors, .pt, .pth).

    Raises:
        InputError: if there is none; the message says where it is looked for.
    """
    name = DEFAULT if str(name_or_path) == "default" else str(name_or_path)
    if Path(name).suffix in {".safetensors", ".pt", ".pth"}:
        return catalogue.find(name)
    if name in CHECKPOINTS:
        known = CHECKPOINTS[name]
        if found := _in_folders(known.file):
            return found
        raise InputError(
            f"The checkpoint of {name} is not at hand: put {known.file} from {known.url} into "
            f"{catalogue.cache_folder() / 'weights'}, or give its path."
        )
    if found := _in_folders(f"{name}.safetensors"):
        return found
    names = ", ".join(card["name"] for card in available()) or "none"
    raise InputError(f"There is no promptable model named {name!r} (at hand: {names}): give a name or a file.")


def load_model(name_or_path: str | Path = DEFAULT, device: str = "cpu") -> Promptable:
    """Load a promptable model.

    Args:
        name_or_path: as for `find`.
        device: torch device.

    Returns:
        The model in evaluation mode, float32, with the attribute `card` (name, encoder, path, sha256).

    Raises:
        InputError: the weights are missing, damaged, or of something else.
    """
    path = find(name_or_path)
    model, card = (_load_own if path.suffix == ".safetensors" else _load_checkpoint)(path)
    model.card = {**card, "path": str(path), "sha256": card.get("sha256") or catalogue.sha256(path)}
    return model.to(device).eval()  # type: ignore[return-value]


def build(card: dict[str, Any]) -> Promptable:
    """Build the untrained model that a card describes; an `InputError` if it is another kind of network."""
    if registry.spec_of(card).role != "prompt":
        raise InputError(f"The weights {card.get('name')!r} segment whole brains and answer no clicks: choose others.")
    return registry.build(card)  # type: ignore[return-value]


def frozen_source(model: Promptable) -> str | None:
    """Return the name in `CHECKPOINTS` whose encoder a loaded model has, unchanged; None if it has one of its own."""
    card: dict[str, Any] = model.card
    known = CHECKPOINTS.get(card["name"])
    if known is not None and card["sha256"] == known.sha256:
        return card["name"]
    return card.get("encoder weights")


def decoder_source(model: Promptable) -> str | None:
    """Return the name of the SAM decoder that a loaded model has or was trained from; None if there is none."""
    own = model.card.get("name") in CHECKPOINTS or model.card.get("source")
    return model.card.get("name") if own else model.card.get("decoder from")


def encoder_state(name: str, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Return the image encoder of an official checkpoint: from the file that holds it alone, else from the checkpoint.

    Args:
        name: in `CHECKPOINTS`.
        sha256: what the file that holds it alone must have, if that is known.

    Raises:
        InputError: neither is at hand, or the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _in_folders(encoder_file(name))
    if path is None:
        return _load_checkpoint(find(name))[0].image_encoder.state_dict()
    try:
        if sha256 is not None and catalogue.sha256(path) != sha256:
            raise SafetensorError("checksum differs")
        return {k: v.float() for k, v in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path.name} is damaged or of another version: copy it again.") from error


def encoder_sha256(name: str) -> str | None:
    """Return the checksum of the file that holds an official encoder alone; None if it is not at hand."""
    path = _in_folders(encoder_file(name))
    return catalogue.sha256(path) if path is not None else None


def encoder_file(name: str) -> str:
    """Return the name of the file that holds the encoder of an official checkpoint alone."""
    return f"{name}-encoder.safetensors"


def _load_own(path: Path) -> tuple[Promptable, dict[str, Any]]:
    """Load a model of ours; if the file holds no encoder, it comes from the one its card names."""
    card = catalogue.read_card(path)
    source = card.get("encoder weights")
    if source is None:
        return store.load_safetensors(path, build)
    if source not in CHECKPOINTS:
        raise InputError(f"{path.name} needs an unknown encoder {source!r}: update napari-synthseg.")
    model = build(card)
    model.image_encoder.load_state_dict(encoder_state(source, card.get("encoder sha256")))
    parts, card = store.load_safetensors(path, lambda _: model.parts())
    return model, card


def encoder_of(state: dict[str, torch.Tensor]) -> str | None:
    """Recognize the encoder of a SAM checkpoint by its shapes; None if it is no such checkpoint."""
    from napari_synthseg.networks.promptable import ENCODERS, VitSize

    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "mobile"
    embedding = state.get("image_encoder.patch_embed.proj.bias")
    if embedding is None:
        return None
    widths = {size.width: name for name, size in ENCODERS.items() if isinstance(size, VitSize)}
    return widths.get(len(embedding))


def timm_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename MobileSAM's parameters to those of timm's TinyViT; classifier and computed tensors are left out.

    A stage of MobileSAM ends with its down-sampling, one of timm begins with it.
    """
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(("image_encoder.head.", "image_encoder.norm_head.")) or name.endswith("attention_bias_idxs"):
            continue
        new = name.replace("embed.seq.0.", "embed.conv1.").replace("embed.seq.2.", "embed.conv2.")
        if new.startswith("image_encoder.layers."):
            _, stage, rest = new.removeprefix("image_encoder.").split(".", 2)
            number = int(stage) + rest.startswith("downsample.")
            new = f"image_encoder.stages.{number}.{rest}"
        renamed[new.replace(".c.weight", ".conv.weight")] = tensor
    return renamed


def _in_folders(file: str) -> Path | None:
    return next((path for folder in catalogue.folders() if (path := folder / file).is_file()), None)


def _load_checkpoint(path: Path) -> tuple[Promptable, dict[str, Any]]:
    from napari_synthseg.networks.promptable import Promptable

    state, sha256 = _read(path)
    encoder = encoder_of(state)
    if encoder is None:
        raise InputError(f"{path.name} holds no SAM image encoder: give a checkpoint of SAM or MobileSAM.")
    model = Promptable(encoder)
    try:
        model.load_state_dict(timm_names(state) if encoder == "mobile" else state)
    except RuntimeError as error:
        raise InputError(
            f"{path.name} is not a whole SAM checkpoint with the encoder {encoder}: copy or download it again."
        ) from error
    name = next((name for name, known in CHECKPOINTS.items() if known.sha256 == sha256), path.stem)
    return model, {"name": name, "network": "promptable", "encoder": encoder, "sha256": sha256}


def _read(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """Read the tensors of a checkpoint and its checksum; an official name asks for the official file."""
    import torch

    known = next((known for known in CHECKPOINTS.values() if known.file == path.name), None)
    size = path.stat().st_size
    if known is not None and size < known.bytes:
        raise InputError(f"{path.name} ends after {size:,} of {known.bytes:,} bytes: copy or download it again.")
    sha256 = catalogue.sha256(path)
    if known is not None and sha256 != known.sha256:
        raise InputError(
            f"{path.name} is not the official file of that name (checksum differs): download it again, "
            "or rename it if it is meant to differ."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise InputError(
            f"{path.name} is no PyTorch checkpoint of plain weights, or is damaged: download it again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise InputError(f"{path.name} holds no SAM image encoder: give a checkpoint of SAM or MobileSAM.")
    store.check_finite(state, path)
    return state, sha256
