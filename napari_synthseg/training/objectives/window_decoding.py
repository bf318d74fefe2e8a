"""SAM's mask decoder on windows of an embedding, arranged for training: `Promptable.decode`, faster.

Transposed convolutions whose patches do not overlap are matrix products at each place of the embedding; written so,
only the finished logits have to be put in order, and norms and activations run over memory as it lies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.prompt_layers import drawn_prompts
from napari_synthseg.networks.promptable import SINGLE, STRIDE, Promptable
from napari_synthseg.training.data.prompts import GivenPrompts


def decode_windows(
    model: Promptable,
    embeddings: torch.Tensor,
    positions: torch.Tensor,
    offsets: torch.Tensor,
    prompts: GivenPrompts,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode the single answers to prompts on B windows, as `Promptable.decode` does on whole frames.

    Args:
        model: its prompt encoder and mask decoder are used.
        embeddings: (B, 256, h, w).
        positions: (B, 256, h, w), cut from the prompt encoder's dense positional encoding.
        offsets: (B, 2) x and y of the windows' first pixels.
        prompts: of each window.

    Returns:
        Logits (B, 1, 4h, 4w) and predicted IoU (B,).
    """
    encoder, decoder = model.prompt_encoder, model.mask_decoder
    given = None if prompts.points is None else (prompts.points, prompts.signs)
    sparse, _ = encoder(given, prompts.boxes, None)
    masks = prompts.masks
    if model.draws_prompts:
        here = prompts.moved(-offsets)
        masks = drawn_prompts(embeddings.shape[-1] * STRIDE, here.points, here.signs, here.boxes, masks)
    if masks is None:
        dense = encoder.no_mask_embed.weight
    else:
        dense = downscaled(encoder.mask_downscaling, masks)
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None].expand(len(embeddings), -1, -1)
    if sparse.shape[1]:
        tokens = torch.cat([tokens, sparse.expand(len(embeddings), -1, -1)], 1)
    rows, columns = embeddings.shape[-2:]
    image = channels_last(embeddings) + dense.to(embeddings.dtype)
    found, source = decoder.transformer(as_image(image, rows), as_image(channels_last(positions), rows), tokens)
    weights = decoder.output_hypernetworks_mlps[SINGLE](found[:, 1 + SINGLE])
    logits = upscaled_product(decoder.output_upscaling, source, weights)
    cells = logits.view(-1, rows, columns, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    return cells.reshape(-1, 1, 4 * rows, 4 * columns), decoder.iou_prediction_head(found[:, 0])[:, SINGLE]


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) as contiguous (B, h * w, C)."""
    return x.flatten(2).transpose(1, 2).contiguous()


def as_image(x: torch.Tensor, rows: int) -> torch.Tensor:
    """(B, h * w, C) as (B, C, h, w) without moving a number; the transformer turns it back."""
    return x.unflatten(1, (rows, -1)).permute(0, 3, 1, 2)


def upscaled_product(upscaling: Any, source: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Multiply the answer's weights with the upscaled embedding, place by place.

    Args:
        upscaling: the decoder's `output_upscaling`.
        source: (B, N, 256).
        weights: (B, 32) of the answer.

    Returns:
        (B, N, 16): at each place the 2 x 2 cells of the first step, each with the 2 x 2 cells of the second.
    """
    first, norm, activation, second, _ = upscaling
    x = patches(first, source)
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = activation(patches(second, x))
    return torch.bmm(x.flatten(1, -2), weights.to(x.dtype)[:, :, None]).view(*source.shape[:2], 16)


def patches(convolution: nn.ConvTranspose2d, x: torch.Tensor) -> torch.Tensor:
    """Apply a transposed 2 x 2 convolution of stride 2: (..., C) -> (..., 4, K), the patches row by row."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    bias = None if convolution.bias is None else convolution.bias.repeat(4)
    return F.linear(x, weight, bias).unflatten(-1, (4, -1))


def downscaled(downscaling: Any, masks: torch.Tensor) -> torch.Tensor:
    """Apply the prompt encoder's `mask_downscaling`: (B, 1, 4h, 4w) -> (B, h * w, 256); its patches do not overlap."""
    first, norm, activation, second, other, _, last = downscaling
    n, rows, columns = len(masks), masks.shape[-2] // 4, masks.shape[-1] // 4
    x = masks.view(n, rows, 2, 2, columns, 2, 2).permute(0, 1, 4, 2, 5, 3, 6).reshape(n, rows * columns, 4, 4)
    x = F.linear(x, first.weight.flatten(1), first.bias)
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = F.linear(x.flatten(-2), second.weight.permute(0, 2, 3, 1).flatten(1), second.bias)
    x = activation(F.layer_norm(x, x.shape[-1:], other.weight, other.bias, other.eps))
    return F.linear(x, last.weight.flatten(1), last.bias)
