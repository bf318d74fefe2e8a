"""Networks that segment what is pointed at: SAM's image encoder, prompt encoder and mask decoder (SynthFM, 3.2).

The ViT encoders, the prompt encoder and the mask decoder are `segment-anything`'s modules, the small encoder is timm's
TinyViT with SAM's neck (MobileSAM). Parameters have the names of SAM's official checkpoints.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.devices import quick_kind
from napari_synthseg.errors import InputError
from napari_synthseg.networks.prompt_layers import BoundedAttention, PromptTensors, drawn_prompts, import_torchvision
from napari_synthseg.networks.registry import Card, register

import_torchvision()

from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer  # noqa: E402
from segment_anything.modeling.common import LayerNorm2d  # noqa: E402
from timm.models.tiny_vit import ConvNorm as ConvNorm  # noqa: E402
from timm.models.tiny_vit import TinyVit  # noqa: E402

IMAGE_SIZE = 1024
"""Pixels along each side of what the encoders were trained on."""
STRIDE = 16
"""Pixels of the image for one of the embedding."""
WINDOW = 14
"""Reach of the ViT encoders' local attention, in steps of the embedding."""
CHANNELS = 256
"""Channels of the embedding."""
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation that SAM takes off and divides by, of red, green and blue in 0-255."""
SINGLE = 0
"""Which of the decoder's masks is the single answer; the others are its whole-part-subpart guesses."""


@dataclass(frozen=True)
class VitSize:
    """What distinguishes SAM's ViT encoders."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    """Blocks whose attention reaches over the whole image; that of the others stays in windows."""


@dataclass(frozen=True)
class TinyVitSize:
    """What distinguishes TinyViT encoders; one entry a stage."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    windows: tuple[int, ...]


ENCODERS: dict[str, VitSize | TinyVitSize] = {
    "mobile": TinyVitSize((64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)),
    "vit_b": VitSize(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": VitSize(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": VitSize(1280, 32, 16, (7, 15, 23, 31)),
}


class ExactNorm(LayerNorm2d):
    """SAM's norm over channels, in float32 always: its squares overflow float16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W), float32."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def neck(width: int) -> nn.Sequential:
    """Build SAM's projection from the channels of an encoder to those of the embedding."""
    return nn.Sequential(
        nn.Conv2d(width, CHANNELS, 1, bias=False),
        ExactNorm(CHANNELS),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
        ExactNorm(CHANNELS),
    )


class TinyVitEncoder(nn.Module):
    """MobileSAM's image encoder: TinyViT whose last down-sampling keeps its resolution, then SAM's neck."""

    def __init__(self, size: TinyVitSize) -> None:
        super().__init__()
        trunk = TinyVit(
            num_classes=0,
            embed_dims=size.widths,
            depths=size.depths,
            num_heads=size.heads,
            window_sizes=size.windows,
            drop_path_rate=0.0,
        )
        trunk.get_submodule("stages.3.downsample.conv2.conv").stride = (1, 1)  # type: ignore[assignment]
        self.patch_embed, self.stages = trunk.patch_embed, trunk.stages
        self.neck = neck(size.widths[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalized -> (B, 256, H / 16, W / 16)."""
        return self.neck(self.stages(self.patch_embed(x)))


@register("promptable", role="prompt")
class Promptable(nn.Module):
    """An image encoder, SAM's prompt encoder and SAM's mask decoder.

    Positions are (x, y) pixels of the model's frame: the image as given to `encode`, its top left pixel being (0, 0).

    Args:
        encoder: name in `ENCODERS`, or sizes of one's own; None for a model that only decodes.
        image_size: pixels a side of the frame, a multiple of 16.
        draws_prompts: whether points and boxes are drawn on the mask prompt too (`drawn_prompts`); SAM's are not.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self,
        encoder: str | VitSize | TinyVitSize | None = "mobile",
        image_size: int = IMAGE_SIZE,
        draws_prompts: bool = False,
    ) -> None:
        super().__init__()
        self.draws_prompts = draws_prompts
        self.card: dict[str, Any] = {}
        size = ENCODERS[encoder] if isinstance(encoder, str) else encoder
        self.encoder_name = encoder if isinstance(encoder, str) else "custom"
        self.image_size = image_size
        grid = image_size // STRIDE
        if size is not None:
            self.image_encoder = (
                TinyVitEncoder(size) if isinstance(size, TinyVitSize) else vit_encoder(size, image_size)
            )
        self.prompt_encoder = PromptEncoder(CHANNELS, (grid, grid), (image_size, image_size), mask_in_chans=16)
        self.mask_decoder = MaskDecoder(
            transformer_dim=CHANNELS,
            transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=2048, num_heads=8),
        )
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    @classmethod
    def from_card(cls, card: Card) -> Promptable:
        """Build the network that a card describes; an `InputError` if its encoder is unknown."""
        if card.get("encoder") not in ENCODERS:
            raise InputError(
                f"The weights {card.get('name')!r} need an unknown encoder {card.get('encoder')!r}: "
                "update napari-synthseg."
            )
        return cls(card["encoder"], card.get("image_size", IMAGE_SIZE), card.get("draws_prompts", False))

    def parts(self) -> nn.ModuleDict:
        """Return the modules that are trained while the image encoder is frozen, under their names in the whole."""
        return nn.ModuleDict({"prompt_encoder": self.prompt_encoder, "mask_decoder": self.mask_decoder})

    def encode(self, images: torch.Tensor, precision: torch.dtype = torch.float32) -> torch.Tensor:
        """Embed images; the result is float32 whatever it was computed in.

        Args:
            images: (B, 3, H, W), red, green and blue in 0-255; the longer of H and W is `image_size`.
                What is missing to the right and below is padded with zeros after normalization, as SAM does.
            precision: float32, or float16 or bfloat16 for what may be less exact (autocast: norms and softmax stay
                float32); on a CPU float16 becomes bfloat16, since it would be slower than float32 there.

        Returns:
            (B, 256, image_size / 16, image_size / 16).
        """
        x = (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        x = F.pad(x, (0, self.image_size - x.shape[-1], 0, self.image_size - x.shape[-2]))
        if precision == torch.float16 and x.device.type == "cpu":
            precision = torch.bfloat16
        with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
            return self.image_encoder(x).float()

    def decode(
        self,
        embedding: torch.Tensor,
        points: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode the masks of B prompts on one image.

        Args:
            embedding: (1, 256, h, w) from `encode`.
            points: (B, N, 2) positions (x, y).
            labels: (B, N), 1 inside, 0 outside, -1 a place-holder where prompts have different numbers of points.
            boxes: (B, 4) as x0, y0, x1, y1.
            masks: (B, 1, 4h, 4w) logits of an earlier answer.

        Returns:
            Logits (B, 4, 4h, 4w) and predicted IoU (B, 4): the single answer first, then three guesses.
        """
        if self.draws_prompts:
            masks = drawn_prompts(self.image_size, PromptTensors(points, labels, boxes, masks))
        given = None if points is None else (points, labels)
        sparse, dense = self.prompt_encoder(given, boxes, masks)
        return self.mask_decoder.predict_masks(embedding, self.prompt_encoder.get_dense_pe(), sparse, dense)


def vit_encoder(size: VitSize, image_size: int = IMAGE_SIZE) -> ImageEncoderViT:
    """Build SAM's ViT image encoder with attention in bounded memory."""
    encoder = ImageEncoderViT(
        img_size=image_size,
        patch_size=STRIDE,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        mlp_ratio=4,
        out_chans=CHANNELS,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        global_attn_indexes=size.global_blocks,
        window_size=WINDOW,
    )
    encoder.neck = neck(size.width)
    for block in encoder.blocks:
        block.attn = BoundedAttention(size.width, size.heads, block.window_size or image_size // STRIDE)
    return encoder


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
        quicken(encoder)
        if isinstance(encoder, TinyVitEncoder):
            encoder.patch_embed.to(self.kind)
            encoder.stages.to(self.kind)
        self.encoder = encoder
        self.image_size = model.image_size
        self.register_buffer("mean", model.pixel_mean.clone(), persistent=False)
        self.register_buffer("std", model.pixel_std.clone(), persistent=False)

    @torch.inference_mode()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed gray images (B, H, W) in [0, 1], the longer side the model's: (B, 256, size / 16, size / 16)."""
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


def quicken(model: nn.Module) -> None:
    """Make the encoder of a model that is not trained any more take two thirds of the time, in place.

    TinyViT's norms go into its convolutions, whose numbers are laid channels last. Other encoders stay as they are.
    """
    for encoder in [module for module in model.modules() if isinstance(module, TinyVitEncoder)]:
        fold_norms(encoder.eval())
        for part in (encoder.patch_embed, encoder.stages):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fold_norms(module: nn.Module) -> None:
    """Replace every convolution with a batch norm behind it by one convolution that does both."""
    for name, child in list(module.named_children()):
        if isinstance(child, ConvNorm):
            setattr(module, name, child.fuse())
        else:
            fold_norms(child)
