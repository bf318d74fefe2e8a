"""Pre-training of transformers (pre-train once, fine-tune many: section III-A, Figure 2).

A masked autoencoder around UNETR's encoder: the encoder sees the visible patches alone; a light decoder of four blocks
sees its states at their places, a mask token everywhere else, and predicts the voxels of every patch. Unlike in the
first masked autoencoder, the decoder's later blocks also get earlier states of the encoder, at visible patches. And
three heads on Swin UNETR's encoder: inpainting, rotation, contrast (Tang et al. 2022, section 3.2).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.errors import InputError
from napari_synthseg.networks.transformers import PATCH, SwinUnetr, Unetr, monai

HEADS = 8
"""Of the decoder's attention."""


class MaskedAutoencoder(nn.Module):
    """The encoder of a UNETR, and what reconstructs the patches that it does not see.

    Args:
        unetr: whose encoder is trained; its decoder of convolutions takes no part.
        hidden: features of a patch in the decoder; a multiple of 8.
        blocks: of the decoder, 1 or more.
        skips: connect later blocks with earlier states of the encoder.

    Raises:
        InputError: MONAI is not installed, or sizes do not fit together.
    """

    def __init__(self, unetr: Unetr, hidden: int = 512, blocks: int = 4, skips: bool = True) -> None:
        super().__init__()
        if hidden % HEADS or blocks < 1:
            raise InputError(f"The decoder needs a block, and a multiple of {HEADS} features, not {hidden}.")
        block, own = monai("blocks.transformerblock", "TransformerBlock"), unetr.hidden
        self.encoder, self.edge = unetr.encoder, unetr.edge
        self.depths = unetr.depths[::-1][: blocks - 1] if skips else ()
        self.embed = nn.Linear(own, hidden)
        self.skips = nn.ModuleList(nn.Linear(own, hidden) for _ in self.depths)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.position = nn.Parameter(torch.zeros(1, self.count, hidden))
        self.blocks = nn.ModuleList(block(hidden, 4 * hidden, HEADS, qkv_bias=True) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(hidden), nn.Linear(hidden, PATCH**3)
        nn.init.normal_(self.mask_token, std=0.02)
        nn.init.normal_(self.position, std=0.02)
        nn.init.normal_(self.head.weight, std=0.002)  # what is predicted at first is about nothing
        nn.init.zeros_(self.head.bias)

    @property
    def count(self) -> int:  # of patches
        return (self.edge // PATCH) ** 3

    def encode(self, image: torch.Tensor, visible: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Encode the (B, V) visible patches of an image (B, 1, X, Y, Z) in [0, 1]; what is masked has no influence.

        Returns:
            The last state (B, V, C), and those after the blocks of `depths`.
        """
        vit = self.encoder
        x = _taken(vit.patch_embedding(image), visible)  # type: ignore[operator]
        states = []
        for block in vit.blocks:  # type: ignore[union-attr]
            x = block(x)
            states.append(x)
        return vit.norm(x), [states[depth] for depth in self.depths]  # type: ignore[operator]

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Reconstruct all patches: (B, N, 16^3) voxels, in the order of `patches`.

        Args:
            image: (B, 1, X, Y, Z) in [0, 1].
            mask: (B, N) true where a patch is masked; as many in every image of the batch.
        """
        visible = mask.logical_not().nonzero()[:, 1].view(len(mask), -1)
        last, earlier = self.encode(image, visible)
        x = self.mask_token.expand(len(mask), self.count, -1).to(last.dtype)
        x = _put(x, visible, self.embed(last)) + self.position
        for number, block in enumerate(self.blocks):
            if 0 < number <= len(earlier):
                seen = self.skips[number - 1](earlier[number - 1])
                x = x + _put(torch.zeros_like(x), visible, seen)
            x = block(x)
        return self.head(self.norm(x))


def random_mask(batch: int, count: int, ratio: float, generator: torch.Generator) -> torch.Tensor:
    """(batch, count) bool, true for the same number of patches in every row; at least one is masked, and one is not."""
    masked = min(max(round(ratio * count), 1), count - 1)
    order = torch.rand(batch, count, generator=generator).argsort(1)
    return torch.zeros(batch, count, dtype=torch.bool).scatter_(1, order[:, :masked], True)


def patches(image: torch.Tensor) -> torch.Tensor:
    """(B, 1, X, Y, Z) -> (B, N, 16^3), in the order in which the transformer counts its patches."""
    b, _, x, y, z = image.shape
    cut = image.reshape(b, x // PATCH, PATCH, y // PATCH, PATCH, z // PATCH, PATCH)
    return cut.permute(0, 1, 3, 5, 2, 4, 6).reshape(b, -1, PATCH**3)


def whole(parts: torch.Tensor, edge: int) -> torch.Tensor:
    """Return the inverse of `patches` for cubes: (B, N, 16^3) -> (B, 1, edge, edge, edge)."""
    n = edge // PATCH
    cut = parts.reshape(len(parts), n, n, n, PATCH, PATCH, PATCH).permute(0, 1, 4, 2, 5, 3, 6)
    return cut.reshape(len(parts), 1, edge, edge, edge)


def masked_error(predicted: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error over the voxels of masked patches alone; (B, N, V) each, and (B, N) bool."""
    return F.mse_loss(predicted[mask].float(), wanted[mask].float())


def normalized(parts: torch.Tensor) -> torch.Tensor:
    """Scale every patch to mean 0 and variance 1; (B, N, V)."""
    return (parts - parts.mean(-1, keepdim=True)) / (parts.var(-1, keepdim=True) + 1e-6).sqrt()


def _taken(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def _put(x: torch.Tensor, index: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return x.scatter(1, index[..., None].expand(-1, -1, x.shape[-1]), values.to(x.dtype))


TURNS = 4
"""Rotations by right angles about the axis from feet to head."""
EMBEDDING = 512
"""Length of the vectors that are contrasted."""


class SwinPretexts(nn.Module):
    """The encoder of a Swin UNETR with its heads; its decoder takes no part."""

    def __init__(self, swin: SwinUnetr) -> None:
        super().__init__()
        self.encoder, self.edge = swin.encoder, swin.edge
        width = 16 * int(self.encoder.embed_dim)  # type: ignore[arg-type]
        self.rotation, self.contrast = nn.Linear(width, TURNS), nn.Linear(width, EMBEDDING)
        widths = [width // 2**i for i in range(5)]
        self.inpainting = nn.ModuleList(
            _convolution(a, b) for a, b in zip(widths, [*widths[1:], widths[-1]], strict=True)
        )
        self.last = nn.Conv3d(widths[-1], 1, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Look at a view (B, 1, X, Y, Z) in [0, 1], turned and partly cut out; sizes are multiples of 32.

        Returns:
            Logits of the rotation (B, 4), the vector to contrast (B, 512), and the inpainted image (B, 1, X, Y, Z).
        """
        x = self.encoder(image)[-1]
        middle = x.mean((2, 3, 4))
        for level in self.inpainting:
            x = F.interpolate(level(x), scale_factor=2, mode="trilinear", align_corners=False)
        return self.rotation(middle), self.contrast(middle), self.last(x)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, padding=1), nn.InstanceNorm3d(outputs), nn.LeakyReLU())


def contrastive_loss(first: torch.Tensor, second: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """Return SimCLR's loss (NT-Xent) of (B, C) vectors of two views of the same crops, B at least 2.

    The temperature divides the cosines.
    """
    count = len(first)
    vectors = F.normalize(torch.cat([first, second]).float(), dim=1)
    likeness = vectors @ vectors.T / temperature
    likeness.fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * count, device=first.device).roll(count)
    return F.cross_entropy(likeness, partner)
