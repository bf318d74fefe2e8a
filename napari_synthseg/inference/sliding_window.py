"""Networks of transformers on a prepared scan: a box of one size around the brain, predicted in windows of one size.

The box is what such networks were trained on (pre-train once, fine-tune many: section IV-A); see
`training.data.crops`, which cuts it in the same way. Windows overlap and are blended.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.inference.options import OWN, InferenceConfig
from napari_synthseg.inference.patches import average, blend_steps, crop_with_padding, sliding_windows
from napari_synthseg.inference.postprocess import best_channel
from napari_synthseg.inference.preprocess import brain_center, rescale
from napari_synthseg.inference.state import Prediction, WholeHead, values_of
from napari_synthseg.inference.whole_volume import BRAIN_MARGIN_MM, around_brain
from napari_synthseg.jobs import Progress, checkpoint


def sliding_window_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, max_voxels: int | None, config: InferenceConfig = OWN
) -> Generator[Progress, None, Prediction]:
    """Predict the box around the brain, window after window; nothing is known beyond it.

    Arguments as for `predict_steps`, but that windows have the size that the network was trained on.
    """
    spacing, field, edge = (int(getattr(model, name)) for name in ("spacing", "field", "edge"))
    values = values_of(model)
    scaled = torch.from_numpy(rescale(image, *config.percentiles))
    start = field_start(brain_center(image), spacing, field)
    box = crop_with_padding(pooled(scaled, spacing), start, (field,) * 3)
    order = flip_order(values) if config.flip else None

    def one(first: Sequence[int]) -> torch.Tensor:
        part = crop_with_padding(box, first, (edge,) * 3)[None, None].to(device)
        with torch.inference_mode():
            return window_posteriors(model, part, order)

    posteriors = yield from blend_steps("Segmenting", one, sliding_windows(field, edge), len(values))
    first = tuple(spacing * a for a in start)
    posteriors = finer(posteriors, spacing)
    seen = crop_with_padding(scaled, first, posteriors.shape[1:]).clone()
    head = WholeHead(seen, torch.from_numpy(best_channel(posteriors)), first)  # type: ignore[arg-type]
    return around_brain(posteriors, model, head, first, str(device), BRAIN_MARGIN_MM)


def window_posteriors(model: nn.Module, part: torch.Tensor, order: Sequence[int] | None) -> torch.Tensor:
    """(1, 1, X, Y, Z) -> (K, X, Y, Z) float16, the mean with the mirrored window's where an order is given."""
    direct = model(part)[0]
    if order is None:
        return direct.half()
    return average(direct, model(part.flip(2))[0], order)


def flip_order(labels: Sequence[int]) -> tuple[int, ...] | None:
    """Return the order of channels after a flip; None if labels lack their partner, so that no flip can be undone."""
    try:
        return anatomy.flip_channels(labels)
    except ValueError:
        return None


def field_start(center: Sequence[float] | np.ndarray, spacing: int, field: int) -> tuple[int, int, int]:
    """Return where a box of `field` voxels around a point (3,) at 1 mm begins in the pooled image; may lie outside."""
    middle = (np.asarray(center) - (spacing - 1) / 2) / spacing
    x, y, z = (int(a) for a in np.rint(middle - (field - 1) / 2))
    return x, y, z


def pooled(image: torch.Tensor, spacing: int) -> torch.Tensor:
    """(X, Y, Z) at 1 mm -> means over cubes of `spacing` voxels; what fills no cube at the end is dropped."""
    return image if spacing == 1 else F.avg_pool3d(image[None, None], spacing)[0, 0]


def finer(posteriors: torch.Tensor, spacing: int) -> torch.Tensor:
    """(K, X, Y, Z) at `spacing` mm -> float16 at 1 mm, linearly interpolated, one channel after the other."""
    if spacing == 1:
        return posteriors
    size = [n * spacing for n in posteriors.shape[1:]]
    out = torch.empty((len(posteriors), *size), dtype=torch.float16)
    for k, channel in enumerate(posteriors):
        checkpoint()
        out[k] = F.interpolate(channel[None, None].float(), size=size, mode="trilinear", align_corners=False)[0, 0]
    return out
