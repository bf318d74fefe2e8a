"""SAM's mask decoder, faster: on windows of an embedding in training, and on a whole image for one click.

Transposed convolutions whose patches do not overlap are matrix products at each place of the embedding; written so,
only the finished logits have to be put in order, and norms and activations run over memory as it lies.

Attention between few tokens and thousands of places needs no projection of the places: the tokens are projected twice
instead, (x Wk) . q = x . (Wk^T q), which is exact and less than half the work.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.prompt_layers import PromptTensors, drawn_prompts
from napari_synthseg.networks.promptable import SINGLE, STRIDE, Promptable

_POSITIONS: WeakKeyDictionary[Promptable, torch.Tensor] = WeakKeyDictionary()
"""Positional encodings (1, N, C) of the models that decoded an image; they do not learn."""


def decode_windows(
    model: Promptable, embeddings: torch.Tensor, positions: torch.Tensor, offsets: torch.Tensor, prompts: PromptTensors
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode the single answers to prompts on B windows, as `Promptable.decode` does on whole frames.

    Args:
        model: its prompt encoder and mask decoder are used.
        embeddings: (B, 256, h, w).
        positions: (B, 256, h, w), cut from the prompt encoder's dense positional encoding.
        offsets: (B, 2) x and y of the windows' first pixels.
        prompts: in the whole frame; the masks are those of the windows.

    Returns:
        Logits (B, 1, 4h, 4w) and predicted IoU (B,).
    """
    decoder, rows = model.mask_decoder, embeddings.shape[-2]
    tokens, dense = _encoded(model, embeddings, prompts, prompts.moved(offsets))
    image = channels_last(embeddings) + dense.to(embeddings.dtype)
    found, source = decoder.transformer(as_image(image, rows), as_image(channels_last(positions), rows), tokens)
    return _answers(model, found, source, rows)


def decode_image(
    model: Promptable, embedding: torch.Tensor, prompts: PromptTensors
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode the single answer to one set of prompts on one image (1, 256, h, w), without gradients.

    Returns:
        Logits (1, 1, 4h, 4w) and predicted IoU (1,).
    """
    tokens, dense = _encoded(model, embedding, prompts, prompts)
    image = channels_last(embedding) + dense
    if (positions := _POSITIONS.get(model)) is None or positions.device != image.device:
        positions = _POSITIONS[model] = channels_last(model.prompt_encoder.get_dense_pe())
    found, source = attended(model.mask_decoder.transformer, image, positions, tokens)
    return _answers(model, found, source, embedding.shape[-2])


def attended(
    transformer: Any, image: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply SAM's two-way transformer to tokens (B, T, C) and an image (B, N, C); the results have the same shapes."""
    queries = tokens
    for number, layer in enumerate(transformer.layers):
        asked = queries if number == 0 else queries + tokens  # the first layer leaves positions out
        found = layer.self_attn(q=asked, k=asked, v=queries)
        queries = layer.norm1(found if number == 0 else queries + found)
        placed = image + positions
        queries = layer.norm2(queries + to_image(layer.cross_attn_token_to_image, queries + tokens, placed, image))
        queries = layer.norm3(queries + layer.mlp(queries))
        seen = from_image(layer.cross_attn_image_to_token, placed, queries + tokens, queries)
        image = layer.norm4(image + seen)
    last = to_image(transformer.final_attn_token_to_image, queries + tokens, image + positions, image)
    return transformer.norm_final_attn(queries + last), image


def to_image(attention: Any, tokens: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attend from tokens (B, T, C) to the places of an image, keys and values (B, N, C): (B, T, C)."""
    heads = attention.num_heads
    asked = attention.q_proj(tokens).unflatten(-1, (heads, -1))  # (B, T, H, c)
    projected = torch.einsum("bthc,hcd->bhtd", asked, attention.k_proj.weight.unflatten(0, (heads, -1)))
    scores = projected.flatten(1, 2) @ keys.transpose(1, 2) / asked.shape[-1] ** 0.5  # k_proj's bias cancels out
    found = (scores.softmax(-1) @ values).unflatten(1, (heads, -1))  # (B, H, T, C)
    mixed = torch.einsum("bhtd,hcd->bthc", found, attention.v_proj.weight.unflatten(0, (heads, -1)))
    return attention.out_proj(mixed.flatten(2) + attention.v_proj.bias)


def from_image(attention: Any, places: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attend from the places of an image (B, N, C) to tokens, keys and values (B, T, C): (B, N, C)."""
    heads, projection = attention.num_heads, attention.q_proj
    seen = attention.k_proj(keys).unflatten(-1, (heads, -1))  # (B, T, H, c)
    projected = torch.einsum("bthc,hcd->bhtd", seen, projection.weight.unflatten(0, (heads, -1))).flatten(1, 2)
    shift = torch.einsum("bthc,hc->bht", seen, projection.bias.unflatten(0, (heads, -1))).flatten(1)
    scores = (places @ projected.transpose(1, 2) + shift[:, None]) / seen.shape[-1] ** 0.5
    shares = scores.unflatten(-1, (heads, -1)).softmax(-1).flatten(2)  # (B, N, H * T)
    given = attention.v_proj(values).unflatten(-1, (heads, -1))
    mixed = torch.einsum("bthc,dhc->bhtd", given, attention.out_proj.weight.unflatten(1, (heads, -1))).flatten(1, 2)
    return shares @ mixed + attention.out_proj.bias


def _encoded(
    model: Promptable, embeddings: torch.Tensor, prompts: PromptTensors, seen: PromptTensors
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens (B, T, C) of prompts, and the dense part, (B, N, C) or (1, C), of those `seen` in a window."""
    encoder, decoder, count = model.prompt_encoder, model.mask_decoder, len(embeddings)
    points, labels, boxes, masks = prompts
    sparse, _ = encoder(None if points is None else (points, labels), boxes, None)
    if model.draws_prompts:
        masks = drawn_prompts(embeddings.shape[-1] * STRIDE, seen)
    dense = encoder.no_mask_embed.weight if masks is None else downscaled(encoder.mask_downscaling, masks)
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None].expand(count, -1, -1)
    return (torch.cat([tokens, sparse.expand(count, -1, -1)], 1) if sparse.shape[1] else tokens), dense


def _answers(
    model: Promptable, tokens: torch.Tensor, source: torch.Tensor, rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (B, 1, 4h, 4w) and the predicted IoU (B,) of the single answers."""
    decoder, columns = model.mask_decoder, source.shape[1] // rows
    weights = decoder.output_hypernetworks_mlps[SINGLE](tokens[:, 1 + SINGLE])
    logits = upscaled_product(decoder.output_upscaling, source, weights)
    cells = logits.view(-1, rows, columns, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    return cells.reshape(-1, 1, 4 * rows, 4 * columns), decoder.iou_prediction_head(tokens[:, 0])[:, SINGLE]


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) as contiguous (B, h * w, C)."""
    return x.flatten(2).transpose(1, 2).contiguous()


def as_image(x: torch.Tensor, rows: int) -> torch.Tensor:
    """(B, h * w, C) as (B, C, h, w) without moving a number; the transformer turns it back."""
    return x.unflatten(1, (rows, -1)).permute(0, 3, 1, 2)


def upscaled_product(upscaling: Any, source: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Multiply the answer's weights (B, 32) with the upscaled embedding (B, N, 256), place by place.

    The result is (B, N, 16): at each place the 2 x 2 cells of the first step, each with the 2 x 2 cells of the second.
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
