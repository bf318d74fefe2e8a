"""UNETR and Swin UNETR (pre-train once, fine-tune many: section III-A) as networks of this house, built by MONAI.

MONAI is imported when such a network is built and not before: importing it takes seconds. Sizes are arguments; the
defaults are the paper's: UNETR with ViT-B of 16^3 patches on 160^3 voxels, Swin UNETR on 96^3 (section IV-A).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.networks.registry import Card, register

PATCH = 16
"""Edge of the patches that UNETR's transformer takes for words, voxels."""
SMALL: dict[str, dict[str, Any]] = {
    "unetr": {"edge": 96, "field": 96, "spacing": 2, "hidden": 192, "mlp": 768, "heads": 6, "layers": 8, "features": 8},
    "swin-unetr": {"edge": 96, "field": 96, "spacing": 2, "features": 12, "depths": [2, 2, 2, 2]},
}
"""Sizes of these networks for a CPU, which see whole heads of 192 mm at 2 mm."""


class Transformer(nn.Module):
    """An encoder of transformers that can be pre-trained, and a decoder of convolutions.

    Args:
        net: MONAI's network.
        labels: how many channels come out (K), or the sorted label values.
        edge: voxels along each side of its crops.
        field: voxels along each side of the standardized volume that crops are taken from (192 in section IV-A).
        spacing: of its voxels, mm; a whole number.
    """

    encoder_name: str
    """Attribute of `net` that is the encoder."""

    def __init__(self, net: nn.Module, labels: int | Sequence[int], edge: int, field: int, spacing: int) -> None:
        super().__init__()
        if field < edge:
            raise InputError(f"Crops of {edge} voxels do not fit into a field of view of {field}: change one of them.")
        self.net = net
        self.labels = tuple(range(labels)) if isinstance(labels, int) else tuple(labels)
        self.edge, self.field, self.spacing = int(edge), int(field), int(spacing)

    @classmethod
    def from_card(cls, card: Card) -> Transformer:
        sizes = signature(cls).parameters.keys() - {"labels"}  # the paper's, if a card does not say another one
        return cls(card["labels"] or 1, **{name: card[name] for name in sizes if name in card})  # type: ignore[arg-type]

    @property
    def encoder(self) -> nn.Module:
        return getattr(self.net, self.encoder_name)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) image in [0, 1] -> (B, K, X, Y, Z) before the softmax."""
        return self.net(image)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) image in [0, 1] -> (B, K, X, Y, Z) posteriors."""
        return self.logits(image).softmax(1)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        return self.encoder.parameters()

    def encoder_state(self) -> dict[str, torch.Tensor]:
        """Return the encoder's weights, as `load_encoder` takes them."""
        return {key: value.detach().clone() for key, value in self.encoder.state_dict().items()}

    def load_encoder(self, state: Mapping[str, torch.Tensor], name: str = "given") -> None:
        """Put the weights of a pre-trained encoder of the same sizes in place; all else stays as it is.

        Raises:
            InputError: it belongs to another network or other sizes; `name` is how the message calls it.
        """
        try:
            self.encoder.load_state_dict(dict(state))
        except RuntimeError as error:
            why = " ".join(str(error).split(":", 1)[-1].split())[:120]
            raise InputError(
                f"The encoder {name!r} is of another network or has other sizes ({why}): use those it was trained with."
            ) from error


@register("unetr", predictor="sliding_window", fixed_window=True)
@register("unetr-encoder", role="encoder")
class Unetr(Transformer):
    """UNETR: a vision transformer over patches of 16^3 voxels, whose states at four depths a CNN decoder puts together.

    Args:
        labels: how many channels come out (K), or the sorted label values.
        edge: voxels along each side of its input, exactly; a multiple of 16.
        hidden: features of a patch.
        mlp: features within a block.
        heads: of the attention; `hidden` is a multiple of it.
        layers: blocks of the transformer, 4 or more; skips leave at a quarter, half and three quarters of them.
        features: channels of the decoder's finest level.
        field, spacing: see `Transformer`.

    Raises:
        InputError: MONAI is not installed, or sizes do not fit together.
    """

    encoder_name = "vit"

    def __init__(
        self,
        labels: int | Sequence[int],
        edge: int = 160,
        hidden: int = 768,
        mlp: int = 3072,
        heads: int = 12,
        layers: int = 12,
        features: int = 16,
        field: int = 192,
        spacing: int = 1,
    ) -> None:
        if edge % PATCH or hidden % heads or layers < 4:
            raise InputError(
                f"A UNETR needs an edge that is a multiple of {PATCH}, features that its heads can share, and at least "
                f"4 layers; edge {edge}, hidden {hidden}, heads {heads} and layers {layers} do not fit."
            )
        channels = labels if isinstance(labels, int) else len(labels)
        sizes = {"hidden_size": hidden, "mlp_dim": mlp, "num_heads": heads}
        net = monai("nets.unetr", "UNETR")(1, channels, edge, features, **sizes)
        if layers != len(net.vit.blocks):
            net.vit = monai("nets.vit", "ViT")(1, edge, PATCH, num_layers=layers, **sizes)
        super().__init__(net, labels, edge, field, spacing)
        self.hidden, self.layers, self.multiple = hidden, layers, edge

    @property
    def depths(self) -> tuple[int, int, int]:
        """The blocks after which features leave for the decoder: 3, 6 and 9 of 12."""
        return self.layers // 4, self.layers // 2, 3 * self.layers // 4

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, edge, edge, edge) image in [0, 1] -> (B, K, edge, edge, edge) before the softmax."""
        net = self.net
        x, states = net.vit(image)  # type: ignore[operator]
        first, second, third = (net.proj_feat(states[depth]) for depth in self.depths)  # type: ignore[operator]
        x = net.decoder5(net.proj_feat(x), net.encoder4(third))  # type: ignore[operator]
        x = net.decoder4(x, net.encoder3(second))  # type: ignore[operator]
        x = net.decoder3(x, net.encoder2(first))  # type: ignore[operator]
        return net.out(net.decoder2(x, net.encoder1(image)))  # type: ignore[operator]


@register("swin-unetr", predictor="sliding_window", fixed_window=True)
@register("swin-unetr-encoder", role="encoder")
class SwinUnetr(Transformer):
    """Swin UNETR: attention within shifted windows at four scales, and a CNN decoder.

    Args:
        labels: how many channels come out (K), or the sorted label values.
        edge: voxels along each side of the crops; a multiple of 32, 64 at least.
        features: channels of the finest level; a multiple of 12.
        depths: blocks of each scale.
        heads: of the attention at each scale.
        window: voxels along each side of the windows.
        field, spacing: see `Transformer`.

    Raises:
        InputError: MONAI is not installed, or sizes do not fit together.
    """

    encoder_name = "swinViT"
    multiple = 32
    """Input sizes must be multiples of this."""

    def __init__(
        self,
        labels: int | Sequence[int],
        edge: int = 96,
        features: int = 48,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        field: int = 192,
        spacing: int = 1,
    ) -> None:
        if edge % self.multiple or edge < 2 * self.multiple or features % 12:  # below, norms have nothing to average
            raise InputError(
                f"A Swin UNETR needs an edge of 64 voxels or a larger multiple of 32, and a multiple of 12 "
                f"for its features; {edge} and {features} do not fit."
            )
        channels = labels if isinstance(labels, int) else len(labels)
        sizes = {"depths": tuple(depths), "num_heads": tuple(heads), "window_size": window, "feature_size": features}
        net = monai("nets.swin_unetr", "SwinUNETR")(1, channels, **sizes)
        super().__init__(net, labels, edge, field, spacing)


def monai(module: str, name: str) -> Any:
    """Return a network or block of `monai.networks`.

    Raises:
        InputError: MONAI is not installed.
    """
    try:
        return getattr(importlib.import_module(f"monai.networks.{module}"), name)
    except ImportError as error:
        raise InputError(
            "UNETR and Swin UNETR are built by MONAI, which is not installed: pip install 'napari-synthseg[train]'."
        ) from error
