"""Contrasts in which structures look like the tissue they are made of (ours; an option of the `fast` recipe).

SynthSeg draws every structure's mean independently. Real scans of any modality are less wild: grey matter, white matter
and fluid have one intensity each, and deep nuclei lie between grey and white. Drawing some samples that way teaches
realistic images sooner; the three intensities and their order stay random.
"""

from __future__ import annotations

import torch

from napari_synthseg.generator.labelmap import LabelMap

# How much white matter is mixed into each structure's grey: range drawn from, per FreeSurfer value (left or midline).
WHITE_FRACTION: dict[int, tuple[float, float]] = {
    2: (1.0, 1.0),
    7: (0.85, 1.05),
    3: (0.0, 0.0),
    8: (-0.05, 0.15),
    10: (0.3, 0.8),
    11: (-0.05, 0.3),
    12: (0.0, 0.45),
    13: (0.4, 1.05),
    16: (0.6, 1.05),
    17: (-0.05, 0.2),
    18: (-0.05, 0.2),
    26: (-0.05, 0.3),
    28: (0.6, 1.05),
    85: (0.7, 1.1),
}
FLUID = (4, 5, 14, 15, 24, 72)


def tissue_means(
    label_map: LabelMap,
    mean: torch.Tensor,
    std: torch.Tensor,
    bounds: tuple[float, float],
    generator: torch.Generator,
    t1_order: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace the means and deviations of brain classes by those of their tissue.

    Args:
        label_map: whose table says which class is which structure.
        mean, std: (C,) independent draws, kept for classes outside the brain.
        bounds: range of the means; results are clamped to it.
        generator: source of randomness; takes the same number of values always.
        t1_order: probability that fluid is darkest and white matter brightest.

    Returns:
        New (C,) means and standard deviations.
    """
    n = len(mean)
    tissues = torch.rand(3, generator=generator, dtype=torch.float64) * (bounds[1] - bounds[0]) + bounds[0]
    if torch.rand(1, generator=generator).item() < t1_order:
        tissues = tissues.sort().values
    fluid, grey, white = tissues.tolist()
    brain_std = 1.0 + 14.0 * torch.rand(1, generator=generator, dtype=torch.float64).item()
    mix = torch.rand(n, generator=generator, dtype=torch.float64)
    jitter = torch.randn(n, generator=generator, dtype=torch.float64)
    scale = 0.6 + 0.8 * torch.rand(n, generator=generator, dtype=torch.float64)
    mean, std = mean.clone(), std.clone()
    seen: dict[int, int] = {}
    for value, partner, c in zip(label_map.values, label_map.partners, label_map.classes, strict=True):
        key = min(value, label_map.values[partner])  # both sides look alike
        first = seen.setdefault(key, c)
        if key in FLUID:
            mean[c] = fluid + 6.0 * jitter[first]
        elif key in WHITE_FRACTION:
            low, high = WHITE_FRACTION[key]
            fraction = low + (high - low) * mix[first]
            mean[c] = grey + (white - grey) * fraction + 4.0 * jitter[first]
        else:
            continue
        std[c] = brain_std * scale[first]
    return mean.clamp(*bounds), std
