"""SynthSeg+'s denoiser D: noisy tissue maps in, plausible ones out (SynthSeg+, section 2.2).

Without skip connections at the top two levels, what is too noisy to trust cannot pass around the bottleneck. The paper
has one convolution a level and 16 features at all of them; the published weights have two, and features that double.
"""

from __future__ import annotations

from collections.abc import Sequence

from napari_synthseg.networks.encoder_decoder import EncoderDecoder


class Denoiser(EncoderDecoder):
    """Five levels of 5^3 convolutions; forward takes tissue maps (B, K, X, Y, Z) and gives posteriors of the same.

    Args:
        n_labels: K, or the sorted class numbers; tissue maps have as many channels.
        features: channels of the first level.
        levels: number of levels.
        growth: how many times more channels each level has than the one above; 1 in the paper, 2 in the code.
        convolutions: of a level; 1 in the paper, 2 in the code.
        kernel: voxels along each edge of the kernels.
        unconnected: levels at the top without skip connections.
    """

    def __init__(
        self,
        n_labels: int | Sequence[int] = 5,
        features: int = 16,
        levels: int = 5,
        *,
        growth: int = 1,
        convolutions: int = 1,
        kernel: int = 5,
        unconnected: int = 2,
    ) -> None:
        channels = n_labels if isinstance(n_labels, int) else len(n_labels)
        super().__init__(
            n_labels,
            [features * growth**i for i in range(levels)],
            in_channels=channels,
            kernel=kernel,
            convolutions=convolutions,
            connected=range(unconnected, levels - 1),
        )
        self.features, self.growth, self.unconnected = features, growth, unconnected
