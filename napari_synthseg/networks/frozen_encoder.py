"""Image encoders that are not trained, made fast: TinyViT with its norms folded into its convolutions."""

from __future__ import annotations

import copy

import torch
from torch import nn

from napari_synthseg.devices import quick_kind
from napari_synthseg.networks.promptable import ConvNorm, Promptable, TinyVitEncoder


class FrozenEncoder(nn.Module):
    """The encoder of a promptable model, for embeddings that need no gradient.

    In bfloat16, embeddings differ from those of the float32 encoder by about 3 % of their standard deviation.

    Args:
        model: whose encoder is copied.
        kind: what it computes in, bfloat16 or float32; by default what the device that the model is on is quick at.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Promptable, kind: torch.dtype | None = None) -> None:
        super().__init__()
        self.kind = kind or quick_kind(next(model.parameters()).device)
        training = model.image_encoder.training
        model.image_encoder.train()  # lets go of timm's cached attention biases, which cannot be copied
        encoder = copy.deepcopy(model.image_encoder).eval().requires_grad_(False)
        model.image_encoder.train(training)
        if isinstance(encoder, TinyVitEncoder):
            fold_norms(encoder)
            encoder.patch_embed.to(self.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
            encoder.stages.to(self.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.encoder = encoder
        self.image_size = model.image_size
        self.register_buffer("mean", model.pixel_mean.clone(), persistent=False)
        self.register_buffer("std", model.pixel_std.clone(), persistent=False)

    @torch.inference_mode()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings of grey images.

        Args:
            images: (B, H, W) in [0, 1]; the longer of H and W is the model's image size.

        Returns:
            (B, 256, size / 16, size / 16), of its kind.
        """
        x = (images[:, None] * 255 - self.mean) / self.std
        pad = (0, self.image_size - x.shape[-1], 0, self.image_size - x.shape[-2])
        x = nn.functional.pad(x, pad)
        if not isinstance(self.encoder, TinyVitEncoder):
            with self._autocast(x.device):
                return self.encoder(x).to(self.kind)
        x = x.to(self.kind).contiguous(memory_format=torch.channels_last)
        x = self.encoder.stages(self.encoder.patch_embed(x))
        with self._autocast(x.device):
            return self.encoder.neck(x).to(self.kind)

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.kind == torch.bfloat16)


def quicken(model: Promptable) -> None:
    """Make a model that is not trained any more encode in two thirds of the time, in place; its embeddings stay.

    TinyViT's norms go into its convolutions, whose numbers are laid channels last. Other encoders stay as they are.
    """
    encoder = model.image_encoder.eval()
    if isinstance(encoder, TinyVitEncoder):
        fold_norms(encoder)
        for part in (encoder.patch_embed, encoder.stages):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fold_norms(module: nn.Module) -> None:
    """Replace every convolution with a batch norm behind it by one convolution that does both."""
    for name, child in list(module.named_children()):
        if isinstance(child, ConvNorm):
            setattr(module, name, child.fuse())
        else:
            fold_norms(child)
