"""Networks of transformers on a prepared scan: a box of one size around the brain, predicted in windows of one size.

The box is what such networks were trained on (pre-train once, fine-tune many: section IV-A); see
`training.standardise`, which cuts it in the same way. Windows overlap and are blended.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.inference.blocks import Plan, window
from napari_synthseg.inference.postprocess import best_channel
from napari_synthseg.inference.prediction import Prediction, Scene, average, blend
from napari_synthseg.inference.preprocess import brain_centre, rescale
from napari_synthseg.inference.presets import OWN, Procedure
from napari_synthseg.inference.whole_head import BRAIN_MARGIN_MM, around_brain
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.networks.transformers import Transformer

SHARED = 0.25
"""How much of a window's edge neighbours share at least."""


def windowed_steps(
    model: Transformer, image: np.ndarray, device: torch.device, max_voxels: int | None = None, how: Procedure = OWN
) -> Generator[Progress, None, Prediction]:
    """Predict the box around the brain, window after window; nothing is known beyond it.

    Args:
        model: the network, on its device.
        image: (X, Y, Z) float32, RAS, 1 mm (`Prepared.image`).
        device: where to run.
        max_voxels: not used: windows have the size that the network was trained on.
        how: which percentiles, and whether to average with the mirrored scan.
    """
    scaled = torch.from_numpy(rescale(image, *how.percentiles))
    spacing, start = model.spacing, field_start(brain_centre(image), model.spacing, model.field)
    box = window(pooled(scaled, spacing), start, (model.field,) * 3)
    order = flip_order(model.labels) if how.flip else None

    def one(first: Sequence[int]) -> torch.Tensor:
        part = window(box, first, (model.edge,) * 3)[None, None].to(device)
        with torch.inference_mode():
            return window_posteriors(model, part, order)

    posteriors = yield from blend("Segmenting", one, windows(model.field, model.edge), len(model.labels))
    first = tuple(spacing * a for a in start)
    posteriors = finer(posteriors, spacing)
    seen = window(scaled, first, posteriors.shape[1:]).clone()
    scene = Scene(seen, torch.from_numpy(best_channel(posteriors)), first)  # type: ignore[arg-type]
    found = around_brain(posteriors, model, scene, first, str(device), BRAIN_MARGIN_MM)
    return replace(found, scene=scene)


def window_posteriors(model: nn.Module, part: torch.Tensor, order: Sequence[int] | None) -> torch.Tensor:
    """(1, 1, X, Y, Z) -> (K, X, Y, Z) float16, the mean with the mirrored window's where an order is given."""
    direct = model(part)[0]
    if order is None:
        return direct.half()
    return average(direct, model(part.flip(2))[0], order)


def flip_order(labels: Sequence[int]) -> tuple[int, ...] | None:
    """The order of channels after a flip; None where labels lack their partner, so that no flip can be undone."""
    try:
        return anatomy.flip_channels(labels)
    except ValueError:
        return None


def windows(field: int, edge: int, shared: float = SHARED) -> Plan:
    """The fewest windows of one size that cover a cube and share enough with their neighbours.

    Args:
        field: voxels along each side of the cube.
        edge: of the windows; not more than of the cube.
        shared: part of the edge that neighbours share at least.
    """
    room = field - edge
    count = 1 if not room else 1 + -(-room // max(1, round(edge * (1 - shared))))
    starts = tuple(round(i * room / max(count - 1, 1)) for i in range(count))
    return Plan((edge,) * 3, (starts,) * 3, (field,) * 3)


def field_start(centre: Sequence[float] | np.ndarray, spacing: int, field: int) -> tuple[int, int, int]:
    """Where a box around a point begins, in voxels of the pooled image; may lie outside of it.

    Args:
        centre: (3,) voxel index at 1 mm.
        spacing: voxels of 1 mm that one voxel of the pooled image is wide.
        field: voxels along each side of the box.
    """
    middle = (np.asarray(centre) - (spacing - 1) / 2) / spacing
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
