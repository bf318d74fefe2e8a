"""SynthSeg's 3D U-Net, weight for weight (section 3.2; where the paper is silent, as the reference does)."""

from __future__ import annotations

from collections.abc import Sequence

from napari_synthseg.networks.encoder_decoder import EncoderDecoder, Level

__all__ = ["Level", "UNet3d"]


class UNet3d(EncoderDecoder):
    """Five levels of two 3^3 convolutions, 24 features doubling, batch norm after each level, softmax.

    Args:
        n_labels: K, or the sorted label values.
        features: channels of the first level.
        levels: number of levels.
        in_channels: channels of the input.
    """

    def __init__(
        self, n_labels: int | Sequence[int] = 33, features: int = 24, levels: int = 5, in_channels: int = 1
    ) -> None:
        super().__init__(n_labels, [features * 2**i for i in range(levels)], in_channels=in_channels)
        self.features = features
